"""A project is made and set up: its settings, and the texts that people read."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from annotate.forms.projects import KINDS, NewProjectForm, ProjectForm, TextForm
from annotate.models import ProjectText
from annotate.rendering import render_markdown
from annotate.requests import SignedInRequest, administered
from annotate.services.project_settings import free_slug, setup_steps, update_project
from annotate.services.projects import create_project, publish_text
from annotate.services.texts import changes, versions

SHOWN_VERSIONS = 20


@require_http_methods(["GET", "POST"])
def new(request: SignedInRequest) -> HttpResponse:
    """Make a project and become its admin; for superusers and who may add projects."""
    if not request.user.has_perm("annotate.add_project"):
        raise Http404
    form = NewProjectForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        title = form.cleaned_data["title"]
        project = create_project(
            free_slug(title),
            title,
            by=request.user,
            description=form.cleaned_data["description"],
        )
        messages.success(request, _("%(project)s is there. Now set it up.") % {"project": project})
        return redirect("annotate:settings", project.slug)
    return render(request, "annotate/project_new.html", {"form": form})


@require_http_methods(["GET", "POST"])
def settings(request: SignedInRequest, slug: str) -> HttpResponse:
    """All settings of the project, and what a new one still needs."""
    project = administered(request, slug)
    form = ProjectForm.of(project, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            update_project(
                project,
                by=request.user,
                drop_used=form.cleaned_data["drop_used"],
                **form.settings(),
            )
        except ValidationError as error:
            form.refuse(error)
        else:
            messages.success(request, _("The settings are saved."))
            return redirect("annotate:settings", slug)
    steps = setup_steps(project)
    context = {
        "project": project,
        "form": form,
        "steps": [] if all(step.is_done for step in steps) else steps,
        "texts": [(kind, title, project.text(kind)) for kind, title in KINDS.items()],
    }
    return render(request, "annotate/project_settings.html", context)


@require_POST
def pause(request: SignedInRequest, slug: str) -> HttpResponse:
    """Give nobody tasks for now, or go on."""
    project = administered(request, slug)
    paused = "pause" in request.POST
    update_project(project, by=request.user, paused=paused)
    done = (
        _("The project is paused: nobody is given tasks.")
        if paused
        else _("The project goes on: people are given tasks again.")
    )
    messages.success(request, done)
    return redirect("annotate:settings", slug)


@require_http_methods(["GET", "POST"])
def text(request: SignedInRequest, slug: str, kind: str) -> HttpResponse:
    """Write a new version of the guidelines or the consent text, see it, publish it."""
    project = administered(request, slug)
    if kind not in ProjectText.Kind.values:
        raise Http404
    current = project.text(kind)
    written = current.text if current else ""
    posted = request.method == "POST"
    form = TextForm(request.POST if posted else None, initial={"text": written})
    shown = None
    if posted and form.is_valid():
        new_text = form.cleaned_data["text"]
        if new_text.strip() == written.strip():
            messages.info(request, _("Nothing has changed, so there is no new version."))
            return redirect("annotate:text", slug, kind)
        if "publish" in request.POST:
            published = publish_text(project, kind, new_text, by=request.user)
            messages.success(request, _("Version %(n)s is published.") % {"n": published.version})
            return redirect("annotate:text", slug, kind)
        shown = {
            "html": render_markdown(new_text),
            "changes": changes(written, new_text) if current else [],
        }
    context = {
        "project": project,
        "kind": kind,
        "title": KINDS[ProjectText.Kind(kind)],
        "form": form,
        "current": current,
        "shown": shown,
        "versions": versions(project, kind).select_related("created_by")[:SHOWN_VERSIONS],
    }
    return render(request, "annotate/text.html", context)
