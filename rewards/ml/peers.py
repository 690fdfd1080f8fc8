"""How far each annotator agrees with those who judged the same pairs of responses.

C is the number of comparisons, S of shared rankings: one annotator on one prompt of which somebody
else judged a pair too.
"""

from dataclasses import dataclass

import numpy as np

from rewards.ml.comparisons import Comparisons, Floats, Ints


@dataclass(frozen=True)
class PeerShares:
    """Columns (S,): how far `annotator` agreed with the others on `prompt`, from 0 to 1.

    The mean over the pairs of responses that others judged too of the share of them who said the
    same; a tie against a win counts half.
    """

    annotator: Ints  # index into the comparisons' annotators
    prompt: Ints
    share: Floats


def peer_shares(comparisons: Comparisons) -> PeerShares:
    """One entry for each annotator and prompt, since the pairs of a ranking hang together."""
    better, worse, tie = (count[comparisons.unit] for count in comparisons.unit_counts())
    value = comparisons.value
    peers = better + worse + tie - 1
    alike = np.select([value == 1, value == -1], [better, worse], tie) - 1
    half = np.where(value == 0, better + worse, tie)  # a tie on one side only
    share = (alike + half / 2) / np.maximum(peers, 1)
    shared = peers > 0
    key = comparisons.annotator * max(comparisons.n_prompts, 1) + comparisons.prompt
    keys, group = np.unique(key[shared], return_inverse=True)
    means = np.bincount(group, share[shared], len(keys)) / np.bincount(group, minlength=len(keys))
    n_prompts = max(comparisons.n_prompts, 1)
    return PeerShares(keys // n_prompts, keys % n_prompts, means)
