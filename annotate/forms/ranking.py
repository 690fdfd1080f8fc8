"""The ranking form. A response is named by its letter on the screen, never by an id.

Ids rise with time: they would tell the newer policy's response from the older one's. What there is
many times over, places, flags and ratings, is read here rather than by a field each, since a page
with eight responses would build hundreds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.text import get_text_list
from django.utils.translation import (
    get_language,
    gettext,
    gettext_lazy,
    gettext_noop,
    pgettext_lazy,
)

from annotate.models import Assignment, Ranking, Response
from annotate.rendering import show_hidden, visible_text
from annotate.services.rankings import FLAGS, PROMPT, RATINGS

LETTERS = "abcdefgh"
MAX_RATIONALE_CHARS = 4000
MAX_EDITED_CHARS = 64 * 1024
MAX_COUNT = 2**31 - 1
# Beyond so many, people are asked for the best and the worst of those left, again and again.
MAX_AT_ONCE = 6
EQUAL = "equal"
BOTH_BAD = "bad"

FLAG_LABELS: dict[str, str | Promise] = {
    "toxic": gettext_lazy("Toxic or hurtful"),
    "personal data": gettext_lazy("Personal data"),
    "factual error": gettext_lazy("Factual error"),
    "off topic": gettext_lazy("Off topic"),
    "wrong language": gettext_lazy("Wrong language"),
    "identity leak": gettext_lazy("Says which model wrote it"),
}
CONFIDENCE_LABELS = {
    "1": gettext_noop("Guessed"),
    "2": gettext_noop("Fairly sure"),
    "3": gettext_noop("Sure"),
}
PLACE_NAMES = (
    pgettext_lazy("place", "1st"),
    pgettext_lazy("place", "2nd"),
    pgettext_lazy("place", "3rd"),
    pgettext_lazy("place", "4th"),
    pgettext_lazy("place", "5th"),
    pgettext_lazy("place", "6th"),
    pgettext_lazy("place", "7th"),
    pgettext_lazy("place", "8th"),
)


# Translated once, since every page of every volunteer asks for these again.
@cache
def place_names(language: str | None) -> list[str]:
    """What the places are called in the language, which is the active one."""
    return [str(name) for name in PLACE_NAMES]


@cache
def flag_labels(language: str | None) -> list[tuple[str, str]]:
    """The flags of every project with what they are called in the language, the active one."""
    return [(name, str(FLAG_LABELS[name])) for name in FLAGS]


@dataclass(frozen=True)
class Card:
    """One response as the page shows it."""

    letter: str
    response: Response
    rank: str
    unacceptable: bool
    missing: bool
    flags: list[str]
    ratings: list[tuple[str, str, str]]  # a criterion's field, its label, what was chosen

    @property
    def name(self) -> str:
        return self.letter.upper()

    @property
    def is_remarked(self) -> bool:
        """Whether something beyond its place was said of it."""
        return bool(self.flags or any(chosen for _, _, chosen in self.ratings))

    @property
    def is_long(self) -> bool:
        """Whether it may be folded where scripts run."""
        return len(self.response.text) > 1200 or self.response.text.count("\n") > 20

    @cached_property
    def as_written(self) -> str:
        return show_hidden(self.response.text)

    @property
    def is_formatted(self) -> bool:
        """Whether the text was written with signs that the rendered one does not show."""
        return self.as_written.split() != visible_text(self.response.html).split()


class RankingForm(forms.Form):
    """A place for each response, or of two, which one is better; and what else people may say.

    `assignment` says which responses are shown, and in which order.
    """

    rationale = forms.CharField(required=False, max_length=MAX_RATIONALE_CHARS)
    edited = forms.CharField(required=False, max_length=MAX_EDITED_CHARS, strip=False)
    revises = forms.IntegerField(required=False, min_value=1)

    def __init__(self, *args: Any, assignment: Assignment, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.assignment = assignment
        self.project = assignment.task.project
        self.letters = LETTERS[: len(assignment.display_order)]
        self.missing: set[str] = set()

    # ---- What the page offers ----------------------------------------------------------------

    @property
    def is_pair(self) -> bool:
        return len(self.letters) == 2

    @property
    def in_rounds(self) -> bool:
        return len(self.letters) > MAX_AT_ONCE

    @cached_property
    def places(self) -> list[tuple[str, str]]:
        """The places a response may get, with what they are called."""
        names = place_names(get_language())
        return [(str(n), names[n - 1]) for n in range(1, len(self.letters) + 1)]

    @cached_property
    def preferences(self) -> list[tuple[str, str]]:
        """What may be said of two responses, from the first to the second."""
        if self.project.preference_steps == 7:
            first = [
                ("a3", gettext("A much")),
                ("a2", gettext("A clearly")),
                ("a1", gettext("A slightly")),
            ]
            second = [
                ("b1", gettext("B slightly")),
                ("b2", gettext("B clearly")),
                ("b3", gettext("B much")),
            ]
        else:
            first, second = [("a", gettext("A is better"))], [("b", gettext("B is better"))]
        equal = [(EQUAL, gettext("About equal"))] if self.project.allow_ties else []
        return [*first, *equal, *second]

    @cached_property
    def flags(self) -> list[tuple[str, str]]:
        own = [(flag["name"], flag["label"]) for flag in self.project.flags]
        return [*flag_labels(get_language()), *own]

    @cached_property
    def responses(self) -> dict[str, Response]:
        """The responses by letter, in the order of the screen."""
        by_id = self.assignment.responses
        order = self.assignment.display_order
        return {letter: by_id[pk] for letter, pk in zip(self.letters, order, strict=True)}

    @cached_property
    def cards(self) -> list[Card]:
        marked = self.many("unacceptable")
        criteria = self.project.criteria
        return [
            Card(
                letter=letter,
                response=response,
                rank=self.one(f"rank-{letter}"),
                unacceptable=letter in marked,
                missing=letter in self.missing,
                flags=self.many(f"flag-{letter}"),
                ratings=[
                    (name := f"rate-{letter}-{one['name']}", one["label"], self.one(name))
                    for one in criteria
                ],
            )
            for letter, response in self.responses.items()
        ]

    @property
    def better(self) -> str:
        return self.one("better")

    @property
    def prompt_flags(self) -> list[str]:
        return self.many(f"flag-{PROMPT}")

    # ---- What is filled in -------------------------------------------------------------------

    def one(self, name: str) -> str:
        """What is filled in under this name, right or wrong; of a form not sent, what is kept."""
        value = (self.data if self.is_bound else self.initial).get(name)
        return value if isinstance(value, str) else ""

    def many(self, name: str) -> list[str]:
        if self.is_bound:
            return list(self.data.getlist(name))  # type: ignore[attr-defined]
        return list(self.initial.get(name) or [])

    @property
    def best(self) -> str:
        """The letter of the best response so far, or of the first of several."""
        if self.is_pair:
            return self.better[:1] if self.better[:1] in ("a", "b") else "a"
        return min(self.letters, key=lambda letter: self.one(f"rank-{letter}") or "9")

    @cached_property
    def draft(self) -> dict[str, Any]:
        """What is filled in so far, right or wrong, in a form that `initial` takes."""
        places = [f"rank-{letter}" for letter in self.letters]
        ratings = [
            f"rate-{letter}-{one['name']}"
            for letter in self.letters
            for one in self.project.criteria
        ]
        names = ["better", "confidence", "edited_from", *places, *ratings]
        draft: dict[str, Any] = {name: self.one(name)[:8] for name in names if self.one(name)}
        for name, most in (("rationale", MAX_RATIONALE_CHARS), ("edited", MAX_EDITED_CHARS)):
            if text := self.one(name):
                draft[name] = text[:most]
        flags = {name for name, _ in self.flags}
        for subject in (*self.letters, PROMPT):
            if chosen := flags.intersection(self.many(f"flag-{subject}")):
                draft[f"flag-{subject}"] = sorted(chosen)
        marked = self.many("unacceptable")
        return draft | {
            "unacceptable": [letter for letter in self.letters if letter in marked],
            "tab": self.one("tab")[:16],  # which page wrote it
        }

    # ---- What is sent ------------------------------------------------------------------------

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        marked = self._known("unacceptable", self.letters)
        ranks = self._pair_ranks() if self.is_pair else self._ranks()
        if self.is_pair and self.better == BOTH_BAD:
            marked = list(self.letters)
        if set(marked) == set(self.letters) and not any(ranks.values()):
            pass  # nothing here deserves a place
        elif self.is_pair and not any(ranks.values()):
            raise ValidationError(gettext("Choose which response is better."))
        elif missing := [letter for letter, rank in ranks.items() if rank is None]:
            self.missing = set(missing)
            names = get_text_list([letter.upper() for letter in missing], gettext("and"))
            raise ValidationError(gettext("No place yet: %(names)s.") % {"names": names})
        given = [rank for rank in ranks.values() if rank is not None]
        if len(set(given)) < len(given) and not self.project.allow_ties:
            raise ValidationError(gettext("This project wants every place given only once."))
        data |= {"ranks": ranks, "unacceptable": marked, "flags": self._flags()}
        data |= {"criteria": self._criteria(), "edited": self._edited(data)}
        data |= {"confidence": self._confidence()}
        return data

    def _known(self, name: str, offered: Any) -> list[str]:
        """What is chosen; what the page does not offer is an error."""
        chosen = self.many(name)
        if set(chosen) - set(offered):
            raise ValidationError(gettext("The page does not offer this choice."))
        return chosen

    def _ranks(self) -> dict[str, int | None]:
        places = [value for value, _ in self.places]
        chosen = {letter: self._known(f"rank-{letter}", ["", *places]) for letter in self.letters}
        return {letter: int(one[-1]) if one and one[-1] else None for letter, one in chosen.items()}

    def _pair_ranks(self) -> dict[str, int | None]:
        offered = [value for value, _ in self.preferences]
        self._known("better", ["", BOTH_BAD, *offered])
        if self.better in ("", BOTH_BAD):
            return dict.fromkeys(self.letters)
        return {x: 1 if self.better[0] == x or self.better == EQUAL else 2 for x in self.letters}

    def _strength(self) -> int | None:
        if not self.is_pair or self.project.preference_steps == 3:
            return None
        if self.better in ("", BOTH_BAD):
            return None
        return 0 if self.better == EQUAL else int(self.better[1])

    def _flags(self) -> dict[str, list[str]]:
        names = [name for name, _ in self.flags]
        subjects = (*self.letters, PROMPT)
        return {subject: self._known(f"flag-{subject}", names) for subject in subjects}

    def _criteria(self) -> dict[str, dict[str, int]]:
        offered = ["", *map(str, RATINGS)]
        rated: dict[str, dict[str, int]] = {letter: {} for letter in self.letters}
        for letter in self.letters:
            for one in self.project.criteria:
                chosen = self._known(f"rate-{letter}-{one['name']}", offered)
                if chosen and chosen[-1]:
                    rated[letter][one["name"]] = int(chosen[-1])
        return rated

    def _confidence(self) -> int | None:
        chosen = self._known("confidence", ["", *CONFIDENCE_LABELS])
        return int(chosen[-1]) if chosen and chosen[-1] else None

    def _edited(self, data: Mapping[str, Any]) -> tuple[str, str] | None:
        """The letter of the response that was improved, and the better text."""
        text = data.get("edited", "").replace("\r\n", "\n")
        if not self.project.asks_edit or not text.strip():
            return None
        (letter,) = self._known("edited_from", self.letters) or ("",)
        if not letter:
            raise ValidationError(gettext("Say which response you improved."))
        return letter, text

    @property
    def judgement(self) -> dict[str, Any]:
        """The arguments of `submit_ranking`."""
        ids = dict(zip(self.letters, self.assignment.display_order, strict=True))
        said = self.cleaned_data
        edited = said["edited"]
        return {
            "ranks": {ids[letter]: rank for letter, rank in said["ranks"].items()},
            "unacceptable": [ids[letter] for letter in said["unacceptable"]],
            "rationale": said["rationale"],
            "flags": {ids.get(subject, subject): names for subject, names in said["flags"].items()},
            "criteria": {ids[letter]: ratings for letter, ratings in said["criteria"].items()},
            "strength": self._strength(),
            "confidence": said["confidence"],
            "edited": (ids[edited[0]], edited[1]) if edited else None,
            "revises": said["revises"],
            "dwell_ms": _count(self.data.get("dwell_ms")),
            "n_changes": _count(self.data.get("n_changes")),
        }


def _count(text: str | None) -> int | None:
    """A measurement made by the page's script, which is worth no error message."""
    return min(int(text), MAX_COUNT) if text and text.isdecimal() and len(text) < 20 else None


def draft_of(ranking: Ranking) -> dict[str, Any]:
    """The stored ranking as a draft, to begin a revision from."""
    assignment = ranking.assignment
    letters = dict(zip(LETTERS, assignment.display_order, strict=False))
    draft: dict[str, Any] = {
        "unacceptable": [x for x, pk in letters.items() if pk in ranking.unacceptable],
        "rationale": ranking.rationale,
        "confidence": str(ranking.confidence or ""),
        f"flag-{PROMPT}": ranking.flags.get(PROMPT, []),
    }
    for letter, pk in letters.items():
        draft[f"flag-{letter}"] = ranking.flags.get(str(pk), [])
        for name, rating in ranking.criteria.get(str(pk), {}).items():
            draft[f"rate-{letter}-{name}"] = str(rating)
        if rank := ranking.ranks[str(pk)]:
            draft[f"rank-{letter}"] = str(rank)
    if len(letters) == 2:
        draft["better"] = _better(ranking, draft)
    edited = assignment.demonstrations.filter(retired_at=None).first()
    if edited and edited.edited_from_id:
        by_id = {pk: letter for letter, pk in letters.items()}
        draft |= {"edited": edited.text, "edited_from": by_id.get(edited.edited_from_id, "")}
    return draft


def _better(ranking: Ranking, draft: Mapping[str, Any]) -> str:
    """How the page calls the preference; nothing where it asks for a strength that is not known."""
    a, b = draft.get("rank-a"), draft.get("rank-b")
    if not a or not b:
        return BOTH_BAD
    if a == b:
        return EQUAL
    better = "a" if a < b else "b"
    if ranking.assignment.task.project.preference_steps == 3:
        return better
    return f"{better}{ranking.strength}" if ranking.strength else ""
