"""What a person sets for himself in a project, takes with him, and how he leaves.

Whoever was ever a member reaches what is his own, also after he left or was excluded.
"""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.forms.me import EraseForm, SettingsForm
from annotate.models import Membership, ProjectText, User
from annotate.requests import SignedInRequest
from annotate.services import leaving
from annotate.services.own_data import own_data
from annotate.services.people import come_back, keep_settings
from annotate.services.projects import LastAdmin
from annotate.views.account import forget_in_browser
from annotate.views.rank import member_of


def former_or_member(request: SignedInRequest, slug: str) -> Membership:
    """The person's membership in whatever state; everybody else gets 404."""
    mine = Membership.objects.select_related("project", "user")
    return get_object_or_404(mine, project__slug=slug, user=request.user)


@require_http_methods(["GET", "POST"])
def settings(request: SignedInRequest, slug: str) -> HttpResponse:
    member = member_of(request, slug)
    form = SettingsForm(request.POST if request.method == "POST" else None, member=member)
    if request.method == "POST" and form.is_valid():
        keep_settings(member, **form.choices)
        messages.success(request, _("Your settings are saved."))
        return redirect("annotate:my_settings", slug)
    context = {
        "project": member.project,
        "member": member,
        "form": form,
        "consent": member.project.text(ProjectText.Kind.CONSENT),
    }
    return render(request, "annotate/my_settings.html", context)


@require_GET
def data(request: SignedInRequest, slug: str) -> StreamingHttpResponse:
    """Everything that is stored of me in the project, as a file."""
    member = former_or_member(request, slug)
    response = StreamingHttpResponse(own_data(member), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{slug}-my-data.json"'
    response["Cache-Control"] = "no-store"
    return response


@require_http_methods(["GET", "POST"])
def leave(request: SignedInRequest, slug: str) -> HttpResponse:
    """What leaving means, and what erasing means; a POST leaves."""
    member = former_or_member(request, slug)
    if request.method == "POST":
        try:
            leaving.leave(member)
        except LastAdmin:
            return _render_leave(request, member)
        left = _("You have left %(project)s. Thank you for what you did!")
        messages.success(request, left % {"project": member.project})
        return redirect("home")
    return _render_leave(request, member)


@require_http_methods(["GET", "POST"])
def erase(request: SignedInRequest, slug: str) -> HttpResponse:
    """Be forgotten by the project, or by all of them; a POST needs the password."""
    member = former_or_member(request, slug)
    form = EraseForm(request.POST if request.method == "POST" else None, user=request.user)
    if request.method == "GET" or not form.is_valid():
        return _render_erase(request, member, form)
    try:
        if form.is_everywhere:
            leaving.erase_account(request.user, keep_rankings=form.keeps_rankings)
        else:
            leaving.erase(member, keep_rankings=form.keeps_rankings)
    except LastAdmin:
        form.add_error(
            None, _("You are the only one who runs a project: give it to another admin.")
        )
        return _render_erase(request, member, form)
    if User.objects.filter(pk=request.user.pk).exists():
        erased = _("%(project)s knows nothing of you any more.") % {"project": member.project}
        messages.success(request, erased)
        response = redirect("home")
    else:
        logout(request)
        messages.success(request, _("Your account is deleted. Thank you for what you did!"))
        response = redirect("login")
    forget_in_browser(response)
    return response


@require_POST
def rejoin(request: SignedInRequest, slug: str) -> HttpResponse:
    """Come back after leaving."""
    member = come_back(former_or_member(request, slug))
    if member.state not in Membership.MAY_ENTER:
        return redirect("home")
    messages.success(request, _("Welcome back to %(project)s.") % {"project": member.project})
    return redirect("annotate:rank", slug)


def _render_leave(request: SignedInRequest, member: Membership) -> HttpResponse:
    return render(request, "annotate/leave.html", _about(member))


def _render_erase(request: SignedInRequest, member: Membership, form: EraseForm) -> HttpResponse:
    return render(request, "annotate/erase.html", _about(member) | {"form": form})


def _about(member: Membership) -> dict[str, object]:
    return {
        "project": member.project,
        "member": member,
        "takes_part": member.state in Membership.MAY_ENTER,
        "runs_it_alone": leaving.runs_it_alone(member),
    }
