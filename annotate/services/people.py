"""People join a project: by an invitation, or added by its admin."""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from annotate.models import AuditEvent, Invite, Membership, Project, ProjectText, User


class InvalidInvite(Exception):
    """The link does not let anybody in (any more); why is not said, so that nobody can probe."""


class NameTaken(Exception):
    """Somebody else signs in with this user name."""


def create_invite(
    project: Project,
    role: str = Membership.Role.ANNOTATOR,
    *,
    max_uses: int = 1,
    days: int = 14,
    by: User | None = None,
) -> tuple[Invite, str]:
    """A link for `max_uses` people, and its token, which is stored nowhere and shown only now."""
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        invite = Invite.objects.create(
            project=project,
            role=Membership.Role(role),
            token_hash=Invite.hash(token),
            max_uses=max_uses,
            expires_at=timezone.now() + timedelta(days=days),
            created_by=by,
        )
        AuditEvent.record(
            "invite", invite, project=project, actor=by, role=invite.role, max_uses=max_uses
        )
    return invite, token


def revoke_invite(invite: Invite, *, by: User | None) -> None:
    """Let nobody else in by this link; those who joined by it stay."""
    if Invite.objects.filter(pk=invite.pk, revoked_at=None).update(revoked_at=timezone.now()):
        AuditEvent.record("revoke", invite, project=invite.project, actor=by)


def find_invite(token: str) -> Invite:
    """The invitation that still lets people in by this token; raises InvalidInvite."""
    invite = (
        Invite.objects.open().filter(token_hash=Invite.hash(token)).select_related("project")
    ).first()
    if invite is None:
        raise InvalidInvite
    return invite


@transaction.atomic
def join(token: str, *, username: str, password: str) -> Membership:
    """Make an account and a membership by an invitation, whose consent text was agreed to.

    Raises InvalidInvite, and NameTaken where the account exists; then no use is counted.
    """
    invite = find_invite(token)
    try:
        with transaction.atomic():
            user = User.objects.create_user(username, password=password)
    except IntegrityError as error:
        raise NameTaken from error
    return _take(invite, user)


@transaction.atomic
def join_as(token: str, user: User) -> Membership:
    """Membership by an invitation for a person who has an account. Raises InvalidInvite.

    Who is a member already stays what he is, and no use is counted.
    """
    invite = find_invite(token)
    if member := Membership.objects.filter(project=invite.project, user=user).first():
        return member
    return _take(invite, user)


def _take(invite: Invite, user: User) -> Membership:
    if not invite.take():  # used up by somebody else meanwhile
        raise InvalidInvite
    member = add_member(invite.project, user, invite.role, invite=invite)
    agree(member)
    AuditEvent.record("join", member, project=invite.project, actor=user, invite=invite.pk)
    return member


def add_member(
    project: Project,
    user: User | None,
    role: str = Membership.Role.ANNOTATOR,
    pseudonym: str | None = None,
    *,
    invite: Invite | None = None,
) -> Membership:
    """A new membership; without `user` it stands for a person known only by a pseudonym."""
    return Membership.objects.create(
        project=project,
        user=user,
        role=Membership.Role(role),
        pseudonym=pseudonym or f"{role}-{secrets.token_hex(4)}",
        invite=invite,
    )


def agree(member: Membership) -> None:
    """Note that the person agreed to the consent text in force."""
    member.consent_version = member.project.text_version(ProjectText.Kind.CONSENT)
    member.consented_at = timezone.now()
    member.save(update_fields=["consent_version", "consented_at"])


def see_guidelines(member: Membership) -> None:
    """Note that the guidelines in force were put before the person."""
    member.guidelines_version = member.project.text_version(ProjectText.Kind.GUIDELINES)
    member.save(update_fields=["guidelines_version"])
