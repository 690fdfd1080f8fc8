"""Projects, their texts, and who is left out of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext

from annotate.models import (
    Assignment,
    AuditEvent,
    Exclusion,
    Membership,
    Project,
    ProjectText,
    Ranking,
    Task,
    TaskQuerySet,
    User,
)
from annotate.rendering import render_markdown
from annotate.services.people import add_member
from annotate.services.rankings import refresh_agreement
from annotate.signals import exclusions_changed

# How an import names the people whose judgements it brings; it finds them again by these names.
IMPORTED = ("import-", "unnamed-")
MAX_NAME_CHARS = 64  # as long as the column


class LastAdmin(Exception):
    """Nobody would be left who runs the project."""


class InvalidName(ValueError):
    """The person cannot be called this; the message says why."""


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
    """Let the person take part, pause or leave; judgements already given stay as they are.

    Raises LastAdmin where nobody who runs the project would be left.
    """
    before = member.state
    # The lease first: who submits locks the task before he counts himself one ranking more.
    if state != Membership.State.ACTIVE:
        for assignment in Assignment.objects.leased().filter(annotator=member):
            assignment.free_slot(Assignment.State.RELEASED)
        _check_admin_left(member)
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


def _check_admin_left(member: Membership) -> None:
    """Raise LastAdmin if this is the only one. No admin changes until the transaction ends."""
    admins = member.project.memberships.select_for_update(of=("self",)).filter(
        role=Membership.Role.ADMIN, state=Membership.State.ACTIVE, user__isnull=False
    )
    if [admin.pk for admin in admins.order_by("pk")] == [member.pk]:
        raise LastAdmin


@transaction.atomic
def set_role(member: Membership, role: str, *, by: User | None) -> Membership:
    """Let the person see and do more or less; the same role again changes nothing.

    Raises LastAdmin where nobody who runs the project would be left.
    """
    if role != Membership.Role.ADMIN:
        _check_admin_left(member)
    before, member.role = member.role, Membership.Role(role)
    if before != member.role:
        member.save(update_fields=["role"])
        _record_change(member, "set role", before, member.role, by)
    return member


@transaction.atomic
def rename_member(member: Membership, pseudonym: str, *, by: User | None) -> Membership:
    """Call the person by another pseudonym, unlike all others of the project, whatever the case.

    Raises InvalidName. Names of imports are for imports, which know people by them.
    """
    pseudonym = " ".join(pseudonym.split())
    if not (0 < len(pseudonym) <= MAX_NAME_CHARS and pseudonym.isprintable()):
        raise InvalidName(gettext("A name has 1 to 64 characters that can be seen."))
    if member.user is None or pseudonym.lower().startswith(IMPORTED):
        raise InvalidName(gettext("Names of imported judgements stay as they are."))
    before = member.pseudonym
    if pseudonym == before:
        return member
    taken = gettext("Somebody in the project has this name.")
    others = member.project.memberships.exclude(pk=member.pk)
    if others.filter(pseudonym__iexact=pseudonym).exists():
        raise InvalidName(taken)
    member.pseudonym = pseudonym
    try:
        with transaction.atomic():
            member.save(update_fields=["pseudonym"])
    except IntegrityError as error:  # at this very moment
        raise InvalidName(taken) from error
    _record_change(member, "rename", before, pseudonym, by)
    return member


@transaction.atomic
def set_cohort(member: Membership, cohort: str, *, by: User | None) -> Membership:
    """Note the group a person belongs to, such as those who joined at one event."""
    before, member.cohort = member.cohort, cohort
    if before != cohort:
        member.save(update_fields=["cohort"])
        _record_change(member, "set cohort", before, cohort, by)
    return member


@transaction.atomic
def update_member(member: Membership, *, by: User | None, **columns: str) -> Membership:
    """Change pseudonym, role and cohort together, or none of them. Raises as each of them does."""
    change = {"pseudonym": rename_member, "role": set_role, "cohort": set_cohort}
    for name, value in columns.items():
        change[name](member, value, by=by)
    return member


def _record_change(member: Membership, verb: str, before: str, after: str, by: User | None) -> None:
    AuditEvent.record(verb, member, project=member.project, actor=by, before=before, after=after)


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
    Raises LastAdmin where nobody who runs the project would be left.
    """
    exclusion = _exclude(project, target, reason, by, dict(evidence or {}))
    refresh_agreement(_judged_by_several(exclusion))
    return exclusion


@transaction.atomic
def _exclude(
    project: Project,
    target: Membership | Ranking | Task,
    reason: str,
    by: User | None,
    evidence: dict[str, Any],
) -> Exclusion:
    column = {Membership: "membership", Ranking: "ranking", Task: "task"}[type(target)]
    in_force = Exclusion.objects.filter(project=project, lifted_at=None, **{column: target})
    if exclusion := in_force.first():
        return exclusion
    if isinstance(target, Membership):
        evidence["state"] = target.state  # which lifting it gives back
    exclusion = Exclusion.objects.create(
        project=project,
        reason=reason,
        evidence=evidence,
        created_by=by,
        **{column: target},
    )
    if isinstance(target, Membership):
        set_member_state(target, Membership.State.EXCLUDED, by=by, reason=reason)
    AuditEvent.record("exclude", target, project=project, actor=by, reason=reason)
    exclusions_changed.send(sender=Exclusion, project=project)
    return exclusion


def lift(exclusion: Exclusion, *, by: User | None) -> Exclusion:
    """Take the judgements in again; an annotator who was excluded is what he was before.

    What a person took out himself when he was erased stays out.
    """
    if exclusion.evidence.get("withdrawn"):
        return exclusion
    _lift(exclusion, by)
    refresh_agreement(_judged_by_several(exclusion))
    return exclusion


@transaction.atomic
def _lift(exclusion: Exclusion, by: User | None) -> None:
    lifted = Exclusion.objects.filter(pk=exclusion.pk, lifted_at=None).update(
        lifted_at=timezone.now(), lifted_by=by
    )
    exclusion.refresh_from_db()
    if lifted:
        target = exclusion.membership or exclusion.ranking or exclusion.task
        assert target is not None
        if exclusion.membership:
            before = exclusion.evidence.get("state", Membership.State.ACTIVE)
            set_member_state(exclusion.membership, before, by=by)
        AuditEvent.record(
            "lift", target, project=exclusion.project, actor=by, excluded_for=exclusion.reason
        )
        exclusions_changed.send(sender=Exclusion, project=exclusion.project)


def _judged_by_several(exclusion: Exclusion) -> TaskQuerySet:
    """The tasks on which people agree more or less because of the exclusion."""
    tasks = Task.objects.filter(project=exclusion.project, n_done__gt=1)
    if exclusion.membership_id:
        return tasks.filter(
            assignments__annotator=exclusion.membership_id,
            assignments__state=Assignment.State.SUBMITTED,
        )
    if exclusion.task_id:
        return tasks.filter(pk=exclusion.task_id)
    return tasks.filter(assignments__rankings=exclusion.ranking_id)
