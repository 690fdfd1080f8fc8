"""A file comes in: uploaded, looked at, and stored when the admin says so."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.forms.projects import ConfirmForm, ReadingForm, UploadForm
from annotate.models import Project
from annotate.requests import SignedInRequest, administered
from annotate.services.uploads import AlreadyTaken, TooLarge, Upload, find, keep, look, store


@require_http_methods(["GET", "POST"])
def upload(request: SignedInRequest, slug: str) -> HttpResponse:
    """Choose a file; it is kept and looked at, and nothing is stored."""
    project = administered(request, slug)
    posted = request.method == "POST"
    form = UploadForm(request.POST if posted else None, request.FILES if posted else None)
    if posted and form.is_valid():
        file, how = form.cleaned_data["file"], form.cleaned_data
        try:
            kept = keep(project, request.user, file.chunks(), file.name)
        except TooLarge:
            form.add_error("file", _("The file is larger than 50 MiB."))
        else:
            look(project, kept, format=how["format"], topic=how["topic"])
            return redirect("annotate:upload_preview", slug, kept.token)
    return render(request, "annotate/upload.html", {"project": project, "form": form})


@require_GET
def preview(request: SignedInRequest, slug: str, upload_token: str) -> HttpResponse:
    """What the file would bring; after the import, what it brought."""
    project = administered(request, slug)
    kept = uploaded(request, project, upload_token)
    facts = kept.facts()
    context = {
        "project": project,
        "upload": kept,
        "facts": facts,
        "reading": ReadingForm(
            initial={"format": facts["format"], "topic": facts["topic"]}, auto_id="again_%s"
        ),
        "confirm": ConfirmForm(),
    }
    template = (
        "annotate/upload_report.html" if "report" in facts else "annotate/upload_preview.html"
    )
    return render(request, template, context)


@require_POST
def look_again(request: SignedInRequest, slug: str, upload_token: str) -> HttpResponse:
    """Read the file as another format, or with another topic."""
    project = administered(request, slug)
    kept = uploaded(request, project, upload_token)
    form = ReadingForm(request.POST)
    if not kept.path.exists():  # it was imported in another tab
        return redirect("annotate:upload_preview", slug, upload_token)
    if form.is_valid():
        how = form.cleaned_data
        look(project, kept, format=how["format"], topic=how["topic"])
    return redirect("annotate:upload_preview", slug, upload_token)


@require_POST
def confirm(request: SignedInRequest, slug: str, upload_token: str) -> HttpResponse:
    """Store what was looked at, all of it or the good lines, or nothing."""
    project = administered(request, slug)
    kept = uploaded(request, project, upload_token)
    form = ConfirmForm(request.POST)
    if form.is_valid():
        try:
            facts = store(
                project,
                kept,
                allow_bad=form.cleaned_data["which"] == ConfirmForm.GOOD,
                by=request.user,
            )
        except AlreadyTaken:
            messages.info(request, _("This file is stored already, or is being stored."))
        else:
            if "report" not in facts:
                messages.error(request, _("Nothing was stored, since a line cannot be used."))
    return redirect("annotate:upload_preview", slug, upload_token)


@require_POST
def cancel(request: SignedInRequest, slug: str, upload_token: str) -> HttpResponse:
    """Throw the file away."""
    uploaded(request, administered(request, slug), upload_token).discard()
    messages.success(request, _("The file was thrown away; nothing was stored."))
    return redirect("annotate:upload", slug)


def uploaded(request: SignedInRequest, project: Project, token: str) -> Upload:
    kept = find(project, request.user, token)
    if kept is None:
        raise Http404
    return kept
