"""What the pages show of a policy and of a cycle, in the form that templates want."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from annotate.models import Project
from annotate.rendering import render_markdown
from rewards.charts import Interval, IntervalChart, Reference
from rewards.curves import Curves, curves
from rewards.models import Snapshot
from training.models import Cycle, PolicyVersion

STEP_ORDER = tuple(step for step in Cycle.Step if step != Cycle.Step.END)


def policies_of(project: Project) -> list[PolicyVersion]:
    """The project's policies, newest first, each with its ancestors, in one query."""
    policies = list(project.policies.select_related("reward_model__snapshot"))
    by_id = {policy.pk: policy for policy in policies}
    for policy in policies:
        policy.parent = by_id[policy.parent_id] if policy.parent_id else None
    return policies


def win_chart(policy: PolicyVersion) -> IntervalChart:
    """How often the policy beat the one it was compared with, by each way of asking."""
    found = policy.evaluation
    ways = {
        _("by the reward model"): found.get("win_rate"),
        _("… at similar length"): found.get("length_controlled_win_rate"),
        _("by people, blind"): (found.get("blind") or {}).get("win_rate"),
    }
    intervals = [
        Interval(label, one["value"], one["low"], one["high"], one["n"])
        for label, one in ways.items()
        if one
    ]
    no_change = Reference(_("no change"), 0.5)
    return IntervalChart(_("Win rate"), intervals, references=[no_change], percent=True)


def curves_of(policy: PolicyVersion) -> Curves | None:
    """The curves of the run that made the policy, the KL beside the budget of its gate."""
    if policy.run is None:
        return None
    rows = policy.run.metrics.order_by("step").values_list("step", "values")
    budget = policy.gate.report["settings"]["kl_budget"] if policy.gate else None
    return curves(list(rows), {"kl_reference": Reference(_("budget"), budget)})


@dataclass(frozen=True)
class Pair:
    """One held-out prompt with both policies' responses, as HTML, and their scores."""

    prompt: str
    old: str
    new: str
    old_score: float
    new_score: float


def sample_pairs(policy: PolicyVersion) -> list[Pair]:
    """The samples of the evaluation, side by side; every text is rendered as untrusted."""
    pairs: Sequence[Mapping[str, Any]] = policy.evaluation.get("pairs", [])
    return [
        Pair(
            prompt=render_markdown(pair["messages"][-1]["content"]),
            old=render_markdown(pair["old"]),
            new=render_markdown(pair["new"]),
            old_score=pair["scores"][0],
            new_score=pair["scores"][1],
        )
        for pair in pairs
    ]


def origin(snapshot: Snapshot) -> dict[str, int]:
    """How many rankings a snapshot holds, and of how many people."""
    rankings = snapshot.rankings.all()
    people = rankings.values("assignment__annotator").distinct()
    return {"rankings": rankings.count(), "people": people.count()}


@dataclass(frozen=True)
class StepShown:
    """A step of a cycle, done, stopped or failed with what came of it, current, or ahead."""

    name: str
    state: str
    what: str = ""
    at: datetime | None = None


def steps_of(cycle: Cycle) -> list[StepShown]:
    """What the cycle has done, in the order it was done, and what it has still to do.

    A cycle that was resumed has done some steps twice.
    """
    shown = [
        StepShown(entry["step"], "done", entry["what"], datetime.fromisoformat(entry["at"]))
        for entry in cycle.log
    ]
    if cycle.state == Cycle.State.RUNNING:
        here = STEP_ORDER.index(Cycle.Step(cycle.step))
        shown.append(StepShown(cycle.step, "current"))
        shown += [StepShown(step, "ahead") for step in STEP_ORDER[here + 1 :]]
    elif shown and cycle.state in (Cycle.State.STOPPED, Cycle.State.FAILED):
        last = shown.pop()
        shown.append(StepShown(last.name, str(cycle.state), last.what, last.at))
    return shown
