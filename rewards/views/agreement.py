"""How far annotators agree, and what the gate makes of it."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from annotate.requests import SignedInRequest, administered, page_of
from rewards import figures, reading
from rewards.forms import ReasonForm
from rewards.ml.agreement import MIN_RANKINGS
from rewards.models import GateReport
from rewards.services.agreement import (
    exclusions_changed,
    measure,
    newer_rankings,
    newest_report,
)
from rewards.services.dataset import trainable
from rewards.services.gates import (
    NotReleasable,
    agreement_verdict,
    judge_agreement,
    release,
)


@require_GET
def show_agreement(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    report = newest_report(project)
    if report is None:
        context = {"project": project, "n_rankings": trainable(project).count()}
        return render(request, "rewards/agreement.html", context)
    found = report.figures
    gate = agreement_verdict(project, found)
    page = page_of(request, figures.annotators(found))
    context = {
        "project": project,
        "report": report,
        "found": found,
        "newer": newer_rankings(report),
        "excluded_since": exclusions_changed(report),
        "words": reading.agreement_in_words(found),
        "forecast": reading.forecast_in_words(found),
        "left_out": reading.left_out_in_words(found),
        "gate": gate,
        "reason_form": ReasonForm(),
        "chart": figures.agreement_chart(found, gate),
        "thin_topics": figures.thin_topics(found),
        "measures": figures.measures(found),
        "people": figures.people(project, page),
        "people_page": page,
        "peer_chance": figures.peer_chance(found),
        "min_rankings": MIN_RANKINGS,
    }
    return render(request, "rewards/agreement.html", context)


@require_POST
def measure_now(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    judge_agreement(project, measure(project).figures)
    return redirect("rewards:agreement", slug)


@require_POST
def release_gate(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Open the gate under review, once, for a written reason."""
    project = administered(request, slug)
    gates = project.gate_reports.filter(gate=GateReport.Gate.AGREEMENT)
    gate = get_object_or_404(gates, pk=pk)
    release_with_reason(request, gate)
    return redirect("rewards:agreement", slug)


def release_with_reason(request: SignedInRequest, gate: GateReport) -> None:
    """Release the gate for the reason that was sent, and tell the person what came of it."""
    form = ReasonForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Say why, for the record."))
        return
    try:
        release(gate, request.user, form.cleaned_data["reason"])
    except NotReleasable as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The gate is released."))
