"""Make a candidate policy live."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.output import JsonCommand, project_from
from training.lifecycle import NotAllowed
from training.management.words import policy_facts, policy_from, policy_lines
from training.services.policies import promote


class Command(JsonCommand):
    help = "Make a candidate policy live, if its gate opens."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")
        parser.add_argument("policy", type=int, help="its number")

    def handle(self, *args: Any, **options: Any) -> None:
        policy = policy_from(project_from(options["project"]), options["policy"])
        try:
            policy = promote(policy)
        except NotAllowed as error:
            raise CommandError(str(error)) from error
        self.report(policy_facts(policy), policy_lines(policy))
