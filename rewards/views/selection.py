"""What is asked next, whether choosing helps, and letting it begin anew."""

from collections.abc import Sequence

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from annotate.models import Project, Task
from annotate.requests import SignedInRequest, administered
from rewards.charts import LineChart, Series
from rewards.models import ArmComparison
from rewards.services.arms import LOST, WEEKS, choose_again
from rewards.services.selection import LEAST_LEARNED, random_share, why_random

SHOWN_WEEKS = 26
SHOWN_SELECTIONS = 10
LABELS = 100  # a gain is told per so many judgements


@require_GET
def show_selection(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    weeks = list(project.arm_comparisons.all()[:SHOWN_WEEKS])
    context = {
        "project": project,
        "reason": why_random(project) or "",
        "chosen_share": 1 - random_share(project),
        "random_share": random_share(project),
        "least_learned": LEAST_LEARNED,
        "weeks": weeks,
        "lost": LOST,
        "of_weeks": WEEKS,
        "chart": _chart(weeks[::-1]),
        "arms": _arms(project),
        "selections": project.selections.order_by("-pk")[:SHOWN_SELECTIONS],
    }
    return render(request, "rewards/selection.html", context)


@require_POST
def selection_again(request: SignedInRequest, slug: str) -> HttpResponse:
    """Choose again after the active arm fell back."""
    choose_again(administered(request, slug), by=request.user)
    messages.success(request, _("Prompts are chosen again, from the next cycle on."))
    return redirect("rewards:selection", slug)


def _chart(weeks: Sequence[ArmComparison]) -> LineChart:
    """What 100 judgements of each arm added to the accuracy, the oldest week first."""

    def gains(arm: str) -> list[tuple[float, float | None]]:
        return [
            (number, LABELS * (getattr(week, arm) - week.before) / week.n_labels)
            for number, week in enumerate(weeks, start=1)
        ]

    return LineChart(
        _("Accuracy gained by 100 judgements"),
        [Series(_("chosen"), gains("active")), Series(_("by chance"), gains("random"))],
        x_label=_("week measured"),
        percent=True,
    )


def _arms(project: Project) -> list[dict[str, object]]:
    """By arm, how many prompts are asked about, judged, and still wanted."""
    asked = project.tasks.filter(kind__in=(Task.Kind.NORMAL, Task.Kind.AUDIT))
    rows = asked.values("arm").annotate(
        n=Count("pk"),
        n_judged=Count("pk", filter=Q(n_done__gt=0)),
        n_open=Count("pk", filter=Q(state=Task.State.OPEN)),
    )
    by_arm = {row["arm"]: row for row in rows.order_by()}
    return [by_arm[arm] | {"label": arm.label} for arm in Task.Arm if arm in by_arm]
