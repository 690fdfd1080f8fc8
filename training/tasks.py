"""The clock: the weekly cycle, and what pages only read is kept up to date."""

from celery import shared_task
from django.db import OperationalError
from django.utils import timezone

from annotate.models import Project
from rewards.services import sums
from rewards.services.agreement import is_due, measure, newest_report
from rewards.services.gates import judge_agreement
from rewards.services.taint import refresh_taint
from training.cycle import advance, begin_due
from training.models import Cycle


@shared_task
def advance_cycles() -> None:
    """Begin the cycles that are due and take the unfinished ones a step further."""
    begin_due(timezone.now())
    for cycle in Cycle.objects.filter(state=Cycle.State.RUNNING):
        advance_cycle.delay(cycle.pk)


@shared_task
def advance_cycle(cycle_id: int) -> None:
    """Take one cycle as far as it goes now; delivered twice, it does nothing twice."""
    cycle = Cycle.objects.get(pk=cycle_id)
    try:
        while advance(cycle):
            pass
    except OperationalError:  # the database is busy or away: the next minute tries again
        raise
    except Exception as error:  # the top of a worker: whatever went wrong is kept with the cycle
        cycle.close(Cycle.State.FAILED, f"{type(error).__name__}: {error}")
        raise


@shared_task
def refresh_projects() -> None:
    """Look after every project, each in a task of its own."""
    for project_id in Project.objects.values_list("pk", flat=True):
        refresh_project.delay(project_id)


@shared_task
def refresh_project(project_id: int) -> None:
    """Bring taint, agreement and its gate up to date; pages show them as they were left here."""
    project = Project.objects.get(pk=project_id)
    refresh_taint(project)
    sums.look_after(project)
    report = measure(project) if is_due(project, timezone.now()) else newest_report(project)
    if report:
        judge_agreement(project, report.figures)  # its thresholds may have changed
