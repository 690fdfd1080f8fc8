"""What became of a person's rankings, as far as the rows tell: dataset, reward model, policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from annotate.models import Membership
from rewards.models import RewardModelVersion, Snapshot
from training.models import PolicyVersion

Status = PolicyVersion.Status
# A policy that waits for its comparison would be judged otherwise by who knows how it fares.
COMPARED = (Status.LIVE, Status.RETIRED, Status.REJECTED)


@dataclass(frozen=True)
class Comparison:
    """How often a policy won against the one before, a tie as half; shares of `n` comparisons."""

    is_blind: bool  # by people who did not know which was which; otherwise by the reward model
    value: float
    margin: float  # half the width of its 95 % interval, or the longer side of it
    n: int
    against: int


@dataclass(frozen=True)
class Impact:
    """How far a person's rankings have come; each is None where they have not come so far.

    `n` counts those of his rankings that are in the snapshot. `policy` is the one that came
    furthest of all that learned from him: live before retired before candidate before rejected.
    Where it is not live, `descendant` is the live one that was made from it.
    """

    n: int
    snapshot: Snapshot | None = None
    reward_model: RewardModelVersion | None = None
    policy: PolicyVersion | None = None
    comparison: Comparison | None = None
    descendant: PolicyVersion | None = None


def impact_of(member: Membership) -> Impact:
    """What the newest and furthest uses of the person's rankings are."""
    mine = Snapshot.objects.filter(project=member.project_id).filter(
        pk__in=Snapshot.rankings.through.objects.filter(
            ranking__assignment__annotator=member
        ).values("snapshot")
    )
    snapshot = mine.order_by("-number").first()
    if snapshot is None:
        return Impact(0)
    models = RewardModelVersion.objects.filter(snapshot__in=mine).select_related("snapshot")
    untrained = (RewardModelVersion.Status.TRAINING, RewardModelVersion.Status.FAILED)
    model = models.exclude(status__in=untrained).order_by("-number").first()
    policy = _furthest(
        list(
            PolicyVersion.objects.filter(reward_model__in=models)
            .exclude(status=Status.FAILED)
            .select_related("reward_model__snapshot")
            .order_by("-number")
        )
    )
    if policy:
        model = policy.reward_model
    if model:
        snapshot = model.snapshot
    return Impact(
        n=snapshot.rankings.filter(assignment__annotator=member).count(),
        snapshot=snapshot,
        reward_model=model,
        policy=policy,
        comparison=_comparison(policy) if policy else None,
        descendant=_descendant(policy) if policy else None,
    )


def _furthest(policies: list[PolicyVersion]) -> PolicyVersion | None:
    """The policy that came furthest, the newest among equals, which come first."""
    order = [Status.LIVE, Status.RETIRED, Status.CANDIDATE, Status.TRAINING, Status.REJECTED]
    return min(policies, key=lambda policy: order.index(Status(policy.status)), default=None)


def _comparison(policy: PolicyVersion) -> Comparison | None:
    """What was found before the policy's gate; people's word goes before the reward model's."""
    found = policy.evaluation
    if policy.status not in COMPARED or not found:
        return None
    blind = found.get("blind")
    is_blind = bool(blind and blind["n"])
    rate: Mapping[str, Any] = blind["win_rate"] if is_blind else found["win_rate"]
    margin = max(rate["high"] - rate["value"], rate["value"] - rate["low"])
    n = blind["n"] if is_blind else found["n_prompts"]
    return Comparison(is_blind, rate["value"], margin, n, found["against_number"])


def _descendant(policy: PolicyVersion) -> PolicyVersion | None:
    """The live policy, if it was made from this one."""
    live = policy.project.policies.live().first()
    if live is None or live == policy:
        return None
    return live if policy in live.lineage() else None
