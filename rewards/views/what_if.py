"""What would be without some people, topics or weeks; asking changes nothing."""

from dataclasses import asdict

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from annotate.requests import SignedInRequest, administered
from rewards.charts import Interval, IntervalChart
from rewards.forms import WhatIfForm
from rewards.services.what_if import Answer, LeftOut, answer, choices


@require_GET
@vary_on_headers("HX-Request")
def what_if(request: SignedInRequest, slug: str) -> HttpResponse:
    """Agreement, its gate and a linear reward model with all rankings, and with what is kept."""
    project = administered(request, slug)
    offered = choices(project)
    form = WhatIfForm(offered, request.GET)
    left_out = form.left_out
    found = answer(project, left_out) if left_out else None
    context = {
        "project": project,
        "form": form,
        "n_rankings": offered.n_rankings,
        "found": found,
        "left_out": found and named(left_out),
        "change": found and asdict(found.agreement) | {"n": None},
        "gain": found and asdict(found.accuracy_gain),
        "chart": found and chart(found),
    }
    template = "rewards/_what_if.html" if request.htmx else "rewards/what_if.html"
    return render(request, template, context)


def named(left_out: LeftOut) -> list[str]:
    return [*sorted(left_out.people), *sorted(left_out.topics), *sorted(left_out.weeks)]


def chart(found: Answer) -> IntervalChart:
    """The linear model's accuracy before and after."""
    sides = ((_("All rankings"), found.accuracy_before), (_("Kept ones"), found.accuracy_after))
    intervals = [
        Interval(label, one.value, one.low, one.high, one.n_prompts) for label, one in sides
    ]
    return IntervalChart(_("Linear model, right on held-out pairs"), intervals, percent=True)
