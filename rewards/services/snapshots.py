"""Freezing what people said into a dataset that never changes."""

import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotate.models import Adjudication, AuditEvent, Exclusion, Project, Ranking, User
from rewards.ml.artefacts import publish
from rewards.ml.pairs import (
    PROMPTS_FILE,
    SPLITS,
    SnapshotPrompt,
    judgement_pairs,
    read_prompts,
    write_prompts,
)
from rewards.ml.version import code_version
from rewards.models import Snapshot
from rewards.services.agreement import measure
from rewards.services.dataset import KINDS, decisions, snapshot_prompts, trainable
from rewards.services.taint import refresh_taint
from rewards.services.weights import Weights, gold_state, weigh

FORMAT = 1
ATTEMPTS = 2


class NothingToFreeze(Exception):
    """No ranking may be learned from yet."""


def freeze(project: Project, *, by: User | None = None) -> Snapshot:
    """Freeze all rankings that may be learned from; the newest snapshot where they are the same.

    The rankings can be revised no more, those in whose place an adjudication stands among them. The
    same rankings and adjudications give the same bytes and the same digest. The folder is written
    before anything is locked, so people rank on meanwhile: what they add is for the next snapshot.
    Where they revise, exclude or decide something anew, all is done again, and the last time they
    wait.
    Raises NothingToFreeze when there is none.
    """
    for _ in range(ATTEMPTS):
        if snapshot := _attempt(project, by):
            return snapshot
    with transaction.atomic():
        _locked(project)
        if snapshot := _attempt(project, by):
            return snapshot
    raise NothingToFreeze(f"rankings of {project.slug} were excluded meanwhile")


def _attempt(project: Project, by: User | None) -> Snapshot | None:
    """A snapshot of the rankings as they are now; None where some of them changed meanwhile."""
    refresh_taint(project)
    ids = set(trainable(project).values_list("pk", flat=True))
    if not ids:
        raise NothingToFreeze(f"{project.slug} has no ranking yet that a model could learn from")
    decided = decisions(trainable(project), ids)
    gold = gold_state(project)
    if newest := _newest_of(project, ids, decided, gold):
        return newest
    weights = weigh(project, ids)
    snapshot = Snapshot(
        project=project,
        folder=f"projects/{project.slug}/snapshots/{secrets.token_hex(8)}",
        filters={"kinds": [*KINDS], "adjudications": _ids(decided), "gold": gold},
        weights=weights.report,
        exclusions=_exclusions(project),
        agreement=measure(project).figures,
        code_version=code_version(),
        created_by=by,
    )
    snapshot.digest = _publish(snapshot, ids, decided, weights)
    entered = None
    try:
        snapshot.counts = count(read_prompts(snapshot.path / PROMPTS_FILE))
        entered = _enter(snapshot, ids, decided, gold)
    finally:
        if entered is not snapshot:  # it failed, or somebody else was quicker
            shutil.rmtree(snapshot.path)
    return entered


def _newest_of(
    project: Project, ids: set[int], decided: Mapping[int, Adjudication], gold: str
) -> Snapshot | None:
    """The newest snapshot, if it holds just these rankings and adjudications, weighed alike."""
    newest = project.snapshots.first()
    same = (
        newest
        and newest.adjudication_ids == _ids(decided)
        and newest.filters.get("gold", "") == gold
        and set(newest.rankings.values_list("pk", flat=True)) == ids
    )
    return newest if same else None


def decided_otherwise(snapshot: Snapshot) -> bool:
    """Whether other decisions of reviewers count by now than those that the snapshot holds."""
    return snapshot.adjudication_ids != _ids(decisions(trainable(snapshot.project)))


def _ids(decided: Mapping[int, Adjudication]) -> list[int]:
    return sorted(adjudication.pk for adjudication in decided.values())


def _publish(
    snapshot: Snapshot, ids: set[int], decided: Mapping[int, Adjudication], weights: Weights
) -> str:
    """Write the snapshot's folder and return its digest."""
    project = snapshot.project

    def build(folder: Path) -> None:
        prompts = snapshot_prompts(project, trainable(project), decided, ids, weights.by_member)
        write_prompts(folder / PROMPTS_FILE, prompts)

    facts = {
        "format": FORMAT,
        "project": project.slug,
        "kinds": snapshot.filters["kinds"],
        "weights": weights.report,
    }
    return publish(build, snapshot.path, facts).digest()


def _locked(project: Project) -> set[int]:
    """The rankings that may be learned from, which nobody revises until the transaction ends."""
    Project.objects.select_for_update().get(pk=project.pk)
    chosen = trainable(project).select_for_update(of=("self",)).order_by("pk")
    return set(chosen.values_list("pk", flat=True))


@transaction.atomic
def _enter(
    snapshot: Snapshot, ids: set[int], decided: Mapping[int, Adjudication], gold: str
) -> Snapshot | None:
    """Give the snapshot its number and freeze its rankings.

    Returns another snapshot where somebody else was quicker with the same rankings, and None when
    one of the rankings may not be learned from any more, or an adjudication stands no more.
    """
    project = snapshot.project
    if not ids <= _locked(project):
        return None
    standing = Adjudication.objects.ranking().filter(task__in=decided)
    if not {*_ids(decided)} <= {*standing.values_list("pk", flat=True)}:
        return None
    if newest := _newest_of(project, ids, decided, gold):
        return newest
    newest = project.snapshots.first()
    snapshot.number = newest.number + 1 if newest else 1
    snapshot.save()
    through = Snapshot.rankings.through
    rows = (through(snapshot_id=snapshot.pk, ranking_id=pk) for pk in sorted(ids))
    through.objects.bulk_create(rows, batch_size=1000)
    Ranking.objects.filter(snapshots=snapshot, frozen_at=None).update(frozen_at=timezone.now())
    AuditEvent.record(
        "freeze", snapshot, project=project, actor=snapshot.created_by, digest=snapshot.digest
    )
    return snapshot


def _exclusions(project: Project) -> list[dict[str, Any]]:
    """The exclusions in force: what each leaves out, and why."""
    rows = Exclusion.objects.filter(project=project, lifted_at=None).order_by("pk")
    return [
        {
            "id": row.pk,
            "what": "annotator" if row.membership_id else "ranking" if row.ranking_id else "task",
            "name": str(row.membership or row.ranking_id or row.task_id),
            "reason": row.reason,
        }
        for row in rows.select_related("membership")
    ]


def count(prompts: Iterable[SnapshotPrompt]) -> dict[str, Any]:
    """How much there is: in all, and prompts, rankings and pairs in each split."""
    totals: Counter[str] = Counter()
    splits = {split: Counter[str]() for split in SPLITS}
    annotators: set[str] = set()
    for prompt in prompts:
        here = splits[prompt.split]
        here["prompts"] += 1
        here["rankings"] += len(prompt.judgements)
        totals["responses"] += len(prompt.responses)
        for judgement in prompt.judgements:
            annotators.add(judgement.annotator)
            pairs = judgement_pairs(judgement.ranks, judgement.annotator)
            here["pairs"] += len(pairs)
            totals["ties"] += sum(pair.p == 0.5 for pair in pairs)
            totals["unacceptable"] += sum(judgement.unacceptable)
    names = ("prompts", "rankings", "pairs")
    return {
        "annotators": len(annotators),
        **{name: totals[name] for name in ("responses", "ties", "unacceptable")},
        **{name: sum(here[name] for here in splits.values()) for name in names},
        "splits": {split: {name: splits[split][name] for name in names} for split in SPLITS},
    }
