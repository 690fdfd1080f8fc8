"""Coming in: the person's projects, invitations, and what they agree to."""

from __future__ import annotations

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
from annotate.services.people import InvalidInvite, NameTaken, agree, find_invite, join, join_as


@require_GET
def home(request: SignedInRequest) -> HttpResponse:
    """The projects to choose from; who annotates in only one goes straight there."""
    projects = list(Project.objects.of(request.user).order_by("title"))
    joined = set(request.user.memberships.values_list("project_id", flat=True))
    administered = set(Project.objects.run_by(request.user).values_list("pk", flat=True))
    if len(projects) == 1 and not administered:
        return redirect("annotate:rank", projects[0].slug)
    entries = [(p, p.pk in joined, p.pk in administered) for p in projects]
    return render(request, "annotate/home.html", {"entries": entries})


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
        member = join(token, username=data["username"], password=data["password"])
        assert member.user is not None
        login(request, member.user)
    else:
        assert isinstance(request.user, User)
        member = join_as(token, request.user)
    messages.success(request, _("Welcome to %(project)s.") % {"project": member.project})
    # Whoever runs the project wants to see how it stands; its page is of another package.
    runs_it = member.role == Membership.Role.ADMIN
    return redirect("training:overview" if runs_it else "annotate:rank", member.project.slug)


def _texts(project: Project) -> dict[str, ProjectText | None]:
    return {kind: project.text(kind) for kind in ProjectText.Kind.values}


@require_http_methods(["GET", "POST"])
def consent(request: SignedInRequest, slug: str) -> HttpResponse:
    """Agree to the consent text, or to its new version."""
    member = get_object_or_404(
        Membership.objects.select_related("project"),
        project__slug=slug,
        user=request.user,
        state__in=Membership.MAY_ENTER,
    )
    form = ConsentForm(request.POST if request.method == "POST" else None, project=member.project)
    if request.method == "POST" and form.is_valid():
        agree(member)
        return redirect("annotate:rank", slug)
    context = {"project": member.project, "form": form, **_texts(member.project)}
    return render(request, "annotate/consent.html", context)


@require_GET
def guidelines(request: SignedInRequest, slug: str) -> HttpResponse:
    project = get_object_or_404(Project.objects.of(request.user), slug=slug)
    text = project.text(ProjectText.Kind.GUIDELINES)
    return render(request, "annotate/guidelines.html", {"project": project, "text": text})
