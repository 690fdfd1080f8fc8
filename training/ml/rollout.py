"""Sample responses of the policy and gather, once, everything that PPO wants to know of them.

Shape letters: B episodes, R response positions. Tensors are 0 outside a response.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from training.ml import ppo
from training.ml.adapters import AdapterBank, TokenBatch, collate
from training.ml.generate import sample
from training.ml.invariants import check_finite, check_no_pad, check_same_logprobs

Tokens = Sequence[int]
# Rewards (B,) of responses, given the token ids of B prompts and of their responses.
Scorer = Callable[[Sequence[Tokens], Sequence[Tokens]], Tensor]
LanguageModel = Literal["policy", "parent", "reference"]


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn; `micro_batch` is how many rows a forward pass takes at once."""

    eos_token_id: int
    max_new_tokens: int
    temperature: float
    micro_batch: int


@dataclass(frozen=True)
class Episodes:
    """Prompts with one sampled response each.

    `ended` (B,) is True where a response ends in EOS, `mask` (B, R) at the tokens of a response,
    `sampled_logprobs` (B, R) are those at sampling.
    """

    prompts: tuple[Tokens, ...]
    responses: tuple[Tokens, ...]
    ended: Tensor
    mask: Tensor
    sampled_logprobs: Tensor

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> Tensor:
        """Tokens of each response, EOS included, (B,)."""
        return self.mask.sum(-1)

    @property
    def complete(self) -> Tensor:
        """True for responses that end, and hold more than their end, (B,)."""
        return self.ended & (self.lengths > 1)

    def batch(self, rows: Sequence[int], bank: AdapterBank) -> TokenBatch:
        """The chosen episodes as token ids, no wider than they need."""
        return collate(
            [self.prompts[row] for row in rows],
            [self.responses[row] for row in rows],
            bank.pad_token_id,
            bank.causal.device,
        )

    def parts(self, rows: Sequence[int], size: int) -> Iterator[list[int]]:
        """`rows` in parts of at most `size`, alike in length, which leaves little padding."""
        order = sorted(rows, key=lambda i: (len(self.responses[i]), len(self.prompts[i])))
        for start in range(0, len(order), size):
            yield order[start : start + size]


@dataclass(frozen=True)
class Rollout:
    """Episodes with what the models say of them.

    (B, R): `logprobs` of the sampled tokens under the policy, `ref_logprobs` under the reference,
    `parent_logprobs` under last week's policy if there is one, `entropy` of the policy, `values`.
    (B,): `scores`, the rewards before KL and before an incomplete response counts.
    """

    episodes: Episodes
    logprobs: Tensor
    ref_logprobs: Tensor
    parent_logprobs: Tensor | None
    entropy: Tensor
    values: Tensor
    scores: Tensor


def sample_episodes(
    bank: AdapterBank,
    role: LanguageModel,
    prompts: Sequence[Tokens],
    sampling: Sampling,
    generator: torch.Generator,
) -> Episodes:
    """One response of `role` to each prompt. Raises InvariantError when PAD was sampled."""
    with bank.sampling(role) as model:
        sampled = sample(
            model,
            prompts,
            eos_token_id=sampling.eos_token_id,
            pad_token_id=bank.pad_token_id,
            max_new_tokens=sampling.max_new_tokens,
            generator=generator,
            temperature=sampling.temperature,
        )
    device = bank.causal.device
    length = max(len(one.ids) for one in sampled)
    logprobs = torch.zeros(len(sampled), length)
    for row, one in enumerate(sampled):
        logprobs[row, : len(one.ids)] = torch.tensor(one.logprobs)
    lengths = torch.tensor([len(one.ids) for one in sampled], device=device)
    episodes = Episodes(
        prompts=tuple(tuple(prompt) for prompt in prompts),
        responses=tuple(one.ids for one in sampled),
        ended=torch.tensor([one.ended for one in sampled], device=device),
        mask=torch.arange(length, device=device) < lengths.unsqueeze(-1),
        sampled_logprobs=logprobs.to(device),
    )
    whole = episodes.batch(range(len(episodes)), bank)
    check_no_pad(whole.response_ids, whole.response_mask, bank.pad_token_id)
    return episodes


@torch.no_grad()
def logprobs_under(
    bank: AdapterBank, role: LanguageModel, episodes: Episodes, sampling: Sampling
) -> tuple[Tensor, Tensor]:
    """Log probabilities (B, R) of the sampled tokens under `role`, and its entropy (B, R)."""
    logprobs = torch.zeros_like(episodes.sampled_logprobs)
    entropy = torch.zeros_like(logprobs)
    with bank.using(role):
        for rows in episodes.parts(range(len(episodes)), sampling.micro_batch):
            batch = episodes.batch(rows, bank)
            mask, width = batch.response_mask, batch.response_mask.shape[1]
            distribution = bank.distribution(batch, sampling.temperature)
            logprobs[rows, :width] = ppo.gather_logprobs(distribution, batch.response_ids, mask)
            entropy[rows, :width] = ppo.entropy(distribution) * mask
    return logprobs, entropy


@torch.no_grad()
def values_of(bank: AdapterBank, episodes: Episodes, sampling: Sampling) -> Tensor:
    """Predicted returns (B, R) before each response token."""
    values = torch.zeros_like(episodes.sampled_logprobs)
    with bank.using("value"):
        for rows in episodes.parts(range(len(episodes)), sampling.micro_batch):
            batch = episodes.batch(rows, bank)
            values[rows, : batch.response_mask.shape[1]] = bank.values(batch) * batch.response_mask
    return values


def reward_scorer(bank: AdapterBank, micro_batch: int) -> Scorer:
    """The bank's own reward adapter as a scorer."""

    @torch.no_grad()
    def scorer(prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Tensor:
        scores = torch.zeros(len(prompts), device=bank.causal.device)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + len(responses[i]))
        with bank.using("reward"):
            for start in range(0, len(order), micro_batch):
                rows = order[start : start + micro_batch]
                batch = collate(
                    [prompts[row] for row in rows],
                    [responses[row] for row in rows],
                    bank.pad_token_id,
                    bank.causal.device,
                )
                scores[rows] = bank.scores(batch)
        return scores

    return scorer


def score_episodes(scorer: Scorer, episodes: Episodes) -> Tensor:
    """Scores (B,) of the episodes, on their device.

    Raises ValueError when the scorer gave another number, InvariantError when one is not finite.
    """
    scores = scorer(episodes.prompts, episodes.responses).to(episodes.mask.device)
    if scores.shape != (len(episodes),):
        raise ValueError(f"the scorer gave {tuple(scores.shape)} for {len(episodes)} responses")
    check_finite({"scores": scores})
    return scores


def collect(
    bank: AdapterBank,
    prompts: Sequence[Tokens],
    sampling: Sampling,
    generator: torch.Generator,
    scorer: Scorer,
) -> Rollout:
    """Sample the policy's responses to `prompts` and compute all that PPO needs of them.

    Raises InvariantError unless the policy that is trained is the one that was sampled.
    """
    episodes = sample_episodes(bank, "policy", prompts, sampling, generator)
    logprobs, entropy = logprobs_under(bank, "policy", episodes, sampling)
    check_same_logprobs(
        "sampling and policy", episodes.sampled_logprobs, logprobs, episodes.mask, bank.causal.dtype
    )
    parent_logprobs = None
    if "parent" in bank.adapters:
        parent_logprobs, _ = logprobs_under(bank, "parent", episodes, sampling)
    rollout = Rollout(
        episodes=episodes,
        logprobs=logprobs,
        ref_logprobs=logprobs_under(bank, "reference", episodes, sampling)[0],
        parent_logprobs=parent_logprobs,
        entropy=entropy,
        values=values_of(bank, episodes, sampling),
        scores=score_episodes(scorer, episodes),
    )
    check_finite({"ref_logprobs": rollout.ref_logprobs, "values": rollout.values})
    return rollout
