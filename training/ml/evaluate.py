"""Compare two policies on held-out prompts by any scorer.

Both answer every prompt once; the one with the higher score wins that prompt. The 95 % interval
of the win rate comes from resampling prompts. Since longer responses often look better, the win
rate is also given among the pairs of nearly equal length.

N is the number of prompts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from rewards.ml.comparisons import Floats
from rewards.ml.intervals import bootstrap_totals
from rewards.ml.text import Message, encode_prompt
from training.ml import ppo
from training.ml.adapters import AdapterBank, lora_config, read_lora_config
from training.ml.base import load_base
from training.ml.monitors import distinct_n
from training.ml.rollout import (
    LanguageModel,
    Sampling,
    Tokens,
    logprobs_under,
    sample_episodes,
)

# Scores of some responses to one prompt.
TextScorer = Callable[[Sequence[Message], Sequence[str]], Sequence[float]]

RESAMPLES = 2000
INTERVAL = (2.5, 97.5)  # percentiles
MAX_LENGTH_DIFFERENCE = 0.2  # of the longer response of a pair


@dataclass(frozen=True)
class EvaluationConfig:
    """How both policies are sampled; with the same seed the answers repeat."""

    max_new_tokens: int = 64
    temperature: float = 1.0
    micro_batch: int = 32
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"


@dataclass(frozen=True)
class Answers:
    """One policy's responses to N prompts: text, tokens with EOS, KL to the reference in nats."""

    texts: tuple[str, ...]
    token_ids: tuple[Tokens, ...]
    ended: tuple[bool, ...]
    kl_reference: tuple[float, ...]


@dataclass(frozen=True)
class PolicySummary:
    """Means over the prompts; `kl_reference` is nats a response, `distinct_2` of token bigrams."""

    score: float
    response_tokens: float
    eos_rate: float
    kl_reference: float
    distinct_2: float


@dataclass(frozen=True)
class WinRate:
    """Of `n` prompts: wins, ties and losses, and (wins + ties / 2) / n with its 95 % interval.

    All three are None when there is no prompt, the interval also when there is only one.
    """

    wins: int
    ties: int
    losses: int
    n: int
    rate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """How `after` does against `before`.

    `length_controlled` counts only the prompts where the lengths of the two responses differ by at
    most a fifth of the longer one.
    """

    before: PolicySummary
    after: PolicySummary
    overall: WinRate
    length_controlled: WinRate


def evaluate(
    base: str,
    prompts: Sequence[Sequence[Message]],
    scorer: TextScorer,
    config: EvaluationConfig,
    *,
    before: Path | None,
    after: Path | None,
) -> Comparison:
    """Sample both policies on `prompts` and compare them by `scorer`.

    `before` and `after` are PEFT folders for `base`; None is the base itself. Raises ValueError
    when there is no prompt.
    """
    if not prompts:
        raise ValueError("there is no prompt to evaluate on")
    model, tokenizer = load_base(base, getattr(torch, config.dtype), config.device)
    lora = read_lora_config(after) if after else lora_config(r=1, alpha=1)
    bank = AdapterBank(model, lora, pad_token_id=tokenizer.pad_token_id, seed=0)
    if after:
        bank.load("policy", after)
    if before:
        bank.load("parent", before)
    prompt_ids = [encode_prompt(tokenizer, messages) for messages in prompts]
    sampling = Sampling(
        eos_token_id=tokenizer.eos_token_id,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        micro_batch=config.micro_batch,
    )

    def answers(role: LanguageModel) -> Answers:
        return _answers(bank, role, prompt_ids, sampling, config.seed, tokenizer.decode)

    return compare(
        prompts,
        answers("parent" if before else "reference"),
        answers("policy" if after else "reference"),
        scorer,
        config.seed,
    )


def compare(
    prompts: Sequence[Sequence[Message]],
    before: Answers,
    after: Answers,
    scorer: TextScorer,
    seed: int,
) -> Comparison:
    """Compare answers to the same prompts; `seed` is that of the resampling."""
    scores = np.array(
        [
            list(scorer(messages, texts))
            for messages, *texts in zip(prompts, before.texts, after.texts, strict=True)
        ]
    )  # (N, 2)
    lengths = np.array([[len(ids) for ids in one.token_ids] for one in (before, after)]).T  # (N, 2)
    difference = np.abs(lengths[:, 0] - lengths[:, 1])
    similar = difference <= MAX_LENGTH_DIFFERENCE * lengths.max(axis=1)
    return Comparison(
        before=_summary(before, scores[:, 0]),
        after=_summary(after, scores[:, 1]),
        overall=win_rate(scores[:, 0], scores[:, 1], seed),
        length_controlled=win_rate(scores[similar, 0], scores[similar, 1], seed),
    )


def win_rate(
    before: Floats,
    after: Floats,
    seed: int,
) -> WinRate:
    """How often scores `after` beat scores `before` of the same N prompts, both of shape (N,)."""
    n = len(after)
    wins, losses = int((after > before).sum()), int((after < before).sum())
    ties = n - wins - losses
    if n == 0:
        return WinRate(0, 0, 0, 0, None, None, None)
    rate = (wins + ties / 2) / n
    if n == 1:
        return WinRate(wins, ties, losses, n, rate, None, None)
    credit = (0.5 * (after == before) + (after > before)).reshape(-1, 1)
    low, high = np.percentile(bootstrap_totals(credit, RESAMPLES, seed)[:, 0] / n, INTERVAL)
    return WinRate(wins, ties, losses, n, rate, float(low), float(high))


def _answers(
    bank: AdapterBank,
    role: LanguageModel,
    prompt_ids: Sequence[Tokens],
    sampling: Sampling,
    seed: int,
    decode: Callable[..., str],
) -> Answers:
    generator = torch.Generator(bank.causal.device).manual_seed(seed)
    episodes = sample_episodes(bank, role, prompt_ids, sampling, generator)
    logprobs, _ = logprobs_under(bank, role, episodes, sampling)
    ref_logprobs, _ = logprobs_under(bank, "reference", episodes, sampling)
    return Answers(
        texts=tuple(decode(ids, skip_special_tokens=True) for ids in episodes.responses),
        token_ids=episodes.responses,
        ended=tuple(episodes.ended.tolist()),
        kl_reference=tuple(ppo.kl_k1(logprobs, ref_logprobs).sum(-1).tolist()),
    )


def _summary(answers: Answers, scores: Floats) -> PolicySummary:
    return PolicySummary(
        score=float(scores.mean()),
        response_tokens=float(np.mean([len(ids) for ids in answers.token_ids])),
        eos_rate=float(np.mean(answers.ended)),
        kl_reference=float(np.mean(answers.kl_reference)),
        distinct_2=distinct_n(answers.token_ids, 2),
    )
