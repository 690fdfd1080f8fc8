"""Figures in pages: a number with its interval and what it rests on, or that it is not measured."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.translation import get_language_bidi, override

from rewards.charts import Interval, in_words, interval_words, value_words

register = template.Library()

TONES = {
    **dict.fromkeys(("done", "live", "accepted", "PASS", "ok"), "good"),
    **dict.fromkeys(("failed", "rejected", "BLOCK"), "bad"),
    **dict.fromkeys(("stopped", "cancelled", "shadow", "REVIEW", "alarm", "missing"), "warn"),
    **dict.fromkeys(("running", "training", "queued"), "busy"),
}


def interval_of(estimate: Any, label: str = "") -> Interval:
    """An Interval of a stored estimate: a number, or an object with value, low, high and an n."""
    if not isinstance(estimate, Mapping):
        return Interval(label, None if estimate == "" else estimate)  # "" is a missing variable
    n = estimate.get("n", estimate.get("n_prompts"))
    return Interval(label, estimate.get("value"), estimate.get("low"), estimate.get("high"), n)


@register.filter
def figure(estimate: Any) -> str:
    """0.41 [0.33, 0.48], n = 96"""
    return _apart(in_words(interval_of(estimate)))


@register.filter
def percent(estimate: Any) -> str:
    """71.3 % [66.0, 76.0], n = 212"""
    return _apart(in_words(interval_of(estimate), percent=True))


def _apart(figure: str) -> str:
    """From left to right, as figures are read, where the words around it run the other way."""
    return f"\u2066{figure}\u2069" if get_language_bidi() else figure


@register.filter
def adds_to(rule: Mapping[str, Any], reason: str) -> bool:
    """Whether a gate's rule has a figure that its reason does not name already."""
    with override("en"):  # as reasons are stored
        value = value_words(interval_of(rule))
    return value is not None and value not in [word.strip(".,;") for word in reason.split()]


@register.inclusion_tag("plots/_estimate.html")
def estimate(stored: Any, percent: bool = False) -> dict[str, Any]:
    """The same with the value set apart, to be shown large."""
    one = interval_of(stored)
    return {"value": value_words(one, percent), "interval": interval_words(one, percent)}


@register.filter
def tone(state: str) -> str:
    """The class that colours the tag of a state of a run, gate, model, policy or cycle."""
    return TONES.get(state, "")
