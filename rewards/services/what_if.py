"""What would agreement, its gate and a reward model be without some people, topics or weeks?

Nothing is changed by asking. The answer rests on at most so many prompts, whatever the project's
size, and is kept for an hour, by what was asked and of which rankings.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.core.cache import cache
from django.db.models import Count, Max
from django.db.models.functions import Coalesce, TruncWeek

from annotate.models import Adjudication, Exclusion, Project, Ranking, content_hash
from rewards.ml.agreement import report
from rewards.ml.gate import GateSettings, agreement_gate
from rewards.ml.rules import GateReport as Verdict
from rewards.models import GateReport
from rewards.services.agreement import Item, items
from rewards.services.dataset import decisions, snapshot_prompts, trainable
from rewards.services.gates import thresholds

if TYPE_CHECKING:
    from rewards.ml.evaluate import Estimate
    from rewards.ml.pairs import RankedPrompt
    from rewards.ml.sensitivity import Change

SEED = 0
KEPT_S = 3600
# Of these the linear model learns, and by these it is held; their hashes decide, as good as chance.
MOST_PROMPTS: Mapping[str, int] = {"train": 1000, "test": 500}
MOST_WEEKS = 60
AT = Coalesce("assignment__submitted_at", "created_at")


@dataclass(frozen=True)
class LeftOut:
    """What to leave out: people by pseudonym, topics by name, weeks such as 2026-W47."""

    people: frozenset[str] = field(default_factory=frozenset)
    topics: frozenset[str] = field(default_factory=frozenset)
    weeks: frozenset[str] = field(default_factory=frozenset)

    def __bool__(self) -> bool:
        return bool(self.people or self.topics or self.weeks)

    def names(self, person: str, topic: str, week: str) -> bool:
        return person in self.people or topic in self.topics or week in self.weeks


@dataclass(frozen=True)
class Judged:
    """A ranking that models may learn from."""

    pk: int
    person: str
    topic: str
    week: str
    prompt: int
    prompt_hash: str
    split: str


@dataclass(frozen=True)
class Gate:
    """What the agreement gate would say, and which rules would keep it shut."""

    state: str
    reasons: list[str]


@dataclass(frozen=True)
class Answer:
    """Before and after. `cross_fitted` is None unless people are left out."""

    n_before: int
    n_after: int
    agreement: "Change"
    cross_fitted: float | None
    n_people: int
    gate_before: Gate
    gate_after: Gate
    accuracy_before: "Estimate"
    accuracy_after: "Estimate"
    accuracy_gain: "Estimate"
    n_train: int
    capped: bool

    @property
    def n_gone(self) -> int:
        return self.n_before - self.n_after

    @property
    def removed(self) -> float:
        return 1 - self.n_after / self.n_before if self.n_before else 0.0


def iso_week(moment: datetime) -> str:
    year, week, _ = moment.astimezone(UTC).isocalendar()
    return f"{year}-W{week:02d}"


def judged(project: Project) -> list[Judged]:
    """Every ranking that models may learn from; one query."""
    task = "assignment__task__"
    rows = trainable(project).annotate(at=AT)
    return [
        Judged(pk, person, topic, iso_week(at), prompt, digest, split)
        for pk, person, at, topic, prompt, digest, split in rows.values_list(
            "pk",
            "assignment__annotator__pseudonym",
            "at",
            f"{task}prompt__topic",
            f"{task}prompt",
            f"{task}prompt__content_hash",
            f"{task}prompt__split",
        )
    ]


@dataclass(frozen=True)
class Choices:
    """What can be left out, each with its number of rankings, and how many rankings there are."""

    people: list[tuple[str, int]]
    topics: list[tuple[str, int]]
    weeks: list[tuple[str, int]]
    n_rankings: int


def choices(project: Project) -> Choices:
    """People and topics with the most rankings first, weeks with the newest first.

    Three queries, in which the database counts.
    """
    rankings = trainable(project).order_by()

    def counted(column: str) -> list[tuple[str, int]]:
        names = rankings.values_list(column).annotate(n=Count("pk"))
        return sorted(names, key=lambda one: (-one[1], one[0]))

    people = counted("assignment__annotator__pseudonym")
    weeks = rankings.values_list(TruncWeek(AT, tzinfo=UTC)).annotate(n=Count("pk"))
    return Choices(
        people=people,
        topics=[(topic, n) for topic, n in counted("assignment__task__prompt__topic") if topic],
        weeks=[(iso_week(monday), n) for monday, n in sorted(weeks, reverse=True)[:MOST_WEEKS]],
        n_rankings=sum(n for _, n in people),
    )


def answer(project: Project, left_out: LeftOut) -> Answer:
    """What leaving these out would do; from the cache where the same was asked of the same."""
    asked = {name: sorted(values) for name, values in asdict(left_out).items()}
    key = f"what-if-{content_hash([project.pk, asked, _state(project)])}"
    found: Answer | None = cache.get(key)
    if found is None:
        found = _answer(project, judged(project), left_out)
        cache.set(key, found, KEPT_S)
    return found


def _state(project: Project) -> list[Any]:
    """Changes whenever anything changes that an answer rests on."""
    excluded = Exclusion.objects.filter(project=project)
    decided = Adjudication.objects.filter(task__project=project)
    newest = Ranking.objects.in_project(project).aggregate(Max("pk"))
    lifted = excluded.aggregate(Max("pk"), Max("lifted_at"))
    return [
        newest["pk__max"],
        lifted["pk__max"],
        str(lifted["lifted_at__max"]),
        decided.aggregate(Max("pk"))["pk__max"],
        thresholds(project, GateReport.Gate.AGREEMENT),
    ]


def _answer(project: Project, rows: list[Judged], left_out: LeftOut) -> Answer:
    from rewards.ml.what_if import cross_fitted_gain, linear_models  # they load scikit-learn

    found = list(items(project))
    change, fitted = _agreement(found, left_out, cross_fitted_gain)
    kept = [row for row in rows if not left_out.names(row.person, row.topic, row.week)]
    before, after = _linear_data(project, rows, kept)
    models = linear_models(before, after, SEED)
    settings = GateSettings(**thresholds(project, GateReport.Gate.AGREEMENT))
    return Answer(
        n_before=len(rows),
        n_after=len(kept),
        agreement=change,
        cross_fitted=fitted,
        n_people=len(left_out.people),
        gate_before=_gate(found, LeftOut(), settings),
        gate_after=_gate(found, left_out, settings),
        accuracy_before=models.before,
        accuracy_after=models.after,
        accuracy_gain=models.gain,
        n_train=sum(prompt.split == "train" for prompt in before),
        capped=len({row.prompt for row in rows if row.split == "train"}) > MOST_PROMPTS["train"],
    )


def _agreement(
    found: list[Item], left_out: LeftOut, cross_fitted_gain: Any
) -> tuple["Change", float | None]:
    import numpy as np

    from rewards.ml.comparisons import compare, tabulate
    from rewards.ml.sensitivity import keep, paired_change

    table = compare(tabulate(one.said for one in found))
    gone = {
        (place, person)
        for place, one in enumerate(found)
        for person, at in one.first_judged.items()
        if left_out.names(person, one.topic, iso_week(at))
    }
    names = table.annotators
    stays = np.array(
        [
            (prompt, names[person]) not in gone
            for prompt, person in zip(table.prompt.tolist(), table.annotator.tolist(), strict=True)
        ],
        dtype=bool,
    )
    change = paired_change(table, keep(table, stays), SEED)
    known = left_out.people & set(names)
    fitted = cross_fitted_gain(table, len(known), SEED) if known else None
    return change, fitted


def _gate(found: Iterable[Item], left_out: LeftOut, settings: GateSettings) -> Gate:
    said = [
        {
            person: ranks
            for person, ranks in one.said.items()
            if not left_out.names(person, one.topic, iso_week(one.first_judged[person]))
        }
        for one in found
    ]
    verdict: Verdict = agreement_gate(report(filter(None, said), SEED), settings)
    return Gate(verdict.state, [rule.reason for rule in verdict.rules if not rule.ok])


def _linear_data(
    project: Project, rows: list[Judged], kept: list[Judged]
) -> tuple[list["RankedPrompt"], list["RankedPrompt"]]:
    """The prompts of the linear model with all judgements, and with those that are kept."""
    from rewards.ml.pairs import ranked_prompt

    chosen: set[int] = set()
    for split, most in MOST_PROMPTS.items():
        known = {(row.prompt_hash, row.prompt) for row in rows if row.split == split}
        chosen |= {prompt for _, prompt in sorted(known)[:most]}
    rankings = trainable(project).filter(assignment__task__prompt__in=chosen)
    sides = []
    for side in (rows, kept):
        ids = {row.pk for row in side if row.prompt in chosen}
        prompts = snapshot_prompts(project, rankings, decisions(rankings, ids), ids)
        sides.append([ranked_prompt(prompt) for prompt in prompts])
    return sides[0], sides[1]
