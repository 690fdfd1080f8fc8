"""Execute one queued run here. The worker starts this very command; a person may as well."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rewards.models import Run
from rewards.process import follow_parent
from rewards.runner import execute


class Command(BaseCommand):
    help = "Execute one queued run in this process."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=int, help="the run's number")
        parser.add_argument("--parent", type=int, help="end when this parent process does")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["parent"]:
            follow_parent(options["parent"])
        try:
            run = Run.objects.get(pk=options["id"])
        except Run.DoesNotExist as error:
            raise CommandError(f"there is no run {options['id']}") from error
        attempt = run.attempt
        execute(run)
        if run.attempt == attempt:
            raise CommandError(f"{run} cannot start: it is {run.state}, or waits for another run")
        if run.state == Run.State.FAILED:
            raise CommandError(f"{run} failed: {run.reason}")
        self.stdout.write(f"{run}: {run.state} {run.reason}".rstrip())
