"""How many judgements it saves to ask about the pairs that teach most: a simulation.

    python benchmarks/selection.py
    python benchmarks/selection.py --seeds 3 --weeks 12 --labels 150

Each week as many pairs are judged as volunteers manage, chosen from candidates that are new. A pair
belongs to a topic; topics are of unequal size, and each has directions of its own in which its
responses differ. Of the pairs 35 % are near-ties, a tenth as far apart, on which people decide
almost by chance; of all judgements 10 % are wrong. A linear
reward is fitted to all judgements so far, and is right on how many of 4,000 other pairs that are no
near-ties? Every rule starts from the same randomly drawn first week, and sees the same candidates.

    random      drawn
    uncertain   the probability nearest to one half, under the mean of the ensemble
    bald        the ensemble's disagreement (rewards.ml.selection)
    mix         30 % random, 70 % bald, at most 15 % of one topic: what projects get
    d-optimal   one after the other, the pair that adds most to the determinant of the information

The last column is the number of judgements with which a rule's mean accuracy first reaches that of
random in the last week, between weeks by interpolation.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rewards.ml.comparisons import Floats, Ints  # noqa: E402
from rewards.ml.selection import (  # noqa: E402
    JudgedPairs,
    disagreement,
    draw_queue,
    fit_head,
    fit_heads,
)

FEATURES, TOPICS, TOPIC_FEATURES = 192, 40, 12
NEAR_TIES, NEAR_TIE, NOISE = 0.35, 0.1, 0.10
CANDIDATES = 4  # a week, for each pair that is judged
TESTED = 4000
RULES = ("random", "uncertain", "bald", "mix", "d-optimal")


@dataclass(frozen=True)
class Pairs:
    """Differences (U, D) of the features of two responses, topics (U,), and true margins (U,)."""

    difference: Floats
    topic: Ints
    margin: Floats

    def __getitem__(self, chosen: Ints | NDArray[np.bool_]) -> Pairs:
        return Pairs(self.difference[chosen], self.topic[chosen], self.margin[chosen])


class World:
    """A truth, and topics in which responses differ along directions of their own."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.truth = self.rng.normal(size=FEATURES)
        self.truth /= np.linalg.norm(self.truth)
        shares = 1 / np.arange(1, TOPICS + 1)
        self.shares = shares / shares.sum()
        self.directions = np.array(
            [self._directions() for _ in range(TOPICS)]
        )  # (topics, features of a topic, D)

    def _directions(self) -> Floats:
        among = self.rng.choice(FEATURES, TOPIC_FEATURES, replace=False)
        return np.asarray(np.eye(FEATURES)[among])

    def pairs(self, n: int) -> Pairs:
        topic = self.rng.choice(TOPICS, n, p=self.shares)
        strength = self.rng.normal(size=(n, TOPIC_FEATURES))
        difference = np.einsum("uf,ufd->ud", strength, self.directions[topic])
        difference[self.rng.random(n) < NEAR_TIES] *= NEAR_TIE
        return Pairs(difference, topic, difference @ self.truth)

    def judge(self, pairs: Pairs) -> Floats:
        """Whether the first response is preferred: 1 or 0 (U,), wrong one time in ten."""
        clear = pairs.margin / np.abs(pairs.margin).mean()
        said = self.rng.random(len(clear)) < expit(8 * clear)
        wrong = self.rng.random(len(clear)) < NOISE
        return (said ^ wrong).astype(np.float64)


def as_rows(pairs: Pairs) -> tuple[Floats, Ints, Ints]:
    """Every difference as a response, to be compared with one that is all zeros."""
    n = len(pairs.topic)
    rows = np.vstack((pairs.difference, np.zeros((1, FEATURES))))
    return rows, np.arange(n), np.full(n, n)


def simulate(rule: str, seed: int, weeks: int, n: int) -> list[float]:
    """Accuracy with the judgements that all rules begin with, then after each week."""
    world = World(seed)
    tested = world.pairs(TESTED)
    tested = tested[np.abs(tested.margin) > np.quantile(np.abs(tested.margin), NEAR_TIES)]
    pools = [world.pairs(n if week == 0 else CANDIDATES * n) for week in range(weeks + 1)]
    known, said = pools[0], world.judge(pools[0])
    accuracy = []
    for week in range(weeks + 1):
        rows, first, second = as_rows(known)
        judged = JudgedPairs(first, first, second, said)
        head = fit_head(rows, judged)
        accuracy.append(float(((tested.difference @ head > 0) == (tested.margin > 0)).mean()))
        if week < weeks:
            heads = fit_heads(rows, judged, seed * 100 + week)
            pool = pools[week + 1]
            chosen = pool[CHOOSE[rule](known, pool, heads, n, seed * 100 + week)]
            said = np.concatenate((said, world.judge(chosen)))
            known = Pairs(
                np.vstack((known.difference, chosen.difference)),
                np.concatenate((known.topic, chosen.topic)),
                np.concatenate((known.margin, chosen.margin)),
            )
    return accuracy


def at_random(known: Pairs, pool: Pairs, heads: Floats, n: int, seed: int) -> Ints:
    return np.random.default_rng(seed).permutation(len(pool.topic))[:n]


def most_uncertain(known: Pairs, pool: Pairs, heads: Floats, n: int, seed: int) -> Ints:
    p = expit(pool.difference @ heads.T).mean(axis=1)
    return np.argsort(np.abs(p - 0.5))[:n]


def by_bald(known: Pairs, pool: Pairs, heads: Floats, n: int, seed: int) -> Ints:
    return np.argsort(-disagreement(*as_rows(pool), heads))[:n]


def mixed(known: Pairs, pool: Pairs, heads: Floats, n: int, seed: int) -> Ints:
    values = disagreement(*as_rows(pool), heads)
    queue = draw_queue(values, pool.topic.tolist(), n, random_share=0.3, seed=seed)
    return np.flatnonzero(queue.random | queue.active)


def d_optimal(known: Pairs, pool: Pairs, heads: Floats, n: int, seed: int) -> Ints:
    """Greedy; the information of a judged pair is p (1 - p) times its outer product."""
    head = heads.mean(axis=0)

    def scaled(pairs: Pairs) -> Floats:
        p = expit(pairs.difference @ head)
        return np.asarray(pairs.difference * np.sqrt(p * (1 - p))[:, None])

    seen, rows = scaled(known), scaled(pool)
    inverse = np.linalg.inv(np.eye(FEATURES) + seen.T @ seen)
    chosen = []
    gain = np.einsum("ud,de,ue->u", rows, inverse, rows)
    for _ in range(n):
        best = int(np.argmax(gain))
        chosen.append(best)
        along = inverse @ rows[best]
        inverse -= np.outer(along, along) / (1 + rows[best] @ along)
        gain = np.einsum("ud,ud->u", rows @ inverse, rows)
        gain[chosen] = -1
    return np.array(chosen)


CHOOSE: dict[str, Callable[[Pairs, Pairs, Floats, int, int], Ints]] = {
    "random": at_random,
    "uncertain": most_uncertain,
    "bald": by_bald,
    "mix": mixed,
    "d-optimal": d_optimal,
}


def labels_to_reach(accuracy: Floats, wanted: float, n: int) -> float | None:
    """With how many judgements the means (weeks + 1,) first reach the accuracy; None if never."""
    reached = np.flatnonzero(accuracy >= wanted)
    if not len(reached):
        return None
    week = int(reached[0])
    if week == 0:
        return float(n)
    before, after = accuracy[week - 1], accuracy[week]
    return n * (week + float((wanted - before) / (after - before)))


def compare(rules: tuple[str, ...], seeds: int, weeks: int, n: int) -> dict[str, Floats]:
    """By rule the accuracies (seeds, weeks + 1)."""
    return {
        rule: np.array([simulate(rule, seed, weeks, n) for seed in range(seeds)]) for rule in rules
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--weeks", type=int, default=12)
    parser.add_argument("--labels", type=int, default=150, help="judgements a week")
    options = parser.parse_args()
    found = compare(RULES, options.seeds, options.weeks, options.labels)
    wanted = float(found["random"].mean(axis=0)[-1])
    shown = (options.weeks // 4, options.weeks // 2, options.weeks)
    print(f"accuracy, mean of {options.seeds} seeds (standard error)")
    head = "".join(f"{(week + 1) * options.labels:>8,} labels" for week in shown)
    print(f"{'rule':<11}{head}   labels to reach {wanted:.3f}")
    for rule, accuracy in found.items():
        mean, error = accuracy.mean(axis=0), accuracy.std(axis=0) / options.seeds**0.5
        cells = "".join(f"  {mean[week]:.3f} ({error[week]:.3f})" for week in shown)
        needed = labels_to_reach(mean, wanted, options.labels)
        print(f"{rule:<11}{cells}   {f'{needed:,.0f}' if needed else 'never'}")


if __name__ == "__main__":
    main()
