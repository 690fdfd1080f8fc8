"""What views share: the request as the middleware leaves it, and what its address asks for."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django_htmx.middleware import HtmxDetails

from annotate.models import Project, User


class HtmxRequest(HttpRequest):
    htmx: HtmxDetails


class SignedInRequest(HtmxRequest):
    """What LoginRequired has let through."""

    user: User


def administered(request: SignedInRequest, slug: str) -> Project:
    """The project, if the person runs it; otherwise nobody learns that it exists."""
    return get_object_or_404(Project.objects.run_by(request.user), slug=slug)


def reviewed(request: SignedInRequest, slug: str) -> Project:
    """The project, if the person reviews what people say in it; otherwise nobody learns of it."""
    return get_object_or_404(Project.objects.reviewed_by(request.user), slug=slug)


def page_of(request: HttpRequest, rows: QuerySet[Any] | list[Any], n: int = 100) -> Page:
    """The page of `n` rows that the address names as `page`; the nearest there is, or the first."""
    return Paginator(rows, n).get_page(request.GET.get("page"))
