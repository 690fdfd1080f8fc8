"""Drill a project: what the defences would have done had some volunteers been hostile."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from annotate.management.output import JsonCommand, project_from
from rewards.drill_words import drill_in_words, drill_rows
from rewards.management.foreground import carry_out
from rewards.services.drill import request_drill


class Command(JsonCommand):
    help = "Make a part of the volunteers hostile in a copy, and say what the defences do."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_from(options["project"])
        run = carry_out(request_drill(project, by=None))
        assert run.result is not None
        self.report(run.result, _lines(run.result))


def _lines(result: dict[str, Any]) -> Iterator[str]:
    for row in drill_rows(result):
        yield (
            f"{row['name']:<22} {row['share']:>4.0%}  gate {row['state']:<12} "
            f"found out {row['caught']} of {row['hostile']}, others left out {row['suspended']}, "
            f"accuracy {_share(row['without'])} undefended, {_share(row['defended'])} defended"
        )
    yield from drill_in_words(result)


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"
