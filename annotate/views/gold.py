"""Tasks whose right ranking is known: how people did, and writing further ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.forms.gold import GoldForm
from annotate.models import Project, Prompt
from annotate.requests import SignedInRequest, administered, page_of
from annotate.services.checks import open_gold_task
from annotate.services.gold import WANTED, known_tasks, prompts_with, stock, with_results
from annotate.services.gold_candidates import Candidate, candidate, candidates
from annotate.services.queue import in_a_line
from annotate.services.rankings import InvalidRanking

TASKS_ON_A_PAGE = 25
SHOWN_RESPONSES = 24


@require_GET
def gold(request: SignedInRequest, slug: str) -> HttpResponse:
    """Gold and practice tasks with how people did, and prompts that could become some."""
    project = administered(request, slug)
    words = request.GET.get("q", "").strip()[:200]
    page = page_of(request, known_tasks(project), TASKS_ON_A_PAGE)
    context = {
        "project": project,
        "page": page,
        "tasks": [(one, in_a_line(one.task.prompt)) for one in with_results(page)],
        "words": words,
        "found": [(one, in_a_line(one)) for one in prompts_with(project, words)] if words else [],
        "candidates": [(one, in_a_line(one.task.prompt)) for one in candidates(project)],
        "stock": stock(project),
        "wanted": WANTED,
    }
    return render(request, "annotate/gold.html", context)


@require_http_methods(["GET", "POST"])
def gold_new(request: SignedInRequest, slug: str, prompt_id: int) -> HttpResponse:
    """Write the right ranking of a prompt's responses, perhaps from what people agreed on."""
    project = administered(request, slug)
    prompt = get_object_or_404(project.prompts, pk=prompt_id)
    found = _agreed(project, prompt, request.GET.get("task", ""))
    in_use = prompt.responses.filter(retired_at=None).order_by("pk")
    responses = list(found.responses if found else in_use[:SHOWN_RESPONSES])
    form = GoldForm(
        request.POST if request.method == "POST" else None,
        responses=responses,
        all_in=found is not None,
        initial=_filled_in(found) if found else {},
    )
    if request.method == "POST" and form.is_valid():
        try:
            open_gold_task(
                project,
                prompt,
                [one for one in responses if one.pk in form.ranks],
                form.ranks,
                unacceptable=form.unacceptable,
                training=form.cleaned_data["kind"] == GoldForm.TRAINING,
                explanation=form.cleaned_data["explanation"],
                adversarial=form.cleaned_data["adversarial"],
                by=request.user,
            )
        except InvalidRanking as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _("The task is open now."))
            return redirect("annotate:gold", slug)
    context = {
        "project": project,
        "prompt": prompt,
        "turns": list(zip(prompt.messages, prompt.html, strict=True)),
        "form": form,
    }
    return render(request, "annotate/gold_new.html", context)


def _agreed(project: Project, prompt: Prompt, task_id: str) -> Candidate | None:
    """The task of that prompt whose right ranking is known, if it is one."""
    if not (task_id.isdecimal() and len(task_id) < 19):
        return None
    found = candidate(project, int(task_id))
    return found if found and found.task.prompt_id == prompt.pk else None


def _filled_in(found: Candidate) -> Mapping[str, Any]:
    """What the form begins with: the ranking that people agreed on."""
    ranks = {f"rank-{pk}": rank for pk, rank in found.ranks.items()}
    return ranks | {f"bad-{pk}": True for pk in found.unacceptable}


@require_POST
def gold_confirm(request: SignedInRequest, slug: str, task_id: int) -> HttpResponse:
    """Make a task gold whose right ranking people agreed on, or a reviewer decided.

    The form says which ranking the page stood for; another one is not stored.
    """
    project = administered(request, slug)
    found = candidate(project, task_id)
    if found is None:
        messages.info(request, _("People do not agree on the task any more, or it is used."))
        return redirect("annotate:gold", slug)
    if request.POST.get("seen") != found.hash:
        messages.error(request, _("The ranking has changed since; look again."))
        return redirect("annotate:gold", slug)
    try:
        open_gold_task(
            project,
            found.task.prompt,
            list(found.responses),
            found.ranks,
            unacceptable=found.unacceptable,
            by=request.user,
        )
    except InvalidRanking as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The task is open now."))
    return redirect("annotate:gold", slug)
