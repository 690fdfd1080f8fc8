"""Tasks on which people differ: a reviewer looks at who said what, and decides what shall count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import Exists, OuterRef
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.forms.ranking import FLAG_LABELS
from annotate.forms.review import CATEGORY_LABELS, DecisionForm, QueueForm, initial_decision
from annotate.models import (
    Adjudication,
    Assignment,
    Membership,
    Project,
    ProjectText,
    Ranking,
    Response,
    Task,
    TaskQuerySet,
)
from annotate.requests import SignedInRequest, page_of, reviewed
from annotate.services.assignments import Conflict
from annotate.services.rankings import PROMPT, InvalidRanking
from annotate.services.review import (
    InvalidDecision,
    adjudicate,
    ask_one_more,
    letters_of,
    standing_decision,
    standing_rankings,
)

TASKS_SHOWN = 25
TOPICS_SHOWN = 200


@require_GET
def queue(request: SignedInRequest, slug: str) -> HttpResponse:
    """Tasks that several people judged, those on which they agree least first."""
    project = reviewed(request, slug)
    form = QueueForm(request.GET.dict(), topics=topics_of(project))
    tasks = disputed(project, form).annotate(
        judged=Exists(own_assignments(request)), decided=Exists(decisions())
    )
    context = {
        "project": project,
        "form": form,
        "tasks": page_of(request, tasks.select_related("prompt"), TASKS_SHOWN),
        "n_gaps": gaps_of(project).count(),
        "anything": project.tasks.reviewable().filter(agreement__isnull=False).exists(),
    }
    return render(request, "annotate/review.html", context)


def disputed(project: Project, form: QueueForm) -> TaskQuerySet:
    tasks = project.tasks.reviewable().filter(agreement__isnull=False)
    if form.wanted_below is not None:
        tasks = tasks.filter(agreement__lt=form.wanted_below)
    if form.wanted_topic:
        tasks = tasks.filter(prompt__topic=form.wanted_topic)
    if form.wanted_state != "all":
        decided = Exists(decisions())
        tasks = tasks.filter(decided if form.wanted_state == "decided" else ~decided)
    return tasks.order_by("agreement", "pk")


def decisions() -> Any:
    return Adjudication.objects.current().filter(task=OuterRef("pk"))


def own_assignments(request: SignedInRequest) -> Any:
    return Assignment.objects.filter(
        task=OuterRef("pk"), annotator__user=request.user, state=Assignment.State.SUBMITTED
    )


def topics_of(project: Project) -> list[str]:
    topics = project.prompts.exclude(topic="").order_by("topic").values_list("topic", flat=True)
    return list(topics.distinct()[:TOPICS_SHOWN])


@dataclass(frozen=True)
class Voice:
    """What one person said of the task."""

    ranking: Ranking
    places: list[tuple[str, int | None, bool]]  # letter, rank, whether it is unacceptable
    flags: list[tuple[str, str]]  # letter, or "" for the prompt, and the flag
    is_own: bool
    after: bool  # given or changed after the decision that stands

    @property
    def member(self) -> Membership:
        return self.ranking.assignment.annotator

    @property
    def adoptable(self) -> bool:
        return not (self.is_own or self.ranking.excluded)  # type: ignore[attr-defined]

    @property
    def order(self) -> str:
        return order_in_words(self.places)


def order_in_words(places: list[tuple[str, int | None, bool]]) -> str:
    """B > A = C, the best first; what has no rank is not named."""
    by_rank: dict[int, list[str]] = {}
    for letter, rank, _unacceptable in places:
        if rank is not None:
            by_rank.setdefault(rank, []).append(letter)
    return " > ".join(" = ".join(by_rank[rank]) for rank in sorted(by_rank))


@require_http_methods(["GET", "POST"])
def show(request: SignedInRequest, slug: str, task_id: int) -> HttpResponse:
    """Who said what of the task's responses, and the decision about it."""
    project = reviewed(request, slug)
    task = get_object_or_404(
        project.tasks.reviewable().select_related("prompt", "project"), pk=task_id
    )
    member = project.memberships.filter(user=request.user).first()
    responses = letters_of(task)
    decision = standing_decision(task)
    voices = voices_of(task, responses, member, decision)
    form = DecisionForm(
        request.POST if request.method == "POST" else None,
        initial=initial_decision(decision, responses),
        responses=responses,
        adoptable=[voice.ranking for voice in voices if voice.adoptable],
    )
    status = 200
    if request.method == "POST" and member and form.is_valid():
        try:
            adjudicate(task, member, **form.arguments)
        except Conflict as conflict:
            status = 409
            form.add_error(None, str(conflict))
        except (InvalidDecision, InvalidRanking) as error:
            form.add_error("decision", str(error))
        else:
            messages.success(request, _("Decided. The next one is on top of the list."))
            return redirect(queue_url(request, slug))
    turns = list(zip(task.prompt.messages, task.prompt.html, strict=True))
    context = {
        "project": project,
        "task": task,
        "back": queue_url(request, slug),
        "member": member,
        "form": form,
        "turns": turns[:-1],
        "last_turn": turns[-1],
        "responses": responses,
        "voices": voices,
        "decision": decision,
        "decided_order": decision
        and order_in_words(places_of(decision.ranks or {}, decision.unacceptable, responses)),
        "category": decision and CATEGORY_LABELS[Adjudication.Category(decision.category)],
        "held_out": task.prompt.split == "test",
        "can_ask": task.kind == Task.Kind.NORMAL and task.state == Task.State.DONE,
    }
    return render(request, "annotate/review_task.html", context, status=status)


def voices_of(
    task: Task,
    responses: dict[str, Response],
    member: Membership | None,
    decision: Adjudication | None,
) -> list[Voice]:
    labels = flag_labels(task.project)
    subjects = {str(response.pk): letter for letter, response in responses.items()}
    return [
        Voice(
            ranking=one,
            places=places_of(one.ranks, one.unacceptable, responses),
            flags=sorted(
                ("" if subject == PROMPT else subjects[subject], str(labels.get(name, name)))
                for subject, names in one.flags.items()
                for name in names
            ),
            is_own=one.assignment.annotator == member,
            after=decision is not None and one.created_at > decision.created_at,
        )
        for one in standing_rankings(task)
    ]


def places_of(
    ranks: dict[str, int | None], unacceptable: list[int], responses: dict[str, Response]
) -> list[tuple[str, int | None, bool]]:
    return [
        (letter, ranks.get(str(response.pk)), response.pk in unacceptable)
        for letter, response in responses.items()
    ]


@require_POST
def ask_again(request: SignedInRequest, slug: str, task_id: int) -> HttpResponse:
    """Hand the task to one more person."""
    project = reviewed(request, slug)
    task = get_object_or_404(project.tasks.reviewable(), pk=task_id)
    if ask_one_more(task, by=request.user):
        done = _("One more person will be asked. The task comes back here then.")
        messages.success(request, done)
    else:
        messages.info(request, _("Nobody else can be asked about this task."))
    return redirect(queue_url(request, slug))


def queue_url(request: SignedInRequest, slug: str) -> str:
    """The queue as it was chosen, which the task's address carries along."""
    chosen = f"?{request.GET.urlencode()}" if request.GET else ""
    return reverse("annotate:review", args=[slug]) + chosen


@require_GET
def gaps(request: SignedInRequest, slug: str) -> HttpResponse:
    """What reviewers found that the guidelines do not settle."""
    project = reviewed(request, slug)
    rows = gaps_of(project).select_related("task__prompt", "reviewer").order_by("-created_at")
    context = {
        "project": project,
        "gaps": page_of(request, rows, TASKS_SHOWN),
        "guidelines": project.text(ProjectText.Kind.GUIDELINES),
    }
    return render(request, "annotate/review_gaps.html", context)


def gaps_of(project: Project) -> Any:
    gap = Adjudication.Category.GUIDELINE_GAP
    return Adjudication.objects.current().filter(task__project=project, category=gap)


@dataclass(frozen=True)
class Flagged:
    """A ranking with flags: of each text that has some, the response (None is the prompt)."""

    ranking: Ranking
    texts: list[tuple[Response | None, list[str]]]

    @property
    def task(self) -> Task:
        return self.ranking.assignment.task

    @property
    def is_reviewable(self) -> bool:
        return self.task.kind in Task.REVIEWED and self.task.state != Task.State.OPEN


@require_GET
def flags(request: SignedInRequest, slug: str) -> HttpResponse:
    """What people flagged, the newest first: toxic texts, personal data, names of models."""
    project = reviewed(request, slug)
    rankings = Ranking.objects.current().in_project(project).exclude(flags={})
    rankings = rankings.select_related("assignment__annotator", "assignment__task__prompt")
    page = page_of(request, rankings.order_by("-pk"), TASKS_SHOWN)
    context = {"project": project, "page": page, "flagged": flagged(project, list(page))}
    return render(request, "annotate/review_flags.html", context)


def flagged(project: Project, rankings: list[Ranking]) -> list[Flagged]:
    labels = flag_labels(project)
    subjects = {subject for ranking in rankings for subject in ranking.flags} - {PROMPT}
    responses = Response.objects.in_bulk(map(int, subjects))
    return [
        Flagged(
            ranking,
            [
                (
                    None if subject == PROMPT else responses[int(subject)],
                    [str(labels.get(name, name)) for name in names],
                )
                for subject, names in sorted(ranking.flags.items(), reverse=True)  # prompt first
            ],
        )
        for ranking in rankings
    ]


def flag_labels(project: Project) -> dict[str, Any]:
    return {flag["name"]: flag["label"] for flag in project.flags} | FLAG_LABELS
