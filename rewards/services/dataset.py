"""Which rankings training may learn from, and the prompts of a snapshot made of them."""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from annotate.models import (
    Adjudication,
    Project,
    Prompt,
    Ranking,
    RankingQuerySet,
    Response,
    Task,
)
from rewards.ml.pairs import SnapshotJudgement, SnapshotPrompt, SnapshotResponse
from rewards.pseudonyms import keyed_pseudonym

# Gold tasks and repeats examine people, and evaluation compares policies: learning from it, a
# reward model would be asked about what it has seen.
KINDS = Task.REVIEWED
# Held-out prompts keep what people said: there a model is compared with how far people agree, and
# that would look better than it is if just the prompts on which they differ had one voice.
DECIDED_SPLITS = ("train", "validation")
PROMPTS_AT_ONCE = 500
WEIGHT = 1.0


def trainable(project: Project) -> RankingQuerySet:
    """The rankings that stand and that no exclusion names, of the kinds that train."""
    rankings = Ranking.objects.current().in_project(project).not_excluded()
    return rankings.filter(assignment__task__kind__in=KINDS)


def decisions(
    rankings: RankingQuerySet, ids: Container[int] | None = None
) -> dict[int, Adjudication]:
    """By task, the adjudications that stand in the place of these rankings.

    With `ids`, of those of the rankings. Where no ranking of the task is left, nothing stands.
    """
    ranking = Adjudication.objects.ranking().filter(task__prompt__split__in=DECIDED_SPLITS)
    found = rankings.filter(assignment__task__in=ranking.values("task"))
    rows = found.values_list("pk", "assignment__task")
    tasks = {task for pk, task in rows if ids is None or pk in ids}
    return {row.task_id: row for row in ranking.filter(task__in=tasks)}


def snapshot_prompts(
    project: Project,
    rankings: RankingQuerySet,
    decided: Mapping[int, Adjudication],
    ids: Container[int] | None = None,
    weights: Mapping[int, float] | None = None,
) -> Iterator[SnapshotPrompt]:
    """The prompts of these rankings, in an order that only their content decides.

    With `ids`, only of those of the rankings. A prompt has every response that one of the rankings
    shows, whichever task showed it. `decided` has the tasks of which the adjudication counts, as
    one judgement by its reviewer, and the rankings do not. `weights` has those of people that are
    not 1; a reviewer's decision always counts in full.
    """
    weights = weights or {}
    judged = rankings.order_by().values("assignment__task__prompt")
    ordered = Prompt.objects.filter(pk__in=judged).order_by("content_hash")
    prompt_ids = list(ordered.values_list("pk", flat=True))
    names: dict[int, str] = {}

    def name(member: int) -> str:
        if member not in names:
            names[member] = keyed_pseudonym(project, member)
        return names[member]

    for start in range(0, len(prompt_ids), PROMPTS_AT_ONCE):
        some = prompt_ids[start : start + PROMPTS_AT_ONCE]
        said: dict[int, list[_Said]] = defaultdict(list)
        settled: dict[int, int] = {}  # task → prompt
        rows = rankings.filter(assignment__task__prompt__in=some).values_list(
            "pk",
            "assignment__task",
            "assignment__task__prompt",
            "assignment__annotator",
            "ranks",
            "unacceptable",
        )
        for pk, task_id, prompt_id, member, ranks, unacceptable in rows:
            if ids is None or pk in ids:
                if task_id in decided:
                    settled[task_id] = prompt_id
                else:
                    weight = weights.get(member, WEIGHT)
                    said[prompt_id].append(_Said(name(member), ranks, unacceptable, weight))
        for task_id, prompt_id in settled.items():
            one = decided[task_id]
            decision = _Said(name(one.reviewer_id), one.ranks, one.unacceptable, WEIGHT)
            said[prompt_id].append(decision)
        responses: dict[int, list[Response]] = defaultdict(list)
        for response in Response.objects.filter(prompt__in=some).order_by("content_hash"):
            responses[response.prompt_id].append(response)
        for prompt in Prompt.objects.filter(pk__in=said).order_by("content_hash"):
            yield _prompt(prompt, responses[prompt.pk], said[prompt.pk])


class _Said(NamedTuple):
    """One judgement: ranks by response id, ids of the unacceptable."""

    name: str
    ranks: Any
    unacceptable: Any
    weight: float


def _prompt(prompt: Prompt, responses: Sequence[Response], said: Sequence[_Said]) -> SnapshotPrompt:
    shown = {response for one in said for response in one.ranks}
    kept = [response for response in responses if str(response.pk) in shown]
    judgements = [
        SnapshotJudgement(
            annotator=one.name,
            ranks=tuple(one.ranks.get(str(response.pk)) for response in kept),
            unacceptable=tuple(response.pk in one.unacceptable for response in kept),
            weight=one.weight,
        )
        for one in said
    ]
    return SnapshotPrompt(
        prompt_id=prompt.content_hash,
        messages=tuple(prompt.messages),
        topic=prompt.topic,
        language=prompt.language,
        split=prompt.split,
        responses=tuple(SnapshotResponse(r.content_hash, r.text) for r in kept),
        judgements=tuple(sorted(judgements, key=_by_content)),
    )


def _by_content(judgement: SnapshotJudgement) -> tuple[str, list[int], tuple[bool, ...]]:
    ranks = [rank or 0 for rank in judgement.ranks]
    return judgement.annotator, ranks, judgement.unacceptable
