"""People leave a project, and are forgotten if they wish; what was judged stands, unless they take
it out.

A ranking's row is changed nowhere else: here it loses what could tell who wrote it.
"""

from __future__ import annotations

from django.db import models, transaction
from django.utils import timezone

from annotate.models import (
    Adjudication,
    Assignment,
    AuditEvent,
    Demonstration,
    Membership,
    Project,
    Ranking,
    Response,
    User,
)
from annotate.services.people import new_pseudonym
from annotate.services.projects import LastAdmin, exclude, set_member_state

TAKEN_OUT = "took their rankings out when they were erased"


def leave(member: Membership) -> None:
    """Stop taking part. The rankings stay, a leased task goes back, and the person may return.

    Nothing happens to who does not take part. Raises LastAdmin.
    """
    if member.state in Membership.MAY_ENTER:
        set_member_state(member, Membership.State.LEFT, by=member.user, reason="left")


def erase(member: Membership, *, keep_rankings: bool) -> None:
    """Forget who this member is: the account's link, everything written freely, and settings.

    With `keep_rankings` the bare rankings stay, by nobody. Otherwise they are excluded for good
    and texts of the person retired: no later dataset uses them, and what was made of them before is
    marked. An account that takes part in nothing any more is deleted, unless it runs the server.
    What was interrupted is done by calling it again. Raises LastAdmin, and nothing has happened.
    """
    if member.user is None:
        return
    if not keep_rankings:
        exclusion = exclude(member.project, member, TAKEN_OUT, by=None)
        exclusion.evidence["withdrawn"] = True  # nobody lifts it, whoever excluded them first
        exclusion.save(update_fields=["evidence"])
    _erase(member, member.user, keep_rankings=keep_rankings)


def erase_account(user: User, *, keep_rankings: bool) -> None:
    """Erase the person from every project, and delete the account. Raises LastAdmin, as `erase`."""
    members = list(user.memberships.select_related("project", "user").order_by("pk"))
    if any(runs_it_alone(member) for member in members):
        raise LastAdmin
    for member in members:
        erase(member, keep_rankings=keep_rankings)
    User.objects.filter(pk=user.pk).delete()


def runs_it_alone(member: Membership) -> bool:
    """Whether nobody would administer the project without this person."""
    admins = member.project.memberships.filter(
        role=Membership.Role.ADMIN, state=Membership.State.ACTIVE, user__isnull=False
    )
    return list(admins.values_list("pk", flat=True)) == [member.pk]


@transaction.atomic
def _erase(member: Membership, user: User, *, keep_rankings: bool) -> None:
    # First of all, since leases and tasks are locked before the member.
    if member.state in Membership.MAY_ENTER:
        set_member_state(member, Membership.State.LEFT, by=None, reason="erased")
    _empty_texts(member, retire=not keep_rankings)
    _forget_member(member)
    _forget_in_project(user, member.project)
    AuditEvent.record(
        "erase",
        member,
        project=member.project,
        actor=None,
        rankings="kept" if keep_rankings else "taken out",
    )
    if not user.memberships.exists() and not user.is_superuser:
        user.delete()


def _empty_texts(member: Membership, *, retire: bool) -> None:
    """Empty what the person wrote besides the answers themselves, which lose their author."""
    said = Ranking.objects.filter(assignment__annotator=member).exclude(rationale="")
    # A freeze locks rankings in the same order.
    list(said.select_for_update(of=("self",)).order_by("pk").values_list("pk", flat=True))
    # The hash would tell of the text; it serves only who submits the same twice.
    said.update(rationale="", payload_hash="")
    Assignment.objects.filter(annotator=member).update(draft=None, client={}, skip_reason="")
    Adjudication.objects.filter(reviewer=member).update(note="")
    written = Demonstration.objects.filter(author=member)
    if retire:
        written.filter(retired_at=None).update(retired_at=timezone.now())
    written.update(author=None, assignment=None)
    Response.objects.filter(author=member).update(author=None)


def _forget_member(member: Membership) -> None:
    member.user = None
    member.pseudonym = new_pseudonym("erased")
    member.invite = None
    member.cohort = ""
    member.languages, member.category_opt_outs = [], []
    member.save(
        update_fields=["user", "pseudonym", "invite", "cohort", "languages", "category_opt_outs"]
    )


def _forget_in_project(user: User, project: Project) -> None:
    """Take the account's name from what it did in the project, as deleting it would do.

    The rows may be of any package: whatever belongs to a project and names a user.
    """
    for relation in User._meta.related_objects:
        columns = {column.name for column in relation.related_model._meta.get_fields()}
        if relation.on_delete is models.SET_NULL and "project" in columns:
            rows = relation.related_model._base_manager.filter(project=project)
            rows.filter(**{relation.field.name: user}).update(**{relation.field.name: None})
