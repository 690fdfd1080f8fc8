"""The loop at a glance, policies and their gates, and the weekly cycles: pages for admins."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HttpResponseClientRefresh

from annotate.models import Project
from annotate.requests import SignedInRequest, administered
from rewards.forms import ReasonForm
from rewards.models import Run
from rewards.views.agreement import release_with_reason
from training import figures
from training.cycle import iso_week, waits_for
from training.forms import SampleForm
from training.models import Cycle, PolicyVersion
from training.services import overview
from training.services.cycles import resume_loop, start_cycle
from training.services.policies import (
    NotAllowed,
    failing_rules,
    promote,
    roll_back,
    write_responses,
)

Status = PolicyVersion.Status


@require_GET
@vary_on_headers("HX-Request")
def show_overview(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    loop = overview.read(project)
    need = overview.what_needs_you(loop)
    place = [slug] if need.number is None else [slug, need.number]
    context = {
        "project": project,
        "loop": loop,
        "need": need,
        "need_url": reverse(need.page, args=place) if need.page else "",
    }
    template = "training/_overview.html" if request.htmx else "training/overview.html"
    return render(request, template, context)


# Policies


@require_GET
def policy_list(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    context = {
        "project": project,
        "policies": figures.policies_of(project),
        "former": project.policies.former(),
    }
    return render(request, "training/policies.html", context)


@require_GET
def policy_detail(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    project = administered(request, slug)
    policy = _policy(project, number)
    model = policy.reward_model
    context = {
        "project": project,
        "policy": policy,
        "cycle": policy.cycle_set.filter(state=Cycle.State.RUNNING).first(),
        "former": project.policies.former(),
        "failing": failing_rules(policy.gate) if policy.gate else "",
        "origin": figures.origin(model.snapshot) if model else None,
        "wins": figures.win_chart(policy),
        "pairs": figures.sample_pairs(policy),
        "curves": figures.curves_of(policy),
        "reason_form": ReasonForm(),
        "may_sample": policy.status in (Status.LIVE, Status.CANDIDATE),
        "sampling": project.runs.filter(kind="sample").exclude(state__in=Run.FINISHED).first(),
        "sample_form": SampleForm(),
    }
    return render(request, "training/policy.html", context)


@require_POST
def policy_sample(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Let the policy write responses, and show how that goes on."""
    policy = _policy(administered(request, slug), number)
    form = SampleForm(request.POST)
    if not form.is_valid():
        messages.error(request, str(form.errors["prompts"][0]))
        return redirect("training:policy", slug, number)
    try:
        run = write_responses(policy, form.cleaned_data["prompts"], by=request.user)
    except NotAllowed as error:
        messages.error(request, str(error))
        return redirect("training:policy", slug, number)
    return redirect("rewards:run", slug, run.pk)


@require_POST
def policy_promote(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    policy = _policy(administered(request, slug), number)
    try:
        promote(policy, request.user)
    except NotAllowed as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("Policy %(number)s is live.") % {"number": number})
    return redirect("training:policy", slug, number)


@require_POST
def policy_release(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Open the gate of a policy under review, once, for a written reason."""
    policy = _policy(administered(request, slug), number)
    gate = get_object_or_404(policy.project.gate_reports, pk=policy.gate_id)
    release_with_reason(request, gate)
    return redirect("training:policy", slug, number)


@require_http_methods(["GET", "POST"])
def policy_roll_back(request: SignedInRequest, slug: str) -> HttpResponse:
    """Ask for a reason, then make the policy live that was live before."""
    project = administered(request, slug)
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            policy = roll_back(project, request.user, form.cleaned_data["reason"])
        except NotAllowed as error:
            messages.error(request, str(error))
            return redirect("training:policies", slug)
        messages.success(request, _("Policy %(number)s is live.") % {"number": policy.number})
        return redirect("training:policy", slug, policy.number)
    context = {
        "project": project,
        "form": form,
        "live": project.policies.live().first(),
        "former": project.policies.former(),
    }
    return render(request, "training/roll_back.html", context)


def _policy(project: Project, number: int) -> PolicyVersion:
    found = project.policies.select_related("parent", "gate", "run", "reward_model__snapshot")
    return get_object_or_404(found, number=number)


# Cycles


@require_GET
def cycle_list(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    now = timezone.now()
    this_week = project.cycles.filter(iso_week=iso_week(now)).first()
    context = {
        "project": project,
        "cycles": project.cycles.all(),
        "live": project.policies.live().exists(),
        "week": iso_week(now),
        "this_week": this_week,
        "resumable": this_week and this_week.state in (Cycle.State.STOPPED, Cycle.State.FAILED),
        "next_cycle_at": overview.next_cycle_at(project, now),
    }
    return render(request, "training/cycles.html", context)


@require_POST
def cycle_start(request: SignedInRequest, slug: str) -> HttpResponse:
    """Begin this week's cycle now, or go on with it where it stopped."""
    project = administered(request, slug)
    try:
        cycle = start_cycle(project, by=request.user)
    except NotAllowed as error:
        messages.error(request, str(error))
        return redirect("training:cycles", slug)
    return redirect("training:cycle", slug, cycle.iso_week)


@require_POST
def cycle_resume(request: SignedInRequest, slug: str) -> HttpResponse:
    """Let cycles begin by themselves again after a rollback."""
    if resume_loop(administered(request, slug), by=request.user):
        messages.success(request, _("The weekly cycle begins by itself again."))
    return redirect("training:overview", slug)


@require_GET
@vary_on_headers("HX-Request")
def cycle_detail(request: SignedInRequest, slug: str, week: str) -> HttpResponse:
    project = administered(request, slug)
    found = project.cycles.select_related("snapshot", "reward_model", "policy", "run")
    cycle = get_object_or_404(found, iso_week=week)
    if request.htmx and cycle.state != Cycle.State.RUNNING:  # other things can be done now
        return HttpResponseClientRefresh()
    context = {
        "project": project,
        "cycle": cycle,
        "run": cycle.run,
        "steps": figures.steps_of(cycle),
        "waits_for": waits_for(cycle) if cycle.state == Cycle.State.RUNNING else "",
        "is_this_week": week == iso_week(timezone.now()),
    }
    template = "training/_cycle.html" if request.htmx else "training/cycle.html"
    return render(request, template, context)
