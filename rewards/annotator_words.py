"""What the signs about an annotator mean, in words for who runs the project, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from rewards.charts import Interval, IntervalChart, Reference, readable

if TYPE_CHECKING:
    from rewards.ml.signals import Signal

Words = str | Promise


@dataclass(frozen=True)
class SignWords:
    """`short` heads a column; `unit` follows the number of what is still missing."""

    title: Words
    short: Words
    what: Words
    unit: Words
    flagged: Words
    todo: Words
    usual: Words = ""


SIGNS: Mapping[str, SignWords] = {
    "gold": SignWords(
        title=gettext_lazy("Tasks with a known answer"),
        short=gettext_lazy("Gold"),
        what=gettext_lazy("Of the pairs whose right order is known, the share put in that order."),
        unit=gettext_lazy("pairs of gold tasks"),
        flagged=gettext_lazy(
            "Fewer than one in a hundred careful people get so few right. Until you decide, these "
            "judgements weigh nothing in training."
        ),
        todo=gettext_lazy(
            "Look at the gold tasks that were missed. Where their answer is beyond doubt, talk to "
            "the person, or leave the judgements out."
        ),
        usual=gettext_lazy("careful people"),
    ),
    "peers": SignWords(
        title=gettext_lazy("Agreement with others"),
        short=gettext_lazy("Peers"),
        what=gettext_lazy(
            "How often others say the same of the same two responses; a tie against a win is half."
        ),
        unit=gettext_lazy("rankings that somebody else gave too"),
        flagged=gettext_lazy("Clearly less than the usual person here; chance hardly explains it."),
        todo=gettext_lazy(
            "Read some of the disagreements first: it may be another taste, or a guideline that "
            "nobody explained."
        ),
        usual=gettext_lazy("usual here"),
    ),
    "same": SignWords(
        title=gettext_lazy("Always the same"),
        short=gettext_lazy("Same"),
        what=gettext_lazy(
            "Rankings that call everything equal, or keep the order on the screen as it was."
        ),
        unit=gettext_lazy("rankings"),
        flagged=gettext_lazy(
            "More than nine in ten say nothing about the responses. They weigh nothing in training."
        ),
        todo=gettext_lazy("Ask whether the task is clear, and whether the page works for them."),
    ),
    "self": SignWords(
        title=gettext_lazy("The same when asked twice"),
        short=gettext_lazy("Self"),
        what=gettext_lazy("How far repeated tasks are ranked as they were the first time."),
        unit=gettext_lazy("repeated tasks"),
        flagged=gettext_lazy("Clearly less than the usual person here."),
        todo=gettext_lazy(
            "With little agreement with others besides, it is a sign of carelessness; alone it may "
            "be hard tasks or a tired evening."
        ),
        usual=gettext_lazy("usual here"),
    ),
    "position": SignWords(
        title=gettext_lazy("First on the screen, first choice"),
        short=gettext_lazy("First slot"),
        what=gettext_lazy(
            "How often the response shown first is chosen as the best. The order is drawn, so it "
            "should be as often as any other."
        ),
        unit=gettext_lazy("rankings with one best response"),
        flagged=gettext_lazy("Too often or too seldom to be chance."),
        todo=gettext_lazy(
            "Ask whether all the responses are read. The order is drawn anew each time, so what "
            "this adds is noise, not a lean."
        ),
        usual=gettext_lazy("chance"),
    ),
    "length": SignWords(
        title=gettext_lazy("The longer response wins"),
        short=gettext_lazy("Longer"),
        what=gettext_lazy(
            "How often the longer of two responses is preferred. Most people lean to longer ones, "
            "so only a clear difference from the others counts."
        ),
        unit=gettext_lazy("rankings of responses of different length"),
        flagged=gettext_lazy("Far from what is usual here, more than chance explains."),
        todo=gettext_lazy(
            "Say in the guidelines how length should count. Gold tasks in which the longer answer "
            "is wrong tell a habit from a judgement."
        ),
        usual=gettext_lazy("usual here"),
    ),
    "circles": SignWords(
        title=gettext_lazy("Going round in circles"),
        short=gettext_lazy("Circles"),
        what=gettext_lazy(
            "A over B, B over C, and yet C over A, among pairs that were judged one by one. Whole "
            "rankings cannot show it."
        ),
        unit=gettext_lazy("triples of pairs judged one by one"),
        flagged=gettext_lazy("Clearly more than half as often as a coin would."),
        todo=gettext_lazy("Look at some of them: were the responses nearly alike?"),
        usual=gettext_lazy("a coin"),
    ),
    "speed": SignWords(
        title=gettext_lazy("Very quick rankings"),
        short=gettext_lazy("Quick"),
        what=gettext_lazy(
            "Rankings given faster, for the length of the responses, than 98 of 100 of the "
            "other people's."
        ),
        unit=gettext_lazy("rankings whose time is known"),
        flagged=gettext_lazy("More than three in ten are that quick."),
        todo=gettext_lazy(
            "It only supports other signs: there are quick readers, and people who know the topic."
        ),
        usual=gettext_lazy("others"),
    ),
}


@dataclass(frozen=True)
class AssessmentWords:
    label: Words
    tone: str
    meaning: Words
    todo: Words


ASSESSMENTS: Mapping[str, AssessmentWords] = {
    "failed gold": AssessmentWords(
        gettext_lazy("fails known answers"),
        "bad",
        gettext_lazy("Too many tasks with a known answer were ranked wrongly."),
        gettext_lazy(
            "Check the answers of those tasks, then decide. Until then these judgements weigh "
            "nothing in training."
        ),
    ),
    "says the same": AssessmentWords(
        gettext_lazy("always the same"),
        "bad",
        gettext_lazy("The rankings say hardly anything about the responses."),
        gettext_lazy("Ask the person first; a page that does not work looks just like this."),
    ),
    "careless": AssessmentWords(
        gettext_lazy("several signs"),
        "bad",
        gettext_lazy("Two signs or more point the same way."),
        gettext_lazy(
            "Read some of the rankings and talk to the person. If that explains nothing, pause "
            "the person or leave the judgements out."
        ),
    ),
    "different taste": AssessmentWords(
        gettext_lazy("another taste?"),
        "warn",
        gettext_lazy("Differs from the others, and yet says the same again when asked twice."),
        gettext_lazy(
            "Ask why, and do not exclude: this is somebody who knows what they want. It may show "
            "a gap in the guidelines."
        ),
    ),
    "one sign": AssessmentWords(
        gettext_lazy("one sign"),
        "warn",
        gettext_lazy("One sign stands out. One alone proves nothing."),
        gettext_lazy("Have a look at it, and wait for more data."),
    ),
    "nothing to see": AssessmentWords(
        gettext_lazy("nothing stands out"),
        "good",
        gettext_lazy("Nothing that could be measured so far stands out."),
        "",
    ),
    "too little data": AssessmentWords(
        gettext_lazy("too little data"),
        "",
        gettext_lazy("Nothing can be said yet."),
        gettext_lazy("Wait until there are more rankings."),
    ),
}

REASONS: Mapping[str, Words] = {
    "failed gold": gettext_lazy("failed the tasks with a known answer"),
    "says the same": gettext_lazy("always says the same"),
    "newcomer": gettext_lazy("counts half at most until ten tasks with a known answer are done"),
    "share capped": gettext_lazy("cut, so that nobody teaches more than their share"),
}


@dataclass(frozen=True)
class Sign:
    """One signal, ready to be shown."""

    name: str
    words: SignWords
    signal: Signal
    chart: IntervalChart | None

    @property
    def flagged(self) -> bool:
        return self.signal.verdict == "flag"

    @property
    def missing(self) -> str:
        """What is still wanted before anything can be said; empty where nothing is."""
        if self.signal.state == "too little data":
            wanted = {
                "n": readable(self.signal.n),
                "least": readable(self.signal.least),
                "unit": self.words.unit,
            }
            return _("%(n)s of the %(least)s %(unit)s it takes.") % wanted
        if self.signal.state == "too few people":
            return _("Too few other people to compare with.")
        return ""


def sign(name: str, signal: Signal, person: str) -> Sign:
    words = SIGNS[name]
    chart = None
    if signal.value is not None:
        own = Interval(person, signal.value, signal.low, signal.high, signal.n)
        usual = [Reference(str(words.usual), signal.usual)] if signal.usual is not None else []
        chart = IntervalChart(_("Share and its interval (95 %)"), [own], usual, percent=True)
    return Sign(name, words, signal, chart)
