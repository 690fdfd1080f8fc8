"""Taking in what people judged: exactly once, whatever is clicked twice or comes late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from annotate.models import Assignment, Membership, ProjectText, Ranking, Task, content_hash
from annotate.services.assignments import Conflict


class InvalidRanking(ValueError):
    """The ranking cannot be stored; the message names what is missing or wrong."""


@dataclass(frozen=True)
class Judgement:
    """What was said, apart from how long it took. Equal judgements have equal hashes.

    Its fields are columns of Ranking; `ranks` are what `checked_ranks` gives.
    """

    ranks: dict[str, int | None]
    unacceptable: list[int]
    rationale: str = ""
    flags: list[str] = field(default_factory=list)
    criteria: dict[str, Any] = field(default_factory=dict)
    strength: int | None = None

    @property
    def hash(self) -> str:
        return content_hash(vars(self))


@transaction.atomic
def submit_ranking(
    assignment: Assignment,
    ranks: Mapping[int, int | None],
    *,
    unacceptable: Sequence[int] = (),
    rationale: str = "",
    flags: Sequence[str] = (),
    criteria: Mapping[str, Any] | None = None,
    strength: int | None = None,
    dwell_ms: int | None = None,
    n_changes: int | None = None,
    first_interaction_at: datetime | None = None,
    client: Mapping[str, Any] | None = None,
    revises: int | None = None,
) -> Ranking:
    """Store one annotator's ranking; submitting the same again gives the one that is stored.

    `ranks` maps the id of each response to its rank, 1 the best; equal ranks are a tie; gaps are
    closed, so that 1, 3, 3 is stored as 1, 2, 2. Null means not ranked: at least two responses are
    ranked unless all are unacceptable. Work whose lease ran out is accepted and marked late.
    `revises` is the revision this ranking replaces, after `reopen`.
    Raises InvalidRanking, or Conflict where another ranking is stored already, the task was
    skipped, or the ranking cannot be revised any more.
    """
    said = Judgement(
        ranks=checked_ranks(
            assignment.display_order,
            ranks,
            unacceptable,
            allow_ties=assignment.task.project.allow_ties,
        ),
        unacceptable=sorted(set(unacceptable)),
        rationale=rationale.strip(),
        flags=sorted(set(flags)),
        criteria=dict(criteria or {}),
        strength=strength,
    )
    Task.objects.select_for_update().get(pk=assignment.task_id)
    assignment.refresh_from_db()
    current = assignment.rankings.filter(is_current=True).first()
    if current and current.payload_hash == said.hash:
        _forget_draft(assignment)
        return current
    if current:
        _supersede(assignment, current, revises)
    else:
        _use_slot(assignment)
    Assignment.objects.filter(pk=assignment.pk).update(
        draft=None,
        first_interaction_at=first_interaction_at or assignment.first_interaction_at,
        client=dict(client or assignment.client),
    )
    assignment.refresh_from_db()
    return _store(assignment, said, current, dwell_ms=dwell_ms, n_changes=n_changes)


def checked_ranks(
    response_ids: Iterable[int],
    ranks: Mapping[int, int | None],
    unacceptable: Sequence[int],
    *,
    allow_ties: bool,
) -> dict[str, int | None]:
    """Dense ranks by response id as text (JSON has no other keys); raises InvalidRanking.

    `response_ids` are the responses that were shown.
    """
    shown = set(response_ids)
    if set(ranks) != shown:
        raise InvalidRanking("The ranking must name each response of the task, and no other")
    if not set(unacceptable) <= shown:
        raise InvalidRanking("Only responses of the task can be marked unacceptable")
    given = [rank for rank in ranks.values() if rank is not None]
    if any(rank < 1 for rank in given):
        raise InvalidRanking("Ranks count from 1, the best")
    if len(given) < 2 and set(unacceptable) != shown:
        raise InvalidRanking("At least two responses must be ranked")
    if len(set(given)) < len(given) and not allow_ties:
        raise InvalidRanking("This project does not allow ties")
    dense = {rank: place for place, rank in enumerate(sorted(set(given)), start=1)}
    return {
        str(response): None if (rank := ranks[response]) is None else dense[rank]
        for response in sorted(ranks)
    }


def _use_slot(assignment: Assignment) -> None:
    """Turn the assignment into a submitted one and count it; the task's row is locked."""
    now = timezone.now()
    submitted = {"state": Assignment.State.SUBMITTED, "submitted_at": now, "lease_expires_at": None}
    mine = Assignment.objects.filter(pk=assignment.pk)
    if mine.leased().update(**submitted):
        was_live = 1
    elif mine.filter(state__in=Assignment.LATE).update(late=True, **submitted):
        was_live = 0
    else:
        raise Conflict("You skipped this task, so it was given to somebody else.")
    task = Task.objects.filter(pk=assignment.task_id)
    task.update(n_live=F("n_live") - was_live, n_done=F("n_done") + 1)
    task.filter(state=Task.State.OPEN, n_done__gte=F("need")).update(state=Task.State.DONE)


def _supersede(assignment: Assignment, current: Ranking, revises: int | None) -> None:
    if revises is None or revises != current.revision:
        raise Conflict("Another ranking of this task is stored already.")
    if refusal := why_not_revisable(assignment, current):
        raise Conflict(refusal)
    # A snapshot may freeze the ranking at this very moment; whoever comes first wins.
    still = Ranking.objects.filter(pk=current.pk, is_current=True, frozen_at=None)
    if not still.update(is_current=False):
        raise Conflict("The ranking has just become part of a frozen dataset.")


def _store(
    assignment: Assignment, said: Judgement, replaced: Ranking | None, **effort: int | None
) -> Ranking:
    project = assignment.task.project
    return Ranking.objects.create(
        assignment=assignment,
        revision=replaced.revision + 1 if replaced else 1,
        payload_hash=said.hash,
        guidelines_version=project.text_version(ProjectText.Kind.GUIDELINES),
        consent_version=assignment.annotator.consent_version,
        **vars(said),
        **effort,
    )


def _forget_draft(assignment: Assignment) -> None:
    Assignment.objects.filter(pk=assignment.pk).update(draft=None)


def why_not_revisable(assignment: Assignment, current: Ranking) -> str:
    """Why the ranking stands for good, or nothing where it may still be revised."""
    if current.frozen_at:
        return "The ranking is part of a frozen dataset by now."
    undo_s = assignment.task.project.undo_s
    first = assignment.submitted_at
    if first is None or timezone.now() > first + timedelta(seconds=undo_s):
        return f"A ranking can be changed for {undo_s // 60} minutes, which are over."
    return ""


def revisable_ranking(assignment: Assignment) -> Ranking:
    """The ranking that stands and may still be revised; raises Conflict with the reason."""
    current = assignment.rankings.filter(is_current=True).first()
    if current is None:
        raise Conflict("There is no ranking of this task yet.")
    if refusal := why_not_revisable(assignment, current):
        raise Conflict(refusal)
    return current


def last_revisable(member: Membership) -> Assignment | None:
    """The annotator's newest submitted assignment while it can still be undone."""
    newest = member.assignments.filter(state=Assignment.State.SUBMITTED, submitted_at__isnull=False)
    assignment = newest.select_related("task__project").order_by("-submitted_at").first()
    if assignment is None:
        return None
    try:
        revisable_ranking(assignment)
    except Conflict:
        return None
    return assignment


@transaction.atomic
def reopen(assignment: Assignment, draft: Mapping[str, Any]) -> Assignment:
    """Let a submitted ranking be revised, beginning from `draft`, what it says now.

    The stored ranking stands until a revision is submitted. Raises Conflict with the reason where
    it is too late.
    """
    revisable_ranking(assignment)
    Assignment.objects.filter(pk=assignment.pk).update(
        draft=dict(draft), draft_revision=F("draft_revision") + 1
    )
    assignment.refresh_from_db()
    return assignment
