"""Commands as tests give them."""

import json
from io import StringIO
from typing import Any

from django.core.management import call_command


def say(*arguments: Any) -> str:
    """What a command prints on standard output."""
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def ask(*arguments: Any) -> Any:
    """The one JSON object that a command prints with --json."""
    return json.loads(say(*arguments, "--json"))
