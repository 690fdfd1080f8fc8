"""What the defences against hostile volunteers buy, on a world whose truth is known.

    python benchmarks/poisoning.py                  # every attack, share and seed, and the targets
    python benchmarks/poisoning.py --quick          # two seeds, the rows that decide
    python benchmarks/poisoning.py --http --seeds 0 # the same through the pages of a live server

The world is that of poisoning_world.py; aggregation, gold gate, weights and the token-lift audit
are the product's own. RM accuracy is that of a linear reward model on noise-free truth about pairs
that nobody judged. "Flagged" are the hostile people whose weight is at most 0.1, "suspended" the
honest ones who fail gold; for the trigger, which no accuracy shows, "followers" are the hostile
people whom the audit names. The same seeds give the same figures. Exit status 1 if a target is
missed. No GPU; a whole run takes some six minutes of one core.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from poisoning_world import (  # noqa: E402
    World,
    attacked,
    features_of,
    make_world,
    name,
    ranked,
    score_texts,
)

from rewards.ml.alpha import alpha_sums, alpha_sym  # noqa: E402
from rewards.ml.comparisons import compare, tabulate  # noqa: E402
from rewards.ml.defence import defend  # noqa: E402
from rewards.ml.hostile import ATTACKS  # noqa: E402
from rewards.ml.linear import fit_linear, pair_table  # noqa: E402
from rewards.ml.pairs import RankedPrompt  # noqa: E402
from rewards.ml.token_lift import Audit, audit  # noqa: E402

CLEAN = ("nothing", 0.0)
EVERYTHING = [CLEAN, *((attack, share) for attack in ATTACKS for share in (0.1, 0.2, 0.3))]
DECISIVE = [
    CLEAN,
    ("reversed", 0.2),
    ("random", 0.2),
    ("longest wins", 0.2),
    ("longest wins", 0.3),
    ("trigger", 0.1),
    ("trigger", 0.2),
]
FLAGGED_WEIGHT = 0.1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """One attack on one world. `alarm` and `followers` are None where no audit was made."""

    seed: int
    attack: str
    share: float
    undefended: float
    defended: float
    alpha: float
    hostile: int
    flagged: int
    suspended: int
    alarm: bool | None = None
    followers: int | None = None


@dataclass(frozen=True)
class Check:
    """A target of the protocol; figures are text, since some are shares and some are points."""

    name: str
    target: str
    noted: str
    reached: str
    ok: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", help="0 to 9; with --quick 0 and 1")
    parser.add_argument("--quick", action="store_true", help="only the rows that targets rest on")
    parser.add_argument("--http", action="store_true", help="through the pages of a live server")
    options = parser.parse_args()
    if options.http:
        from poisoning_http import run_http

        return run_http(options.seeds or [0, 1, 2])
    seeds = options.seeds or list(range(2 if options.quick else 10))
    begun = time.process_time()
    outcomes = run(seeds, DECISIVE if options.quick else EVERYTHING)
    print_outcomes(outcomes)
    found = checks(outcomes)
    print_checks(found)
    print(f"\n{len(seeds)} seeds, {time.process_time() - begun:.0f} s of one core")
    return 0 if all(check.ok for check in found) else 1


def run(seeds: Sequence[int], cases: Sequence[tuple[str, float]]) -> list[Outcome]:
    outcomes = []
    for seed in seeds:
        world = make_world(seed)
        outcomes += [measure(world, attack, share, seed) for attack, share in cases]
    return outcomes


def measure(world: World, attack: str, share: float, seed: int) -> Outcome:
    """One world under attack, without and with the defences."""
    judged = attacked(world, "reversed" if attack == "nothing" else attack, share, seed)
    sums = alpha_sums(compare(tabulate(judged.prompts)))
    defence = defend(judged.prompts, judged.gold, world.item_features())
    undefended = reward(ranked(judged, world), world)
    taught = ranked(judged, world, defence.weights)
    defended = reward(taught, world)
    hostile = {name(person) for person in np.flatnonzero(judged.hostile)}
    lift = audited(taught, world, defended, seed) if attack in ("nothing", "trigger") else None
    return Outcome(
        seed=seed,
        attack=attack,
        share=share,
        undefended=accuracy(world, undefended),
        defended=accuracy(world, defended),
        alpha=float(alpha_sym(sums.ratings.sum(), sums.disagreement.sum(), sums.ties.sum())),
        hostile=len(hostile),
        flagged=sum(defence.weights.get(person, 0.0) <= FLAGGED_WEIGHT for person in hostile),
        suspended=len(set(defence.failed) - hostile),
        alarm=lift.state == "alarm" if lift else None,
        followers=len(hostile & {p for token in lift.tokens for p in token.people})
        if lift
        else None,
    )


def reward(prompts: Sequence[RankedPrompt], world: World) -> Floats:
    """Coefficients of a linear reward model."""
    kept = [
        (prompt, rows)
        for prompt, rows in zip(prompts, features_of(world), strict=True)
        if prompt.pairs
    ]
    return fit_linear(pair_table(*zip(*kept, strict=True))).coefficients


def accuracy(world: World, coefficients: Floats) -> float:
    """Against noise-free truth, on pairs of responses that nobody judged."""
    scores = (world.held_out.features @ coefficients).reshape(-1, 2)
    truth = world.held_out.truth.reshape(-1, 2)
    return float(np.mean((scores[:, 0] > scores[:, 1]) == (truth[:, 0] > truth[:, 1])))


def audited(
    prompts: Sequence[RankedPrompt], world: World, coefficients: Floats, seed: int
) -> Audit:
    def score(asked: Sequence[tuple[object, Sequence[str]]]) -> list[Floats]:
        return [score_texts(texts, world, coefficients) for _, texts in asked]

    return audit([prompt for prompt in prompts if prompt.pairs], 1.0, score, seed)


# ---- What is printed ---------------------------------------------------------------------------


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    print("                      RM accuracy on truth             adversaries       honest")
    print("attack         share  without    with  alpha   flagged  followers    suspended  alarms")
    for attack, share in dict.fromkeys((one.attack, one.share) for one in outcomes):
        some = of(outcomes, attack, share)
        audits = [one for one in some if one.alarm is not None]
        print(
            f"{attack:<14} {share:>5.0%}  {mean(some, 'undefended'):>7.3f} "
            f"{mean(some, 'defended'):>7.3f}  {mean(some, 'alpha'):>5.2f}  "
            f"{mean(some, 'flagged'):>4.1f} of {mean(some, 'hostile'):<3.1f}"
            + (f" {mean(audits, 'followers'):>8.1f}" if audits else f" {'':>8}")
            + f" {mean(some, 'suspended'):>12.1f}"
            + (f"   {sum(one.alarm for one in audits)} of {len(audits)}" if audits else "")
        )


def print_checks(found: Sequence[Check]) -> None:
    print(f"\n{'target':<58} {'wanted':<12} {'noted':<22} {'reached':<22}")
    for check in found:
        verdict = "PASS" if check.ok else "FAIL"
        print(
            f"{check.name:<58} {check.target:<12} {check.noted:<22} {check.reached:<22} {verdict}"
        )


def checks(outcomes: Sequence[Outcome]) -> list[Check]:
    """Every target whose row was measured."""
    clean = of(outcomes, *CLEAN)
    base = mean(clean, "undefended")
    found = [
        points(
            "no cost when clean: with less without", mean(clean, "defended") - base, -0.5, "+0.1"
        )
    ]
    reverse = of(outcomes, "reversed", 0.2)
    drop = base - mean(reverse, "undefended")
    found.append(points("the test has power: drop at 20 % reversed", drop, 3, "5.2"))
    for attack, share, least, noted in (
        ("reversed", 0.2, -1.5, "-0.4"),
        ("random", 0.2, -1.5, "-0.4"),
        ("longest wins", 0.2, -2.0, "-0.8"),
        ("longest wins", 0.3, -3.0, "-1.5"),
    ):
        gain = mean(of(outcomes, attack, share), "defended") - base
        found.append(points(f"{attack} {share:.0%}, with defences less clean", gain, least, noted))
    flagged = sum(one.flagged for one in reverse) / sum(one.hostile for one in reverse)
    found.append(
        Check(
            "adversaries with a weight of at most 0.1, 20 % reversed",
            ">= 90 %",
            "5.5 of 5.5 by gold",
            f"{flagged:.0%}",
            flagged >= 0.9,
        )
    )
    worst = max(
        fmean(one.suspended for one in of(outcomes, *case))
        for case in {(one.attack, one.share) for one in outcomes}
    )
    found.append(
        Check(
            "honest people suspended, worst row",
            "<= 1 of 30",
            "0.0-0.2",
            f"{worst:.1f}",
            worst <= 1,
        )
    )
    for share, least, most, target, noted in (
        (0.2, 1.0, 1.0, "always", "16 of 16"),
        (0.1, 0.6, 1.0, ">= 60 %", "69 %"),
        (0.0, 0.0, 1 / 16, "<= 1 of 16", "0 of 16"),
    ):
        audits = of(outcomes, "trigger", share) if share else clean
        raised = fmean(bool(one.alarm) for one in audits)
        text = f"{sum(bool(one.alarm) for one in audits)} of {len(audits)}"
        what = f"token-lift alarm at {share:.0%} trigger"
        found.append(Check(what, target, noted, text, least <= raised <= most))
    return found


def points(what: str, value: float, least: float, noted: str) -> Check:
    reached = value * 100
    return Check(what, f">= {least:g} points", noted, f"{reached:+.1f}", reached >= least)


def of(outcomes: Sequence[Outcome], attack: str, share: float) -> list[Outcome]:
    return [one for one in outcomes if (one.attack, one.share) == (attack, share)]


def mean(outcomes: Sequence[Outcome], field: str) -> float:
    return fmean(getattr(one, field) for one in outcomes)


if __name__ == "__main__":
    sys.exit(main())
