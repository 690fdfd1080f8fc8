"""Who did what in a project, in plain words."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET

from annotate.forms.people import LogForm
from annotate.models import AuditEvent, Membership, Project
from annotate.requests import SignedInRequest, administered, page_of

MEMBER = Membership._meta.label
TASK = "annotate.Task"

# By verb and, where it matters, what it was done to. Other packages record theirs too, and are
# known here by these words alone; what is not listed is shown as it was recorded.
SENTENCES: Mapping[str, str | Promise] = {
    "create annotate.Project": gettext_lazy("made the project"),
    "update annotate.Project": gettext_lazy("changed the settings"),
    "publish": gettext_lazy("published version %(version)s of the text “%(kind)s”"),
    "import": gettext_lazy("imported a file"),
    "open tasks": gettext_lazy("opened %(n)s tasks"),
    "close task": gettext_lazy("closed a task"),
    "draw for audit": gettext_lazy("drew %(n)s prompts for audit, for %(judgements)s judgements"),
    "invite": gettext_lazy("made a link for people to join: %(role)s, %(max_uses)s times"),
    "revoke": gettext_lazy("revoked a link"),
    "join": gettext_lazy("joined as %(about)s"),
    "set state": gettext_lazy("set %(about)s from “%(before)s” to “%(after)s”"),
    "set role": gettext_lazy("made %(about)s, who was %(before)s, %(after)s"),
    "rename": gettext_lazy("called %(before)s %(after)s"),
    "set cohort": gettext_lazy("put %(about)s into the group “%(after)s”"),
    "erase": gettext_lazy("%(about)s was erased; the rankings were %(rankings)s"),
    f"exclude {MEMBER}": gettext_lazy("left the judgements of %(about)s out"),
    f"lift {MEMBER}": gettext_lazy("took the judgements of %(about)s in again"),
    "exclude annotate.Ranking": gettext_lazy("left a ranking out"),
    "lift annotate.Ranking": gettext_lazy("took a ranking in again"),
    f"exclude {TASK}": gettext_lazy("left all rankings of a task out"),
    f"lift {TASK}": gettext_lazy("took the rankings of a task in again"),
    "adjudicate": gettext_lazy("decided about a task: %(decision)s (%(category)s)"),
    "ask second opinion": gettext_lazy("had one more person asked about a task"),
    "close batch": gettext_lazy("closed %(n)s tasks of the batch “%(batch)s”"),
    "reopen batch": gettext_lazy("opened %(n)s tasks of the batch “%(batch)s” again"),
    "raise batch": gettext_lazy("put %(n)s tasks of the batch “%(batch)s” first"),
    "open gold task": gettext_lazy("made a gold task"),
    "open training task": gettext_lazy("made a training task"),
    "close gold task": gettext_lazy("closed a gold task"),
    "close training task": gettext_lazy("closed a training task"),
    "freeze": gettext_lazy("froze a snapshot"),
    "train": gettext_lazy("had a reward model trained"),
    "set gate thresholds": gettext_lazy("changed the thresholds of the gates"),
    "release gate": gettext_lazy("released a gate: %(gate)s"),
    "choose prompts again": gettext_lazy("let the reward model choose prompts again"),
    "correct sums": gettext_lazy("the sums of %(n)s prompts were wrong and were corrected"),
    "poison drill": gettext_lazy("had a poisoning drill run"),
    "cancel run": gettext_lazy("cancelled a run"),
    "retry run": gettext_lazy("had a run tried again"),
    "start cycle": gettext_lazy("started a cycle"),
    "resume loop": gettext_lazy("let the loop go on"),
    "register": gettext_lazy("registered a policy"),
    "promote": gettext_lazy("made a policy live"),
    "roll back": gettext_lazy("rolled back to an earlier policy"),
}
KIND_LABELS: Mapping[str, str | Promise] = {
    MEMBER: gettext_lazy("people"),
    TASK: gettext_lazy("tasks"),
    "annotate.Project": gettext_lazy("project"),
    "annotate.ProjectText": gettext_lazy("texts"),
    "annotate.Invite": gettext_lazy("invitations"),
    "annotate.Ranking": gettext_lazy("rankings"),
    "rewards.Snapshot": gettext_lazy("snapshots"),
    "rewards.RewardModelVersion": gettext_lazy("reward models"),
    "rewards.GateReport": gettext_lazy("gates"),
    "rewards.Run": gettext_lazy("runs"),
    "training.PolicyVersion": gettext_lazy("policies"),
    "training.Cycle": gettext_lazy("cycles"),
}


@require_GET
def log(request: SignedInRequest, slug: str) -> HttpResponse:
    """What was done in the project, the newest first."""
    project = administered(request, slug)
    events = events_of(project)
    form = LogForm(
        request.GET,
        verbs=[(verb, verb) for verb in different(events, "verb")],
        kinds=[(kind, KIND_LABELS.get(kind, kind)) for kind in different(events, "object_type")],
    )
    if form.is_valid():
        events = chosen(project, events, form.cleaned_data)
    page = page_of(request, events)
    page.object_list = entries(project, page.object_list)
    return render(request, "annotate/log.html", {"project": project, "form": form, "page": page})


def events_of(project: Project) -> QuerySet[AuditEvent]:
    events = AuditEvent.objects.filter(project=project).select_related("actor")
    return events.order_by("-created_at", "-pk")


def different(events: QuerySet[AuditEvent], column: str) -> list[str]:
    return list(events.order_by(column).values_list(column, flat=True).distinct())


def chosen(
    project: Project, events: QuerySet[AuditEvent], wanted: Mapping[str, str]
) -> QuerySet[AuditEvent]:
    """The events that the form asks for; a person's are those he did and those done to him."""
    if wanted["verb"]:
        events = events.filter(verb=wanted["verb"])
    if wanted["kind"]:
        events = events.filter(object_type=wanted["kind"])
    if wanted["who"]:
        named = project.memberships.filter(
            Q(pseudonym__icontains=wanted["who"]) | Q(user__username__icontains=wanted["who"])
        )
        ids = [str(pk) for pk in named.values_list("pk", flat=True)]
        by = Q(actor__in=named.values("user")) | Q(actor__username__icontains=wanted["who"])
        events = events.filter(by | Q(object_type=MEMBER, object_id__in=ids))
    return events


def events_about(member: Membership) -> QuerySet[AuditEvent]:
    """What the member did in the project, and what was done to him."""
    mine = Q(object_type=MEMBER, object_id=str(member.pk))
    if member.user:
        mine |= Q(actor=member.user)
    return events_of(member.project).filter(mine)


@dataclass(frozen=True)
class Entry:
    """One line of the log. `url` leads to what it was done to, where that has a page."""

    event: AuditEvent
    words: str
    url: str
    details: list[tuple[str, str]]


def entries(project: Project, events: Iterable[AuditEvent]) -> list[Entry]:
    """The events in words, with the pseudonyms that people have now."""
    events = list(events)
    ids = {int(event.object_id) for event in events if event.object_type == MEMBER}
    names = dict(project.memberships.filter(pk__in=ids).values_list("pk", "pseudonym"))
    reviewable = set(
        project.tasks.reviewable()
        .filter(pk__in=[event.object_id for event in events if event.object_type == TASK])
        .values_list("pk", flat=True)
    )
    return [entry(project, event, names, reviewable) for event in events]


def entry(
    project: Project, event: AuditEvent, names: Mapping[int, str], reviewable: set[int]
) -> Entry:
    said = {
        name: in_words(value) for name, value in event.detail.items() if value not in ("", None)
    }
    about, url = "", ""
    if event.object_type == MEMBER and (pk := int(event.object_id)) in names:
        about = names[pk]
        url = reverse("annotate:person", args=[project.slug, pk])
    if event.object_type == TASK and (pk := int(event.object_id)) in reviewable:
        url = reverse("annotate:review_task", args=[project.slug, pk])
    sentence = SENTENCES.get(f"{event.verb} {event.object_type}") or SENTENCES.get(event.verb)
    if sentence is None:
        words = " ".join((event.verb, str(KIND_LABELS.get(event.object_type, "")), about)).strip()
    else:
        words = str(sentence) % defaultdict(lambda: "?", {"about": about, **said})
    rest = [
        (k, v)
        for k, v in sorted(said.items())
        if sentence is None or f"%({k})" not in str(sentence)
    ]
    return Entry(event, words, url, rest)


def in_words(value: Any) -> str:
    """A detail as it is shown; roles and states in the person's language."""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    for choices in (Membership.Role, Membership.State):
        if value in choices.values:
            return str(choices(value).label)
    return value
