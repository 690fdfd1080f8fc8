"""Frozen datasets: what is in them, freezing one more, and taking one away as a file."""

from django.contrib import messages
from django.http import FileResponse, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from annotate.models import Project
from annotate.requests import SignedInRequest, administered
from rewards.forms import ExportForm
from rewards.ml.artefacts import ArtefactError
from rewards.models import Snapshot
from rewards.services.dataset import trainable
from rewards.services.exports import export_file, file_name
from rewards.services.gates import judge_agreement
from rewards.services.snapshots import NothingToFreeze, decided_otherwise, freeze


@require_GET
def snapshot_list(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    newest = project.snapshots.first()
    context = {
        "project": project,
        "snapshots": project.snapshots.all(),
        "unfrozen": trainable(project).filter(frozen_at=None).count(),
        "decided_otherwise": newest is not None and decided_otherwise(newest),
    }
    return render(request, "rewards/snapshots.html", context)


@require_GET
def snapshot_detail(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    project = administered(request, slug)
    snapshot = _snapshot(project, number)
    context = {
        "project": project,
        "snapshot": snapshot,
        "models": snapshot.reward_models.all(),
        "form": ExportForm(),
    }
    return render(request, "rewards/snapshot.html", context)


@require_POST
def snapshot_freeze(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    before = project.snapshots.first()
    try:
        snapshot = freeze(project, by=request.user)
    except (NothingToFreeze, ArtefactError) as error:
        messages.error(request, str(error))
        return redirect("rewards:snapshots", slug)
    judge_agreement(project, snapshot.agreement)
    if snapshot == before:
        messages.info(request, _("Nothing has changed since this snapshot was frozen."))
    return redirect("rewards:snapshot", slug, snapshot.number)


@require_GET
def snapshot_export(request: SignedInRequest, slug: str, number: int) -> HttpResponseBase:
    """The snapshot as a file of the format asked for."""
    snapshot = _snapshot(administered(request, slug), number)
    form = ExportForm(request.GET)
    if not form.is_valid():
        messages.error(request, _("There is no such format."))
        return redirect("rewards:snapshot", slug, number)
    wanted = form.cleaned_data["format"]
    try:
        content = export_file(snapshot, wanted, form.cleaned_data["ties"])
    except (ArtefactError, ValueError) as error:
        messages.error(request, str(error))
        return redirect("rewards:snapshot", slug, number)
    return FileResponse(content, as_attachment=True, filename=file_name(snapshot, wanted))


def _snapshot(project: Project, number: int) -> Snapshot:
    return get_object_or_404(project.snapshots, number=number)
