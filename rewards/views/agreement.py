"""How far annotators agree, and what the gate makes of it."""

import secrets

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from annotate.requests import SignedInRequest, administered
from annotate.services.audit_sample import MOST_AT_ONCE
from rewards import figures, reading
from rewards.forms import AuditMoreForm, ReasonForm
from rewards.models import GateReport
from rewards.services import sums
from rewards.services.agreement import measure, newest_report
from rewards.services.dataset import trainable
from rewards.services.gates import (
    NotReleasable,
    agreement_verdict,
    judge_agreement,
    release,
)
from rewards.services.more_audit import audit_more, room_for_more, wanted_more


@require_GET
def show_agreement(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    now = sums.agreement_now(project)
    if now is None:
        context = {"project": project, "n_rankings": trainable(project).count()}
        return render(request, "rewards/agreement.html", context)
    found = now.figures
    recorded = newest_report(project)
    gate = agreement_verdict(project, recorded.figures if recorded else found)
    context = {
        "project": project,
        "now": now,
        "found": found,
        "words": reading.agreement_in_words(found),
        "forecast": reading.forecast_in_words(found),
        "left_out": reading.left_out_in_words(found),
        "other_people": reading.other_people_in_words(now.two_way),
        "themselves": reading.themselves_in_words(found),
        "wanted": wanted_more(project, found),
        "gate": gate,
        "reason_form": ReasonForm(),
        "chart": figures.agreement_chart(found, gate, now.two_way),
        "measures": figures.measures(found),
    }
    return render(request, "rewards/agreement.html", context)


@require_POST
def measure_now(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    sums.refresh(project)
    judge_agreement(project, measure(project).figures)
    return redirect("rewards:agreement", slug)


def ask_for_more(request: SignedInRequest, slug: str) -> HttpResponse:
    """Say what asking two people about more prompts would add, and on a click do it."""
    project = administered(request, slug)
    room = room_for_more(project)
    now = sums.agreement_now(project)
    if request.method == "POST":
        form = AuditMoreForm(request.POST)
        if form.is_valid():
            drawn = audit_more(project, by=request.user, **form.cleaned_data)
            n = len(drawn.prompts)
            done = ngettext(
                "%(n)d prompt is in the queue for two people now.",
                "%(n)d prompts are in the queue for two people now.",
                n,
            ) % {"n": n}
            messages.success(request, done if n else _("They are in the queue already."))
            return redirect("rewards:agreement", slug)
    else:
        wanted = wanted_more(project, now.figures) if now else None
        n = min(wanted.high if wanted else MOST_AT_ONCE, room.n_prompts, MOST_AT_ONCE)
        form = AuditMoreForm(initial={"n": n, "key": secrets.token_hex(8)})
    context = {
        "project": project,
        "form": form,
        "room": room,
        "most": MOST_AT_ONCE,
        "wanted": wanted_more(project, now.figures) if now else None,
        "forecast": reading.forecast_in_words(now.figures) if now else "",
        "here": "rewards:agreement",
    }
    return render(request, "rewards/audit_more.html", context)


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
