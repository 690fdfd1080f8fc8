"""Agreement over time and in parts of the project, and how it is counted."""

from datetime import UTC, datetime
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from annotate.requests import SignedInRequest, administered
from rewards import figures, reading
from rewards.ml.agreement import MIN_PROMPTS
from rewards.ml.gate import RewardModelGateSettings
from rewards.ml.model_rules import Counted, drift_rule
from rewards.models import GateReport
from rewards.services import sums
from rewards.services.example import totals, worked_example
from rewards.services.gates import thresholds


@require_GET
def drift(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    now = sums.agreement_now(project)
    context: dict[str, Any] = {"project": project, "now": now, "least": 2 * MIN_PROMPTS}
    if now and now.figures.get("windows"):
        first = datetime.fromtimestamp(now.figures["windows"][0]["first"], UTC)
        moved = now.figures["change"]
        counted = Counted()
        if moved:  # the rule asks for a one-sided bound
            counted = Counted(moved["value"], moved["low"], moved["upper_bound"])
        settings = RewardModelGateSettings(**thresholds(project, GateReport.Gate.REWARD_MODEL))
        context |= {
            "chart": figures.window_chart(now.figures, sums.happenings(project, first)),
            "words": reading.drift_in_words(moved),
            "rule": drift_rule(counted, settings),
        }
    return render(request, "rewards/drift.html", context)


@require_GET
def slices(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    now = sums.agreement_now(project)
    context: dict[str, Any] = {"project": project, "now": now, "least": MIN_PROMPTS}
    if now:
        settings = RewardModelGateSettings(**thresholds(project, GateReport.Gate.REWARD_MODEL))
        limits = (settings.slice_floor, settings.slice_traffic)
        titles = {"topic": _("By topic, alpha"), "language": _("By language, alpha")}
        context |= {
            "parts": [
                {
                    "what": what,
                    "chart": figures.slice_chart(now.figures, what, title),
                    "rows": figures.slice_rows(now.figures, what, *limits),
                }
                for what, title in titles.items()
            ],
            "criteria": now.figures.get("criteria", []),
            "settings": settings,
        }
    return render(request, "rewards/slices.html", context)


@require_GET
def counting(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    context = {
        "project": project,
        "example": worked_example(project),
        "totals": totals(project),
        "here": "rewards:agreement",
    }
    return render(request, "rewards/counting.html", context)
