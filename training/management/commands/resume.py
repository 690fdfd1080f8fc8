"""Let the weekly cycle begin by itself again."""

from typing import Any

from django.core.management.base import CommandParser

from annotate.management.output import JsonCommand, project_from
from training.services.cycles import resume_loop


class Command(JsonCommand):
    help = "Let the weekly cycle begin by itself again, which a rollback had paused."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_from(options["project"])
        resumed = resume_loop(project, by=None)
        words = "the weekly cycle begins by itself again" if resumed else "nothing was paused"
        self.report({"project": project.slug, "resumed": resumed}, [words])
