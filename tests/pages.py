"""What a page says, and whether anything changed, for tests of pages."""

import re
from html import unescape
from typing import Any

from django.apps import apps
from django.core import serializers


def words(response: Any) -> str:
    """The words of a page, without its tags, scripts and the descriptions of its charts."""
    text = re.sub(
        r"<(script|title|desc)\b.*?</\1>|<[^>]*>", " ", response.content.decode(), flags=re.S
    )
    return " ".join(unescape(text).split())


def everything(*packages: str) -> str:
    """All rows of the packages' tables, as text."""
    models = (model for name in packages for model in apps.get_app_config(name).get_models())
    return serializers.serialize(
        "json", [row for model in models for row in model.objects.order_by("pk")]
    )
