from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from annotate.management.output import JsonCommand, project_from, text_from
from annotate.models import ProjectText
from annotate.services.projects import publish_text


class Command(JsonCommand):
    help = "Publish a new version of a project's guidelines or consent text from a Markdown file."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project")
        parser.add_argument("kind", choices=ProjectText.Kind.values)
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_from(options["project"])
        text = publish_text(project, options["kind"], text_from(options["file"]), by=None)
        self.report(
            {"project": project.slug, "kind": text.kind, "version": text.version},
            [f"The {text.kind} of {project.slug} stand at version {text.version}."],
        )
