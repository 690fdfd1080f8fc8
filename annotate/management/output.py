"""What every command of Prefloop shares: text for people, or one JSON object for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from annotate.models import Project
from annotate.rendering import show_hidden


class JsonCommand(BaseCommand):
    """A command that answers once, by `report`. A subclass extends `add_arguments`."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="print one JSON object and nothing else on standard output",
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        self.as_json: bool = options["as_json"]
        return super().execute(*args, **options)

    def report(self, facts: Mapping[str, Any], lines: Iterable[str]) -> None:
        """Print the facts as JSON where asked to, otherwise the lines."""
        with self.answering():
            if self.as_json:
                self.stdout.write(
                    json.dumps(dict(facts), cls=DjangoJSONEncoder, allow_nan=False, indent=2)
                )
            else:
                for line in lines:
                    self.stdout.write(show_hidden(line))  # of others, must not steer a terminal

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Write to standard output inside; where its reader has gone, as `head` does, end quietly.

        Raises SystemExit then, with status 1.
        """
        try:
            yield
            self.stdout.flush()
        except BrokenPipeError:
            # Python writes what is left in the buffer at its end: that goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


def project_from(slug: str) -> Project:
    """The project a command was given; raises CommandError that lists those there are."""
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        slugs = ", ".join(Project.objects.values_list("slug", flat=True)) or "none yet"
        raise CommandError(f"There is no project {slug!r}. Projects: {slugs}")
    return project


def text_from(path: Path) -> str:
    """The text of a file a command was given; raises CommandError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
