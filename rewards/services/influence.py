"""Whose absence would change a reward model: for annotators' cards."""

from collections.abc import Mapping
from dataclasses import dataclass

from annotate.models import Membership, Project
from rewards.models import RewardModelVersion
from rewards.services.dataset import keyed_pseudonym


@dataclass(frozen=True)
class PersonInfluence:
    """What the accuracy of a cheap linear model gains from somebody's judgements, as a share.

    0.01 is a point; below 0 it would be better without them. The interval is at 95 %. `state` is
    "ok", "too little data" (of the project) or "few judgements" (of this person); unless it is "ok"
    the three are None. `n` counts the training prompts that he judged, and `examined_by` is "gold"
    or "held-out", what accuracy was measured on.
    """

    model: RewardModelVersion
    examined_by: str
    state: str
    value: float | None
    low: float | None
    high: float | None
    n: int


def influence_by_member(project: Project) -> Mapping[int, PersonInfluence]:
    """By membership id, from the newest reward model that was trained; two queries."""
    model = project.reward_models.filter(metrics__influence__isnull=False).first()
    if model is None:
        return {}
    found = model.metrics["influence"]
    by_name = {one["annotator"]: one for one in found["people"]}
    members = Membership.objects.filter(project=project).values_list("pk", flat=True)
    return {
        pk: PersonInfluence(
            model,
            found["examined_by"],
            **{name: value for name, value in by_name[key].items() if name != "annotator"},
        )
        for pk in members
        if (key := keyed_pseudonym(project, pk)) in by_name
    }
