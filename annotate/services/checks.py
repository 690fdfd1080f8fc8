"""Tasks with a known right ranking, and tasks that come twice: how well does a person judge?

A gold task looks like any other. A training task explains afterwards what was right; newcomers
begin with some. A repeat is a person's own earlier task once more, mirrored (see assignments.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from django.db import transaction

from annotate.models import (
    AuditEvent,
    Membership,
    Project,
    Prompt,
    Ranking,
    Response,
    Task,
    User,
)
from annotate.services.rankings import InvalidRanking, checked_ranks, mean_agreement
from annotate.services.tasks import distinct, open_task

# A training task is for everybody. More people than a database counts will not come.
EVERYBODY = 10**9
# What many have seen is talked about, so gold is shown so often, and then retired.
GOLD_SHOWINGS = 30
MAX_RANKED = 8  # as many as the page for ranking shows

Ranks = Mapping[str, int | None]


@dataclass(frozen=True)
class Outcome:
    """How a ranking compares with the right one or, of a repeat, with the person's earlier one.

    `score` is from 0 to 1; None where a repeat shares no ranked pair with the earlier ranking.
    `passed` is None for a repeat, since nothing says which of the two is right.
    """

    kind: str
    score: float | None
    passed: bool | None
    ranks: dict[int, int | None]
    unacceptable: list[int]
    explanation: str = ""


@transaction.atomic
def open_gold_task(
    project: Project,
    prompt: Prompt,
    responses: Sequence[Response],
    ranks: Mapping[int, int | None],
    *,
    unacceptable: Sequence[int] = (),
    training: bool = False,
    explanation: str = "",
    priority: int = 0,
    adversarial: bool = False,
    by: User | None,
) -> Task:
    """A task whose right ranking is known: hidden among the others or, with `training`, explained.

    `ranks` and `unacceptable` are as for `submit_ranking`. Newcomers do training tasks of higher
    `priority` first. Gold is `adversarial` where a wrong response looks better; where all the wrong
    ones are longer it is so in any case. Raises InvalidRanking where the key decides nothing, a
    training task explains nothing, or the prompt has such a task already.
    """
    kind = Task.Kind.TRAINING if training else Task.Kind.GOLD
    Prompt.objects.select_for_update(no_key=True).get(pk=prompt.pk, project=project)
    if not 2 <= len(distinct(responses)) == len(responses) <= MAX_RANKED:
        raise InvalidRanking(f"There must be 2 to {MAX_RANKED} responses, no two of them alike")
    if any(response.prompt_id != prompt.pk for response in responses):
        raise InvalidRanking("All responses must be of the prompt")
    key = checked_ranks(
        [response.pk for response in responses], ranks, unacceptable, allow_ties=True
    )
    if not _decided(key):
        raise InvalidRanking("The right ranking must put one response before another")
    if training and not explanation.strip():
        raise InvalidRanking("A training task must explain why this is the right ranking")
    if prompt.tasks.filter(kind=kind, state=Task.State.OPEN).exists():
        raise InvalidRanking(f"The prompt has a {kind} task already; close that one first")
    task = open_task(
        prompt,
        responses,
        kind=kind,
        need=EVERYBODY if training else GOLD_SHOWINGS,
        priority=priority,
        batch=kind.value,
        gold_ranks=key,
        gold_unacceptable=sorted(set(unacceptable)),
        adversarial=not training and (adversarial or best_is_shortest(responses, key)),
        explanation=explanation.strip(),
    )
    AuditEvent.record(f"open {kind} task", task, project=project, actor=by, ranks=key)
    return task


@transaction.atomic
def close_gold_task(task: Task, *, by: User | None) -> bool:
    """Give the task to nobody else; what people said of it goes on to count. False if it was."""
    keyed = Task.objects.keyed(task.project, task.kind)
    closed = keyed.filter(pk=task.pk, state=Task.State.OPEN).update(state=Task.State.CLOSED)
    if closed:
        AuditEvent.record(f"close {task.kind} task", task, project=task.project, actor=by)
    return bool(closed)


def best_is_shortest(responses: Sequence[Response], key: Ranks) -> bool:
    """Whether who goes by length is wrong about the best in every pair that the key decides."""
    length = {str(response.pk): len(response.text) for response in responses}
    best = min(rank for rank in key.values() if rank is not None)
    first = [length[pk] for pk, rank in key.items() if rank == best]
    others = [length[pk] for pk, rank in key.items() if rank is not None and rank > best]
    return bool(others) and max(first) < min(others)


def outcome(ranking: Ranking) -> Outcome | None:
    """How well the person did; None where nothing is there to compare with."""
    task = ranking.assignment.task
    if task.gold_ranks is not None:
        score = _score(task.gold_ranks, ranking)
        right, unacceptable = _by_id(task.gold_ranks), task.gold_unacceptable
        return Outcome(task.kind, score, score == 1, right, unacceptable, task.explanation)
    if task.kind != Task.Kind.REPEAT or task.mirror_of_id is None:
        return None
    earlier = Ranking.objects.current().get(
        assignment__task=task.mirror_of_id, assignment__annotator=ranking.assignment.annotator_id
    )
    same = mean_agreement([earlier.ranks, ranking.ranks])
    return Outcome(task.kind, same, None, _by_id(earlier.ranks), earlier.unacceptable)


def _by_id(ranks: Ranks) -> dict[int, int | None]:
    return {int(response): rank for response, rank in ranks.items()}


def _decided(key: Ranks) -> list[tuple[str, str]]:
    """The pairs that the key puts in an order, the better response first."""
    ranked = sorted((rank, response) for response, rank in key.items() if rank is not None)
    return [(a, b) for (best, a), (worse, b) in combinations(ranked, 2) if best < worse]


def _score(key: Ranks, ranking: Ranking) -> float:
    """The share of the pairs that the key decides which the person put in the same order.

    A tie is not the same. A response he called unacceptable and did not rank is below those he
    ranked.
    """
    worst = len(key) + 1
    said = {
        response: worst if rank is None and int(response) in ranking.unacceptable else rank
        for response, rank in ranking.ranks.items()
    }
    pairs = _decided(key)
    same = 0
    for better, worse in pairs:
        a, b = said[better], said[worse]
        same += a is not None and b is not None and a < b
    return same / len(pairs)


@dataclass(frozen=True)
class GoldRecord:
    """How many gold tasks a person has ranked, and how many of them right in every pair."""

    n: int
    passed: int


def gold_record(member: Membership) -> GoldRecord:
    """Training tasks are left out: they are there to learn from."""
    gold = Task.objects.keyed(member.project, Task.Kind.GOLD).order_by()
    rankings = Ranking.objects.current().filter(
        assignment__annotator=member, assignment__task__in=gold
    )
    found = [outcome(ranking) for ranking in rankings.select_related("assignment__task")]
    return GoldRecord(len(found), sum(bool(one and one.passed) for one in found))
