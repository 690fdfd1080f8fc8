"""Coming in: the person's projects, invitations, and what they agree to."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from annotate.forms.people import ConsentForm, JoinForm
from annotate.models import Membership, Project, ProjectText, User
from annotate.requests import SignedInRequest
from annotate.services.own_work import streak
from annotate.services.people import (
    InvalidInvite,
    NameTaken,
    agree,
    find_invite,
    join,
    join_as,
    see_guidelines,
)
from annotate.services.texts import changes_since, versions
from annotate.views.rank import member_of, pause_state


@dataclass(frozen=True)
class Entry:
    """A project on the start page; `member` is None for a superuser who has not joined it."""

    project: Project
    member: Membership | None
    administered: bool
    state: str  # what there is to do, as on the project's own start page
    streak: int


@require_GET
def home(request: SignedInRequest) -> HttpResponse:
    """The projects to choose from; who annotates in only one goes straight there."""
    projects = list(Project.objects.of(request.user).order_by("title"))
    mine = request.user.memberships.select_related("project").order_by("project__title")
    members = {member.project_id: member for member in mine}
    former = [member for member in mine if member.state not in Membership.MAY_ENTER]
    administered = set(Project.objects.run_by(request.user).values_list("pk", flat=True))
    if len(projects) == 1 and not administered and not former:
        return redirect("annotate:rank", projects[0].slug)
    entries = [_entry(one, members.get(one.pk), one.pk in administered) for one in projects]
    return render(request, "annotate/home.html", {"entries": entries, "former": former})


def _entry(project: Project, member: Membership | None, administered: bool) -> Entry:
    if member is None or member.state not in Membership.MAY_ENTER:
        return Entry(project, None, administered, "", 0)
    member.project = project
    return Entry(project, member, administered, pause_state(member), streak(member))


@login_not_required
@require_http_methods(["GET", "POST"])
def accept_invite(request: HttpRequest, token: str) -> HttpResponse:
    """Join a project: with a new account, or with the one that is signed in."""
    try:
        invite = find_invite(token)
    except InvalidInvite:
        return render(request, "annotate/invite_invalid.html", status=404)
    form_class = ConsentForm if request.user.is_authenticated else JoinForm
    form = form_class(request.POST if request.method == "POST" else None, project=invite.project)
    if request.method == "POST" and form.is_valid():
        try:
            return _enter(request, token, form)
        except InvalidInvite:  # somebody else took the last place meanwhile
            return render(request, "annotate/invite_invalid.html", status=404)
        except NameTaken:
            form.add_error("username", _("This name is taken. Choose another one."))
    context = {"invite": invite, "project": invite.project, "form": form}
    return render(request, "annotate/join.html", context | _texts(invite.project))


def _enter(request: HttpRequest, token: str, form: ConsentForm) -> HttpResponse:
    if isinstance(form, JoinForm):
        data = form.cleaned_data
        member = join(
            token,
            username=data["username"],
            password=data["password"],
            version=data.get("version"),
        )
        assert member.user is not None
        login(request, member.user)
    else:
        assert isinstance(request.user, User)
        member = join_as(token, request.user, form.cleaned_data.get("version"))
        if member.state not in Membership.MAY_ENTER:
            return redirect("home")
    messages.success(request, _("Welcome to %(project)s.") % {"project": member.project})
    # Whoever runs the project wants to see how it stands; its page is of another package.
    runs_it = member.role == Membership.Role.ADMIN
    return redirect("training:overview" if runs_it else "annotate:rank", member.project.slug)


def _texts(project: Project) -> dict[str, ProjectText | None]:
    return {kind: project.text(kind) for kind in ProjectText.Kind.values}


@require_http_methods(["GET", "POST"])
def consent(request: SignedInRequest, slug: str) -> HttpResponse:
    """Agree to the consent text, or to its new version, whose changes are shown."""
    member = member_of(request, slug)
    form = ConsentForm(request.POST if request.method == "POST" else None, project=member.project)
    if request.method == "POST" and form.is_valid():
        agree(member, form.cleaned_data.get("version"))
        return redirect("annotate:rank", slug)
    texts = _texts(member.project)
    newest = texts[ProjectText.Kind.CONSENT]
    context = {
        "project": member.project,
        "member": member,
        "form": form,
        "changes": changes_since(newest, member.consent_version) if newest else [],
        **texts,
    }
    return render(request, "annotate/consent.html", context)


@require_http_methods(["GET", "POST"])
def guidelines(request: SignedInRequest, slug: str) -> HttpResponse:
    """The guidelines in force, and what has changed since I read them; a POST says I have."""
    project = get_object_or_404(Project.objects.of(request.user), slug=slug)
    member = project.memberships.filter(user=request.user).first()
    if request.method == "POST":
        if member:
            see_guidelines(member)
        return redirect("annotate:rank" if member else "annotate:guidelines", slug)
    text = project.text(ProjectText.Kind.GUIDELINES)
    read = member.guidelines_version if member else 0
    context = {
        "project": project,
        "text": text,
        "newest": text,
        "member": member,
        "changes": changes_since(text, read) if text and read else [],
        "versions": versions(project, ProjectText.Kind.GUIDELINES),
    }
    return render(request, "annotate/guidelines.html", context)


@require_GET
def guidelines_version(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """One version of the guidelines, and what it changed."""
    project = get_object_or_404(Project.objects.of(request.user), slug=slug)
    kind = ProjectText.Kind.GUIDELINES
    text = get_object_or_404(project.texts, kind=kind, version=number)
    context = {
        "project": project,
        "text": text,
        "newest": project.text(kind),
        "changes": changes_since(text, number - 1),
        "versions": versions(project, kind),
        "is_history": True,
    }
    return render(request, "annotate/guidelines.html", context)
