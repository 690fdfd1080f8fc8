"""Pairs of responses on which people split, side by side, and why they do by one click."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from annotate.requests import SignedInRequest, page_of, reviewed
from annotate.services.assignments import Conflict
from annotate.services.review import adjudicate, standing_decision
from rewards.forms import CAUSE_NAMES, CauseForm, DisagreementForm
from rewards.services.disagreements import shown, split_pairs

PAIRS_SHOWN = 10
TOPICS_SHOWN = 200


@require_GET
def explorer(request: SignedInRequest, slug: str) -> HttpResponse:
    """Pairs on which people split, those first of which the reward model is sure."""
    project = reviewed(request, slug)
    topics = project.prompts.exclude(topic="").order_by("topic").values_list("topic", flat=True)
    form = DisagreementForm(request.GET.dict(), topics=list(topics.distinct()[:TOPICS_SHOWN]))
    found = split_pairs(project, topic=form.wanted_topic, state=form.wanted_state)
    page = page_of(request, found.pairs, PAIRS_SHOWN)
    context = {
        "project": project,
        "form": form,
        "found": found,
        "page": page,
        "shown": shown(page),
        "causes": CAUSE_NAMES,
        "member": project.memberships.filter(user=request.user).first(),
        "anything": project.tasks.reviewable().filter(agreement__isnull=False).exists(),
    }
    return render(request, "rewards/disagreements.html", context)


@require_POST
def name_cause(request: SignedInRequest, slug: str, task_id: int) -> HttpResponse:
    """Write down why people differ about the task; their rankings stay as they are."""
    project = reviewed(request, slug)
    task = get_object_or_404(project.tasks.reviewable(), pk=task_id)
    member = project.memberships.filter(user=request.user).first()
    form = CauseForm(request.POST)
    decision = standing_decision(task)
    if decision and decision.ranks:
        messages.error(request, _("A ranking was decided here. Change it on the page “Review”."))
    elif member is None:
        messages.error(request, _("Only members of the project decide."))
    elif not form.is_valid():
        messages.error(request, _("Choose why people differ."))
    else:
        try:
            adjudicate(task, member, **form.arguments)
        except Conflict as conflict:
            messages.error(request, str(conflict))
        else:
            messages.success(request, _("Noted. It stands on the page “Review”, too."))
    # The page as it was chosen, which the form's address carries along.
    chosen = f"?{request.GET.urlencode()}" if request.GET else ""
    return redirect(reverse("rewards:disagreements", args=[slug]) + chosen)
