"""Compute the sums that agreement is made of anew, and compare them with those that are kept."""

from typing import Any

from django.core.management.base import CommandParser

from annotate.management.output import JsonCommand, project_from
from rewards.services.sums import check


class Command(JsonCommand):
    help = (
        "Compute the sums behind the agreement page anew from all judgements, and correct those "
        "that differ. The clock does this once a week."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_from(options["project"])
        corrected = check(project)
        words = f"{corrected} prompts had other sums, which were corrected."
        lines = ["All sums are right." if not corrected else words]
        self.report({"project": project.slug, "corrected": corrected}, lines)
