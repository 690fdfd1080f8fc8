"""The gates: their thresholds and the history of these, and every report as a document."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from annotate.models import Project
from annotate.requests import SignedInRequest, administered, page_of
from rewards.forms import ReasonForm, ThresholdForm
from rewards.models import GateReport, GateSetting
from rewards.services.agreement import newest_report
from rewards.services.gate_documents import setting_of, signed_document
from rewards.services.gates import (
    SETTINGS,
    agreement_verdict,
    changes,
    set_thresholds,
    settings_in_force,
)

REPORTS_SHOWN = 25
HISTORY_SHOWN = 20


@require_http_methods(["GET", "POST"])
def gate(request: SignedInRequest, slug: str) -> HttpResponse:
    """Where the gates stand, by which thresholds; a POST changes these, with a reason."""
    project = administered(request, slug)
    in_force = settings_in_force(project)
    form = ThresholdForm(in_force, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        if changes(in_force, {g: in_force[g] | form.thresholds.get(g, {}) for g in in_force}):
            set_thresholds(project, form.thresholds, form.cleaned_data["reason"], request.user)
            messages.success(request, _("The new thresholds are in force."))
        else:
            messages.info(request, _("Nothing was changed: these thresholds are in force already."))
        return redirect("rewards:gate", slug)
    measured = newest_report(project)
    reports = project.gate_reports.select_related("released_by").order_by("-pk")
    context = {
        "project": project,
        "form": form,
        "verdict": agreement_verdict(project, measured.figures) if measured else None,
        "reason_form": ReasonForm(auto_id="release_%s"),
        "history": history(project),
        "reports": page_of(request, reports, REPORTS_SHOWN),
        "lowered": changes(defaults(), in_force),
    }
    return render(request, "rewards/gate.html", context)


def defaults() -> dict[str, dict[str, Any]]:
    return {gate: vars(made()) for gate, made in SETTINGS.items()}


@dataclass(frozen=True)
class Revision:
    """A change of thresholds: what it changed, by whom, and why."""

    setting: GateSetting
    changes: list[dict[str, Any]]


def history(project: Project) -> list[Revision]:
    """The last changes, the newest first, each against the one before it."""
    rows = list(
        project.gate_settings.select_related("created_by").order_by("-pk")[: HISTORY_SHOWN + 1]
    )
    values = [
        {gate: fields | row.values.get(gate, {}) for gate, fields in defaults().items()}
        for row in rows
    ]
    if len(rows) <= HISTORY_SHOWN:
        values.append(defaults())
    return [
        Revision(row, changes(before, after))
        for row, after, before in zip(rows, values, values[1:], strict=False)
    ]


@require_GET
def gate_report(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    found = _gate(request, slug, pk)
    context = {
        "project": found.project,
        "gate": found,
        "signed": signed_document(found),
        "setting": setting_of(found),
        "models": found.rewardmodelversion_set.all(),
    }
    return render(request, "rewards/gate_report.html", context)


@require_GET
def gate_json(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The report as a signed JSON file, which `manage.py verify_gate` checks."""
    found = _gate(request, slug, pk)
    response = JsonResponse(signed_document(found), json_dumps_params={"indent": 2})
    response["Content-Disposition"] = f'attachment; filename="{_file_name(found)}.json"'
    return response


@require_GET
def gate_html(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The report as one file that needs nothing else, to print or to pass on."""
    found = _gate(request, slug, pk)
    context = {"project": found.project, "gate": found, "signed": signed_document(found)}
    response = render(request, "rewards/gate_document.html", context)
    response["Content-Disposition"] = f'attachment; filename="{_file_name(found)}.html"'
    return response


def _gate(request: SignedInRequest, slug: str, pk: int) -> GateReport:
    project = administered(request, slug)
    reports = project.gate_reports.select_related("project", "released_by")
    return get_object_or_404(reports, pk=pk)


def _file_name(gate: GateReport) -> str:
    return f"{gate.project.slug}-gate-{gate.pk}-{gate.gate.replace(' ', '-')}"
