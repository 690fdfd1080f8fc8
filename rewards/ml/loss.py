"""The listwise loss of a reward model.

Shapes: N responses of a batch, P preference pairs, B prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rewards.ml.pairs import RankedPrompt


@dataclass(frozen=True)
class PairTensors:
    """All pairs of a batch, each of shape (P,).

    `first` and `second` are places in the scores of shape (N,); `target` is the probability that
    the first beats the second; `prompt` is the pair's prompt, from 0 to `n_prompts` - 1.
    """

    first: Tensor
    second: Tensor
    target: Tensor
    weight: Tensor
    prompt: Tensor
    n_prompts: int


def pair_tensors(prompts: Sequence[RankedPrompt], device: torch.device) -> PairTensors:
    """Pairs of `prompts`, whose responses are scored in this order, prompt after prompt."""
    first, second, target, weight, number = [], [], [], [], []
    offset = 0
    for place, prompt in enumerate(prompts):
        for pair in prompt.pairs:
            first.append(offset + pair.i)
            second.append(offset + pair.j)
            target.append(pair.p)
            weight.append(pair.weight)
            number.append(place)
        offset += len(prompt.responses)
    return PairTensors(
        first=torch.tensor(first, device=device),
        second=torch.tensor(second, device=device),
        target=torch.tensor(target, device=device),
        weight=torch.tensor(weight, device=device),
        prompt=torch.tensor(number, device=device),
        n_prompts=len(prompts),
    )


def listwise_loss(scores: Tensor, pairs: PairTensors, temperature: float = 1.0) -> Tensor:
    """Negative log-likelihood of the judgements of each prompt, in nats, shape (B,).

    A prompt's loss is the sum over its pairs, each times its weight, over their number: at weights
    of 1 a prompt counts once whatever its K and however many annotators judged it, and one that
    only somebody of little weight has judged counts little. A pair's is the cross-entropy between
    its target and sigmoid((score of first - score of second) / temperature); a tie, target 0.5, is
    least at equal scores. Every prompt needs a pair.
    Source: Ouyang et al. 2022, eq. 1; soft targets as in binary cross-entropy.
    """
    target, weight = pairs.target.to(scores), pairs.weight.to(scores)
    margins = (scores[pairs.first] - scores[pairs.second]) / temperature  # (P,)
    losses = F.binary_cross_entropy_with_logits(margins, target, reduction="none")
    zeros = scores.new_zeros(pairs.n_prompts)
    totals = zeros.index_add(0, pairs.prompt, losses * weight)
    return totals / zeros.index_add(0, pairs.prompt, torch.ones_like(weight))


def prompt_weights(prompts: Sequence[RankedPrompt]) -> list[float]:
    """The mean weight of each prompt's pairs: over their sum, losses are in nats a pair again."""
    return [sum(pair.weight for pair in p.pairs) / len(p.pairs) for p in prompts]
