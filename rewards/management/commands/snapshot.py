"""Freeze what people said into a dataset that never changes."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.output import JsonCommand, project_from
from rewards.ml.artefacts import ArtefactError
from rewards.services.snapshots import NothingToFreeze, freeze


class Command(JsonCommand):
    help = "Freeze all rankings that may be learned from; nothing new gives the newest snapshot."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_from(options["project"])
        before = project.snapshots.first()
        try:
            snapshot = freeze(project)
        except (NothingToFreeze, ArtefactError) as error:
            raise CommandError(str(error)) from error
        counts = snapshot.counts
        facts = {
            "project": project.slug,
            "snapshot": snapshot.number,
            "new": snapshot != before,
            "digest": snapshot.digest,
            "folder": str(snapshot.path),
            "counts": counts,
            "exclusions": snapshot.exclusions,
        }
        splits = ", ".join(f"{name} {of['prompts']}" for name, of in counts["splits"].items())
        was = "frozen" if snapshot != before else "nothing new since"
        lines = [
            f"{snapshot} of {project.slug}: {was}, sha256 {snapshot.digest}",
            "{rankings} rankings of {prompts} prompts by {annotators} people: "
            "{pairs} pairs, {ties} of them tied".format(**counts),
            f"prompts: {splits}",
            str(snapshot.path),
        ]
        self.report(facts, lines)
