"""How well scores agree with judgements that they were not fitted to.

Every figure is a mean over prompts, since the pairs of a prompt depend on each other, and its 95 %
interval comes from resampling prompts. It carries the numbers that it rests on, and where there is
too little to rest on it is None with a reason, never NaN.

K is the number of responses of a prompt, P of prompts.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from rewards.ml.baselines import Credit, Floats, credit, human_credit
from rewards.ml.intervals import bootstrap_totals
from rewards.ml.pairs import RankedPrompt

RESAMPLES = 2000
INTERVAL = (2.5, 97.5)  # percentiles
NO_PAIRS = "no pair without a tie"
ONE_PROMPT = "one prompt gives no interval"


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; None with a `reason` where there is too little data.

    `n_prompts` and `n_pairs` count what went into it.
    """

    value: float | None
    low: float | None
    high: float | None
    n_prompts: int
    n_pairs: int
    reason: str | None = None


@dataclass(frozen=True)
class Correlation:
    """As Estimate, over the responses of prompts."""

    value: float | None
    low: float | None
    high: float | None
    n_prompts: int
    n_responses: int
    reason: str | None = None


@dataclass(frozen=True)
class ScoredPrompt:
    """A judged prompt with the scores and the lengths in tokens of its responses, both (K,)."""

    prompt: RankedPrompt
    scores: Floats
    lengths: Floats


def accuracy(prompts: Sequence[ScoredPrompt], seed: int) -> Estimate:
    """Share of the judged pairs without a tie whose winner has the higher score."""
    return _mean([credit(p.prompt, p.scores) for p in prompts], NO_PAIRS, seed)


def values_accuracy(
    prompts: Sequence[ScoredPrompt], values: Sequence[Floats], seed: int
) -> Estimate:
    """The accuracy of other values of the same responses, one array (K,) a prompt."""
    credits = [credit(p.prompt, v) for p, v in zip(prompts, values, strict=True)]
    return _mean(credits, NO_PAIRS, seed)


def longest_wins_accuracy(prompts: Sequence[ScoredPrompt], seed: int) -> Estimate:
    """The accuracy of preferring the longer response."""
    return values_accuracy(prompts, [p.lengths for p in prompts], seed)


def accuracy_gain(prompts: Sequence[ScoredPrompt], values: Sequence[Floats], seed: int) -> Estimate:
    """Accuracy of the scores less that of other values, such as another model's scores.

    Both are measured on the same pairs and resampled together, so the interval is that of the
    difference.
    """
    gains = []
    for p, other in zip(prompts, values, strict=True):
        scored, compared = credit(p.prompt, p.scores), credit(p.prompt, other)
        if scored is not None and compared is not None:
            gains.append(Credit(scored.share - compared.share, scored.n_pairs))
    return _mean(gains, NO_PAIRS, seed)


def accuracy_on_others(prompts: Sequence[ScoredPrompt], known: Set[str], seed: int) -> Estimate:
    """Accuracy on the judgements of annotators who are not `known`, such as from training."""
    credits = []
    for p in prompts:
        others = tuple(pair for pair in p.prompt.pairs if pair.annotator not in known)
        credits.append(credit(replace(p.prompt, pairs=others), p.scores))
    return _mean(credits, "everybody who judged is known", seed)


def accuracy_where_shorter_won(prompts: Sequence[ScoredPrompt], seed: int) -> Estimate:
    """Accuracy on the pairs whose winner is the shorter response."""
    credits = [credit(p.prompt, p.scores, against=p.lengths) for p in prompts]
    return _mean(credits, "the shorter response won no pair", seed)


def human_accuracy(prompts: Sequence[ScoredPrompt], seed: int) -> Estimate:
    """How often another annotator prefers the same response: about what a model can reach."""
    credits = [human_credit(p.prompt) for p in prompts]
    return _mean(credits, "no pair was judged by two annotators", seed)


def length_correlation(prompts: Sequence[ScoredPrompt], seed: int) -> Correlation:
    """Pearson's correlation of score and length within prompts.

    Within: each prompt's means are taken off first, so that long and easy topics do not count.
    """
    rows = np.zeros((len(prompts), 3))
    for place, p in enumerate(prompts):
        x, y = p.scores - p.scores.mean(), p.lengths - p.lengths.mean()
        rows[place] = (x @ y, x @ x, y @ y)
    n_responses = sum(len(p.scores) for p in prompts)
    totals = rows.sum(axis=0)
    if not (totals[1] > 0 and totals[2] > 0):
        reason = "scores or lengths do not vary within prompts"
        return Correlation(None, None, None, len(prompts), n_responses, reason)
    value = float(totals[0] / np.sqrt(totals[1] * totals[2]))
    if len(prompts) == 1:
        return Correlation(value, None, None, 1, n_responses, ONE_PROMPT)
    resampled = bootstrap_totals(rows, RESAMPLES, seed)
    varied = resampled[(resampled[:, 1] > 0) & (resampled[:, 2] > 0)]
    low, high = np.percentile(varied[:, 0] / np.sqrt(varied[:, 1] * varied[:, 2]), INTERVAL)
    return Correlation(value, float(low), float(high), len(prompts), n_responses)


def _mean(credits: Sequence[Credit | None], missing: str, seed: int) -> Estimate:
    """Mean over the prompts that have a value; `missing` is the reason when none has."""
    present = [c for c in credits if c is not None]
    n_pairs = sum(c.n_pairs for c in present)
    if not present:
        return Estimate(None, None, None, 0, 0, missing)
    shares = np.array([[c.share] for c in present])
    value = float(shares.mean())
    if len(present) == 1:
        return Estimate(value, None, None, 1, n_pairs, ONE_PROMPT)
    means = bootstrap_totals(shares, RESAMPLES, seed)[:, 0] / len(present)
    low, high = np.percentile(means, INTERVAL)
    return Estimate(value, float(low), float(high), len(present), n_pairs)
