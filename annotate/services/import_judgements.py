"""Judgements of an import become rankings of tasks that are done.

An item has one task for each choice of its responses that was judged: six tasks where all pairs of
four responses were judged pair by pair. They all carry the item's batch. In a task an annotator
judges once; who judged the same responses again has a further task, of the next round.

Names of annotators are not stored. A named annotator is known by a keyed hash of the name, the same
in every file that comes into the project. Unnamed ones are numbered within an item and told apart
by file, since nobody knows better.

K is the number of responses of an item.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, count

from django.utils import timezone
from django.utils.crypto import salted_hmac

from annotate.formats import records
from annotate.models import Assignment, Membership, Project, Ranking, Task, TaskResponse
from annotate.services.content import InvalidContent, clean_text
from annotate.services.import_report import ImportReport
from annotate.services.rankings import Judgement, checked_ranks, note_agreements

UNNAMED = "unnamed-"
BULK = 1000  # rows of one statement


@dataclass(frozen=True)
class Comparison:
    """One judgement of an item, checked. Responses are indices into those of the item.

    `shown` is in the order on the screen where that was recorded, else in the order of the item.
    """

    annotator: str | None
    shown: Sequence[int]
    order_recorded: bool
    ranks: Sequence[int | None]  # (K,)
    unacceptable: Sequence[int]
    rationale: str
    at: datetime | None


@dataclass(frozen=True)
class JudgedItem:
    """An item whose prompt and responses are stored, and what people said of it."""

    batch: str
    prompt_id: int
    response_ids: Sequence[int]  # (K,)
    comparisons: Sequence[Comparison]


# The batch of an item, and which of its responses were judged.
_Choice = tuple[str, frozenset[int]]


@dataclass
class _Round:
    """A task of an import, and by pseudonym the hash of what each annotator said in it."""

    task: Task
    said: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _New:
    """A judgement that is to be stored, and in which round of its choice."""

    item: JudgedItem
    comparison: Comparison
    said: Judgement
    choice: _Choice
    round: int
    pseudonym: str


def comparison_of(judgement: records.Judgement) -> Comparison | None:
    """The judgement, checked; None where it compares nothing.

    What compares is what a page would take: at least two responses are shown, and two of them
    ranked or all unacceptable. A response was shown where the order on the screen names it or,
    without such an order, where it is ranked or marked. Raises InvalidContent.
    """
    marks = judgement.unacceptable or [False] * len(judgement.ranks)
    unacceptable = [index for index, marked in enumerate(marks) if marked]
    ranked = [index for index, rank in enumerate(judgement.ranks) if rank is not None]
    judged = sorted({*ranked, *unacceptable})
    shown = judged if judgement.display_order is None else judgement.display_order
    if not set(judged) <= set(shown):
        raise InvalidContent("A response is judged that was not shown")
    if judgement.annotator is not None:
        clean_text(judgement.annotator, "The annotator")
    if len(shown) < 2 or (len(ranked) < 2 and set(unacceptable) != set(shown)):
        return None
    return Comparison(
        annotator=judgement.annotator or None,
        shown=shown,
        order_recorded=judgement.display_order is not None,
        ranks=judgement.ranks,
        unacceptable=unacceptable,
        rationale=clean_text(judgement.rationale, "The rationale").strip(),
        at=_in_utc(judgement.created_at),
    )


def _in_utc(at: datetime | None) -> datetime | None:
    """The time in UTC; one without a time zone is taken to be in UTC."""
    if at is None:
        return None
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise InvalidContent(f"The time {at.isoformat()} is out of range") from error


def add_judgements(project: Project, items: Sequence[JudgedItem], report: ImportReport) -> None:
    """Store the judgements that are not there yet, and count them in the report."""
    known = _known(project, {item.batch for item in items})
    new: list[_New] = []
    for item in items:
        found = _new_judgements(project, item, known, report)
        for one in found:
            rounds = known[one.choice]
            if one.round == len(rounds):
                rounds.append(_Round(_new_task(project, item, report.batch)))
            rounds[one.round].said[one.pseudonym] = one.said.hash
        new += found
    _save(project, new, known, report)


def _known(project: Project, batches: Collection[str]) -> defaultdict[_Choice, list[_Round]]:
    """The import tasks of these items that are there, the rounds of a choice in their order."""
    tasks = Task.objects.filter(project=project, kind=Task.Kind.IMPORT, batch__in=batches)
    by_id = {task.pk: _Round(task) for task in tasks.order_by("pk")}
    shown: dict[int, set[int]] = defaultdict(set)
    slots = TaskResponse.objects.filter(task__in=tasks)
    for task_id, response_id in slots.values_list("task", "response"):
        shown[task_id].add(response_id)
    rankings = Ranking.objects.current().filter(assignment__task__in=tasks)
    for task_id, name, said in rankings.values_list(
        "assignment__task", "assignment__annotator__pseudonym", "payload_hash"
    ):
        by_id[task_id].said[name] = said
    known = defaultdict(list)
    for pk, one in by_id.items():
        known[one.task.batch, frozenset(shown[pk])].append(one)
    return known


def _new_judgements(
    project: Project,
    item: JudgedItem,
    known: Mapping[_Choice, Sequence[_Round]],
    report: ImportReport,
) -> list[_New]:
    """The item's judgements that are not there yet; those that are, are matched one to one."""
    unnamed = f"{UNNAMED}{_keyed(project, f'batch {report.batch}')}"
    here: dict[_Choice, list[dict[str, str]]] = {}
    taken: set[tuple[_Choice, int, str]] = set()
    new = []
    for comparison in item.comparisons:
        said = _judgement(item, comparison)
        choice = item.batch, frozenset(item.response_ids[index] for index in comparison.shown)
        if choice not in here:
            here[choice] = [dict(one.said) for one in known.get(choice, ())]
        rounds = here[choice]
        name = comparison.annotator and f"import-{_keyed(project, f'name {comparison.annotator}')}"
        equal = (
            (number, other)
            for number, of_round in enumerate(rounds)
            for other, hash in of_round.items()
            if hash == said.hash and (choice, number, other) not in taken
            if (other == name if name else other.startswith(UNNAMED))
        )
        place = next(equal, None)
        if place is None:
            place = _free_place(rounds, name, unnamed)
            number, pseudonym = place
            if number == len(rounds):
                rounds.append({})
            rounds[number][pseudonym] = said.hash
            new.append(_New(item, comparison, said, choice, number, pseudonym))
        taken.add((choice, *place))
    report.rankings.note(taken, ((one.choice, one.round, one.pseudonym) for one in new))
    report.judged_tasks.note(((choice, number) for choice, number, _ in taken), ())
    report.annotators.note((name for _, _, name in taken), ())
    report.n_repeated += sum(one.round > 0 for one in new)
    return new


def _free_place(
    rounds: Sequence[Mapping[str, str]], name: str | None, unnamed: str
) -> tuple[int, str]:
    """The first round in which this annotator has said nothing, and the pseudonym there.

    Unnamed ones are different people, so they are numbered and all sit in the first round.
    """
    if name is not None:
        return next((n for n, said in enumerate(rounds) if name not in said), len(rounds)), name
    there = rounds[0] if rounds else {}
    names = chain([unnamed], (f"{unnamed}-{number}" for number in count(2)))
    return 0, next(name for name in names if name not in there)


def _judgement(item: JudgedItem, comparison: Comparison) -> Judgement:
    """What is stored of the comparison. Ties count even where the project's page allows none."""
    ids = item.response_ids
    unacceptable = sorted(ids[index] for index in comparison.unacceptable)
    ranks = {ids[index]: comparison.ranks[index] for index in comparison.shown}
    return Judgement(
        ranks=checked_ranks(list(ranks), ranks, unacceptable, allow_ties=True),
        unacceptable=unacceptable,
        rationale=comparison.rationale,
    )


def _keyed(project: Project, words: str) -> str:
    """Digits that nobody can trace who does not have the installation's secret key."""
    said = f"{project.slug} {words}"
    return salted_hmac("annotate.import", said, algorithm="sha256").hexdigest()[:12]


def _new_task(project: Project, item: JudgedItem, batch: str) -> Task:
    return Task(
        project=project,
        prompt_id=item.prompt_id,
        kind=Task.Kind.IMPORT,
        state=Task.State.DONE,
        need=0,
        batch=item.batch,
        proposed_by={"import": batch},
    )


def _save(
    project: Project,
    new: Sequence[_New],
    known: Mapping[_Choice, Sequence[_Round]],
    report: ImportReport,
) -> None:
    """Store the judgements with their annotators and tasks."""
    members = _members(project, sorted({one.pseudonym for one in new}), report)
    tasks = [known[one.choice][one.round].task for one in new]
    _save_tasks(new, tasks, report)
    assignments = Assignment.objects.bulk_create(
        (
            Assignment(
                task=task,
                annotator_id=members[one.pseudonym],
                state=Assignment.State.SUBMITTED,
                display_order=[one.item.response_ids[index] for index in one.comparison.shown],
                opened_at=one.comparison.at or timezone.now(),
                submitted_at=one.comparison.at,
                client={
                    "display_order": "recorded" if one.comparison.order_recorded else "unknown"
                },
            )
            for one, task in zip(new, tasks, strict=True)
        ),
        batch_size=BULK,
    )
    Ranking.objects.bulk_create(
        (
            Ranking(assignment=assignment, payload_hash=one.said.hash, **vars(one.said))
            for assignment, one in zip(assignments, new, strict=True)
        ),
        batch_size=BULK,
    )
    several = {task.pk for task in tasks if task.n_done > 1}
    if several:
        note_agreements(several)


def _save_tasks(new: Sequence[_New], tasks: Sequence[Task], report: ImportReport) -> None:
    """Count each judgement in its task, and store the tasks."""
    places = {}
    for one, task in zip(new, tasks, strict=True):
        task.need += 1
        task.n_done += 1
        places[one.choice, one.round] = one.item, task
    fresh = {place: (item, task) for place, (item, task) in places.items() if task.pk is None}
    there = [task for task in tasks if task.pk is not None]
    Task.objects.bulk_update(set(there), ["need", "n_done"], batch_size=BULK)
    Task.objects.bulk_create((task for _, task in fresh.values()), batch_size=BULK)
    TaskResponse.objects.bulk_create(
        (
            TaskResponse(task=task, response_id=pk, slot=slot)
            for ((_, judged), _), (item, task) in fresh.items()
            for slot, pk in enumerate(pk for pk in item.response_ids if pk in judged)
        ),
        batch_size=BULK,
    )
    report.judged_tasks.note((), fresh)


def _members(project: Project, names: Sequence[str], report: ImportReport) -> dict[str, int]:
    """Memberships by pseudonym, made where they are missing."""
    members: dict[str, int] = {}
    for start in range(0, len(names), BULK):
        some = project.memberships.filter(pseudonym__in=names[start : start + BULK])
        members.update(some.values_list("pseudonym", "pk"))
    missing = [name for name in names if name not in members]
    made = Membership.objects.bulk_create(
        (Membership(project=project, pseudonym=name) for name in missing), batch_size=BULK
    )
    report.annotators.note((), missing)
    return members | {member.pseudonym: member.pk for member in made}
