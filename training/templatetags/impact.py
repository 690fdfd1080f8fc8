"""What became of a person's rankings, for the volunteers' own page, which knows no models."""

from __future__ import annotations

from typing import Any

from django import template

from annotate.models import Membership
from training.services.impact import impact_of

register = template.Library()


@register.inclusion_tag("training/_impact.html")
def impact(member: Membership) -> dict[str, Any]:
    """How far the rankings of this person have come, in a few sentences."""
    return {"impact": impact_of(member), "has_ranked": member.n_submitted > 0}
