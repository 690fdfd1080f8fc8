"""Text of others in a page."""

from __future__ import annotations

from django import template
from django.template.defaultfilters import stringfilter

from annotate.rendering import show_hidden

register = template.Library()
register.filter("show_hidden", stringfilter(show_hidden))
