"""What the worker does for people who rank."""

from celery import shared_task

from annotate import upload_store
from annotate.models import Assignment, Project, Task


@shared_task
def expire_leases() -> int:
    """Free the slots of people who went away; returns how many."""
    return Assignment.objects.expire_overdue()


@shared_task
def count_progress() -> None:
    """Store how far each project is, since counting takes long where there are many tasks."""
    for project in Project.objects.all():
        totals = Task.objects.filter(project=project).totals()
        Project.objects.filter(pk=project.pk).update(progress=totals)


@shared_task
def sweep_uploads() -> int:
    """Remove files that were uploaded a day ago; returns how many."""
    return upload_store.sweep()
