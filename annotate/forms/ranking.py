"""The ranking form. A response is named by its letter on the screen, never by an id.

Ids rise with time: they would tell the newer policy's response from the older one's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import cached_property
from django.utils.translation import gettext

from annotate.models import Assignment, Ranking, Response
from annotate.rendering import show_hidden, visible_text

LETTERS = "abcdefgh"
MAX_RATIONALE_CHARS = 4000
MAX_COUNT = 2**31 - 1
EQUAL = "equal"


@dataclass(frozen=True)
class Card:
    """One response as the page shows it."""

    letter: str
    response: Response
    rank: str
    unacceptable: bool
    missing: bool

    @property
    def name(self) -> str:
        return self.letter.upper()

    @property
    def is_long(self) -> bool:
        """Whether reading it may take the places to click out of sight."""
        return len(self.response.text) > 800 or self.response.text.count("\n") > 16

    @property
    def as_written(self) -> str:
        return show_hidden(self.response.text)

    @property
    def is_formatted(self) -> bool:
        """Whether the text was written with signs that the rendered one does not show."""
        return self.as_written.split() != visible_text(self.response.html).split()


class RankingForm(forms.Form):
    """A rank for each response; of two responses, which one is better.

    `assignment` says which responses are shown, and in which order.
    """

    unacceptable = forms.MultipleChoiceField(required=False)
    rationale = forms.CharField(
        required=False, max_length=MAX_RATIONALE_CHARS, widget=forms.Textarea(attrs={"rows": 3})
    )
    revises = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)

    def __init__(self, *args: Any, assignment: Assignment, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.assignment = assignment
        self.letters = LETTERS[: len(assignment.display_order)]
        self.fields["unacceptable"].choices = [(x, x) for x in self.letters]  # type: ignore[attr-defined]
        if self.is_pair:
            choices = [(x, x) for x in ("a", EQUAL, "b")]
            self.fields["better"] = forms.ChoiceField(choices=choices, required=False)
        else:
            for letter in self.letters:
                self.fields[f"rank-{letter}"] = forms.ChoiceField(
                    choices=[(p, p) for p in self.places], required=False
                )

    @property
    def is_pair(self) -> bool:
        return len(self.letters) == 2

    @property
    def places(self) -> list[str]:
        return [str(n + 1) for n in range(len(self.letters))]

    @cached_property
    def responses(self) -> dict[str, Response]:
        """The responses by letter, in the order of the screen."""
        ids = self.assignment.display_order
        by_id = Response.objects.in_bulk(ids)
        return {letter: by_id[pk] for letter, pk in zip(self.letters, ids, strict=True)}

    @property
    def cards(self) -> list[Card]:
        marked = self["unacceptable"].value() or []
        return [
            Card(
                letter=letter,
                response=response,
                rank="" if self.is_pair else self[f"rank-{letter}"].value() or "",
                unacceptable=letter in marked,
                missing=bool(self.errors.get(f"rank-{letter}")),
            )
            for letter, response in self.responses.items()
        ]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        marked = data.get("unacceptable", [])
        ranks = self._ranks(data)
        if len(marked) == len(self.letters) and not any(ranks.values()):
            return data  # nothing here deserves a rank
        if self.is_pair:
            if not data.get("better") and "better" not in self.errors:
                self.add_error("better", gettext("Choose which response is better."))
            return data
        missing = [letter for letter, rank in ranks.items() if rank is None]
        for letter in missing:
            if f"rank-{letter}" not in self.errors:
                message = gettext("Response %(name)s has no rank yet.") % {"name": letter.upper()}
                self.add_error(f"rank-{letter}", message)
        given = [rank for rank in ranks.values() if rank is not None]
        if len(set(given)) < len(given) and not self.assignment.task.project.allow_ties:
            raise ValidationError(gettext("This project wants every rank given only once."))
        return data

    def _ranks(self, data: Mapping[str, Any]) -> dict[str, int | None]:
        if self.is_pair:
            better = data.get("better")
            if not better:
                return dict.fromkeys(self.letters)
            return {x: 1 if better in (x, EQUAL) else 2 for x in self.letters}
        ranks = {letter: data.get(f"rank-{letter}") for letter in self.letters}
        return {letter: int(rank) if rank else None for letter, rank in ranks.items()}

    @property
    def judgement(self) -> dict[str, Any]:
        """The arguments of `submit_ranking`."""
        ids = dict(zip(self.letters, self.assignment.display_order, strict=True))
        ranks = self._ranks(self.cleaned_data)
        return {
            "ranks": {ids[letter]: rank for letter, rank in ranks.items()},
            "unacceptable": [ids[letter] for letter in self.cleaned_data["unacceptable"]],
            "rationale": self.cleaned_data["rationale"],
            "revises": self.cleaned_data["revises"],
            "dwell_ms": _count(self.data.get("dwell_ms")),
            "n_changes": _count(self.data.get("n_changes")),
        }

    @property
    def draft(self) -> dict[str, Any]:
        """What is filled in so far, right or wrong, in a form that `initial` takes."""
        known = [name for name in self.fields if name not in ("unacceptable", "revises")]
        draft: dict[str, Any] = {
            name: str(self.data[name])[:MAX_RATIONALE_CHARS]
            for name in known
            if self.data.get(name)
        }
        draft["unacceptable"] = [
            letter
            for letter in self.letters
            if letter in self.data.getlist("unacceptable")  # type: ignore[attr-defined]
        ]
        return draft


def _count(text: str | None) -> int | None:
    """A measurement made by the page's script, which is worth no error message."""
    return min(int(text), MAX_COUNT) if text and text.isdecimal() and len(text) < 20 else None


def draft_of(ranking: Ranking) -> dict[str, Any]:
    """The stored ranking as a draft, to begin a revision from."""
    shown = ranking.assignment.display_order
    letters = dict(zip(LETTERS, shown, strict=False))
    ranks = {letter: ranking.ranks[str(pk)] for letter, pk in letters.items()}
    draft: dict[str, Any] = {
        "unacceptable": [x for x, pk in letters.items() if pk in ranking.unacceptable],
        "rationale": ranking.rationale,
    }
    if len(shown) > 2:
        draft |= {f"rank-{letter}": str(rank) for letter, rank in ranks.items() if rank}
    elif ranks["a"] and ranks["b"]:
        a, b = ranks["a"], ranks["b"]
        draft["better"] = EQUAL if a == b else "a" if a < b else "b"
    return draft
