"""Annotators who judge with known faults, as columns and as rows of the database."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from django.utils import timezone

from annotate.models import (
    Assignment,
    Membership,
    Project,
    Prompt,
    Ranking,
    Response,
    Task,
    TaskResponse,
)

Judge = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # qualities → perceived ones


@dataclass(frozen=True)
class Judgement:
    """Ranks of a prompt's responses by one person; `order` lists them as they were shown."""

    prompt: int
    annotator: str
    ranks: tuple[int, ...]
    order: tuple[int, ...]


def honest(noise: float = 1.0) -> Judge:
    return lambda quality, rng: quality + noise * rng.standard_normal(len(quality))


def careless(quality: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(len(quality))


def reversed_judge(quality: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(len(quality)) - quality


def ranks_of(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(rank) + 1 for rank in np.argsort(np.argsort(-values)))


def judge(
    people: Mapping[str, Judge], n_prompts: int, seed: int, *, m: int = 3, k: int = 4
) -> list[Judgement]:
    """Every prompt by `m` people at random, its `k` responses in an order drawn for each."""
    rng = np.random.default_rng(seed)
    names = list(people)
    found = []
    for prompt in range(n_prompts):
        quality = rng.standard_normal(k)
        for name in rng.choice(names, m, replace=False):
            order = tuple(int(place) for place in rng.permutation(k))
            ranks = ranks_of(people[name](quality, rng))
            found.append(Judgement(prompt, str(name), ranks, order))
    return found


def prompts_of(judgements: Sequence[Judgement]) -> list[dict[str, dict[str, int]]]:
    """As rewards.ml reads them."""
    by_prompt: dict[int, dict[str, dict[str, int]]] = {}
    for one in judgements:
        said = {str(place): rank for place, rank in enumerate(one.ranks)}
        by_prompt.setdefault(one.prompt, {})[one.annotator] = said
    return list(by_prompt.values())


def store(
    project: Project,
    judgements: Sequence[Judgement],
    *,
    kind: str = "audit",
    key: Sequence[int] | None = None,
    topics: Sequence[str] = ("",),
    dwell_ms: Mapping[str, int] | None = None,
    texts: Callable[[int, int], str] = lambda prompt, place: f"Answer {place} to {prompt}.",
) -> list[Task]:
    """The same as rows, a task a prompt; people are made by name. `key` are the gold ranks."""
    names = sorted({one.annotator for one in judgements})
    for name in names:
        project.memberships.get_or_create(pseudonym=name)
    members = {member.pseudonym: member for member in project.memberships.all()}
    batch = f"{kind} {project.prompts.count()}"
    numbers = sorted({one.prompt for one in judgements})
    k = len(judgements[0].ranks)
    prompts = Prompt.objects.bulk_create(
        Prompt(
            project=project,
            messages=[{"role": "user", "content": f"{batch}, {number}?"}],
            html=[""],
            topic=topics[number % len(topics)],
            content_hash=f"{batch} {number}".ljust(64, "x"),
            split="train",
        )
        for number in numbers
    )
    responses = Response.objects.bulk_create(
        Response(
            prompt=prompt,
            text=texts(number, place),
            content_hash=f"{batch} {number} {place}".ljust(64, "x"),
            source=Response.Source.POLICY,
        )
        for number, prompt in zip(numbers, prompts, strict=True)
        for place in range(k)
    )
    shown = {n: responses[i * k : i * k + k] for i, n in enumerate(numbers)}
    tasks = Task.objects.bulk_create(
        Task(
            project=project,
            prompt=prompt,
            kind=kind,
            batch=batch,
            need=100,
            state="open" if key else "done",
            gold_ranks={str(r.pk): rank for r, rank in zip(shown[n], key, strict=True)}
            if key
            else None,
        )
        for n, prompt in zip(numbers, prompts, strict=True)
    )
    by_number = dict(zip(numbers, tasks, strict=True))
    TaskResponse.objects.bulk_create(
        TaskResponse(task=by_number[n], response=response, slot=slot)
        for n in numbers
        for slot, response in enumerate(shown[n])
    )
    assignments = Assignment.objects.bulk_create(
        Assignment(
            task=by_number[one.prompt],
            annotator=members[one.annotator],
            state="submitted",
            display_order=[shown[one.prompt][place].pk for place in one.order],
            order_seed=1,
            submitted_at=timezone.now(),
        )
        for one in judgements
    )
    Ranking.objects.bulk_create(
        Ranking(
            assignment=assignment,
            ranks={str(r.pk): rank for r, rank in zip(shown[one.prompt], one.ranks, strict=True)},
            payload_hash="x",
            dwell_ms=(dwell_ms or {}).get(one.annotator),
        )
        for one, assignment in zip(judgements, assignments, strict=True)
    )
    return tasks


def member(project: Project, name: str) -> Membership:
    return project.memberships.get(pseudonym=name)
