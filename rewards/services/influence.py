"""How much a person's absence would change a reward model: for annotators' cards."""

from dataclasses import dataclass

from annotate.models import Membership
from rewards.models import RewardModelVersion
from rewards.pseudonyms import keyed_pseudonym


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

    @property
    def estimate(self) -> dict[str, float | None]:
        """As pages show estimates."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def influence_of(member: Membership) -> PersonInfluence | None:
    """As the newest reward model with such figures has it; None where it does not know him."""
    model = member.project.reward_models.filter(metrics__influence__isnull=False).first()
    if model is None:
        return None
    found = model.metrics["influence"]
    key = keyed_pseudonym(member.project, member.pk)
    for one in found["people"]:
        if one["annotator"] == key:
            facts = {name: value for name, value in one.items() if name != "annotator"}
            return PersonInfluence(model, found["examined_by"], **facts)
    return None
