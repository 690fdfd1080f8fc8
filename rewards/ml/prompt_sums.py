"""Sums over each prompt, of which every figure of agreement on rankings is made.

They add up: the figures of any choice of prompts follow from the sums of these, and those without
one annotator from what he adds to them. So they can be kept, and few of them summed anew when a
judgement comes or goes.

P is the number of prompts, E of entries: one annotator on one prompt.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rewards.ml.alpha import AlphaSums, changes_without
from rewards.ml.comparisons import Comparisons, Floats, Ints, RankingTable, sum_by
from rewards.ml.concordance import tau_b, top_agreement

DECIMALS = (
    12  # so that prompts with equal judgements have equal sums, in whatever order people come
)


@dataclass(frozen=True)
class PersonSums:
    """What each annotator adds to the sums of each prompt that he ranked; arrays are (E,)."""

    names: tuple[str, ...]
    prompt: Ints
    annotator: Ints  # index into `names`
    comparisons: Floats  # pairs of responses that he judged
    ratings: Floats  # what alpha's three sums would change by, were he left out
    disagreement: Floats
    ties: Floats
    share: Floats  # how far the others say the same, 0 to 1; NaN where nobody judged what he did


@dataclass(frozen=True)
class Sums:
    """Of some prompts: `prompts` has each figure's sums, (P,) by name."""

    prompts: Mapping[str, Floats]
    people: PersonSums


def sums_of(table: RankingTable, comparisons: Comparisons, alpha: AlphaSums) -> Sums:
    return Sums(prompt_sums(table, comparisons, alpha), person_sums(table, comparisons))


def prompt_sums(
    table: RankingTable, comparisons: Comparisons, sums: AlphaSums
) -> dict[str, Floats]:
    """(P,) each: zero where a prompt has nothing to say on it."""
    better, worse, tie = comparisons.unit_counts()
    n_prompts = table.n_prompts
    prompt = comparisons.unit_prompt
    pairs = {
        "agreeing": _choose_two(better) + _choose_two(worse) + _choose_two(tie),
        "compared": _choose_two(better + worse + tie),
        "agreeing_strict": _choose_two(better) + _choose_two(worse),
        "compared_strict": _choose_two(better + worse),
        **_gwet_sums(better, worse, tie),
    }
    top, top_compared, top_chance = top_agreement(table)
    tau, tau_count = tau_b(comparisons)
    found = {
        "ratings": sums.ratings,
        "disagreement": sums.disagreement,
        "ties": sums.ties,
        **{name: sum_by(prompt, x, n_prompts) for name, x in pairs.items()},
        "top": top,
        "top_compared": top_compared,
        "top_chance": top_chance,
        # Every prompt counts once in the mean tau-b, however many people judged it.
        "tau": np.divide(tau, tau_count, out=np.zeros_like(tau), where=tau_count > 0),
        "tau_defined": (tau_count > 0).astype(np.float64),
        "comparisons": sum_by(comparisons.prompt, comparisons.value * 0 + 1, n_prompts),
        "tied": sum_by(comparisons.prompt, 1 - np.abs(comparisons.value), n_prompts),
    }
    return {name: np.round(column, DECIMALS) for name, column in found.items()}


def person_sums(table: RankingTable, comparisons: Comparisons) -> PersonSums:
    """An entry for each annotator and prompt with a ranking of his, by annotator and prompt."""
    n_prompts = max(table.n_prompts, 1)
    keys = np.unique(table.row_annotator * n_prompts + table.row_prompt)
    entry = np.searchsorted(keys, comparisons.annotator * n_prompts + comparisons.prompt)
    better, worse, tie = (count[comparisons.unit] for count in comparisons.unit_counts())
    value = comparisons.value
    peers = better + worse + tie - 1
    alike = np.select([value == 1, value == -1], [better, worse], tie) - 1
    half = np.where(value == 0, better + worse, tie)  # a tie on one side only
    said = (alike + half / 2) / np.maximum(peers, 1)
    judged = (peers > 0).astype(np.float64)
    shared = sum_by(entry, judged, len(keys))
    share = np.full(len(keys), np.nan)
    np.divide(sum_by(entry, said * judged, len(keys)), shared, out=share, where=shared > 0)
    ratings, disagreement, ties = (
        np.round(sum_by(entry, change, len(keys)), DECIMALS)
        for change in changes_without(comparisons)
    )
    return PersonSums(
        names=table.annotators,
        prompt=keys % n_prompts,
        annotator=keys // n_prompts,
        comparisons=sum_by(entry, np.ones(len(entry)), len(keys)),
        ratings=ratings,
        disagreement=disagreement,
        ties=ties,
        share=np.round(share, DECIMALS),
    )


def _gwet_sums(better: Ints, worse: Ints, tie: Ints) -> dict[str, Floats]:
    """What Gwet's AC2 is made of, by unit, a tie being half a win: (U,) each."""
    m = better + worse + tie
    alike = _choose_two(better) + _choose_two(worse) + _choose_two(tie)
    pairs = _choose_two(m)
    weighted = alike + tie * (better + worse) / 2
    return {
        "units": (m >= 2).astype(np.float64),
        "unit_agreement": weighted / np.maximum(pairs, 1) * (m >= 2),
        "rated_units": (m >= 1).astype(np.float64),
        "rated_ties": tie / np.maximum(m, 1),
    }


def _choose_two(count: Ints) -> Floats:
    return count * (count - 1) / 2
