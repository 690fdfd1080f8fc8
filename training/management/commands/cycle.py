"""This week's turn of the loop, in the foreground."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from annotate.management.output import JsonCommand, project_from
from rewards.management.foreground import json_object, to_the_end
from rewards.models import Run
from training.cycle import advance, waits_for
from training.lifecycle import NotAllowed
from training.models import Cycle
from training.services.cycles import start_cycle


class Command(JsonCommand):
    help = "Begin or resume this week's cycle, and go on to its end or to where people are needed."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")
        parser.add_argument(
            "--config",
            type=json_object,
            default={},
            metavar="JSON",
            help="what differs from the last cycle's settings, as JSON or @file",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_from(options["project"])
        try:
            cycle = start_cycle(project, config=options["config"])
        except NotAllowed as error:
            raise CommandError(str(error)) from error
        told = len(cycle.log)
        while self.step(cycle):
            for entry in cycle.log[told:]:
                self.stderr.write(f"{entry['step']}: {entry['what']}")
            told = len(cycle.log)
        if cycle.state == Cycle.State.FAILED:
            raise CommandError(f"the cycle of {cycle.iso_week} failed: {cycle.reason}")
        self.report(_facts(cycle), _lines(cycle))

    def step(self, cycle: Cycle) -> bool:
        """Go on by one step, its run included; False at the end, or where people are needed."""
        if advance(cycle):
            return True
        if cycle.state != Cycle.State.RUNNING or cycle.run is None:
            return False
        if cycle.run.state != Run.State.DONE:
            to_the_end(cycle.run)
        return True


def _facts(cycle: Cycle) -> dict[str, Any]:
    return {
        "project": cycle.project.slug,
        "week": cycle.iso_week,
        "state": cycle.state,
        "step": cycle.step,
        "reason": cycle.reason,
        "waits_for": waits_for(cycle),
        "snapshot": cycle.snapshot.number if cycle.snapshot else None,
        "reward_model": cycle.reward_model.number if cycle.reward_model else None,
        "policy": cycle.policy.number if cycle.policy else None,
        "log": cycle.log,
    }


def _lines(cycle: Cycle) -> list[str]:
    at = timezone.localtime(cycle.created_at)
    lines = [f"cycle {cycle.iso_week} of {cycle.project.slug}, begun {at:%Y-%m-%d %H:%M}"]
    lines += [f"  {entry['step']}: {entry['what']}" for entry in cycle.log]
    if cycle.state == Cycle.State.RUNNING:
        return [*lines, f"at the step {cycle.step}: waits for {waits_for(cycle)}"]
    return [*lines, f"{cycle.get_state_display()}: {cycle.reason}"]
