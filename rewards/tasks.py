"""What the worker does: ring for runs, and look after those that nobody rang for."""

import os
from pathlib import Path

from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings

from rewards import process
from rewards.ml.artefacts import sweep
from rewards.models import Run

# Between two signs of life of a writer lies, at most, the time it takes to hash a large model.
ABANDONED_S = 24 * 3600


@shared_task
def ring(run_id: int) -> None:
    """Execute a queued run in a process of its own, then ring for the project's next.

    Delivered twice, late, or for a run that cannot start now, it does nothing: the sweep rings
    again.
    """
    run = Run.objects.startable().filter(pk=run_id).first()
    if run is None:
        return
    with process.training_slot() as slot:
        if slot is None:
            return
        process.supervise(run, slot)
    if run.state in Run.FINISHED:  # else the worker is ending, or should rest before it tries again
        ring_next()


@worker_shutting_down.connect
def stop_trainings(**kwargs: object) -> None:
    """A worker that is asked to end waits for its tasks, so their trainings are asked too."""
    process.stop_trainings(worker_pid=os.getpid())


@shared_task
def sweep_runs() -> None:
    """Give back the runs that lost their workers, ring for the queued ones, and tidy up."""
    give_up_overdue()
    ring_next()
    sweep_artefacts()


def give_up_overdue() -> None:
    for run in Run.objects.overdue():
        run.give_up(
            f"{run.worker} has not been heard of for {settings.RUN_LEASE_S} s", overdue=True
        )


def ring_next() -> None:
    """Ring for the oldest queued run of every project in which none is running."""
    rung: set[int] = set()
    for run in Run.objects.startable():
        if run.project_id not in rung:
            rung.add(run.project_id)
            ring.delay(run.pk)


def sweep_artefacts() -> None:
    """Remove what processes that were killed had half written into the projects' folders."""
    for folder in Path(settings.ARTEFACT_ROOT).glob("projects/*/*"):
        sweep(folder, older_than_s=ABANDONED_S)
