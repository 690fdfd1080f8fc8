"""Asking for background work, and calling it off."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from annotate.models import AuditEvent, Project, User
from rewards.models import Run
from rewards.tasks import ring


@transaction.atomic
def request_run(
    project: Project,
    kind: str,
    params: Mapping[str, Any],
    *,
    key: str | None = None,
    by: User | None = None,
) -> Run:
    """Queue a run; asked again with the same key, the run that exists is returned.

    `kind` is one of settings.RUN_KINDS.
    """
    fields = {"project": project, "kind": kind, "params": dict(params), "created_by": by}
    if key is None:
        run, created = Run.objects.create(**fields), True
    else:
        run, created = Run.objects.get_or_create(key=key, defaults=fields)
    if created:
        _ring_after_commit(run)
    return run


@transaction.atomic
def cancel_run(run: Run, by: User | None = None) -> bool:
    """Cancel a run: at once while it is queued, at its next report when it is running.

    False, and nothing changed, when it has ended.
    """
    this = Run.objects.filter(pk=run.pk)
    queued = this.filter(state=Run.State.QUEUED)
    asked = queued.close(Run.State.CANCELLED, reason="cancelled")
    asked = asked or this.running().update(cancel_requested=True)
    if asked:
        AuditEvent.record("cancel run", run, project=run.project, actor=by)
    run.refresh_from_db()
    return bool(asked)


@transaction.atomic
def retry_run(run: Run, by: User | None = None) -> bool:
    """Queue a failed or cancelled run again; it goes on from its last checkpoint.

    False, and nothing changed, when it is in any other state.
    """
    ended = Run.objects.filter(pk=run.pk, state__in=[Run.State.FAILED, Run.State.CANCELLED])
    if queued := ended.requeue(losses=0, cancel_requested=False):
        AuditEvent.record("retry run", run, project=run.project, actor=by, reason=run.reason)
        _ring_after_commit(run)
    run.refresh_from_db()
    return bool(queued)


def _ring_after_commit(run: Run) -> None:
    """Ring once the row can be seen. A broker that is down is logged: the sweep rings later."""

    def ring_now() -> None:
        ring.delay(run.pk)

    transaction.on_commit(ring_now, robust=True)
