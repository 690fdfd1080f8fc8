"""Make a base model the first policy of a project."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.output import JsonCommand, project_from
from rewards.ml.artefacts import ArtefactError
from training.lifecycle import NotAllowed
from training.management.words import policy_facts, policy_lines
from training.services.policies import register_base


class Command(JsonCommand):
    help = "Register a base model, a folder or a hub id, as a policy; live if there is none yet."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")
        parser.add_argument("base", help="a folder with a transformers model, or a hub id")
        parser.add_argument("--temperature", type=float, default=1.0)
        parser.add_argument("--max-new-tokens", type=int, default=256)

    def handle(self, *args: Any, **options: Any) -> None:
        sampling = {name: options[name] for name in ("temperature", "max_new_tokens")}
        try:
            policy = register_base(
                project_from(options["project"]), options["base"], config={"sampling": sampling}
            )
        except (NotAllowed, ArtefactError) as error:
            raise CommandError(str(error)) from error
        self.report(policy_facts(policy), policy_lines(policy))
