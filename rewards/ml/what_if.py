"""What agreement and a reward model would be without some of the judgements.

The reward model here is a linear one on words, which fits in seconds on a CPU: it tells the
direction in which the real one would go, not how good that would be.

C is the number of comparisons, P of prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewards.ml.alpha import alpha_sym
from rewards.ml.baselines import Floats, tfidf_values
from rewards.ml.comparisons import Comparisons
from rewards.ml.evaluate import Estimate, ScoredPrompt, accuracy_gain, values_accuracy
from rewards.ml.pairs import RankedPrompt
from rewards.ml.peers import peer_shares
from rewards.ml.sensitivity import drop, keep, sums_of

SPLITS = 10
LEAST_SHARED = 5  # rankings of a person in one half, before he can be chosen by it


@dataclass(frozen=True)
class LinearModels:
    """Accuracy before and after on the same held-out judgements, and the paired difference."""

    before: Estimate
    after: Estimate
    gain: Estimate


def cross_fitted_gain(comparisons: Comparisons, n_people: int, seed: int = 0) -> float | None:
    """What alpha gains on other prompts when the `n_people` who agree least are left out.

    The prompts are halved at random SPLITS times; one half chooses the people, the other is
    measured, and then the other way round. Leaving out whoever disagrees raises agreement on the
    prompts by which he was chosen, even where all judge alike: this does not. The mean; None where
    nobody can be chosen, or too little is left.
    """
    rng = np.random.default_rng(seed)
    gains = []
    for _ in range(SPLITS):
        half = rng.random(comparisons.n_prompts) < 0.5
        for choosing in (half, ~half):
            people = _least_agreeing(keep(comparisons, choosing[comparisons.prompt]), n_people)
            other = keep(comparisons, ~choosing[comparisons.prompt])
            if len(people) == n_people:
                gains.append(_alpha(drop(other, people)) - _alpha(other))
    known = [gain for gain in gains if np.isfinite(gain)]
    return float(np.mean(known)) if known else None


def _least_agreeing(comparisons: Comparisons, n: int) -> list[int]:
    """Indices of those who agree least with the others on the prompts they share."""
    shares = peer_shares(comparisons)
    n_shared = np.bincount(shares.annotator, minlength=len(comparisons.annotators))
    means = np.bincount(shares.annotator, shares.share, len(n_shared)) / np.maximum(n_shared, 1)
    enough = np.flatnonzero(n_shared >= LEAST_SHARED)
    return [int(person) for person in enough[np.argsort(means[enough], kind="stable")][:n]]


def _alpha(comparisons: Comparisons) -> float:
    totals: NDArray[np.float64] = sums_of(comparisons).sum(axis=0)
    return float(alpha_sym(*totals[:, None])[0])


def linear_models(
    before: Sequence[RankedPrompt], after: Sequence[RankedPrompt], seed: int = 0
) -> LinearModels:
    """Two linear models, one of each choice of judgements, on the same held-out ones.

    The held-out judgements are those of `after`: whom one mistrusts as a teacher should not examine
    either. `after` has prompts of `before`, with fewer judgements.
    """
    test = [prompt for prompt in after if prompt.split == "test"]
    values = [
        tfidf_values([prompt for prompt in side if prompt.split == "train"], test)
        for side in (before, after)
    ]
    scored = [
        ScoredPrompt(prompt, one, _lengths(prompt))
        for prompt, one in zip(test, values[1], strict=True)
    ]
    return LinearModels(
        before=values_accuracy(scored, values[0], seed),
        after=values_accuracy(scored, values[1], seed),
        gain=accuracy_gain(scored, values[0], seed),
    )


def _lengths(prompt: RankedPrompt) -> Floats:
    return np.array([len(response) for response in prompt.responses], dtype=float)
