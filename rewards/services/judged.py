"""What people said and what models wrote, as features and pairs for rewards that are linear.

The features are what the newest accepted reward model reads in a response or, without one, the
words of it. Both take a while, and the former loads torch: this is for workers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from annotate.models import Project, Prompt, Response
from rewards.ml.pairs import judgement_pairs
from rewards.models import RewardModelVersion
from rewards.services.dataset import trainable

if TYPE_CHECKING:
    from rewards.ml.comparisons import Floats
    from rewards.ml.selection import JudgedPairs

READ = 2000  # of the newest rankings; reading so many costs less than an epoch of training
WORDS = "words"
SEED = 0


@dataclass(frozen=True)
class Judged:
    """One ranking, and how its prompt came to be asked about."""

    prompt_id: int
    split: str
    kind: str
    arm: str
    at: datetime
    ranks: Mapping[str, int | None]


@dataclass(frozen=True)
class Features:
    """Standardised features `rows` (N, D), and the row of each response by its id."""

    name: str
    rows: Floats
    row: Mapping[int, int]

    def pairs(self, judged: Sequence[Judged], *, by_prompt: bool = True) -> JudgedPairs:
        """Their pairs; a unit is a prompt or else a ranking."""
        from rewards.ml.selection import JudgedPairs

        units: dict[int, int] = {}
        found = []
        for number, one in enumerate(judged):
            named = one.prompt_id if by_prompt else number
            responses = list(one.ranks)
            for pair in judgement_pairs(list(one.ranks.values()), annotator=""):
                first, second = (self.row[int(responses[place])] for place in (pair.i, pair.j))
                found.append((units.setdefault(named, len(units)), first, second, pair.p))
        unit, first_row, second_row, better = zip(*found, strict=True) if found else [()] * 4
        return JudgedPairs(
            unit=np.array(unit, dtype=np.int64),
            first=np.array(first_row, dtype=np.int64),
            second=np.array(second_row, dtype=np.int64),
            better=np.array(better, dtype=np.float64),
        )


def newest_judged(project: Project, most: int = READ) -> list[Judged]:
    """The newest rankings that training may learn from."""
    task = "assignment__task__"
    columns = (f"{task}prompt", f"{task}prompt__split", f"{task}kind", f"{task}arm")
    rows = trainable(project).order_by("-pk").values_list(*columns, "created_at", "ranks")
    return [Judged(*row) for row in rows[:most]]


def featured(
    project: Project,
    judged: Iterable[Judged],
    answered: Iterable[tuple[Prompt, Sequence[Response]]],
) -> Features:
    """Features of every response that was judged or that candidates have."""
    from rewards.ml.features import fewer, word_features
    from rewards.ml.selection import standardised

    ids = {int(response) for one in judged for response in one.ranks}
    texts: dict[int, dict[int, str]] = defaultdict(dict)  # by prompt, by response
    judged_texts = Response.objects.filter(pk__in=ids).values_list("pk", "prompt", "text")
    for pk, prompt_id, text in judged_texts:
        texts[prompt_id][pk] = text
    for prompt, responses in answered:
        texts[prompt.pk] |= {response.pk: response.text for response in responses}
    row = {pk: place for place, pk in enumerate(pk for some in texts.values() for pk in some)}
    if model := _reader(project):
        return Features(str(model), standardised(fewer(_embedded(model, texts), SEED)), row)
    words = word_features([text for some in texts.values() for text in some.values()], SEED)
    return Features(WORDS, standardised(words), row)


def _reader(project: Project) -> RewardModelVersion | None:
    """The newest reward model that was accepted and is there."""
    accepted = project.reward_models.filter(
        status=RewardModelVersion.Status.ACCEPTED, tainted_at=None
    )
    return next((one for one in accepted if one.folder and one.path.is_dir()), None)


def _embedded(model: RewardModelVersion, texts: Mapping[int, Mapping[int, str]]) -> Floats:
    """(N, H) what the model reads in the responses, in their order."""
    import torch

    from rewards.ml.machine import machine
    from rewards.ml.reward_model import RewardModel

    where = machine()
    reader = RewardModel.load(
        model.path,
        model.base_source,
        device=where["device"],
        dtype=getattr(torch, where["dtype"]),
    )
    messages = dict(Prompt.objects.filter(pk__in=texts).values_list("pk", "messages"))
    prompts = [reader.encode(messages[pk], list(some.values())) for pk, some in texts.items()]
    read = torch.cat(reader.embed_prompts(prompts))
    return np.asarray(read.cpu().numpy(), dtype=np.float64)
