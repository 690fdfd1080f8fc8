"""What leaving one annotator out would do to alpha, and whether that is more than hindsight.

Leaving out whoever disagrees raises agreement on the very prompts by which he was found, even where
all judge alike. So one half of the prompts says whether he would be suspected, and the other, which
had no part in it, what alpha gains.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from rewards.ml.alpha import alpha_sym
from rewards.ml.comparisons import Comparisons
from rewards.ml.peers import PeerShares, peer_shares
from rewards.ml.sensitivity import Change, drop, paired_change, sums_of

SPLITS = 10
LEAST_SHARED = 5  # rankings of a person in one half, before it can suspect him
SUSPECTED = 0.05  # one-sided, against the median annotator of the half


@dataclass(frozen=True)
class ExclusionEffect:
    """`change` is alpha on all prompts, with and without; `gain` that on unseen halves.

    `n_suspected` of `n_halves` halves would have suspected the person; `gain` is the mean over
    these, None where there is none.
    """

    change: Change
    gain: float | None
    n_suspected: int
    n_halves: int


def exclusion_effect(comparisons: Comparisons, annotator: str, seed: int = 0) -> ExclusionEffect:
    """Of leaving that annotator out. Raises ValueError for somebody who is not in the table."""
    person = comparisons.annotators.index(annotator)
    without = drop(comparisons, [person])
    before, after = sums_of(comparisons), sums_of(without)
    shares = peer_shares(comparisons)
    rng = np.random.default_rng(seed)
    gains = []
    for _ in range(SPLITS):
        half = rng.random(comparisons.n_prompts) < 0.5
        for choosing in (half, ~half):
            if _suspects(shares, person, choosing):
                unseen = [rows[~choosing].sum(axis=0)[:, None] for rows in (before, after)]
                one, other = (float(alpha_sym(*totals)[0]) for totals in unseen)
                gains.append(other - one)
    known = [gain for gain in gains if np.isfinite(gain)]
    return ExclusionEffect(
        change=paired_change(comparisons, without, seed),
        gain=float(np.mean(known)) if known else None,
        n_suspected=len(gains),
        n_halves=2 * SPLITS,
    )


def _suspects(
    shares: PeerShares, person: int, prompts: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> bool:
    """Whether the person surely agrees less than the median annotator on these prompts."""
    here = prompts[shares.prompt]
    who, share = shares.annotator[here], shares.share[here]
    n = np.bincount(who, minlength=person + 1)
    if n[person] < LEAST_SHARED:
        return False
    means = np.bincount(who, share, len(n))[n > 0] / n[n > 0]
    own = share[who == person]
    error = max(float(own.std(ddof=1)) / np.sqrt(len(own)), 0.5 / len(own))
    p = student_t.cdf((own.mean() - np.median(means)) / error, len(own) - 1)
    return bool(p < SUSPECTED)
