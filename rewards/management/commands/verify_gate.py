"""Check the document of a gate that somebody shows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.output import JsonCommand, text_from
from rewards.services.gate_documents import Checked, InvalidDocument, check


class Command(JsonCommand):
    help = "Check that a gate's document was made by this installation, and not altered since."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, help="the JSON file of a gate's page")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = json.loads(text_from(options["file"]))
            checked = check(found)
        except (ValueError, InvalidDocument) as error:
            raise CommandError(f"{options['file']} is no document of a gate: {error}") from error
        facts = {
            "valid": checked.valid,
            "unaltered": checked.unaltered,
            "signed_here": checked.ours,
            "stored": checked.current is not None,
            "changed_since": checked.changed,
            "sha256": found.get("sha256"),
        }
        self.report(facts, _lines(checked))
        if not checked.valid:
            raise CommandError("The document is not valid.")


def _lines(checked: Checked) -> Iterator[str]:
    yield "content: " + ("as it was written" if checked.unaltered else "ALTERED")
    yield "signature: " + ("of this installation" if checked.ours else "NOT of this installation")
    if checked.current is None:
        yield "report: this database has none of that number"
    elif checked.changed:
        yield f"report: has changed since; it now says: {checked.current}"
    else:
        yield f"report: stands as written: {checked.current}"
