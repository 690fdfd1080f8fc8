"""Links of a project's navigation. A page of another package is left out where it is not mounted,
since this package knows the others only by the names of their addresses.
"""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import RequestContext
from django.urls import NoReverseMatch, reverse

from annotate.models import Project, User

register = template.Library()


@register.simple_tag
def administers(user: User, project: Project) -> bool:
    """Whether the person runs the project."""
    return Project.objects.run_by(user).filter(pk=project.pk).exists()


@register.simple_tag
def reviews(user: User, project: Project) -> bool:
    """Whether the person reviews what people said in the project."""
    return Project.objects.reviewed_by(user).filter(pk=project.pk).exists()


@register.inclusion_tag("_nav_link.html", takes_context=True)
def nav_link(context: RequestContext, name: str, label: str, alone: bool = False) -> dict[str, Any]:
    """A link to the project's page of that name, marked where it leads to this very page.

    A page whose address is not below the link's says `here`, the name it belongs to. `alone` is for
    a link beside which the pages below it have links of their own.
    """
    try:
        url = reverse(name, args=[context["project"].slug])
    except NoReverseMatch:
        return {}
    path = context["request"].path
    within = (path.startswith(url) and not alone) or context.get("here") == name
    return {"url": url, "label": label, "current": path == url, "within": within}
