"""A drill in the form that its page and its command want: rows and plain sentences."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

Result = Mapping[str, Any]


def drill_rows(result: Result) -> list[dict[str, Any]]:
    """Each outcome, with the attack's name in words."""
    return [one | {"name": attack_in_words(one)} for one in result["outcomes"]]


def attack_in_words(outcome: Mapping[str, Any]) -> str:
    if not outcome["hostile"]:
        return _("nobody hostile") if not outcome["share"] else _("nobody could be chosen")
    names = {"reversed": _("the worst first"), "longest wins": _("the longest first")}
    return names[outcome["attack"]]


def drill_in_words(result: Result) -> list[str]:
    """What came of it, and what to do."""
    attacked = [one for one in result["outcomes"] if one["hostile"]]
    if not attacked:
        return [_("There are too few people, or too few judgements, to make anybody hostile.")]
    hostile, caught = (sum(one[name] for one in attacked) for name in ("hostile", "caught"))
    passed = sum(one["state"] == "PASS" for one in attacked)
    found = [
        _("In all attacks together, %(caught)d of %(hostile)d hostile people were found out.")
        % {"caught": caught, "hostile": hostile},
        _("The agreement gate would have passed %(passed)d of %(attacks)d attacks.")
        % {"passed": passed, "attacks": len(attacked)},
    ]
    if worst := max(one["suspended"] for one in result["outcomes"]):
        found.append(
            ngettext(
                "At worst %(n)d person besides them would have been left out.",
                "At worst %(n)d people besides them would have been left out.",
                worst,
            )
            % {"n": worst}
        )
    return [*found, *_accuracy_in_words(result, attacked), *_advice(result, hostile, caught)]


def _accuracy_in_words(result: Result, attacked: list[Mapping[str, Any]]) -> list[str]:
    clean = result["outcomes"][0]["without"]
    if clean is None:
        return [_("There is too little data to fit and examine a model, so losses are not shown.")]
    # There is no accuracy where nobody is left whose judgements weigh anything.
    known = [one for one in attacked if None not in (one["without"], one["defended"])]
    found = []
    if n := len(attacked) - len(known):
        found.append(
            ngettext(
                "In %(n)d attack nobody would have been left to learn from.",
                "In %(n)d attacks nobody would have been left to learn from.",
                n,
            )
            % {"n": n}
        )
    if known:
        without, defended = (
            max(0, clean - min(one[name] for one in known)) for name in ("without", "defended")
        )
        found.append(
            _(
                "At worst the model would have lost %(without)s points without the defences and "
                "%(defended)s points with them."
            )
            % {"without": f"{100 * without:.1f}", "defended": f"{100 * defended:.1f}"}
        )
    return found


def _advice(result: Result, hostile: int, caught: int) -> list[str]:
    if not result["n_gold"]:
        return [
            _(
                "The project has no gold tasks that people have ranked. They are what finds those "
                "who collude: write some, with answers that are long and pretty but wrong among "
                "them."
            )
        ]
    if caught < hostile / 2:
        return [
            _(
                "Most would have gone unnoticed, because people have ranked too few gold tasks: "
                "it takes some ten of each person. Raise the share of gold tasks."
            )
        ]
    return []
