"""What people are asked next: part of it by chance, the rest what would teach most.

A policy responds to more prompts than people are to judge. Some of these come into the queue at
random, among them all that are for audit, so that agreement is measured on prompts like any other;
the rest by how far an ensemble of rewards disagrees about their responses (rewards.ml.selection).
Held-out prompts come at random only, so that models are held to prompts like any other, too.
What is left stays in reserve: it comes last, and is dropped when the next prompts are chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from django.db import models, transaction
from numpy.typing import NDArray

from annotate.models import Project, Prompt, Response, Task
from annotate.selection import seed_from
from annotate.services.queue import change_in_order
from annotate.services.tasks import Chosen, distinct, n_drawn, open_ranking_tasks
from rewards.models import Selection
from rewards.services.arms import compare_arms, fallen_back
from rewards.services.dataset import trainable
from rewards.services.judged import featured, newest_judged

if TYPE_CHECKING:
    from rewards.ml.comparisons import Floats
    from rewards.ml.selection import Queue

CANDIDATES = 2  # prompts that a policy responds to, for each that people are to judge
LEAST_LEARNED = 100  # rankings, before an ensemble's opinion is worth anything
RESERVE_PRIORITY = -1
SEED = 0

Answered = Sequence[tuple[Prompt, Sequence[Response]]]


class Reason(models.TextChoices):
    """Why all prompts come by chance."""

    OFF = "off"
    AUDIT = "audit"
    FELL_BACK = "fell back"
    LITTLE_DATA = "little data"
    NO_CHOICE = "no choice"


@dataclass(frozen=True)
class Choice:
    """By the id of each candidate how it comes into the queue, and the row that says so."""

    selection: Selection
    chosen: Mapping[int, Chosen]


def random_share(project: Project) -> float:
    """The part of the queue that comes by chance: at least what is for audit."""
    return max(1 - project.active_share, min(1.0, project.audit_share))


def why_random(project: Project) -> Reason | None:
    """Why the next prompts will all come by chance; None where some will be chosen."""
    if project.active_share <= 0:
        return Reason.OFF
    if random_share(project) >= 1 or n_drawn(project) < project.audit_first:
        return Reason.AUDIT
    if fallen_back(project):
        return Reason.FELL_BACK
    if trainable(project).count() < LEAST_LEARNED:
        return Reason.LITTLE_DATA
    return None


def n_candidates(project: Project, n: int) -> int:
    """To how many prompts a policy should respond, so that `n` can be chosen for people."""
    return n if why_random(project) else CANDIDATES * n


def choose(project: Project, answered: Answered, n: int, *, batch: str) -> Choice:
    """Choose `n` of the prompts, of which nothing is stored yet.

    The same prompts and the same judgements give the same choice. First the arms are compared,
    where that is due. Takes seconds, so it is for workers.
    """
    from rewards.ml.selection import draw_queue  # SciPy takes long to load

    compare_arms(project)
    answered = [(prompt, distinct(responses)) for prompt, responses in answered]
    answered = [(prompt, responses) for prompt, responses in answered if len(responses) >= 2]
    reason = why_random(project)
    if reason is None and len(answered) <= n:
        reason = Reason.NO_CHOICE
    worth = _worth(project, answered) if reason is None else Worth.of_chance(len(answered))
    # They train nothing, and what models are held to must not be chosen for being hard.
    held_out = np.array([prompt.split != "train" for prompt, _ in answered], dtype=bool)
    queue = draw_queue(
        worth.scores,
        worth.topics,
        n,
        random_share=1.0 if reason else random_share(project),
        seed=seed_from("arms", project.slug, batch),
        passed_over=worth.repeated | held_out,
    )
    selection = Selection(
        project=project,
        batch=batch,
        reason=reason or "",
        features=worth.features,
        n_learned=worth.n_learned,
        n_candidates=len(answered),
        n_random=int(queue.random.sum()),
        n_active=int(queue.active.sum()),
        n_repeated=int(worth.repeated.sum()),
    )
    # Audited prompts are drawn from the random arm, so that of the whole queue their share is kept.
    audit_share = project.audit_share * min(n, len(answered)) / max(1, selection.n_random)
    chosen = {
        prompt.pk: _chosen(queue, place, min(1.0, audit_share))
        for place, (prompt, _) in enumerate(answered)
    }
    return Choice(selection, chosen)


def _chosen(queue: Queue, place: int, audit_share: float) -> Chosen:
    probability = float(queue.probability[place])
    if queue.random[place]:
        return Chosen(Task.Arm.RANDOM, probability, audit_share)
    if queue.active[place]:
        return Chosen(Task.Arm.ACTIVE, probability, audit_share=0.0)
    return Chosen(Task.Arm.RESERVE, probability, audit_share=0.0, priority=RESERVE_PRIORITY)


def open_chosen_tasks(
    project: Project, answered: Answered, choice: Choice, *, proposed_by: Mapping[str, Any]
) -> list[Task]:
    """Open tasks for all candidates, those in reserve last, and drop the earlier reserves.

    What is for audit by now stays, whatever it came as.
    The same batch again gives the tasks that are there.
    """
    selection = choice.selection
    with transaction.atomic():
        tasks = open_ranking_tasks(
            project, answered, batch=selection.batch, proposed_by=proposed_by, chosen=choice.chosen
        )
        if not project.selections.filter(batch=selection.batch).exists():
            selection.save()
    reserve = project.tasks.filter(kind=Task.Kind.NORMAL, arm=Task.Arm.RESERVE)
    stale = reserve.filter(state=Task.State.OPEN, n_done=0, n_live=0)
    change_in_order(stale.exclude(batch=selection.batch), state=Task.State.CLOSED)
    return tasks


@dataclass(frozen=True)
class Worth:
    """What judging each of the candidates (C,) would teach, and what is known of them."""

    scores: Floats
    topics: Sequence[Any]
    repeated: NDArray[np.bool_]  # nearly the same as an earlier one
    features: str = ""
    n_learned: int = 0

    @classmethod
    def of_chance(cls, n: int) -> Worth:
        """Nothing is known of them."""
        return cls(np.zeros(n), [""] * n, np.zeros(n, dtype=bool))


def _worth(project: Project, answered: Answered) -> Worth:
    from rewards.ml.features import clusters  # scikit-learn takes long to load
    from rewards.ml.selection import disagreement, fit_heads, repeats, scores_of_prompts

    judged = newest_judged(project)
    features = featured(project, judged, answered)
    heads = fit_heads(features.rows, features.pairs(judged), SEED)
    pairs = [
        (place, features.row[one.pk], features.row[other.pk])
        for place, (_, responses) in enumerate(answered)
        for one, other in combinations(responses, 2)
    ]
    place, first, second = np.array(pairs, dtype=np.int64).T
    taught = disagreement(features.rows, first, second, heads)
    centres = np.array(
        [
            features.rows[[features.row[one.pk] for one in responses]].mean(axis=0)
            for _, responses in answered
        ]
    )
    topics: Sequence[Any] = [prompt.topic for prompt, _ in answered]
    if not any(topics):
        topics = clusters(centres, SEED).tolist()
    return Worth(
        scores_of_prompts(taught, place, len(answered)),
        topics,
        repeats(centres),
        features.name,
        len(judged),
    )
