"""Reward models: how good they are, what the gate says, and fitting one more."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.models import Project
from annotate.requests import SignedInRequest, administered
from rewards.ceiling import ceiling_chart, ceiling_in_words, versions
from rewards.curves import curves
from rewards.figures import accuracy_chart
from rewards.forms import ReasonForm, TrainForm
from rewards.models import RewardModelVersion
from rewards.services.bases import known_bases
from rewards.services.gates import NotTrained, judge_reward_model
from rewards.services.reward_models import request_reward_model
from rewards.services.token_lift import token_lift_of
from rewards.views.agreement import release_with_reason


@require_http_methods(["GET", "POST"])
def reward_model_list(request: SignedInRequest, slug: str) -> HttpResponse:
    """All reward models; a POST asks for one more."""
    project = administered(request, slug)
    form = TrainForm(project, known_bases(project), request.POST or None)
    if form.is_valid():
        chosen = form.cleaned_data
        version = request_reward_model(
            chosen["snapshot"], chosen["base"], form.config, by=request.user
        )
        return redirect("rewards:reward_model", slug, version.number)
    models = list(project.reward_models.select_related("snapshot", "gate"))
    measured = versions(models)
    context = {
        "project": project,
        "models": models,
        "form": form,
        "ceiling_rows": measured,
        "ceiling_chart": ceiling_chart(measured),
        "ceiling_words": ceiling_in_words(measured),
    }
    return render(request, "rewards/reward_models.html", context)


@require_GET
def reward_model_detail(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    project = administered(request, slug)
    version = _version(project, number)
    rows = version.run.metrics.order_by("step").values_list("step", "values")
    context = {
        "project": project,
        "model": version,
        "chart": accuracy_chart(version),
        "lift": token_lift_of(version),
        "curves": curves(list(rows)),
        "reason_form": ReasonForm(),
    }
    return render(request, "rewards/reward_model.html", context)


@require_POST
def reward_model_judge(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    version = _version(administered(request, slug), number)
    try:
        judge_reward_model(version)
    except NotTrained as error:
        messages.error(request, str(error))
    return redirect("rewards:reward_model", slug, number)


@require_POST
def reward_model_release(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Open the gate of a model under review, once, for a written reason."""
    version = _version(administered(request, slug), number)
    gate = get_object_or_404(version.project.gate_reports, pk=version.gate_id)
    release_with_reason(request, gate)
    return redirect("rewards:reward_model", slug, number)


def _version(project: Project, number: int) -> RewardModelVersion:
    models = project.reward_models.select_related("snapshot", "run", "gate")
    return get_object_or_404(models, number=number)
