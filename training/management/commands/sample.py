"""Let a policy respond to prompts, for the volunteers to rank."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.output import JsonCommand, project_from
from rewards.management.foreground import carry_out
from training.lifecycle import NotAllowed, asked_least
from training.management.words import policy_from
from training.services.policies import request_samples


class Command(JsonCommand):
    help = "Sample responses of a policy and open tasks to rank them."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")
        parser.add_argument("--policy", type=int, help="its number; the live one by default")
        parser.add_argument(
            "--prompts", type=int, default=100, help="how many, those asked least first"
        )
        parser.add_argument("--k", type=int, help="responses a prompt; the project's by default")
        parser.add_argument("--seed", type=int, default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_from(options["project"])
        policy = policy_from(project, options["policy"])
        k = options["k"] or project.responses_per_prompt
        try:
            run = request_samples(
                policy, asked_least(project, options["prompts"]), k, options["seed"]
            )
        except NotAllowed as error:
            raise CommandError(str(error)) from error
        found: dict[str, Any] = carry_out(run).result or {}
        self.report(
            {"run": run.pk, "policy": policy.number, **found},
            [
                f"{policy} gave {found['responses']} responses to {found['prompts']} prompts: "
                f"{found['tasks']} tasks to rank"
            ],
        )
