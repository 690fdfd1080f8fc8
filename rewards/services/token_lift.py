"""The audit of a reward model for tokens that buy reward, as a page shows it."""

from typing import Any

from annotate.models import Membership, Project
from rewards.models import RewardModelVersion
from rewards.pseudonyms import keyed_pseudonym


def token_lift_of(version: RewardModelVersion) -> dict[str, Any] | None:
    """The metric, people by the pseudonyms that they have in the project; None where not audited.

    Who has left and was erased keeps the name that the model knows.
    """
    found = version.metrics.get("token_lift")
    if not found:
        return None
    followed = any(token["people"] for token in found["tokens"])
    names = _names(version.project) if followed else {}
    tokens = [
        token | {"people": [names.get(key, key) for key in token["people"]]}
        for token in found["tokens"]
    ]
    return {**found, "tokens": tokens}


def _names(project: Project) -> dict[str, str]:
    members = Membership.objects.filter(project=project).values_list("pk", "pseudonym")
    return {keyed_pseudonym(project, pk): pseudonym for pk, pseudonym in members}
