"""A reward model that is sure of the contrary has another person asked.

At a fixed budget more prompts train a better model than more judgements of each, so most prompts
are judged once. A second judgement is worth most where the first is probably wrong.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from annotate.models import Task, content_hash
from annotate.services.tasks import ask_second_opinion
from rewards.models import RewardModelVersion

# Of the tasks that were judged once and scored. Chosen tasks are not like the others, and people
# should go on to judge new prompts.
MOST = 0.05


def ask_where_contradicted(
    version: RewardModelVersion, contradicted: Iterable[Mapping[str, Any]], n_scored: int
) -> int:
    """Ask about the tasks of the first contradictions; returns how many the model has asked about.

    Each is a rewards.ml.contradictions.Contradiction as JSON. Doing it again asks nothing more.
    """
    proposal = {"reward_model": version.number}
    asked = Task.objects.filter(project=version.project, proposed_by__second_opinion=proposal)
    left = int(MOST * n_scored) - asked.count()
    for one in contradicted:
        if left <= 0:
            break
        judged = Task.objects.filter(
            project=version.project,
            kind=Task.Kind.NORMAL,
            state=Task.State.DONE,
            n_done=1,
            prompt__content_hash=one["prompt_id"],
        ).exclude(adjudications__is_current=True)
        for text in (one["preferred"], one["rejected"]):
            judged = judged.filter(responses__content_hash=content_hash(text))
        for task in judged.order_by("pk")[:left]:
            left -= ask_second_opinion(task, proposal)
    return asked.count()
