"""People leave a project, and are forgotten if they wish; what was judged stands, unless they take
it out.

A ranking's row is changed nowhere else: here it loses what could tell who wrote it.
"""

from __future__ import annotations

import re
from typing import Any

from django.db import models, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from annotate.models import (
    Adjudication,
    Assignment,
    AuditEvent,
    Demonstration,
    Exclusion,
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

    What others wrote about the person, a reason or a line of the record, loses his names.

    With `keep_rankings` the bare rankings stay, by nobody. Otherwise they are excluded for good
    and texts of the person retired: no later dataset uses them, and what was made of them before is
    marked. An account that takes part in nothing any more is deleted, unless it runs the server.
    What was interrupted is done by calling it again. Raises LastAdmin, and nothing has happened.
    """
    user = member.user
    if user is None:
        return
    member.refresh_from_db(fields=["state"])
    if not keep_rankings:
        exclusion = exclude(member.project, member, TAKEN_OUT, by=None)
        exclusion.evidence["withdrawn"] = True  # nobody lifts it, whoever excluded them first
        exclusion.save(update_fields=["evidence"])
    # Committed before anything is emptied. Whoever stores what the person wrote asks whether he
    # takes part and holds that until he commits: he was quicker, and is found below, or too late.
    if member.state in Membership.MAY_ENTER:
        set_member_state(member, Membership.State.LEFT, by=None, reason="erased")
    _erase(member, user, keep_rankings=keep_rankings)


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
    _empty_texts(member, retire=not keep_rankings)
    names = _names(member, user)
    _forget_member(member)
    _rename_in_record(member, names)
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
    # A draft that is on its way began from the revision before, so it is refused.
    Assignment.objects.filter(annotator=member).update(
        draft=None, draft_revision=F("draft_revision") + 1, client={}, skip_reason=""
    )
    Adjudication.objects.filter(reviewer=member).update(note="")
    written = Demonstration.objects.filter(author=member)
    if retire:
        written.filter(retired_at=None).update(retired_at=timezone.now())
    written.update(author=None, assignment=None)
    Response.objects.filter(author=member).update(author=None)


def _names(member: Membership, user: User) -> re.Pattern[str]:
    """What the person was ever called here, as whole words."""
    names = {user.username, user.first_name, user.last_name, user.email, member.pseudonym}
    for detail in _about(member).filter(verb="rename").values_list("detail", flat=True):
        names |= {detail["before"], detail["after"]}
    longest_first = sorted(names - {""}, key=len, reverse=True)
    return re.compile(rf"(?<!\w)({'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)


def _rename_in_record(member: Membership, names: re.Pattern[str]) -> None:
    """Put the pseudonym in the place of these names in what others wrote about the person."""

    def renamed(value: Any) -> Any:
        return names.sub(member.pseudonym, value) if isinstance(value, str) else value

    left_out = Exclusion.objects.filter(
        Q(membership=member) | Q(ranking__assignment__annotator=member)
    )
    for exclusion in left_out:
        exclusion.reason = renamed(exclusion.reason)
        exclusion.save(update_fields=["reason"])
    of_rankings = AuditEvent.objects.filter(
        project=member.project,
        object_type=Ranking._meta.label,
        object_id__in=[str(one.ranking_id) for one in left_out if one.ranking_id],
    )
    for event in [*_about(member), *of_rankings]:
        said = {name: renamed(value) for name, value in event.detail.items()}
        if event.verb == "set cohort":  # what it was belongs to the person, who has none any more
            said = dict.fromkeys(said, "")
        AuditEvent.objects.filter(pk=event.pk).update(detail=said)


def _about(member: Membership) -> QuerySet[AuditEvent]:
    return AuditEvent.objects.filter(
        project=member.project, object_type=Membership._meta.label, object_id=str(member.pk)
    )


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
