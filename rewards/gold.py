"""What people said of gold tasks, whose right ranking is known."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from annotate.models import KEYED, Project, Ranking, RankingQuerySet, Task

if TYPE_CHECKING:
    from datetime import datetime

    from rewards.ml.comparisons import Ranking as Ranks
    from rewards.ml.defence import GoldTask


def gold_rankings(project: Project) -> RankingQuerySet:
    """Those that stand and that no exclusion names."""
    gold = Ranking.objects.current().not_excluded().in_project(project)
    return gold.filter(
        assignment__task__kind=Task.Kind.GOLD, assignment__task__gold_ranks__isnull=False
    )


def gold_tasks(project: Project, until: datetime | None = None) -> list[tuple[int, GoldTask]]:
    """The gold tasks that somebody has ranked, by their ids; annotators go by theirs, as text.

    With `until` only what was said up to then. A response that was called unacceptable and not
    ranked is below those that were.
    """
    from rewards.ml.defence import GoldTask

    rankings = gold_rankings(project)
    if until:
        rankings = rankings.filter(created_at__lte=until)
    said: dict[int, dict[str, list[Ranks]]] = defaultdict(lambda: defaultdict(list))
    rows = rankings.order_by("pk").values_list(
        "assignment__task", "assignment__annotator", "ranks", "unacceptable"
    )
    for task, member, ranks, unacceptable in rows:
        worst = len(ranks) + 1
        bad = {str(response) for response in unacceptable}
        below = {
            name: worst if rank is None and name in bad else rank for name, rank in ranks.items()
        }
        said[task][str(member)].append(below)
    keys = Task.objects.filter(KEYED, pk__in=said).order_by("prompt__content_hash", "pk")
    found = []
    for pk, key in keys.values_list("pk", "gold_ranks"):
        decided = {name: rank for name, rank in (key or {}).items() if rank is not None}
        found.append((pk, GoldTask(said[pk], decided)))
    return found
