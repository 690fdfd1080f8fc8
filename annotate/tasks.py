"""What the worker does for people who rank."""

from celery import shared_task

from annotate.models import Assignment


@shared_task
def expire_leases() -> int:
    """Free the slots of people who went away; returns how many."""
    return Assignment.objects.expire_overdue()
