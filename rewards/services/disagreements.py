"""Pairs of responses that people put in opposite orders, the most telling first.

A pair on which people split evenly, and of which the reward model is sure, is either a label that
is wrong or something that the model has not understood. Only tasks that a reviewer may decide about
are looked at: the ones on which people agree least, of the fewest pairs a project can have.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from django.db.models import Exists, OuterRef

from annotate.models import Adjudication, Project, Ranking, Response, Task
from rewards.models import RewardModelVersion

# Tasks that are read for one page, those on which people agree least.
MOST_TASKS = 500
CONFIDENT = 0.8

Ranks = Mapping[str, int | None]


@dataclass(frozen=True)
class SplitPair:
    """Two responses of a task, by id, and who prefers which.

    `split` is how far people contradict each other, from 0 to 1; `p` the probability with which the
    accepted reward model prefers `preferred`, None where it has not looked.
    """

    task_id: int
    a: int
    b: int
    split: float
    p: float | None = None
    preferred: int | None = None

    @property
    def weight(self) -> tuple[float, float]:
        """Greater for pairs to look at first."""
        confidence = 2 * self.p - 1 if self.p is not None else 0.0
        return self.split * confidence, self.split


@dataclass(frozen=True)
class Found:
    """Of each task its most telling pair, the first of all first; `capped` if more was unread."""

    pairs: list[SplitPair]
    n_tasks: int
    capped: bool
    model: RewardModelVersion | None


def split_pairs(project: Project, *, topic: str = "", state: str = "open") -> Found:
    """The pairs of the project; `state` "open", "decided" or "all". Five queries at most."""
    tasks = project.tasks.reviewable().filter(agreement__lt=1)
    if topic:
        tasks = tasks.filter(prompt__topic=topic)
    if state != "all":
        decided = Exists(Adjudication.objects.current().filter(task=OuterRef("pk")))
        tasks = tasks.filter(decided if state == "decided" else ~decided)
    # One more than are read tells whether there are more.
    ids = list(tasks.order_by("agreement", "pk").values_list("pk", flat=True)[: MOST_TASKS + 1])
    said: dict[int, list[Ranks]] = defaultdict(list)
    rankings = Ranking.objects.current().not_excluded()
    rows = rankings.filter(assignment__task__in=ids[:MOST_TASKS])
    for task, ranks in rows.values_list("assignment__task", "ranks"):
        said[task].append(ranks)
    pairs = [pair for task, all_ranks in said.items() for pair in _pairs(task, all_ranks)]
    model = _accepted(project)
    if model:
        pairs = _with_model(project, pairs, model)
    pairs.sort(key=lambda pair: (*(-part for part in pair.weight), pair.task_id, pair.a, pair.b))
    by_task: dict[int, SplitPair] = {}
    for pair in pairs:  # a decision is about a task, so that a second pair would ask twice
        by_task.setdefault(pair.task_id, pair)
    return Found([*by_task.values()], min(len(ids), MOST_TASKS), len(ids) > MOST_TASKS, model)


def _pairs(task: int, said: Iterable[Ranks]) -> list[SplitPair]:
    """The pairs that some people put in opposite orders.

    `split` is the share of the pairs of people who do, a tie against a win counting half, relative
    to an even split.
    """
    votes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for ranks in said:
        known = sorted((int(pk), rank) for pk, rank in ranks.items() if rank is not None)
        for (a, rank_a), (b, rank_b) in combinations(known, 2):
            votes[a, b].append((rank_a < rank_b) - (rank_a > rank_b))
    found = []
    for (a, b), values in votes.items():
        better, worse, tied = (values.count(value) for value in (1, -1, 0))
        if better and worse:
            n = len(values)
            most = 2 * (n // 2) * (n - n // 2)  # an even split
            split = (2 * better * worse + tied * (better + worse)) / most
            found.append(SplitPair(task, a, b, min(split, 1.0)))
    return found


def _accepted(project: Project) -> RewardModelVersion | None:
    accepted = project.reward_models.filter(
        status=RewardModelVersion.Status.ACCEPTED, tainted_at=None
    )
    return accepted.select_related("run").first()


def _with_model(
    project: Project, pairs: list[SplitPair], model: RewardModelVersion
) -> list[SplitPair]:
    """What the model thought of them when it was trained."""
    contested: list[Mapping[str, Any]] = (model.run.result or {}).get("contested", [])
    hashes = {one[side] for one in contested for side in ("better", "worse")}
    if not hashes:
        return pairs
    rows = Response.objects.filter(prompt__project=project, content_hash__in=hashes)
    ids: dict[tuple[str, str], int] = {
        (prompt, digest): pk
        for prompt, digest, pk in rows.values_list("prompt__content_hash", "content_hash", "pk")
    }
    thought: dict[tuple[int, int], tuple[float, int]] = {}
    for one in contested:
        better = ids.get((one["prompt_id"], one["better"]))
        worse = ids.get((one["prompt_id"], one["worse"]))
        if better and worse:
            thought[min(better, worse), max(better, worse)] = (one["p"], better)
    return [
        SplitPair(pair.task_id, pair.a, pair.b, pair.split, *thought.get((pair.a, pair.b), ()))
        for pair in pairs
    ]


@dataclass(frozen=True)
class Side:
    """One response of a pair, and the pseudonyms of those who prefer it."""

    response: Response
    preferred_by: list[str]


@dataclass(frozen=True)
class Shown:
    """A pair with its texts, who said what, and the decision about its task."""

    pair: SplitPair
    task: Task
    sides: tuple[Side, Side]
    tied: list[str]
    decision: Adjudication | None

    @property
    def may_name_cause(self) -> bool:
        """One click names the cause, but takes no decided ranking back."""
        return self.decision is None or self.decision.ranks is None

    @property
    def confident(self) -> bool:
        return self.pair.p is not None and self.pair.p >= CONFIDENT


def shown(pairs: Iterable[SplitPair]) -> list[Shown]:
    """The pairs of a page with all that it shows of them; four queries."""
    pairs = list(pairs)
    tasks = Task.objects.select_related("prompt").in_bulk({pair.task_id for pair in pairs})
    responses = Response.objects.in_bulk({pk for pair in pairs for pk in (pair.a, pair.b)})
    decisions = {
        one.task_id: one
        for one in Adjudication.objects.current().filter(task__in=tasks).select_related("reviewer")
    }
    said: dict[int, list[tuple[str, Ranks]]] = defaultdict(list)
    rows = (
        Ranking.objects.current()
        .not_excluded()
        .filter(assignment__task__in=tasks)
        .order_by("assignment__annotator__pseudonym")
    )
    for task, name, ranks in rows.values_list(
        "assignment__task", "assignment__annotator__pseudonym", "ranks"
    ):
        said[task].append((name, ranks))
    found = []
    for pair in pairs:
        voices: dict[int, list[str]] = {1: [], 0: [], -1: []}
        for name, ranks in said[pair.task_id]:
            a, b = ranks.get(str(pair.a)), ranks.get(str(pair.b))
            if a is not None and b is not None:
                voices[(a < b) - (a > b)].append(name)
        sides = (Side(responses[pair.a], voices[1]), Side(responses[pair.b], voices[-1]))
        decision = decisions.get(pair.task_id)
        found.append(Shown(pair, tasks[pair.task_id], sides, voices[0], decision))
    return found
