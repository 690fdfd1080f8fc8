"""Fine-tune a base model on responses worth imitating, in the foreground."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.output import JsonCommand, project_from
from annotate.models import Project
from rewards.management.foreground import carry_out, json_object
from rewards.ml.artefacts import ArtefactError
from training.lifecycle import NotAllowed
from training.services.policies import request_fine_tuning


class Command(JsonCommand):
    help = "Fine-tune a base model on a corpus; register_policy then makes a policy of the result."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")
        parser.add_argument(
            "corpus",
            type=Path,
            nargs="?",
            help="JSON lines with messages and response; the project's demonstrations",
        )
        parser.add_argument(
            "--base",
            default="",
            help="a folder with a transformers model, or a hub id; a small model made from scratch",
        )
        parser.add_argument(
            "--config",
            type=json_object,
            default={},
            metavar="JSON",
            help="sft, fields of training.ml.sft.SftConfig, and embedded, as JSON or @file",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_from(options["project"])
        try:
            run = request_fine_tuning(
                project,
                base=options["base"],
                corpus=options["corpus"],
                config=options["config"],
            )
        except (NotAllowed, ArtefactError) as error:
            raise CommandError(str(error)) from error
        found: dict[str, Any] = carry_out(run).result or {}
        facts = {"project": project.slug, **found, **found["result"]}
        del facts["result"]
        self.report(facts, _lines(project, facts))


def _lines(project: Project, found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{found['base']}: learned from {found['n_examples']} examples in "
        f"{found['duration_s']:.0f} s; {found['n_too_long']} were too long and left out"
    )
    if curve := found["curve"]:
        losses = [loss for _, loss in curve]
        yield f"loss: {losses[0]:.2f} at first, {losses[-1]:.2f} at last, nats a token"
    yield f"Next: `manage.py register_policy {project.slug} {found['base']}` makes a policy of it."
