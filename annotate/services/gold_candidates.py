"""Tasks whose right ranking people have made known: they agree about it, or a reviewer decided.

An admin confirms each; none becomes gold by itself. All responses of the task are shown again, or
their number would tell which tasks are gold; of a ranking that people agree on in part, those have
no place of which a pair is not settled.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from django.db.models import Exists, OuterRef, QuerySet

from annotate.models import (
    Adjudication,
    Project,
    Ranking,
    Response,
    Task,
    TaskResponse,
    content_hash,
)
from annotate.services.checks import MAX_RANKED, best_is_shortest
from annotate.services.gold import KINDS

# A single judgement of a pair is right so often; people are sure enough of a pair when the odds of
# all who judged it say so.
RIGHT, SURE = 0.78, 0.90
SCANNED = 60  # tasks on which people agree best
SUGGESTED = 10

Ranks = Mapping[str, int | None]
Pair = tuple[int, int]
Said = tuple[Ranks, Sequence[int]]  # a person's ranks, and the ids of unacceptable responses


@dataclass(frozen=True)
class Candidate:
    """A task that could become gold: its responses, and their right ranks, None where unknown."""

    task: Task
    responses: Sequence[Response]
    ranks: Mapping[int, int | None]
    n_people: int
    adjudication: Adjudication | None

    @property
    def unacceptable(self) -> list[int]:
        """The responses that the reviewer marked so."""
        return list(self.adjudication.unacceptable) if self.adjudication else []

    @property
    def hash(self) -> str:
        """Changes with the key, so that nobody confirms another one than he saw."""
        return content_hash([sorted(self.ranks.items()), sorted(self.unacceptable)])

    @property
    def adversarial(self) -> bool:
        return best_is_shortest(self.responses, {str(pk): rank for pk, rank in self.ranks.items()})


def candidates(project: Project) -> list[Candidate]:
    """The most useful ones, one of a prompt: adversarial ones first, then those decided by a
    reviewer. Prompts that have or had a gold or practice task are left out.
    """
    found = _of(_decided(_unused(project))[:SCANNED])
    agreed = _unused(project).filter(n_done__gte=2, agreement__isnull=False)
    found += _of(agreed.order_by("-agreement", "-id")[:SCANNED])
    found.sort(key=lambda one: (not one.adversarial, one.adjudication is None))
    by_prompt: dict[int, Candidate] = {}
    for one in found:
        by_prompt.setdefault(one.task.prompt_id, one)
    return list(by_prompt.values())[:SUGGESTED]


def candidate(project: Project, task_id: int) -> Candidate | None:
    """What the task would become, or None where it cannot."""
    return next(iter(_of(_unused(project).filter(pk=task_id))), None)


def settled(said: Iterable[Said]) -> dict[int, int]:
    """The ranks of the most responses of which every pair is settled; empty where no pair is.

    The odds that a response is better than another are 0.78 to 0.22 for each person who says so;
    people who tie them say nothing.
    """
    margin: Counter[Pair] = Counter()
    seen: set[int] = set()
    for ranks, unacceptable in said:
        placed = _placed(ranks, unacceptable)
        seen |= placed.keys()
        for a, b in combinations(sorted(placed), 2):
            margin[a, b] += (placed[a] < placed[b]) - (placed[a] > placed[b])
    sure = {pair: n for pair, n in margin.items() if _posterior(abs(n)) >= SURE}
    better = {(a, b) if n > 0 else (b, a) for (a, b), n in sure.items()}
    for size in range(len(seen), 1, -1):
        for some in combinations(sorted(seen), size):
            wins = Counter({pk: sum((pk, other) in better for other in some) for pk in some})
            if sorted(wins.values()) == list(range(size)):  # all pairs settled, and no circle
                return {pk: place for place, (pk, _) in enumerate(wins.most_common(), start=1)}
    return {}


def _posterior(margin: int) -> float:
    """The probability that the response with so many more voices is the better one."""
    odds = (RIGHT / (1 - RIGHT)) ** margin
    return odds / (1 + odds)


def _placed(ranks: Ranks, unacceptable: Sequence[int]) -> dict[int, int]:
    """Ranks by id; what is unacceptable and not ranked comes after all that are."""
    last = len(ranks) + 1
    placed = {int(pk): rank for pk, rank in ranks.items() if rank is not None}
    return placed | {pk: last for pk in unacceptable if pk not in placed}


def _unused(project: Project) -> QuerySet[Task]:
    """Not open ones: who has done the gold task could be asked about the same prompt after it."""
    known = Task.objects.filter(prompt=OuterRef("prompt"), kind__in=KINDS)
    judged = project.tasks.filter(kind__in=Task.REVIEWED, n_done__gte=1)
    judged = judged.exclude(state=Task.State.OPEN)
    return judged.filter(~Exists(known)).select_related("prompt")


def _decided(tasks: QuerySet[Task]) -> QuerySet[Task]:
    ranking = Adjudication.objects.ranking().filter(task=OuterRef("pk"))
    return tasks.filter(Exists(ranking)).order_by("-id")


def _of(tasks: Iterable[Task]) -> list[Candidate]:
    """Those of the tasks that can become gold; reads all that was said of them."""
    tasks = list(tasks)
    decided = {row.task_id: row for row in Adjudication.objects.ranking().filter(task__in=tasks)}
    said: dict[int, list[Said]] = defaultdict(list)
    rankings = Ranking.objects.current().not_excluded().filter(assignment__task__in=tasks)
    for task_id, ranks, marks in rankings.values_list("assignment__task", "ranks", "unacceptable"):
        said[task_id].append((ranks, marks))
    responses: dict[int, list[Response]] = defaultdict(list)
    slots = TaskResponse.objects.filter(task__in=tasks).select_related("response")
    for slot in slots.order_by("response"):
        responses[slot.task_id].append(slot.response)
    found = []
    for task in tasks:
        known = _known(decided.get(task.pk), said[task.pk])
        shown = responses[task.pk]
        if len(set(known.values())) > 1 and len(shown) <= MAX_RANKED:
            ranks = {one.pk: known.get(one.pk) for one in shown}
            found.append(Candidate(task, shown, ranks, len(said[task.pk]), decided.get(task.pk)))
    return found


def _known(decided: Adjudication | None, said: Sequence[Said]) -> dict[int, int]:
    """The ranks of the responses whose order is known."""
    if decided is None:
        return settled(said)
    return _placed(decided.ranks or {}, decided.unacceptable)
