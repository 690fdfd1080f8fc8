"""What a reviewer chooses to see, and what he decides about a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from annotate.models import Adjudication, Ranking, Response
from annotate.services.rankings import InvalidRanking, checked_ranks

ANEW, LEAVE = "anew", "leave"
MAX_NOTE_CHARS = 4000
DEFAULT_BELOW = "0.75"

CATEGORY_LABELS = {
    Adjudication.Category.ERROR: _("Annotator error: somebody was wrong"),
    Adjudication.Category.GUIDELINE_GAP: _("Guideline gap: the guidelines do not settle it"),
    Adjudication.Category.AMBIGUOUS: _("Ambiguous prompt: it can be read in several ways"),
    Adjudication.Category.TRUE_TIE: _("True tie: the responses are equally good"),
    Adjudication.Category.TASTE: _("Taste: people may well differ"),
}


class DecidedForm(forms.Form):
    """Whether what is decided is shown, too."""

    state = forms.ChoiceField(
        label=_("Show"),
        choices=[("open", _("not decided yet")), ("decided", _("decided")), ("all", _("all"))],
        required=False,
    )


class QueueForm(DecidedForm):
    """Which tasks of the queue are shown; what makes no sense is as if it were not given."""

    below = forms.ChoiceField(
        label=_("Agreement"),
        choices=[
            ("0.5", _("below 50 %")),
            ("0.75", _("below 75 %")),
            ("1", _("below 100 %")),
            ("any", _("whatever it is")),
        ],
        required=False,
    )
    topic = forms.ChoiceField(label=_("Topic"), required=False)

    def __init__(self, data: Mapping[str, Any], *, topics: Sequence[str]) -> None:
        super().__init__({"state": "open", "below": DEFAULT_BELOW, **data})
        choices = [("", gettext("all topics")), *((topic, topic) for topic in topics)]
        self.fields["topic"].choices = choices  # type: ignore[attr-defined]
        if not topics:
            del self.fields["topic"]
        self.is_valid()

    @property
    def wanted_state(self) -> str:
        return self.cleaned_data.get("state") or "open"

    @property
    def wanted_below(self) -> float | None:
        below = self.cleaned_data.get("below") or DEFAULT_BELOW
        return None if below == "any" else float(below)

    @property
    def wanted_topic(self) -> str:
        return self.cleaned_data.get("topic") or ""


class DecisionForm(forms.Form):
    """Somebody's ranking adopted, a ranking anew, or the rankings left as they are; and why.

    `responses` are the task's, by letter; `adoptable` the rankings that may be adopted.
    """

    decision = forms.ChoiceField(
        widget=forms.RadioSelect, error_messages={"required": _("Choose what shall count.")}
    )
    unacceptable = forms.MultipleChoiceField(required=False)
    category = forms.ChoiceField(
        label=_("Why do people differ?"),
        choices=list(CATEGORY_LABELS.items()),
        widget=forms.RadioSelect,
        error_messages={"required": _("Choose why people differ.")},
    )
    note = forms.CharField(
        label=_("Note"),
        required=False,
        max_length=MAX_NOTE_CHARS,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    replaces = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)

    def __init__(
        self,
        *args: Any,
        responses: Mapping[str, Response],
        adoptable: Sequence[Ranking],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.responses = responses
        self.adoptable = {str(ranking.pk): ranking for ranking in adoptable}
        fields: dict[str, Any] = self.fields
        fields["decision"].choices = [(value, value) for value in (*self.adoptable, ANEW, LEAVE)]
        fields["unacceptable"].choices = [(letter, letter) for letter in responses]
        places = [("", "–"), *((str(n), str(n)) for n in range(1, len(responses) + 1))]
        for letter in responses:
            label = gettext("Rank of response %(name)s") % {"name": letter}
            fields[f"rank-{letter}"] = forms.ChoiceField(
                label=label, choices=places, required=False
            )

    @property
    def rank_fields(self) -> list[tuple[str, forms.BoundField, bool]]:
        """Of each response its letter, the field of its rank, and whether it is marked."""
        marked = self["unacceptable"].value() or []
        return [(letter, self[f"rank-{letter}"], letter in marked) for letter in self.responses]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("decision") == ANEW and not self.errors:
            shown = [response.pk for response in self.responses.values()]
            try:
                checked_ranks(shown, **self.ranking, allow_ties=True)
            except InvalidRanking:
                message = gettext("Give at least two responses a rank, or mark all unacceptable.")
                self.add_error("decision", message)
        return data

    @property
    def ranking(self) -> dict[str, Any]:
        """The ranks and marks given anew, as `adjudicate` takes them."""
        data = self.cleaned_data
        ranks = {r.pk: data[f"rank-{letter}"] for letter, r in self.responses.items()}
        return {
            "ranks": {pk: int(rank) if rank else None for pk, rank in ranks.items()},
            "unacceptable": [self.responses[letter].pk for letter in data["unacceptable"]],
        }

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `adjudicate`."""
        data = self.cleaned_data
        said = self.ranking if data["decision"] == ANEW else {}
        return {
            "category": data["category"],
            "adopted": self.adoptable.get(data["decision"]),
            "note": data["note"],
            "replaces": data["replaces"],
            **said,
        }


def initial_decision(
    decision: Adjudication | None, responses: Mapping[str, Response]
) -> dict[str, Any]:
    """The decision that stands, as the form shows it."""
    if decision is None:
        return {}
    ranks = decision.ranks or {}
    filled: dict[str, Any] = {
        f"rank-{letter}": str(ranks.get(str(response.pk)) or "")
        for letter, response in responses.items()
    }
    chosen = ANEW if decision.ranks else LEAVE
    return filled | {
        "decision": str(decision.adopted_id) if decision.adopted_id else chosen,
        "unacceptable": [
            letter for letter, r in responses.items() if r.pk in decision.unacceptable
        ],
        "category": decision.category,
        "note": decision.note,
        "replaces": decision.pk,
    }
