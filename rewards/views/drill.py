"""The poison drill: what the defences would have done had some volunteers been hostile."""

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from annotate.requests import SignedInRequest, administered
from rewards.drill_words import drill_in_words, drill_rows
from rewards.models import Run
from rewards.services.drill import newest_drill, request_drill


@require_http_methods(["GET", "POST"])
def drill(request: SignedInRequest, slug: str) -> HttpResponse:
    """The newest drill; a POST asks for another."""
    project = administered(request, slug)
    if request.method == "POST":
        request_drill(project, request.user)
        return redirect("rewards:drill", slug)
    run = newest_drill(project)
    result = run.result if run else None
    context = {
        "project": project,
        "run": run,
        "ended": run is not None and run.state in Run.FINISHED,
        "result": result,
        "rows": drill_rows(result) if result else [],
        "words": drill_in_words(result) if result else [],
    }
    return render(request, "rewards/drill.html", context)
