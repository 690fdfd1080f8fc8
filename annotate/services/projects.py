"""Projects, their texts, and who is left out of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotate.models import (
    Assignment,
    AuditEvent,
    Exclusion,
    Membership,
    Project,
    ProjectText,
    Ranking,
    Task,
    User,
)
from annotate.rendering import render_markdown
from annotate.services.people import add_member
from annotate.signals import exclusions_changed


@transaction.atomic
def create_project(slug: str, title: str, *, by: User | None = None, **settings: Any) -> Project:
    """A new project; `by` becomes its first admin. `settings` are further columns of Project.

    Raises ValidationError when a value is not allowed or the slug is taken.
    """
    project = Project(slug=slug, title=title, **settings)
    project.full_clean()
    project.save()
    AuditEvent.record("create", project, project=project, actor=by)
    if by:
        add_member(project, by, Membership.Role.ADMIN)
    return project


@transaction.atomic
def publish_text(project: Project, kind: str, text: str, *, by: User | None) -> ProjectText:
    """A new version of the project's guidelines or consent text; the same text again is none."""
    kind = ProjectText.Kind(kind)
    Project.objects.select_for_update().get(pk=project.pk)  # versions are counted one by one
    newest = project.text(kind)
    if newest and newest.text == text:
        return newest
    version = newest.version + 1 if newest else 1
    column = f"{kind}_version"
    Project.objects.filter(pk=project.pk).update(**{column: version})
    setattr(project, column, version)
    published = ProjectText.objects.create(
        project=project,
        kind=kind,
        version=version,
        text=text,
        html=render_markdown(text),
        created_by=by,
    )
    AuditEvent.record(
        "publish", published, project=project, actor=by, kind=kind, version=published.version
    )
    return published


@transaction.atomic
def set_member_state(
    member: Membership, state: str, *, by: User | None, reason: str = ""
) -> Membership:
    """Let the person take part, pause or leave; judgements already given stay as they are."""
    before = member.state
    # The lease first: who submits locks the task before he counts himself one ranking more.
    if state != Membership.State.ACTIVE:
        for assignment in Assignment.objects.leased().filter(annotator=member):
            assignment.free_slot(Assignment.State.RELEASED)
    member.state = Membership.State(state)
    member.save(update_fields=["state"])
    AuditEvent.record(
        "set state",
        member,
        project=member.project,
        actor=by,
        before=before,
        after=member.state,
        reason=reason,
    )
    return member


@transaction.atomic
def exclude(
    project: Project,
    target: Membership | Ranking | Task,
    reason: str,
    *,
    by: User | None,
    evidence: Mapping[str, Any] | None = None,
) -> Exclusion:
    """Leave judgements out from now on; an excluded annotator gets no more tasks either.

    Deletes nothing, and can be lifted. Excluding the same thing again gives the exclusion in force.
    """
    column = {Membership: "membership", Ranking: "ranking", Task: "task"}[type(target)]
    in_force = Exclusion.objects.filter(project=project, lifted_at=None, **{column: target})
    if exclusion := in_force.first():
        return exclusion
    exclusion = Exclusion.objects.create(
        project=project,
        reason=reason,
        evidence=dict(evidence or {}),
        created_by=by,
        **{column: target},
    )
    if isinstance(target, Membership):
        set_member_state(target, Membership.State.EXCLUDED, by=by, reason=reason)
    AuditEvent.record("exclude", target, project=project, actor=by, reason=reason)
    exclusions_changed.send(sender=Exclusion, project=project)
    return exclusion


@transaction.atomic
def lift(exclusion: Exclusion, *, by: User | None) -> Exclusion:
    """Take the judgements in again; an annotator who was excluded may go on."""
    lifted = Exclusion.objects.filter(pk=exclusion.pk, lifted_at=None).update(
        lifted_at=timezone.now(), lifted_by=by
    )
    exclusion.refresh_from_db()
    if lifted:
        if exclusion.membership:
            set_member_state(exclusion.membership, Membership.State.ACTIVE, by=by)
        AuditEvent.record("lift", exclusion, project=exclusion.project, actor=by)
        exclusions_changed.send(sender=Exclusion, project=exclusion.project)
    return exclusion
