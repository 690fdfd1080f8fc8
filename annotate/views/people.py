"""What an admin sees and does about the people of a project."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Count, Max, Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from annotate.forms.people import InviteForm, MemberStateForm
from annotate.models import Assignment, Exclusion, Invite, Membership, Project
from annotate.requests import SignedInRequest, administered, page_of
from annotate.services.people import create_invite, revoke_invite
from annotate.services.projects import exclude, lift, set_member_state

STATES_BY_ACTION = {"pause": Membership.State.PAUSED, "resume": Membership.State.ACTIVE}
ACTIONS_BY_STATE = {
    Membership.State.ACTIVE: ("pause", "exclude"),
    Membership.State.PAUSED: ("resume", "exclude"),
    Membership.State.EXCLUDED: ("lift",),
    Membership.State.LEFT: ("exclude",),
}


@require_http_methods(["GET", "POST"])
def people(request: SignedInRequest, slug: str) -> HttpResponse:
    """Members and invitations; a POST makes an invitation and shows its link, this once."""
    project = administered(request, slug)
    form = InviteForm(request.POST if request.method == "POST" else None)
    link = ""
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        _invite, token = create_invite(
            project, data["role"], max_uses=data["max_uses"], days=data["days"], by=request.user
        )
        link = request.build_absolute_uri(reverse("annotate:invite", args=[token]))
        form = InviteForm()
    context = {
        "project": project,
        "members": page_of(request, members_with_counts(project)),
        "invites": project.invites.select_related("created_by").order_by("-created_at"),
        "form": form,
        "link": link,
    }
    response = render(request, "annotate/people.html", context)
    if link:  # neither the browser nor a proxy keeps the page with the token
        response["Cache-Control"] = "no-store"
    return response


def members_with_counts(project: Project) -> QuerySet[Membership]:
    submitted = Q(assignments__state=Assignment.State.SUBMITTED)
    skipped = Q(assignments__state=Assignment.State.SKIPPED)
    members = project.memberships.select_related("user").annotate(
        ranked=Count("assignments", filter=submitted),
        skipped=Count("assignments", filter=skipped),
        last=Max("assignments__submitted_at"),
    )
    return members.order_by("pk")


@require_http_methods(["GET", "POST"])
def person(request: SignedInRequest, slug: str, member_id: int) -> HttpResponse:
    """Pause a person, let them go on, leave their judgements out, or take them in again."""
    project = administered(request, slug)
    member = get_object_or_404(project.memberships, pk=member_id)
    form = MemberStateForm(
        request.POST if request.method == "POST" else None,
        actions=ACTIONS_BY_STATE[Membership.State(member.state)],
    )
    if request.method == "POST" and form.is_valid():
        apply_action(request, member, form.cleaned_data["action"], form.cleaned_data["reason"])
        messages.success(
            request, _("Done: %(who)s is %(state)s now.") % {"who": member, "state": member.state}
        )
        return redirect("annotate:people", slug)
    context = {
        "project": project,
        "person": member,
        "form": form,
        "exclusions": Exclusion.objects.filter(membership=member).order_by("-created_at"),
    }
    return render(request, "annotate/person.html", context)


def apply_action(request: SignedInRequest, member: Membership, action: str, reason: str) -> None:
    by = request.user
    if action == "exclude":
        exclude(member.project, member, reason, by=by)
    elif action == "lift":
        for exclusion in Exclusion.objects.filter(membership=member, lifted_at=None):
            lift(exclusion, by=by)
    else:
        set_member_state(member, STATES_BY_ACTION[action], by=by, reason=reason)
    member.refresh_from_db()


@require_POST
def revoke(request: SignedInRequest, slug: str, invite_id: int) -> HttpResponse:
    project = administered(request, slug)
    revoke_invite(get_object_or_404(Invite, pk=invite_id, project=project), by=request.user)
    messages.success(request, _("The link lets nobody in any more."))
    return redirect("annotate:people", slug)
