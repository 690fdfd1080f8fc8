"""Carries a run out while a person watches."""

import json
import sys
import time
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from tqdm import tqdm

from rewards.ml.progress import Progress
from rewards.models import Run
from rewards.runner import execute
from rewards.services.runs import retry_run
from rewards.tasks import give_up_overdue

SHOWN_METRICS = 4


def carry_out(run: Run) -> Run:
    """Execute the run here until it is done; one that failed or was cancelled before, once more.

    Raises CommandError when it fails or is cancelled now, and as `to_the_end` does.
    """
    retry_run(run)
    run = to_the_end(run)
    if run.state != Run.State.DONE:
        raise CommandError(f"{run} {run.state}: {run.reason}")
    return run


def to_the_end(run: Run) -> Run:
    """Execute the run here, or watch the worker that was quicker, until it has ended.

    Progress goes to standard error. Raises CommandError when this process was asked to end, which
    leaves the run queued.
    """
    with Bar(str(run)) as bar:
        while run.state not in Run.FINISHED:
            attempt = run.attempt
            run = execute(run, bar.show)
            if run.state == Run.State.QUEUED and run.attempt > attempt:
                raise CommandError(f"{run} is queued again: {run.reason}")
            if run.state not in Run.FINISHED:  # a worker has it, or another run comes first
                give_up_overdue()
                bar.show(Progress(run.step, run.total, run.message))
                time.sleep(1)
                run.refresh_from_db()
    return run


class Bar:
    """A progress bar on a terminal, and silence elsewhere."""

    def __init__(self, title: str) -> None:
        self._bar = tqdm(desc=title, file=sys.stderr, disable=not sys.stderr.isatty(), leave=True)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, progress: Progress) -> None:
        self._bar.total = progress.total or None
        self._bar.n = progress.step
        shown = list(progress.metrics.items())[:SHOWN_METRICS]
        figures = ", ".join(f"{name} {value:.3g}" for name, value in shown)
        self._bar.set_postfix_str(f"{progress.message} {figures}".strip())


def json_object(text: str) -> dict[str, Any]:
    """A command's argument: a JSON object, or `@` and the path of a file that holds one."""
    try:
        found = json.loads(Path(text[1:]).read_text("utf-8") if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(f"no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ArgumentTypeError("it is no JSON object")
    return found
