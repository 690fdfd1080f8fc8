"""Taking in what people judged: exactly once, whatever is clicked twice or comes late."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import combinations
from typing import Any

from django.db import transaction
from django.db.models import Case, DateField, F, Value, When
from django.utils import timezone
from django.utils.translation import gettext

from annotate.compiled import Given, Insert, Rows, Update
from annotate.models import (
    Assignment,
    Membership,
    Project,
    ProjectText,
    Ranking,
    Response,
    Task,
    TaskQuerySet,
    content_hash,
)
from annotate.services.assignments import Conflict
from annotate.services.content import InvalidContent, add_demonstration

# What can be wrong with a response or with the prompt (named "prompt" among the responses' ids),
# besides the project's own flags.
FLAGS = ("toxic", "personal data", "factual error", "off topic", "wrong language", "identity leak")
PROMPT = "prompt"
RATINGS = range(1, 6)
CONFIDENCES = range(1, 4)
MUCH_BETTER = 3
TASKS_AT_ONCE = 200


class InvalidRanking(ValueError):
    """The ranking cannot be stored; the message names what is missing or wrong."""


@dataclass(frozen=True)
class Judgement:
    """What was said, apart from how long it took. Equal judgements have equal hashes.

    Its fields are columns of Ranking, where their meaning stands; `checked` makes one.
    """

    ranks: dict[str, int | None]
    unacceptable: list[int]
    rationale: str = ""
    flags: dict[str, list[str]] = field(default_factory=dict)
    criteria: dict[str, dict[str, int]] = field(default_factory=dict)
    strength: int | None = None
    confidence: int | None = None

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
    flags: Mapping[int | str, Sequence[str]] | None = None,
    criteria: Mapping[int, Mapping[str, int]] | None = None,
    strength: int | None = None,
    confidence: int | None = None,
    edited: tuple[int, str] | None = None,
    dwell_ms: int | None = None,
    n_changes: int | None = None,
    first_interaction_at: datetime | None = None,
    client: Mapping[str, Any] | None = None,
    revises: int | None = None,
) -> Ranking:
    """Store one annotator's ranking; submitting the same again gives the one that is stored.

    `ranks` maps the id of each response to its rank, 1 the best; equal ranks are a tie; gaps are
    closed, so that 1, 3, 3 is stored as 1, 2, 2. Null means not ranked: at least two responses are
    ranked unless all are unacceptable. `edited` is a better text and the id of the response it was
    made from; it is kept as a demonstration. Work whose lease ran out is accepted and marked late.
    `revises` is the revision this ranking replaces, after `reopen`.
    Raises InvalidRanking, or Conflict where another ranking is stored already, the task was
    skipped, the ranking cannot be revised any more, or the person has left.
    """
    project = assignment.task.project
    shown = assignment.display_order
    said = Judgement(
        ranks=checked_ranks(shown, ranks, unacceptable, allow_ties=project.allow_ties),
        unacceptable=sorted(set(unacceptable)),
        rationale=rationale.strip(),
        flags=checked_flags(project, shown, flags or {}),
        criteria=checked_criteria(project, shown, criteria or {}),
        strength=checked_strength(strength, list(ranks.values())),
        confidence=confidence,
    )
    if confidence is not None and confidence not in CONFIDENCES:
        raise InvalidRanking("Confidence is a whole number from 1, guessed, to 3, sure")
    [(n_others,)] = _locked().all(task=assignment.task_id)
    given: dict[str, Any] = {"draft": None}
    if first_interaction_at:
        given["first_interaction_at"] = first_interaction_at
    if client:
        given["client"] = dict(client)
    current = None
    if not _use_slot(assignment, **given):
        _check_takes_part(assignment.annotator)
        current = _current(assignment)
        if current.payload_hash == said.hash:
            _change(assignment, draft=None)
            _keep_edited(assignment, edited)
            return current
        _supersede(assignment, current, revises)
        _change(assignment, **given)
    stored = _store(assignment, said, current, dwell_ms=dwell_ms, n_changes=n_changes)
    if current or edited:
        _keep_edited(assignment, edited)
    if current or n_others:  # else there is nobody yet to agree with
        note_agreement(assignment.task_id)
    return stored


def checked_flags(
    project: Project, response_ids: Iterable[int], flags: Mapping[int | str, Sequence[str]]
) -> dict[str, list[str]]:
    """The flags as they are stored, without empty lists; raises InvalidRanking."""
    known = {*FLAGS, *(flag["name"] for flag in project.flags)}
    subjects = {*map(str, response_ids), PROMPT}
    stored = {str(subject): sorted(set(names)) for subject, names in flags.items() if names}
    if not set(stored) <= subjects:
        raise InvalidRanking("Only the prompt and responses of the task can be flagged")
    if unknown := {name for names in stored.values() for name in names} - known:
        raise InvalidRanking(f"This project has no flag {min(unknown)!r}")
    return stored


def checked_criteria(
    project: Project, response_ids: Iterable[int], criteria: Mapping[int, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """The ratings as they are stored, without empty ones; raises InvalidRanking."""
    known = {criterion["name"] for criterion in project.criteria}
    stored = {str(pk): dict(ratings) for pk, ratings in criteria.items() if ratings}
    if not set(stored) <= set(map(str, response_ids)):
        raise InvalidRanking("Only responses of the task can be rated")
    for ratings in stored.values():
        if unknown := set(ratings) - known:
            raise InvalidRanking(f"This project has no criterion {min(unknown)!r}")
        if any(rating not in RATINGS for rating in ratings.values()):
            raise InvalidRanking("Ratings are whole numbers from 1 to 5, the best")
    return stored


def checked_strength(strength: int | None, ranks: Sequence[int | None]) -> int | None:
    """How much better the better of two responses is; raises InvalidRanking where it cannot be."""
    if strength is None:
        return None
    if len(ranks) != 2 or None in ranks:
        raise InvalidRanking("Only a preference between two ranked responses has a strength")
    if strength not in range(MUCH_BETTER + 1) or (strength == 0) != (ranks[0] == ranks[1]):
        raise InvalidRanking("The strength is 0 for equal responses, else from 1 to 3")
    return strength


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


@cache
def _locked() -> Rows:
    """How many have judged the task; from now on nobody else changes its row."""
    return Rows(Task.objects.select_for_update().filter(pk=Given("task")).values_list("n_done"))


def _use_slot(assignment: Assignment, **given: Any) -> bool:
    """Turn the assignment into a submitted one and count it; the task's row is locked.

    False where it is submitted or skipped already.
    """
    now = timezone.now()
    given |= {"state": Assignment.State.SUBMITTED, "submitted_at": now, "lease_expires_at": None}
    columns = frozenset(given)
    if _given(columns, was_live=True).run(assignment=assignment.pk, **given):
        was_live = 1
    elif _given(columns, was_live=False).run(assignment=assignment.pk, **given):
        was_live = 0
        given["late"] = True
    else:
        return False
    _note(assignment, given)
    _done().run(task=assignment.task_id, was_live=was_live)
    _count(assignment.annotator_id, now)
    return True


@cache
def _given(columns: frozenset[str], *, was_live: bool) -> Update:
    """Take in what was given with a leased assignment, or late with one whose lease has ended."""
    mine = Assignment.objects.filter(pk=Given("assignment"))
    changes = {name: Given(name, Assignment._meta.get_field(name)) for name in columns}
    if was_live:
        return Update(mine.leased(), **changes)
    return Update(mine.filter(state__in=Assignment.LATE), late=True, **changes)


@cache
def _done() -> Update:
    enough = When(state=Task.State.OPEN, need__lte=F("n_done") + 1, then=Value(Task.State.DONE))
    return Update(
        Task.objects.filter(pk=Given("task")),
        n_live=F("n_live") - Given("was_live"),
        n_done=F("n_done") + 1,
        state=Case(enough, default=F("state")),
    )


def _current(assignment: Assignment) -> Ranking:
    current = assignment.rankings.current().first()
    if current is None:
        raise Conflict(_why_closed(assignment))
    return current


def _why_closed(assignment: Assignment) -> str:
    barred = Assignment.objects.filter(pk=assignment.pk, state=Assignment.State.BARRED)
    if barred.exists():
        return gettext("You could read what others said of this task, so somebody else is asked.")
    return gettext("You skipped this task, so it was given to somebody else.")


def _change(assignment: Assignment, **given: Any) -> None:
    Assignment.objects.filter(pk=assignment.pk).update(**given)
    _note(assignment, given)


def _note(assignment: Assignment, given: Mapping[str, Any]) -> None:
    """Let the object say what its row says by now."""
    for column, value in given.items():
        setattr(assignment, column, value)


def _count(member_id: int, now: datetime) -> None:
    """Add one ranking to the annotator's counts. Every column is computed from the stored row.

    Who has left has none, as in `_check_takes_part`.
    """
    today = now.date()
    if not _counted().run(member=member_id, today=today, yesterday=today - timedelta(days=1)):
        raise Conflict(_has_left())


def _check_takes_part(member: Membership) -> None:
    """Raise Conflict where the person has left; otherwise he stays until the transaction ends.

    So nothing that he wrote is stored after he was erased.
    """
    if not member.still_takes_part():
        raise Conflict(_has_left())


def _has_left() -> str:
    return gettext("You do not take part in this project any more.")


@cache
def _counted() -> Update:
    today, yesterday = (Given(name, DateField()) for name in ("today", "yesterday"))
    return Update(
        Membership.objects.filter(pk=Given("member"), state__in=Membership.MAY_ENTER),
        n_submitted=F("n_submitted") + 1,
        n_last_day=Case(When(last_day=today, then=F("n_last_day") + 1), default=Value(1)),
        streak_days=Case(
            When(last_day=today, then=F("streak_days")),
            When(last_day=yesterday, then=F("streak_days") + 1),
            default=Value(1),
        ),
        last_day=today,
    )


def _supersede(assignment: Assignment, current: Ranking, revises: int | None) -> None:
    if revises is None or revises != current.revision:
        raise Conflict(gettext("Another ranking of this task is stored already."))
    if refusal := why_not_revisable(current):
        raise Conflict(refusal)
    # A snapshot may freeze the ranking at this very moment; whoever comes first wins.
    still = Ranking.objects.filter(pk=current.pk, is_current=True, frozen_at=None)
    if not still.update(is_current=False):
        raise Conflict(gettext("The ranking has just become part of a frozen dataset."))


def _store(
    assignment: Assignment, said: Judgement, replaced: Ranking | None, **effort: int | None
) -> Ranking:
    project = assignment.task.project
    return _ranking_row().save(
        Ranking(
            assignment=assignment,
            revision=replaced.revision + 1 if replaced else 1,
            payload_hash=said.hash,
            guidelines_version=project.text_version(ProjectText.Kind.GUIDELINES),
            consent_version=assignment.annotator.consent_version,
            **vars(said),
            **effort,
        )
    )


@cache
def _ranking_row() -> Insert[Ranking]:
    return Insert(Ranking)


def _keep_edited(assignment: Assignment, edited: tuple[int, str] | None) -> None:
    """Store the better text that goes with the ranking, in place of an earlier one."""
    given = assignment.demonstrations.filter(retired_at=None)
    if edited is None:
        given.update(retired_at=timezone.now())
        return
    response_id, text = edited
    if response_id not in assignment.display_order:
        raise InvalidRanking("Only a response of the task can be edited")
    original = Response.objects.get(pk=response_id)
    if text.strip() == original.text.strip():
        given.update(retired_at=timezone.now())
        return
    try:
        kept, _ = add_demonstration(
            assignment.task.prompt,
            text,
            author=assignment.annotator,
            edited_from=original,
            assignment=assignment,
        )
    except InvalidContent as error:
        raise InvalidRanking(str(error)) from error
    given.exclude(pk=kept.pk).update(retired_at=timezone.now())


def note_agreement(task_id: int) -> None:
    """Write down how far the people who judged the task agree; the task's row is locked."""
    standing = _standing().all(task=task_id)
    _agreed().run(task=task_id, agreement=mean_agreement([ranks for (ranks,) in standing]))


def _reviewed() -> TaskQuerySet:
    return Task.objects.filter(pk=Given("task"), kind__in=Task.REVIEWED)


@cache
def _standing() -> Rows:
    standing = Ranking.objects.current().not_excluded()
    return Rows(standing.filter(assignment__task__in=_reviewed()).values_list("ranks"))


@cache
def _agreed() -> Update:
    return Update(_reviewed(), agreement=Given("agreement"))


def note_agreements(task_ids: Collection[int]) -> None:
    """The same of several tasks. What is excluded does not count.

    It serves those who review what people said, so tasks that examine people are passed over: one
    of these may have as many rankings as there are people.
    """
    tasks = Task.objects.filter(pk__in=task_ids, kind__in=Task.REVIEWED)
    judgements = defaultdict(list)
    standing = Ranking.objects.current().not_excluded().filter(assignment__task__in=tasks)
    for task_id, ranks in standing.values_list("assignment__task", "ranks"):
        judgements[task_id].append(ranks)
    changed = defaultdict(list)  # by value, since many tasks have the same
    for task_id, before in tasks.values_list("pk", "agreement"):
        agreement = mean_agreement(judgements[task_id])
        if agreement != before:
            changed[agreement].append(task_id)
    for agreement, ids in changed.items():
        Task.objects.filter(pk__in=ids).update(agreement=agreement)


def refresh_agreement(tasks: TaskQuerySet) -> None:
    """Note anew how far people agree on these tasks, so many a transaction that nobody waits long.

    Call it outside of a transaction: the tasks are locked in their order.
    """
    ids = list(tasks.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(ids), TASKS_AT_ONCE):
        some = ids[start : start + TASKS_AT_ONCE]
        with transaction.atomic():
            list(Task.objects.select_for_update().filter(pk__in=some).order_by("pk"))
            note_agreements(some)


def mean_agreement(judgements: Sequence[Mapping[str, int | None]]) -> float | None:
    """How far judgements of the same responses agree, from 0 to 1; None where nothing compares.

    The mean over the pairs of judgements, and over the response pairs that both ranked: 1 for the
    same preference, 1/2 for a tie against a win, 0 for opposite ones. A measure for looking at one
    task; agreement in the project, corrected for chance, is measured in `rewards`.
    """
    same = []
    for one, other in combinations(judgements, 2):
        for a, b in combinations(sorted(one), 2):
            first, second = _preference(one[a], one[b]), _preference(other.get(a), other.get(b))
            if first is not None and second is not None:
                same.append(1 - abs(first - second) / 2)
    return sum(same) / len(same) if same else None


def _preference(a: int | None, b: int | None) -> int | None:
    """1 where the first is better, −1 where the second is, 0 for a tie; None where not said."""
    return None if a is None or b is None else (a < b) - (a > b)


def why_not_revisable(current: Ranking) -> str:
    """Why the ranking stands for good, or nothing where it may still be revised.

    A frozen dataset fixes all that the person had ranked before, whether it entered or not: what
    enters none would tell which tasks examine people.
    """
    mine = Ranking.objects.filter(assignment__annotator=current.assignment.annotator_id)
    if mine.filter(frozen_at__gte=current.created_at).exists():
        return gettext("The ranking is part of a frozen dataset by now.")
    if current.assignment.task.kind == Task.Kind.TRAINING:
        return gettext("The right order was shown, so the practice stands as it is.")
    return ""


def revisable_ranking(assignment: Assignment) -> Ranking:
    """The ranking that stands and may still be revised; raises Conflict with the reason."""
    current = assignment.rankings.filter(is_current=True).first()
    if current is None:
        raise Conflict(gettext("There is no ranking of this task yet."))
    if refusal := why_not_revisable(current):
        raise Conflict(refusal)
    return current


def undoable(member: Membership) -> Assignment | None:
    """The annotator's newest submitted assignment, for as long as the page offers to undo it."""
    since = timezone.now() - timedelta(seconds=member.project.undo_s)
    recent = Ranking.objects.current().filter(
        assignment__annotator=member,
        assignment__state=Assignment.State.SUBMITTED,
        assignment__submitted_at__gt=since,
    )
    others = recent.exclude(assignment__task__kind=Task.Kind.TRAINING)
    others = others.select_related("assignment__task__project")
    newest = others.order_by("-assignment__submitted_at").first()
    return newest.assignment if newest and not why_not_revisable(newest) else None


@transaction.atomic
def reopen(assignment: Assignment, draft: Mapping[str, Any]) -> Assignment:
    """Let a submitted ranking be revised, beginning from `draft`, what it says now.

    The stored ranking stands until a revision is submitted. Raises Conflict with the reason where
    it is too late.
    """
    _check_takes_part(assignment.annotator)
    revisable_ranking(assignment)
    Assignment.objects.filter(pk=assignment.pk).update(
        draft=dict(draft), draft_revision=F("draft_revision") + 1
    )
    assignment.refresh_from_db()
    return assignment
