"""Shares for people who rank: whole percents, in the page's own way of writing numbers."""

from __future__ import annotations

from django import template
from django.utils.formats import number_format
from django.utils.translation import gettext

register = template.Library()


@register.filter
def points(value: float) -> str:
    """0.043 as 4: percentage points, or the number of a percentage."""
    return number_format(round(value * 100))


@register.filter
def share(value: float) -> str:
    """0.56 as 56 %"""
    return gettext("%(n)s %%") % {"n": points(value)}
