"""Parts of pages that are written in Jinja2, inside a page of Django's own language."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import RequestContext
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

register = template.Library()


@register.simple_tag(takes_context=True)
def include_jinja(context: RequestContext, name: str, **more: Any) -> SafeString:
    """The part rendered with what the page knows, as `include` does it, and with `more`."""
    known: dict[Any, Any] = {**context.flatten(), **more}
    # The backend returns a plain string, in which Jinja2 has escaped what needs it.
    return mark_safe(render_to_string(name, known, context.request, using="jinja2"))
