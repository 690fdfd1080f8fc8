"""What a gate wants to know of the judgements behind a reward model, beside how well it learned.

It is found when the model is trained and kept with its metrics:

    shares                {"n_people", "largest", "largest_three"} of the training pairs, by weight
    left_out              [{"annotator", "value", "low", "high", "n_prompts"}], alpha without each
    drift                 alpha of the last window less that of the time before (see `drift_of`)
    self_agreement        how far people say the same of a task that comes again
    gold                  {"judged", "failing"}: people who teach, and those of them who fail gold
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np
from django.db.models import Exists, OuterRef

from annotate.models import KEYED, Exclusion, Project, Ranking, Task
from annotate.services.checks import outcome
from rewards.gold import gold_tasks
from rewards.ml.defence import MIN_GOLD_PAIRS, gold_results
from rewards.ml.intervals import bootstrap_totals
from rewards.ml.pairs import Pair, RankedPrompt
from rewards.ml.sensitivity import drift, without_each
from rewards.models import RewardModelVersion, Snapshot
from rewards.pseudonyms import keyed_pseudonym

SEED = 0
LAST_WINDOW = timedelta(weeks=4)
LEAST_REPEATS = 10
GOLD = "gold"  # the annotator of what is known to be right

Status = RewardModelVersion.Status
# Of one prompt: each annotator's rankings, as a rank by response id.
Said = dict[str, list[Mapping[str, int | None]]]


@dataclass(frozen=True)
class Audited:
    """What people said of one prompt that was drawn at random, and when the last of them did."""

    said: Said
    at: datetime


def evidence(version: RewardModelVersion, examples: Iterable[RankedPrompt]) -> dict[str, Any]:
    """The metrics at the top of this module; `examples` are the snapshot's."""
    prompts = audited_of(version.snapshot)
    return {
        "shares": shares(examples),
        "left_out": [asdict(one) for one in without_each([p.said for p in prompts], SEED)],
        "drift": drift_of(prompts, window_start(version)),
        "self_agreement": self_agreement(version.snapshot),
        "gold": gold_of(version.snapshot),
    }


def shares(examples: Iterable[RankedPrompt]) -> dict[str, Any] | None:
    """None without a training pair."""
    weights: dict[str, float] = defaultdict(float)
    for example in examples:
        if example.split == "train":
            for pair in example.pairs:
                weights[pair.annotator] += pair.weight
    total = sum(weights.values())
    if not total:
        return None
    busiest = sorted(weights.values(), reverse=True)
    return {
        "n_people": len(weights),
        "largest": busiest[0] / total,
        "largest_three": sum(busiest[:3]) / total,
    }


def audited_of(snapshot: Snapshot) -> list[Audited]:
    """The snapshot's prompts that were drawn at random for two people, and imported ones.

    Of an audited task as many rankings count as were planned, the first ones.
    """
    task = "assignment__task__"
    rows = (
        Ranking.objects.filter(
            snapshots=snapshot, assignment__task__kind__in=(Task.Kind.AUDIT, Task.Kind.IMPORT)
        )
        .order_by(
            f"{task}prompt",
            f"{task}kind",
            f"{task}batch",
            f"{task}pk",
            "assignment__submitted_at",
            "assignment",
        )
        .values_list(
            f"{task}prompt",
            f"{task}kind",
            f"{task}batch",
            f"{task}pk",
            f"{task}need",
            "assignment__annotator__pseudonym",
            "ranks",
            "assignment__submitted_at",
            "created_at",
        )
    )
    found: list[Audited] = []
    # Each imported item stands for itself: its source drew it by itself.
    for (_, kind, _), of_item in groupby(
        rows, key=lambda row: (row[0], row[1], row[2] if row[1] == Task.Kind.IMPORT else "")
    ):
        said: Said = defaultdict(list)
        times: list[datetime] = []
        for (_, need), of_task in groupby(of_item, key=lambda row: (row[3], row[4])):
            planned = list(of_task)
            for *_, person, ranks, submitted, created in (
                planned if kind == Task.Kind.IMPORT else planned[:need]
            ):
                said[person].append(ranks)
                times.append(submitted or created)
        found.append(Audited(dict(said), max(times)))
    return found


def window_start(version: RewardModelVersion) -> datetime:
    """When the last window begins: at the last accepted model's snapshot, or four weeks ago.

    Whichever of the two is longer ago.
    """
    frozen = version.snapshot.created_at
    former = (
        version.project.reward_models.filter(number__lt=version.number, status=Status.ACCEPTED)
        .select_related("snapshot")
        .first()
    )
    weeks_ago = frozen - LAST_WINDOW
    return min(former.snapshot.created_at, weeks_ago) if former else weeks_ago


def drift_of(prompts: Sequence[Audited], since: datetime) -> dict[str, Any]:
    """A rewards.ml.sensitivity.Change from before `since` to after it."""
    before = [one.said for one in prompts if one.at < since]
    last = [one.said for one in prompts if one.at >= since]
    return asdict(drift(before, last, SEED)) | {"since": since.isoformat()}


def self_agreement(snapshot: Snapshot) -> dict[str, Any]:
    """Mean over repeats up to the snapshot; a tie against a win counts half. None with too few."""
    repeats = (
        Ranking.objects.current()
        .not_excluded()
        .in_project(snapshot.project)
        .filter(
            assignment__task__kind=Task.Kind.REPEAT,
            assignment__task__mirror_of__isnull=False,
            created_at__lte=snapshot.created_at,
        )
        .select_related("assignment__task")
    )
    found = [outcome(ranking) for ranking in repeats]
    same = np.array([[one.score] for one in found if one and one.score is not None], dtype=float)
    if len(same) < LEAST_REPEATS:
        return {"value": None, "low": None, "high": None, "n_prompts": len(same)}
    low, high = np.percentile(bootstrap_totals(same, 2000, SEED) / len(same), [2.5, 97.5])
    return {
        "value": float(same.mean()),
        "low": float(low),
        "high": float(high),
        "n_prompts": len(same),
    }


def gold_of(snapshot: Snapshot) -> dict[str, int]:
    """How many of those whose judgements weigh anything gold can judge, and how many fail."""
    people = snapshot.weights.get("people", {})
    taught = {name for name, own in people.items() if own["weight"] > 0}
    tasks = [task for _, task in gold_tasks(snapshot.project, until=snapshot.created_at)]
    judged = [
        result
        for member, result in gold_results(tasks).items()
        if result.pairs >= MIN_GOLD_PAIRS
        and keyed_pseudonym(snapshot.project, int(member)) in taught
    ]
    return {"judged": len(judged), "failing": sum(one.failed for one in judged)}


def decided(ranks: Mapping[str, int | None]) -> list[tuple[str, str]]:
    """Pairs of response ids that the ranks put in an order, the better one first."""
    known = [(rank, response) for response, rank in ranks.items() if rank is not None]
    return [(a, b) for rank_a, a in known for rank_b, b in known if rank_a < rank_b]


def gold_prompts(project: Project, examples: Iterable[RankedPrompt]) -> list[RankedPrompt]:
    """Gold tasks, open or closed, as prompts to test by.

    Without those whose prompt trains, and those that are excluded: their key may be wrong.
    """
    taught = {example.prompt_id for example in examples if example.split != "test"}
    excluded = Exclusion.objects.filter(lifted_at=None, task=OuterRef("pk"))
    gold = project.tasks.filter(KEYED, kind=Task.Kind.GOLD).order_by("pk")
    tasks = gold.exclude(Exists(excluded))
    found = []
    for task in tasks.select_related("prompt").prefetch_related("responses"):
        if task.prompt.content_hash in taught:
            continue
        responses = sorted(task.responses.all(), key=lambda response: response.pk)
        places = {str(response.pk): place for place, response in enumerate(responses)}
        right = decided(task.gold_ranks or {})
        found.append(
            RankedPrompt(
                prompt_id=task.prompt.content_hash,
                messages=tuple(task.prompt.messages),
                topic=task.prompt.topic,
                split="test",
                responses=tuple(response.text for response in responses),
                pairs=tuple(Pair(places[a], places[b], 1.0, 1.0, GOLD) for a, b in right),
                language=task.prompt.language,
            )
        )
    return [prompt for prompt in found if prompt.pairs]
