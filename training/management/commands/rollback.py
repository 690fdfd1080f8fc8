"""Bring the policy back that was live before."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.output import JsonCommand, project_from
from training.lifecycle import NotAllowed
from training.management.words import policy_facts, policy_lines
from training.services.policies import roll_back


class Command(JsonCommand):
    help = "Make the policy live that was live before; the live one is rejected."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")
        parser.add_argument("--reason", required=True, help="kept in the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            policy = roll_back(project_from(options["project"]), None, options["reason"])
        except NotAllowed as error:
            raise CommandError(str(error)) from error
        paused = f"no cycle begins by itself until `manage.py resume {options['project']}`"
        self.report(policy_facts(policy), [*policy_lines(policy), paused])
