"""The keys of the ranking page: what each does, its usual key, and what a person made of them.

An action may also have none, for who presses it by mistake or whose software wants that key.
Digits give places and capital letters go to responses; they are fixed, and switched off with the
rest. What works with Ctrl held always works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_lazy

from annotate.models import User

OFF = "off"
NO_KEY = ""
SPACE = "Space"
FIXED = "0123456789ABCDEFGH"


class Action(NamedTuple):
    """Something a key does; the key is what the browser calls it, and "Space" for " "."""

    name: str
    default: str
    label: str | Promise


ACTIONS = (
    Action("best", "b", gettext_lazy("make it the best")),
    Action("worst", "w", gettext_lazy("make it the worst")),
    Action("up", "[", gettext_lazy("move it up one place")),
    Action("down", "]", gettext_lazy("move it down one place")),
    Action("rest", "e", gettext_lazy("the rest are equal, and last")),
    Action("unacceptable", "-", gettext_lazy("mark it unacceptable")),
    Action("all_bad", "x", gettext_lazy("all are unacceptable")),
    Action("reveal", SPACE, gettext_lazy("uncover, or show all of a long text")),
    Action("sync", "y", gettext_lazy("scroll both together")),
    Action("diff", "d", gettext_lazy("show the differences")),
    Action("raw", "m", gettext_lazy("show the texts as written")),
    Action("flag", "f", gettext_lazy("flag a problem")),
    Action("note", "n", gettext_lazy("write why")),
    Action("skip", "s", gettext_lazy("skip this one")),
    Action("guidelines", "g", gettext_lazy("what to look for")),
    Action("undo", "u", gettext_lazy("undo")),
    Action("help", "?", gettext_lazy("this help")),
)


def keys_of(user: User) -> dict[str, str]:
    """The person's key for each action, or NO_KEY; no action at all where keys are switched off."""
    if user.keys.get(OFF):
        return {}
    return {action.name: user.keys.get(action.name, action.default) for action in ACTIONS}


def clean_keys(given: Mapping[str, Any]) -> dict[str, Any]:
    """What `User.keys` stores: the keys that differ from the usual ones, and whether all are off.

    A missing one stands for the usual key, an empty one for NO_KEY. Raises ValueError for an
    action that does not exist, something that is no single key, a key that is fixed, and a key
    given twice.
    """
    usual = {action.name: action.default for action in ACTIONS}
    if unknown := set(given) - {*usual, OFF}:
        raise ValueError(gettext("There is no action %(name)s.") % {"name": min(unknown)})
    own = {name: str(key).strip() for name, key in given.items() if name != OFF}
    keys = usual | own
    bound = [key for key in keys.values() if key != NO_KEY]
    for key in bound:
        if key in FIXED or not (key == SPACE or (len(key) == 1 and key.isprintable())):
            raise ValueError(gettext("%(key)s cannot be used as a key.") % {"key": key})
    if twice := {key for key in bound if bound.count(key) > 1}:
        raise ValueError(gettext("The key %(key)s is given twice.") % {"key": min(twice)})
    changed: dict[str, Any] = {name: key for name, key in keys.items() if key != usual[name]}
    return changed | ({OFF: True} if given.get(OFF) else {})
