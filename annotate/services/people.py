"""People join a project: by an invitation, or added by its admin."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

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
def join(token: str, *, username: str, password: str, version: int | None = None) -> Membership:
    """Make an account and a membership by an invitation, whose consent text was agreed to.

    `version` is the version of that text, as in `agree`. Raises InvalidInvite, and NameTaken where
    the account exists; then no use is counted.
    """
    invite = find_invite(token)
    try:
        with transaction.atomic():
            user = User.objects.create_user(username, password=password)
    except IntegrityError as error:
        raise NameTaken from error
    return _take(invite, user, version)


@transaction.atomic
def join_as(token: str, user: User, version: int | None = None) -> Membership:
    """Membership by an invitation for a person who has an account. Raises InvalidInvite.

    Who is a member already stays what he is, and no use is counted; who left comes back in the
    invitation's role.
    """
    invite = find_invite(token)
    member = Membership.objects.filter(project=invite.project, user=user).first()
    if member and member.state != Membership.State.LEFT:
        return member
    return _take(invite, user, version, member)


def _take(
    invite: Invite, user: User, version: int | None, former: Membership | None = None
) -> Membership:
    if not invite.take():  # used up by somebody else meanwhile
        raise InvalidInvite
    if former:
        member = come_back(former, invite.role)
    else:
        member = add_member(invite.project, user, invite.role, invite=invite)
    agree(member, version)
    AuditEvent.record("join", member, project=invite.project, actor=user, invite=invite.pk)
    return member


@transaction.atomic
def come_back(member: Membership, role: str = Membership.Role.ANNOTATOR) -> Membership:
    """Let a person in again who left; nothing happens to anybody else.

    By his own wish he comes back as an annotator: others give him more. Who was
    paused when he left is paused still.
    """
    member = Membership.objects.select_for_update().get(pk=member.pk)
    if member.state != Membership.State.LEFT:
        return member
    changes = AuditEvent.objects.filter(
        project=member.project_id,
        verb="set state",
        object_type=Membership._meta.label,
        object_id=str(member.pk),
    )
    last = changes.order_by("-pk").first()
    was_paused = last is not None and last.detail["before"] == Membership.State.PAUSED
    member.state = Membership.State.PAUSED if was_paused else Membership.State.ACTIVE
    member.role = Membership.Role(role)
    member.save(update_fields=["state", "role"])
    AuditEvent.record(
        "set state",
        member,
        project=member.project,
        actor=member.user,
        before=Membership.State.LEFT,
        after=member.state,
        reason="came back",
    )
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
        pseudonym=pseudonym or new_pseudonym(role),
        invite=invite,
    )


def new_pseudonym(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(4)}"


def agree(member: Membership, version: int | None = None) -> None:
    """Note that the person agreed to that version of the consent text, or to the one in force.

    A version that does not exist is none: then the one in force is put before the person again.
    """
    newest = member.project.text_version(ProjectText.Kind.CONSENT)
    member.consent_version = newest if version is None else min(version, newest)
    member.consented_at = timezone.now()
    member.save(update_fields=["consent_version", "consented_at"])


def see_guidelines(member: Membership) -> None:
    """Note that the guidelines in force were put before the person."""
    member.guidelines_version = member.project.text_version(ProjectText.Kind.GUIDELINES)
    member.save(update_fields=["guidelines_version"])


@transaction.atomic
def opt_out(member: Membership, category: str) -> None:
    """Hand the person no more tasks of this kind of content. Nobody else sees that he asked so."""
    locked = Membership.objects.select_for_update().get(pk=member.pk)
    if category not in locked.category_opt_outs:
        locked.category_opt_outs = sorted([*locked.category_opt_outs, category])
        locked.save(update_fields=["category_opt_outs"])
    member.category_opt_outs = locked.category_opt_outs


@transaction.atomic
def keep_settings(
    member: Membership,
    *,
    languages: Iterable[str],
    opt_outs: Iterable[str],
    keys: Mapping[str, Any],
) -> None:
    """Store what the person chose: languages to read and content not to see in this project, and
    the keys of the ranking page, which are the same in every project (see annotate.keys).
    """
    assert member.user is not None
    member.languages, member.category_opt_outs = sorted(languages), sorted(opt_outs)
    member.save(update_fields=["languages", "category_opt_outs"])
    member.user.keys = dict(keys)
    member.user.save(update_fields=["keys"])
