"""Reward models against what people reach: one row a version, and what follows from the newest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from rewards.charts import LineChart, Series
from rewards.models import RewardModelVersion

MOST_VERSIONS = 30
GAP = 0.05  # a difference of accuracy that is worth acting on
LEARNED = 0.01  # what a model gains on the one before it while more rankings still help

Estimate = Mapping[str, Any]
UNKNOWN: Estimate = {"value": None, "low": None, "high": None}


@dataclass(frozen=True)
class Version:
    """What was measured with one reward model; an estimate without a value was not."""

    number: int
    human: Estimate
    itself: Estimate
    model: Estimate
    longest: Estimate


def versions(models: Sequence[RewardModelVersion]) -> list[Version]:
    """Of the newest models that were measured, in the order of their numbers."""
    known = [model for model in models if model.metrics.get("accuracy")]
    return [
        Version(
            model.number,
            human=model.metrics.get("human_accuracy") or UNKNOWN,
            itself=model.metrics.get("self_agreement") or UNKNOWN,
            model=model.metrics["accuracy"],
            longest=model.metrics.get("longest_wins_accuracy") or UNKNOWN,
        )
        for model in sorted(known, key=lambda model: model.number)[-MOST_VERSIONS:]
    ]


def ceiling_chart(rows: Sequence[Version]) -> LineChart:
    """Four lines over the versions, each point with its interval."""
    lines = {
        _("oneself"): [row.itself for row in rows],
        _("people"): [row.human for row in rows],
        _("model"): [row.model for row in rows],
        _("longest"): [row.longest for row in rows],
    }
    numbers = [row.number for row in rows]
    return LineChart(
        _("Agrees with a held-out judgement"),
        [
            Series(
                label,
                [(n, one["value"]) for n, one in zip(numbers, found, strict=True)],
                [
                    (n, one["low"], one["high"])
                    for n, one in zip(numbers, found, strict=True)
                    if one.get("low") is not None and one.get("high") is not None
                ],
            )
            for label, found in lines.items()
        ],
        x_label=_("reward model"),
        percent=True,
    )


def ceiling_in_words(rows: Sequence[Version]) -> str:
    """Whether to buy labels, to train people, or to fix the model."""
    if not rows:
        return ""
    now = rows[-1]
    model, human, longest, itself = (
        one["value"] for one in (now.model, now.human, now.longest, now.itself)
    )
    if model is None:
        return _("The newest model could not be measured: collect rankings of held-out prompts.")
    low = now.model.get("low")
    if longest is not None and low is not None and low <= longest:
        return _(
            "Fix the model first: it is not shown to know more than that longer responses win."
        )
    if human is None:
        return _(
            "Nobody can tell how far it could get: let two people judge some of the held-out "
            "prompts."
        )
    if model >= human - GAP:
        if itself is not None and itself > human + GAP:
            return _(
                "Train people: the model is about as good as another person, and each person is "
                "steadier than people are alike. Clearer guidelines would raise all of it."
            )
        return _(
            "Train people: the model is about as good as another person. More rankings alone will "
            "hardly raise it; clearer guidelines and clearer differences between responses will."
        )
    before = rows[-2].model["value"] if len(rows) > 1 else None
    if before is not None and model - before <= LEARNED:
        return _(
            "Fix the model: people agree with each other more than it agrees with them, and the "
            "last rankings did not help. Try a larger base or other settings."
        )
    return _(
        "Buy labels: people agree with each other more than the model agrees with them, so there "
        "is more to learn."
    )
