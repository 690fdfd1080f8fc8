"""An interval of alpha_sym for other people than these: prompts and annotators resampled together.

The bootstrap of prompts tells how sure we are of these annotators; other volunteers would differ
more, the fewer these are. Resampling both covers that, and somewhat more than it promises (Owen
2007, The pigeonhole bootstrap, Annals of Applied Statistics 1). An annotator who is drawn twice is
not compared with himself: that would be perfect agreement.
"""

import numpy as np

from rewards.ml.alpha import alpha_sym
from rewards.ml.comparisons import Comparisons, Floats, Ints
from rewards.ml.concordance import blocks, together


def two_way_interval(
    comparisons: Comparisons, resamples: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of alpha_sym over prompts and annotators; None where it has none.

    That is with fewer than three annotators who overlap, and where resamples often hold no two
    people who judged the same, or only ties.
    """
    prompt, one, two, sums = _pair_sums(comparisons)
    people = len(np.unique(np.concatenate((one, two))))
    if people < 3:
        return None
    _, prompt = np.unique(prompt, return_inverse=True)
    n_prompts = int(prompt[-1]) + 1
    _, who = np.unique(np.concatenate((one, two)), return_inverse=True)
    one, two = who[: len(one)], who[len(one) :]
    rng = np.random.default_rng(seed)
    totals = np.empty((resamples, 3))
    for draw in range(resamples):
        of_prompt = np.bincount(rng.integers(0, n_prompts, n_prompts), minlength=n_prompts)
        of_person = np.bincount(rng.integers(0, people, people), minlength=people)
        totals[draw] = (of_prompt[prompt] * of_person[one] * of_person[two]) @ sums
    alphas = alpha_sym(*totals.T)
    if np.isnan(alphas).mean() > 0.05:
        return None
    low, high = np.nanpercentile(alphas, [2.5, 97.5])
    return float(low), float(high)


def _pair_sums(comparisons: Comparisons) -> tuple[Ints, Ints, Ints, Floats]:
    """For every prompt and two of its annotators (E,), what they add to ratings, disagreement and
    ties, (E, 3): summed over all, these are the sums that alpha is made of."""
    people = len(comparisons.annotators)
    judged_by = np.bincount(comparisons.unit)
    keys = [np.zeros(0, dtype=np.int64)]
    parts = [np.zeros((0, 3))]
    for start, stop in blocks(comparisons):
        unit, value = comparisons.unit[start:stop], comparisons.value[start:stop]
        i, j = together(unit)
        share = 1 / (judged_by[unit[i]] - 1)
        a, b = comparisons.annotator[start:stop][i], comparisons.annotator[start:stop][j]
        key = (comparisons.prompt[start:stop][i] * people + a) * people + b
        unique, group = np.unique(key, return_inverse=True)
        columns = (
            2 * share,
            np.abs(value[i] - value[j]) * share,
            ((value[i] == 0).astype(np.int64) + (value[j] == 0)) * share,
        )
        keys.append(unique)
        parts.append(np.stack([np.bincount(group, x, len(unique)) for x in columns], axis=1))
    key = np.concatenate(keys)
    return key // people**2, key // people % people, key % people, np.concatenate(parts)
