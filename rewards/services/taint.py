"""Which snapshots and reward models rest on judgements that were excluded since.

The marks change in the transaction of the exclusion. A snapshot that is frozen in the same moment
may miss it, so they are brought up to date before freezing and before promoting too, and each
minute by the clock. A policy is tainted when its reward model is.
"""

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from annotate.models import Adjudication, Exclusion, Project
from rewards.models import RewardModelVersion, Snapshot


def refresh_taint(project: Project) -> list[Snapshot]:
    """Bring the marks up to date, and return the tainted snapshots.

    A mark goes when the exclusions behind it are lifted.
    """
    reasons: dict[int, list[str]] = {}
    for exclusion in Exclusion.objects.filter(project=project, lifted_at=None).order_by("pk"):
        using = project.snapshots.filter(_uses(exclusion)).distinct()
        for pk in {*using.values_list("pk", flat=True), *_decided_by(exclusion)}:
            reasons.setdefault(pk, []).append(_words(exclusion))
    for snapshot in project.snapshots.filter(Q(pk__in=reasons) | Q(tainted_at__isnull=False)):
        reason = "\n".join(reasons.get(snapshot.pk, []))
        if reason != snapshot.taint_reason:
            _mark(snapshot, reason)
    return list(project.snapshots.filter(pk__in=reasons))


@transaction.atomic
def _mark(snapshot: Snapshot, reason: str) -> None:
    """Mark the snapshot and its reward models as tainted; without a reason, as clean."""
    tainted_at = (snapshot.tainted_at or timezone.now()) if reason else None
    Snapshot.objects.filter(pk=snapshot.pk).update(tainted_at=tainted_at, taint_reason=reason)
    RewardModelVersion.objects.filter(snapshot=snapshot).update(tainted_at=tainted_at)


def _uses(exclusion: Exclusion) -> Q:
    """Snapshots that hold a ranking which the exclusion names."""
    if exclusion.membership_id:
        return Q(rankings__assignment__annotator=exclusion.membership_id)
    if exclusion.ranking_id:
        return Q(rankings=exclusion.ranking_id)
    return Q(rankings__assignment__task=exclusion.task_id)


def _decided_by(exclusion: Exclusion) -> list[int]:
    """Snapshots that hold a decision of the reviewer whom the exclusion names."""
    made = Adjudication.objects.filter(reviewer=exclusion.membership_id)
    ids = set(made.values_list("pk", flat=True))
    snapshots = exclusion.project.snapshots.only("filters") if ids else []
    return [snapshot.pk for snapshot in snapshots if ids & {*snapshot.adjudication_ids}]


def _words(exclusion: Exclusion) -> str:
    if exclusion.membership:
        return f"{exclusion.membership} was excluded: {exclusion.reason}"
    what = "a ranking" if exclusion.ranking_id else "a task"
    return f"{what} was excluded: {exclusion.reason}"
