"""Jinja2 for the parts of pages that are rendered over and over, `templates/**/*.jinja`.

docs/decisions/0007-jinja2-for-the-ranking-form.md says which parts, and why.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpRequest
from django.template.backends.utils import csrf_input
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django.utils.translation import get_language, gettext
from jinja2 import Environment
from markupsafe import Markup


def environment(**options: Any) -> Environment:
    """What Django's backend asks for: Jinja2 with the names that our templates use."""
    environment = Environment(**options)
    environment.globals["url"] = url
    environment.filters["intcomma"] = intcomma
    return environment


def url(name: str, *arguments: object) -> str:
    return reverse(name, args=arguments)


class Words(dict[str, Markup]):
    """The templates' texts in one language. They are HTML of ours, into which `format` puts text
    of others, escaped.

    Each is looked up once, since gettext searches a dozen catalogues every time.
    """

    def __missing__(self, text: str) -> Markup:
        self[text] = Markup(gettext(text))
        return self[text]


@cache
def words(language: str | None) -> Words:
    return Words()


def every_part(request: HttpRequest) -> dict[str, Any]:
    """What every part knows: `_` in the language of the reader, and the token of its forms."""
    return {
        "_": words(get_language()).__getitem__,
        # One for all forms of a part, since it costs more than anything else here.
        "csrf_input": SimpleLazyObject(partial(csrf_input, request)),
    }
