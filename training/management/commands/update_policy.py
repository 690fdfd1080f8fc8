"""Improve the live policy by PPO, and say whether it may go live."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.output import JsonCommand, project_from
from rewards.management.foreground import carry_out, json_object
from rewards.models import RewardModelVersion
from training.lifecycle import NotAllowed
from training.management.words import policy_facts, policy_from, policy_lines
from training.services.policies import judge_promotion, request_evaluation, request_update


class Command(JsonCommand):
    help = "Improve the live policy by PPO against a reward model, evaluate and judge the result."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")
        parser.add_argument("--reward-model", type=int, help="its number; the newest accepted one")
        parser.add_argument(
            "--config",
            type=json_object,
            default={},
            metavar="JSON",
            help="settings of PPO that differ, as JSON or @file",
        )
        parser.add_argument(
            "--blind-votes",
            type=int,
            default=0,
            help="rankings by volunteers who compare the responses, blind",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_from(options["project"])
        live = policy_from(project, None)
        models = project.reward_models.filter(status=RewardModelVersion.Status.ACCEPTED)
        if options["reward_model"]:
            models = project.reward_models.filter(number=options["reward_model"])
        reward_model = models.first()
        if reward_model is None:
            raise CommandError(f"{project.slug} has no such reward model that was accepted")
        try:
            policy = request_update(live, reward_model, options["config"])
            assert policy.run is not None
            carry_out(policy.run)
            policy.refresh_from_db()
            carry_out(request_evaluation(policy, live, blind_votes=options["blind_votes"]))
            judge_promotion(policy)
        except NotAllowed as error:
            raise CommandError(str(error)) from error
        policy.refresh_from_db()
        self.report(policy_facts(policy), policy_lines(policy))
