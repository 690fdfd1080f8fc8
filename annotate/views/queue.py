"""What waits to be judged, and what an admin does about it."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from annotate.requests import SignedInRequest, administered
from annotate.services import queue as services
from annotate.services.checks import close_gold_task
from annotate.services.tasks import task_progress

OnBatch = Callable[..., int]
BATCH_ACTIONS: dict[str, OnBatch] = {
    "close": services.close_batch,
    "reopen": services.reopen_batch,
    "raise": services.raise_batch,
}


@require_GET
def queue(request: SignedInRequest, slug: str) -> HttpResponse:
    """The state of the queue, what comes next, and the batches that can be moved or closed."""
    project = administered(request, slug)
    context = {
        "project": project,
        "progress": task_progress(project),
        "kinds": services.tasks_by_kind(project),
        "topics": services.tasks_by_topic(project),
        "batches": services.batches(project),
        "next_tasks": [
            (task, services.in_a_line(task.prompt)) for task in services.next_tasks(project)
        ],
        "n_prompts": project.prompts.count(),
        "n_without_tasks": services.without_tasks(project).count(),
        "n_rankable": services.rankable(project).count(),
        "most_opened": services.OPENED_AT_ONCE,
    }
    return render(request, "annotate/queue.html", context)


@require_POST
def open_tasks(request: SignedInRequest, slug: str) -> HttpResponse:
    """Open tasks for the prompts that have responses and no task."""
    n = services.open_missing_tasks(administered(request, slug), by=request.user)
    done = ngettext("%(n)s task is open now.", "%(n)s tasks are open now.", n) % {"n": n}
    messages.success(request, done if n else _("No prompt waits for a task."))
    return redirect("annotate:queue", slug)


@require_POST
def change_batch(request: SignedInRequest, slug: str) -> HttpResponse:
    """Put a batch first, close it, or open it again."""
    project = administered(request, slug)
    act = BATCH_ACTIONS.get(request.POST.get("action", ""))
    if act is None:
        raise Http404
    n = act(project, request.POST.get("batch", ""), by=request.user)
    done = ngettext("%(n)s task was changed.", "%(n)s tasks were changed.", n) % {"n": n}
    messages.success(request, done if n else _("There was nothing to change."))
    return redirect("annotate:queue", slug)


@require_POST
def close_task(request: SignedInRequest, slug: str, task_id: int) -> HttpResponse:
    project = administered(request, slug)
    task = get_object_or_404(project.tasks.select_related("project"), pk=task_id)
    known = task.gold_ranks is not None
    close = close_gold_task if known else services.close_task
    if close(task, by=request.user):
        messages.success(request, _("The task is closed: nobody else gets it."))
    else:
        messages.info(request, _("The task was not open any more."))
    return redirect("annotate:gold" if known else "annotate:queue", slug)
