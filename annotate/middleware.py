"""What becomes of a request by somebody who is not signed in (any more)."""

from collections.abc import Callable

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpResponseBase
from django.shortcuts import resolve_url
from django.utils.http import urlencode
from django_htmx.http import HttpResponseClientRedirect

from annotate.requests import HtmxRequest


class LoginRequired(LoginRequiredMiddleware):
    """Sends a page to the sign-in page, and a part of a page likewise with all of it.

    htmx would otherwise follow the redirect and put the sign-in page inside a panel.
    """

    def handle_no_permission(  # type: ignore[override]
        self, request: HtmxRequest, view_func: Callable[..., HttpResponseBase]
    ) -> HttpResponseBase:
        if not request.htmx:
            return super().handle_no_permission(request, view_func)
        back = request.htmx.current_url_abs_path or resolve_url("home")
        sign_in = resolve_url(self.get_login_url(view_func))
        query = urlencode({self.get_redirect_field_name(view_func): back})
        return HttpResponseClientRedirect(f"{sign_in}?{query}", status=204)
