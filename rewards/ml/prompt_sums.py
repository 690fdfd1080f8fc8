"""Sums over each prompt, of which every figure of agreement on rankings is a ratio.

P is the number of prompts.
"""

import numpy as np

from rewards.ml.alpha import AlphaSums
from rewards.ml.comparisons import Comparisons, Floats, Ints, RankingTable, sum_by
from rewards.ml.concordance import tau_b, top_agreement


def prompt_sums(
    table: RankingTable, comparisons: Comparisons, sums: AlphaSums
) -> dict[str, Floats]:
    """(P,) each: zero where a prompt has nothing to say on it."""
    better, worse, tie = comparisons.unit_counts()
    pairs = {
        "agreeing": _choose_two(better) + _choose_two(worse) + _choose_two(tie),
        "compared": _choose_two(better + worse + tie),
        "agreeing_strict": _choose_two(better) + _choose_two(worse),
        "compared_strict": _choose_two(better + worse),
    }
    prompt = comparisons.unit_prompt
    top, top_compared, top_chance = top_agreement(table)
    tau, tau_count = tau_b(comparisons)
    return {
        "ratings": sums.ratings,
        "disagreement": sums.disagreement,
        "ties": sums.ties,
        **{name: sum_by(prompt, x, table.n_prompts) for name, x in pairs.items()},
        "top": top,
        "top_compared": top_compared,
        "top_chance": top_chance,
        # Every prompt counts once in the mean tau-b, however many people judged it.
        "tau": np.divide(tau, tau_count, out=np.zeros_like(tau), where=tau_count > 0),
        "tau_defined": (tau_count > 0).astype(np.float64),
    }


def _choose_two(count: Ints) -> Floats:
    return count * (count - 1) / 2
