"""How fast the statistics of agreement are, beside other libraries: 10,000 to 1,000,000 judgements.

    python benchmarks/agreement.py
    python benchmarks/agreement.py --judgements 10000 100000 --rounds 5

One process on one core. A judgement is what one annotator says of one pair of responses (or of one
item). For each size the same data goes to ours and to the other library in turn, round after round,
and the medians are compared; ratio says how many times as long the other one took. `krippendorff`
has no resampling of its own: its line is one alpha on the mirrored table for each of five resamples
of prompts, times 200. Crowd-Kit's Dawid-Skene does ten rounds of EM, since its own rule stops
early, and its time is that of as many rounds as ours did; its Bradley-Terry runs with tol=0, since
it stops after two rounds otherwise, and its noisy Bradley-Terry up to 10,000 judgements only
(100,000 take minutes). What is not installed is named and left out:

    pip install krippendorff crowd-kit
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rewards.ml.alpha import AlphaSums, alpha_sums, alpha_sym  # noqa: E402
from rewards.ml.comparisons import Comparisons, PromptRankings, compare, tabulate  # noqa: E402
from rewards.ml.intervals import bootstrap_totals  # noqa: E402
from rewards.ml.joint import joint  # noqa: E402
from rewards.ml.statistics import (  # noqa: E402
    bradley_terry,
    dawid_skene,
    from_counts,
    krippendorff,
    noisy_bradley_terry,
    outcomes,
)

RESAMPLES = 1000
THEIR_RESAMPLES = 5
PEOPLE, ITEMS, SCALE = 200, 500, 5
THEIR_ROUNDS = 10
NOISY_AT_MOST = 10_000

try:
    import krippendorff as krippendorff_library
except ImportError:
    krippendorff_library = None
try:
    import pandas
    from crowdkit.aggregation import BradleyTerry as CrowdKitBradleyTerry
    from crowdkit.aggregation import DawidSkene as CrowdKitDawidSkene
    from crowdkit.aggregation import NoisyBradleyTerry as CrowdKitNoisy
except ImportError:
    pandas = None


@dataclass
class Job:
    """One line: ours, the other one, and by how much their answers differ."""

    name: str
    ours: Callable[[], object]
    library: str = ""
    theirs: Callable[[], object] | None = None
    times: float = 1.0  # what the other's time stands for
    differ: Callable[[object, object], float] | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judgements", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for name, found in (("krippendorff", krippendorff_library), ("crowd-kit", pandas)):
        if found is None:
            print(f"{name} is not installed: its lines are left out")
    print(f"medians of {options.rounds} rounds, seconds of one core, {RESAMPLES} resamples")
    print(
        f"{'judgements':>10}  {'what':<40} {'ours s':>8} {'theirs s':>9} {'ratio':>7} {'differ':>8}"
    )
    for size in options.judgements:
        for job in (*alpha_jobs(size), *rating_jobs(size), *label_jobs(size), *pair_jobs(size)):
            run(size, job, options.rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'':>10}  peak memory {peak:,.0f} MiB")


def run(size: int, job: Job, rounds: int) -> None:
    """Ours and theirs in turn, so that a busy machine slows both alike."""
    ours, theirs, answers = [], [], (None, None)
    for _ in range(rounds):
        begun = time.process_time()
        own = job.ours()
        ours.append(time.process_time() - begun)
        if job.theirs:
            begun = time.process_time()
            answers = (own, job.theirs())
            theirs.append((time.process_time() - begun) * job.times)
    line = f"{size:>10,}  {job.name:<40} {median(ours):>8.3f}"
    if job.theirs:
        line += f" {median(theirs):>9.3f} {median(theirs) / max(median(ours), 1e-6):>7.1f}"
        line += f" {job.differ(*answers):>8.0e}" if job.differ else f" {'':>8}"
        line += f"  {job.library}"
    print(line, flush=True)


# ---- alpha_sym ---------------------------------------------------------------------------------


def rankings(size: int) -> list[PromptRankings]:
    """Plackett-Luce annotators with ties, two to four on two to nine responses a prompt: so many
    rankings that the pairs in them are `size`."""
    rng = np.random.default_rng(0)
    prompts: list[PromptRankings] = []
    kinds = [(k, m) for k in range(2, 10) for m in range(2, 5)]
    for k, m in kinds:
        n = size // len(kinds) // (m * k * (k - 1) // 2)
        utility = rng.normal(0, 1.2, (n, 1, k)) + rng.gumbel(0, 1, (n, m, k))
        ranks = 1 + (utility[..., None, :] > utility[..., :, None] + 0.3).sum(axis=-1)
        people = rng.integers(0, PEOPLE - m, n)
        responses = [f"r{place}" for place in range(k)]
        prompts += [
            {f"a{first + i}": dict(zip(responses, said[i], strict=True)) for i in range(m)}
            for first, said in zip(people.tolist(), ranks.tolist(), strict=True)
        ]
    return prompts


def alpha_jobs(size: int) -> Iterator[Job]:
    prompts = rankings(size)
    comparisons = compare(tabulate(prompts))
    sums = alpha_sums(comparisons)
    yield Job("rankings to sums of prompts", lambda: alpha_sums(compare(tabulate(prompts))))
    yield Job("alpha_sym from sums", lambda: alpha(sums))
    if krippendorff_library is None:
        yield Job("alpha_sym and its prompt bootstrap", lambda: bootstrap(sums))
        return
    mirrored = mirrored_counts(comparisons)
    starts = np.searchsorted(comparisons.unit_prompt, np.arange(len(prompts) + 1))
    rng = np.random.default_rng(1)

    def theirs() -> float:
        values = []
        for _ in range(THEIR_RESAMPLES):
            drawn = np.bincount(rng.integers(0, len(prompts), len(prompts)), minlength=len(prompts))
            units = np.repeat(np.arange(len(mirrored) // 2), drawn.repeat(np.diff(starts)))
            values.append(library_alpha(mirrored[np.concatenate((2 * units, 2 * units + 1))]))
        return float(np.mean(values))

    yield Job(
        "alpha_sym and its prompt bootstrap",
        lambda: bootstrap(sums),
        "krippendorff on the mirrored table, 5 of 1,000 resamples",
        theirs,
        RESAMPLES / THEIR_RESAMPLES,
    )
    yield Job(
        "alpha_sym from comparisons",
        lambda: alpha(alpha_sums(comparisons)),
        "krippendorff on the mirrored table",
        lambda: library_alpha(mirrored),
        differ=lambda one, two: abs(one - two),
    )


def alpha(sums: AlphaSums) -> float:
    totals = (x.sum(keepdims=True) for x in (sums.ratings, sums.disagreement, sums.ties))
    return float(alpha_sym(*totals)[0])


def bootstrap(sums: AlphaSums) -> tuple[float, float]:
    rows = np.column_stack((sums.ratings, sums.disagreement, sums.ties))
    low, high = np.percentile(alpha_sym(*bootstrap_totals(rows, RESAMPLES, 0).T), [2.5, 97.5])
    return float(low), float(high)


def mirrored_counts(comparisons: Comparisons) -> np.ndarray:
    """Units by -1, 0, 1, each unit both ways round."""
    better, worse, tie = comparisons.unit_counts()
    both = np.stack((np.stack((worse, tie, better), 1), np.stack((better, tie, worse), 1)), 1)
    return both.reshape(-1, 3)


def library_alpha(counts: np.ndarray) -> float:
    def half_steps(v1: np.ndarray, v2: np.ndarray, **_: object) -> np.ndarray:
        return np.abs(v1 - v2) / 2

    return krippendorff_library.alpha(
        value_counts=counts, value_domain=[-1, 0, 1], level_of_measurement=half_steps
    )


# ---- Ratings and labels ------------------------------------------------------------------------


def rating_jobs(size: int) -> Iterator[Job]:
    rng = np.random.default_rng(2)
    shares = rng.dirichlet(np.ones(SCALE), size // 3)
    counts = rng.multinomial(3, shares)
    for level in ("nominal", "ordinal"):
        job = Job(f"Krippendorff, {level}", lambda at=level: krippendorff(from_counts(counts), at))
        if krippendorff_library is not None:
            job.library = "krippendorff, from counts"
            job.theirs = lambda at=level: krippendorff_library.alpha(
                value_counts=counts, value_domain=list(range(1, SCALE + 1)), level_of_measurement=at
            )
            job.differ = lambda one, two: abs(one.value - two)
        yield job


def label_jobs(size: int) -> Iterator[Job]:
    rng = np.random.default_rng(3)
    accuracy = rng.uniform(0.5, 0.95, PEOPLE)
    truth = rng.integers(0, 2, size // 3)
    item = np.repeat(np.arange(size // 3), 3)
    annotator = (rng.integers(0, PEOPLE, len(item)) // 3 * 3 + np.arange(len(item)) % 3) % PEOPLE
    right = rng.random(len(item)) < accuracy[annotator]
    label = np.where(right, truth[item], 1 - truth[item])
    job = Job("Dawid-Skene", lambda: dawid_skene(item, annotator, label))
    if pandas is not None:
        table = pandas.DataFrame({"task": item, "worker": annotator, "label": label})
        rounds = len(dawid_skene(item, annotator, label).log_likelihood)
        job.library = f"crowd-kit, {THEIR_ROUNDS} of {rounds} rounds"
        job.theirs = lambda: CrowdKitDawidSkene(n_iter=THEIR_ROUNDS, tol=-1e9).fit(table)
        job.times = rounds / THEIR_ROUNDS
    yield job


# ---- Pairs -------------------------------------------------------------------------------------


def pair_jobs(size: int) -> Iterator[Job]:
    rng = np.random.default_rng(4)
    worth, attention = rng.normal(0, 1, ITEMS), rng.uniform(0.1, 1, PEOPLE)
    first = rng.integers(0, ITEMS, size)
    second = (first + rng.integers(1, ITEMS, size)) % ITEMS
    who = rng.integers(0, PEOPLE, size)
    by_worth = 1 / (1 + np.exp(worth[second] - worth[first]))
    p = attention[who] * by_worth + (1 - attention[who]) * 0.7
    said = np.where(rng.random(size) < p, 1, -1)
    plain = Job("Bradley-Terry", lambda: bradley_terry(outcomes(first, second, said)))
    noisy = Job(
        "noisy Bradley-Terry", lambda: noisy_bradley_terry(outcomes(first, second, said, who))
    )
    if pandas is not None:
        winner = np.where(said > 0, first, second)
        table = pandas.DataFrame({"worker": who, "left": first, "right": second, "label": winner})
        plain.library = "crowd-kit, tol=0, 100 rounds"
        plain.theirs = lambda: CrowdKitBradleyTerry(n_iter=100, tol=0).fit(table)
        plain.differ = lambda one, two: relative_difference(one.worth, two.scores_)
        if size <= NOISY_AT_MOST:
            noisy.library = "crowd-kit, whose gradient is wrong"
            noisy.theirs = lambda: CrowdKitNoisy(n_iter=100).fit(table)
    yield plain
    yield noisy
    features = np.column_stack((worth, rng.normal(0, 1, (ITEMS, 31))))
    yield Job(
        "joint reward and reliability", lambda: joint(outcomes(first, second, said, who), features)
    )


def relative_difference(worth: np.ndarray, scores: object) -> float:
    """Largest difference of log-worth between items, theirs being shares that add up to 1."""
    theirs = np.log(scores.sort_index().to_numpy())
    return float(np.abs((worth - worth.mean()) - (theirs - theirs.mean())).max())


if __name__ == "__main__":
    main()
