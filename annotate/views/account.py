"""What a person does about the account itself, which is the same in all projects."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import LogoutView, PasswordChangeView, RedirectURLMixin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _


def forget_in_browser(response: HttpResponse) -> None:
    """Have the browser remove what the ranking page keeps there of unsaved choices (saving.js).

    Browsers do so over HTTPS and on the machine itself. Elsewhere it stays until it is too old, and
    is shown to nobody else.
    """
    response["Clear-Site-Data"] = '"storage"'


class SignOut(LogoutView):
    """Ends the session; whoever sits here next finds nothing."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().post(request, *args, **kwargs)
        forget_in_browser(response)
        return response


class ChangePassword(RedirectURLMixin, PasswordChangeView):  # type: ignore[misc]
    """A new password for who knows the old one; ends the person's sessions on other devices."""

    template_name = "registration/password.html"
    next_page = "home"

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        response = super().form_valid(form)
        changed = _("Your password is changed. Elsewhere you must sign in again.")
        messages.success(self.request, changed)
        return response
