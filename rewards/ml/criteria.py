"""Agreement on what responses are rated for a criterion, with intervals that resample prompts.

Krippendorff's alpha on an ordinal scale; beside it Gwet's AC2 with quadratic weights, which stays
readable where almost everything is rated alike. Both are made of sums over prompts, so resampling
them is cheap; the figures themselves are those of krippendorff.py and gwet.py.

I is the number of rated responses, P of prompts, V of steps of the scale, B of resamples.
"""

from dataclasses import dataclass

import numpy as np

from rewards.ml.agreement import MIN_PROMPTS, RESAMPLES, Estimate, State
from rewards.ml.comparisons import Floats, Ints
from rewards.ml.intervals import bootstrap_totals
from rewards.ml.ratings import from_counts


@dataclass(frozen=True)
class CriterionAgreement:
    alpha: Estimate
    gwet: Estimate
    n_responses: int  # rated at least twice


def criterion_agreement(
    counts: Ints, prompt: Ints, seed: int = 0, resamples: int = RESAMPLES
) -> CriterionAgreement:
    """From how often each response was rated each step of the scale, (I, V), and its prompt, (I,).

    Prompts with a response that was rated twice count as overlapped; fewer than 20 are too few.
    """
    # SciPy takes long to load, and web processes load this module.
    from rewards.ml.gwet import gwet_ac2
    from rewards.ml.krippendorff import krippendorff

    twice = counts.sum(axis=1) >= 2
    overlapped = len(np.unique(prompt[twice]))

    def estimate(value: float | None, drawn: Floats) -> Estimate:
        if value is None or np.isnan(drawn).mean() > 0.05:
            return _blank("one category", overlapped)
        low, high = np.nanpercentile(drawn, [2.5, 97.5])
        return Estimate("ok", float(value), float(low), float(high), overlapped, chance=0.0)

    if overlapped < MIN_PROMPTS:
        few = _blank("not enough overlap", overlapped)
        return CriterionAgreement(few, few, int(twice.sum()))
    ratings = from_counts(counts)
    alphas = _alphas(_resampled(_coincidences(counts), prompt, resamples, seed), counts.shape[1])
    ac2 = _ac2(_resampled(_gwet_sums(counts), prompt, resamples, seed), counts.shape[1])
    return CriterionAgreement(
        alpha=estimate(krippendorff(ratings, "ordinal").value, alphas),
        gwet=estimate(gwet_ac2(ratings).value, ac2),
        n_responses=int(twice.sum()),
    )


def _blank(state: State, n: int) -> Estimate:
    return Estimate(state, None, None, None, n)


def _resampled(rows: Floats, prompt: Ints, resamples: int, seed: int) -> Floats:
    """Column totals (B, …) of rows of responses, when prompts are resampled."""
    names, place = np.unique(prompt, return_inverse=True)
    by_prompt = np.zeros((len(names), rows.shape[1]))
    np.add.at(by_prompt, place, rows)
    return bootstrap_totals(by_prompt.round(12), resamples, seed)


def _coincidences(counts: Ints) -> Floats:
    """(I, V * V) how often each two steps met in a response, each rating weighing the same."""
    m = counts.sum(axis=1)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    weighed = pairs * ((m >= 2) / np.maximum(m - 1, 1))[:, None, None]
    flat: Floats = weighed.reshape(len(counts), -1)
    return flat


def _alphas(totals: Floats, size: int) -> Floats:
    """(B,) Source: Krippendorff 2011, equations 1 and 2, by coincidences (B, V * V)."""
    met = totals.reshape(-1, size, size)
    margin = met.sum(axis=2)
    n = margin.sum(axis=1)
    place = np.cumsum(margin, axis=1) - margin / 2
    distance = (place[:, :, None] - place[:, None, :]) ** 2
    observed = (met * distance).sum(axis=(1, 2))
    expected = (margin[:, :, None] * margin[:, None, :] * distance).sum(axis=(1, 2))
    alphas: Floats = 1 - np.divide(
        (n - 1) * observed, expected, out=np.full(len(n), np.nan), where=expected > 1e-9
    )
    return alphas


def _gwet_sums(counts: Ints) -> Floats:
    """(I, V + 3): shares of the steps, whether rated at all, weighted agreement, rated twice."""
    m = counts.sum(axis=1)
    twice = m >= 2
    alike = (counts * (counts @ _weights(counts.shape[1]) - 1)).sum(axis=1)
    return np.column_stack(
        (
            counts / np.maximum(m, 1)[:, None],
            m >= 1,
            alike / np.where(twice, m * (m - 1), 1) * twice,
            twice,
        )
    )


def _ac2(totals: Floats, size: int) -> Floats:
    """(B,) Source: Gwet 2014, chapter 4."""
    shares, rated, alike, twice = np.split(totals, [size, size + 1, size + 2], axis=1)
    share = shares / rated
    scale = _weights(size).sum() / (size * (size - 1))
    expected = scale * (share * (1 - share)).sum(axis=1)
    observed = np.divide(alike, twice, out=np.full_like(alike, np.nan), where=twice > 0)[:, 0]
    possible = expected < 1 - 1e-12
    return np.where(possible, (observed - expected) / np.where(possible, 1 - expected, 1), np.nan)


def _weights(size: int) -> Floats:
    """(V, V) quadratic."""
    steps = np.subtract.outer(np.arange(size), np.arange(size))
    weights: Floats = 1 - (steps / (size - 1)) ** 2
    return weights
