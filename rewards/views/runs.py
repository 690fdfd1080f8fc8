"""Background runs: what they do now, what they did, and calling them off."""

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HttpResponseClientRefresh

from annotate.models import Project
from annotate.requests import SignedInRequest, administered, page_of
from rewards.curves import curves
from rewards.models import Run
from rewards.services.runs import cancel_run, retry_run


def get_run(request: SignedInRequest, slug: str, pk: int) -> Run:
    """The run, if the person administers its project."""
    projects = Project.objects.run_by(request.user).filter(slug=slug)
    return get_object_or_404(Run.objects.select_related("project"), pk=pk, project__in=projects)


@require_GET
def run_list(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    runs = page_of(request, project.runs.order_by("-pk"), 50)
    return render(request, "rewards/runs.html", {"project": project, "runs": runs})


@require_GET
@vary_on_headers("HX-Request")
def run_detail(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    run = get_run(request, slug, pk)
    ended = run.state in Run.FINISHED
    if request.htmx and ended:  # what can be done about it has changed with it
        return HttpResponseClientRefresh()
    rows = list(run.metrics.order_by("step").values_list("step", "values"))
    context = {"project": run.project, "run": run, "ended": ended, "curves": curves(rows)}
    template = "rewards/_run.html" if request.htmx else "rewards/run.html"
    return render(request, template, context)


@require_POST
def run_cancel(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    run = get_run(request, slug, pk)
    cancel_run(run, request.user)
    return redirect("rewards:run", slug, pk)


@require_POST
def run_retry(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    run = get_run(request, slug, pk)
    retry_run(run, request.user)
    return redirect("rewards:run", slug, pk)
