"""Signs of how well each annotator judges, every one with its interval and its minimum of data.

Each function takes plain columns, one entry a ranking unless it says otherwise, `annotator` being
the column of names, and returns a Signal for everyone in it. `assess` reads one person's signals
together: nobody is suggested for exclusion by one of them alone, except by failed gold.

What tells two people apart by many tests holds the rate of false alarms by the rule of Benjamini
and Hochberg (1995) at 5 %: of a pool in which nobody differs, one in twenty has somebody flagged.

A is the number of annotators, R of rankings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, false_discovery_control
from scipy.stats import t as student_t

from rewards.ml.columns import Column, encode
from rewards.ml.comparisons import Comparisons, Floats, Ints, sum_by
from rewards.ml.defence import FALSE_ALARM, HONEST, MIN_GOLD_PAIRS, gold_p_value
from rewards.ml.intervals import wilson
from rewards.ml.peers import peer_shares

FALSE_DISCOVERIES = 0.05

LEAST_SHARED = 25  # rankings that somebody else gave too
LEAST_REPEATS = 10
LEAST_FIRST_CHOICES = 20
LEAST_LENGTHS = 40
LEAST_TIMED = 20
LEAST_RANKINGS = 20  # before it can be said that somebody always says the same
LEAST_TRIADS = 20
LEAST_PEOPLE = 3  # with enough data, before one of them can differ from the usual

POSITION_EXCESS = 0.10  # a smaller habit is harmless, since the order on screen is drawn
LENGTH_EXCESS, LENGTH_MADS = 0.15, 4.0
FAST_PERCENTILE, FAST_SHARE = 2.0, 0.30
SAME_SHARE = 0.90
CIRCULAR_BY_CHANCE = 0.25  # of three pairs, each decided by a coin
CIRCULAR_SHARE = CIRCULAR_BY_CHANCE / 2
CHARACTERS_A_WORD = 6  # with its space; so that languages written without spaces count too

Verdict = Literal["ok", "flag", "missing"]
State = Literal["ok", "too little data", "too few people"]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Signal:
    """A statistic with its 95 % interval, what it was compared with, and what follows.

    `n` counts what it rests on, of which `least` are wanted. Below that `state` is "too little
    data", the verdict "missing" and the numbers None. With "too few people" there is a value, but
    no pool to compare it with. `p` is adjusted for the number of people where several are tested.
    """

    verdict: Verdict
    state: State
    n: int
    least: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    usual: float | None = None
    p: float | None = None


Signals = dict[Any, Signal]

# The names by which `assess` knows them, the surest first.
GOLD, PEERS, SAME, SELF = "gold", "peers", "same", "self"
POSITION, LENGTH, CIRCLES, SPEED = "position", "length", "circles", "speed"

# Of somebody who did nothing that it could rest on.
NOTHING = {
    name: Signal("missing", "too little data", 0, least)
    for name, least in (
        (GOLD, MIN_GOLD_PAIRS),
        (PEERS, LEAST_SHARED),
        (SAME, LEAST_RANKINGS),
        (SELF, LEAST_REPEATS),
        (POSITION, LEAST_FIRST_CHOICES),
        (LENGTH, LEAST_LENGTHS),
        (CIRCLES, LEAST_TRIADS),
        (SPEED, LEAST_TIMED),
    )
}

Kind = Literal[
    "failed gold",
    "says the same",
    "different taste",
    "careless",
    "one sign",
    "nothing to see",
    "too little data",
]


@dataclass(frozen=True)
class Assessment:
    """What the signals come to; `flagged` names them, in the order given."""

    kind: Kind
    flagged: tuple[str, ...]

    @property
    def suggests_exclusion(self) -> bool:
        """Whether there is enough to leave the judgements out, once a person has looked."""
        return self.kind in ("failed gold", "careless", "says the same")


# ---- The signals ---------------------------------------------------------------------------------


def agreement_with_peers(comparisons: Comparisons) -> Signals:
    """Mean agreement with the others on shared rankings, one-sided against the median annotator.

    `value` is from 0 to 1, a tie against a win counting half. Whoever is in the table without a
    shared ranking has too little data.
    """
    shares = peer_shares(comparisons)
    names = np.array(comparisons.annotators, dtype=object)
    found = _below_median(names[shares.annotator], shares.share, LEAST_SHARED)
    return {name: found.get(name, NOTHING[PEERS]) for name in comparisons.annotators}


def self_agreement(annotator: Column, share: Floats) -> Signals:
    """How far a person says the same of a repeated task, 0 to 1 each, against the median annotator.

    One entry a repeat.
    """
    return _below_median(annotator, share, LEAST_REPEATS)


def gold(annotator: Column, right: Floats | Ints, pairs: Ints) -> Signals:
    """Share of the pairs decided by gold tasks that a person put in the right order.

    One entry a gold ranking, a tie being half right. Fails where so few right ones, or fewer, come
    about in less than 1 % of honest annotators, by the binomial distribution at an accuracy of
    82 %. `n` counts pairs.
    """
    names, who = encode(annotator)
    hits, total = (sum_by(who, column, len(names)) for column in (right, pairs))
    found = {}
    for a, name in enumerate(names):
        n = int(total[a])
        if n < MIN_GOLD_PAIRS:
            found[name] = Signal("missing", "too little data", n, MIN_GOLD_PAIRS)
            continue
        share = float(hits[a]) / n
        p = gold_p_value(hits[a], n)
        own = who == a
        low, high = wilson(share, _effective_pairs(right[own], pairs[own], share))
        found[name] = Signal(
            verdict="flag" if p < FALSE_ALARM else "ok",
            state="ok",
            n=n,
            least=MIN_GOLD_PAIRS,
            value=share,
            low=low,
            high=high,
            usual=HONEST,
            p=p,
        )
    return found


def position_bias(annotator: Column, in_first_slot: Flags, n_shown: Ints) -> Signals:
    """Share of first choices that were shown first, two-sided against the draw, exact.

    One entry a ranking with a single best response, of `n_shown` that were in a drawn order. A
    habit of less than ten points is not flagged, however sure it is. Source of the distribution:
    Poisson 1837, sums of unequal coins, as the product of a binomial for each `n_shown`.
    """
    names, who = encode(annotator)
    shares, chances, tests = {}, {}, {}
    counts = np.bincount(who, minlength=len(names))
    for a, name in enumerate(names):
        if counts[a] < LEAST_FIRST_CHOICES:
            continue
        own, shown = in_first_slot[who == a], n_shown[who == a]
        shares[name], chances[name] = float(own.mean()), float((1 / shown).mean())
        tests[name] = _two_sided(int(own.sum()), shown)
    adjusted = _adjusted(tests)
    found: Signals = {}
    for a, name in enumerate(names):
        n = int(counts[a])
        if name not in shares:
            found[name] = Signal("missing", "too little data", n, LEAST_FIRST_CHOICES)
            continue
        excess = abs(shares[name] - chances[name])
        flagged = adjusted[name] <= FALSE_DISCOVERIES and excess >= POSITION_EXCESS
        low, high = wilson(shares[name], n)
        found[name] = Signal(
            verdict="flag" if flagged else "ok",
            state="ok",
            n=n,
            least=LEAST_FIRST_CHOICES,
            value=shares[name],
            low=low,
            high=high,
            usual=chances[name],
            p=adjusted[name],
        )
    return found


def length_bias(annotator: Column, longer_won: Floats) -> Signals:
    """Share of pairs in which the longer response won, against the pool's median, two-sided.

    One entry a ranking: the share of its decided pairs of unequal length. People prefer longer
    answers for good reasons, so the pool is the measure and not a half; flagged is who lies further
    from its median than 4 median absolute deviations and 15 points, and surely so.
    """
    names, who = encode(annotator)
    pool = _Pool.of(who, longer_won, len(names), LEAST_LENGTHS)
    median = pool.median
    spread = float(np.median(np.abs(pool.mean[pool.enough] - median))) if pool.enough.any() else 0
    limit = max(LENGTH_MADS * spread, LENGTH_EXCESS)
    tests = {a: 2 * student_t.sf(abs(pool.t(a)), pool.n[a] - 1) for a in pool.tested}
    adjusted = _adjusted(tests)
    return {
        name: pool.signal(
            a,
            adjusted.get(a),
            bool(
                adjusted.get(a, 1.0) <= FALSE_DISCOVERIES
                and abs(pool.mean[a] - pool.median) > limit
            ),
        )
        for a, name in enumerate(names)
    }


def speed(annotator: Column, seconds: Floats, characters: Floats) -> Signals:
    """Share of rankings that were faster than all but 2 % of the other people's.

    `characters` are those of the responses to read; the pace is in seconds for a hundred words.
    Evidence beside other signs, and never more: there are quick readers.
    """
    names, who = encode(annotator)
    readable = characters > 0
    who, pace = who[readable], _pace(seconds[readable], characters[readable])
    found: Signals = {}
    for a, name in enumerate(names):
        own, others = pace[who == a], pace[who != a]
        n = len(own)
        if n < LEAST_TIMED:
            found[name] = Signal("missing", "too little data", n, LEAST_TIMED)
        elif len(others) < LEAST_TIMED:
            found[name] = Signal("missing", "too few people", n, LEAST_TIMED)
        else:
            share = float((own < np.percentile(others, FAST_PERCENTILE)).mean())
            verdict: Verdict = "flag" if share > FAST_SHARE else "ok"
            usual = FAST_PERCENTILE / 100
            low, high = wilson(share, n)
            found[name] = Signal(verdict, "ok", n, LEAST_TIMED, share, low, high, usual)
    return found


def median_pace(annotator: Column, seconds: Floats, characters: Floats) -> dict[Any, float]:
    """Seconds for a hundred words of the responses, the median of each person's rankings."""
    names, who = encode(annotator)
    readable = characters > 0
    who, pace = who[readable], _pace(seconds[readable], characters[readable])
    return {name: float(np.median(pace[who == a])) for a, name in enumerate(names) if a in who}


def says_the_same(annotator: Column, all_tied: Flags, as_shown: Flags) -> Signals:
    """Share of rankings that call everything equal, or keep the order on the screen.

    A rule of its own: agreement cannot see who ties everything, since a tie is never more than
    half a disagreement.
    """
    names, who = encode(annotator)
    found: Signals = {}
    for a, name in enumerate(names):
        own = who == a
        n = int(own.sum())
        if n < LEAST_RANKINGS:
            found[name] = Signal("missing", "too little data", n, LEAST_RANKINGS)
            continue
        share = float((all_tied[own] | as_shown[own]).mean())
        low, high = wilson(share, n)
        verdict: Verdict = "flag" if share > SAME_SHARE else "ok"
        found[name] = Signal(verdict, "ok", n, LEAST_RANKINGS, share, low, high)
    return found


def intransitivity(annotator: Column, circular: Ints, triads: Ints) -> Signals:
    """Share of triads A over B over C over A, of pairs that were judged one by one.

    One entry an annotator and prompt. A ranking cannot show it: there is no circle in an order. A
    coin makes a circle of a quarter; flagged is who has surely more than half of that.
    """
    names, who = encode(annotator)
    k, n = (sum_by(who, column, len(names)) for column in (circular, triads))
    enough = {a for a in range(len(names)) if n[a] >= LEAST_TRIADS}
    adjusted = _adjusted({a: float(binom.sf(k[a] - 1, n[a], CIRCULAR_SHARE)) for a in enough})
    found: Signals = {}
    for a, name in enumerate(names):
        if a not in enough:
            found[name] = Signal("missing", "too little data", int(n[a]), LEAST_TRIADS)
            continue
        share = float(k[a] / n[a])
        low, high = wilson(share, n[a])
        found[name] = Signal(
            verdict="flag" if adjusted[a] <= FALSE_DISCOVERIES else "ok",
            state="ok",
            n=int(n[a]),
            least=LEAST_TRIADS,
            value=share,
            low=low,
            high=high,
            usual=CIRCULAR_BY_CHANCE,
            p=adjusted[a],
        )
    return found


# ---- All of them together ------------------------------------------------------------------------


def assess(signals: Mapping[str, Signal]) -> Assessment:
    """One person's signals together, by the names above; those left out count as missing.

    Two signs make a suspicion, of which speed cannot be one. Who differs from the others and yet
    says the same again when he is asked twice has another taste, and is not careless.
    """
    flagged = tuple(name for name, signal in signals.items() if signal.verdict == "flag")
    evidence = [name for name in flagged if name != SPEED]
    known = [signal for signal in signals.values() if signal.verdict != "missing"]
    kind: Kind = "nothing to see"
    if GOLD in flagged:
        kind = "failed gold"
    elif SAME in flagged:
        kind = "says the same"
    elif evidence == [PEERS] and _knows_his_mind(signals.get(SELF)):
        kind = "different taste"
    elif len(evidence) >= 2:
        kind = "careless"
    elif flagged:
        kind = "one sign"
    elif not known:
        kind = "too little data"
    return Assessment(kind, flagged)


def _knows_his_mind(repeats: Signal | None) -> bool:
    """Whether he surely agrees with himself more than a coin would."""
    return bool(repeats and repeats.verdict == "ok" and repeats.low and repeats.low > 0.5)


# ---- Statistics ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pool:
    """Means over rankings (A,) and how far they may be trusted."""

    n: Ints
    mean: Floats
    error: Floats
    least: int

    @classmethod
    def of(cls, who: Ints, values: Floats, people: int, least: int) -> "_Pool":
        n = np.bincount(who, minlength=people)
        mean = sum_by(who, values, people) / np.maximum(n, 1)
        squares = sum_by(who, (values - mean[who]) ** 2, people)
        spread = squares / np.maximum(n - 1, 1) / np.maximum(n, 1)
        # Who always has the same value is not known without error: half a ranking may differ.
        error = np.maximum(np.sqrt(spread), 0.5 / np.maximum(n, 1))
        return cls(n, mean, error, least)

    @property
    def enough(self) -> Flags:
        return self.n >= self.least

    @property
    def median(self) -> float:
        """Of the people with enough data; 0 without any."""
        return float(np.median(self.mean[self.enough])) if self.enough.any() else 0.0

    @property
    def tested(self) -> list[int]:
        """Who can be told from the usual: nobody where there is no pool to be it."""
        people = np.flatnonzero(self.enough)
        return [int(a) for a in people] if len(people) >= LEAST_PEOPLE else []

    def t(self, a: int) -> float:
        return float((self.mean[a] - self.median) / self.error[a])

    def signal(self, a: int, p: float | None, flagged: bool) -> Signal:
        n = int(self.n[a])
        if n < self.least:
            return Signal("missing", "too little data", n, self.least)
        mean = float(self.mean[a])
        variance = float(self.error[a]) ** 2
        low, high = wilson(mean, mean * (1 - mean) / variance or n)
        known = p is not None
        return Signal(
            verdict="flag" if flagged else "ok",
            state="ok" if known else "too few people",
            n=n,
            least=self.least,
            value=mean,
            low=low,
            high=high,
            usual=self.median if known else None,
            p=p,
        )


def _below_median(annotator: Column, values: Floats, least: int) -> Signals:
    """Means of people against the median one, one-sided: who is surely lower?"""
    names, who = encode(annotator)
    pool = _Pool.of(who, values, len(names), least)
    adjusted = _adjusted({a: student_t.cdf(pool.t(a), pool.n[a] - 1) for a in pool.tested})
    return {
        name: pool.signal(a, adjusted.get(a), adjusted.get(a, 1.0) <= FALSE_DISCOVERIES)
        for a, name in enumerate(names)
    }


def _adjusted(tests: Mapping[Any, float]) -> dict[Any, float]:
    """P-values adjusted for their number (Benjamini and Hochberg 1995)."""
    if not tests:
        return {}
    values = np.clip(list(tests.values()), 0, 1)
    return dict(zip(tests, (float(p) for p in false_discovery_control(values)), strict=True))


def _two_sided(k: int, n_shown: Ints) -> float:
    """Probability of `k` first choices in the first slot or anything as far from the usual."""
    law = np.ones(1)
    for size, count in zip(*np.unique(n_shown, return_counts=True), strict=True):
        law = np.convolve(law, binom.pmf(np.arange(count + 1), count, 1 / size))
    return float(min(1.0, 2 * min(law[: k + 1].sum(), law[k:].sum())))


def _effective_pairs(right: Floats | Ints, pairs: Ints, share: float) -> float:
    """How many independent pairs those of a few gold rankings, (R,), are worth; at most all."""
    n = float(pairs.sum())
    residual = right - share * pairs
    variance = float((residual**2).sum()) / n**2
    return min(n, share * (1 - share) / variance) if variance > 0 else n


def _pace(seconds: Floats, characters: Floats) -> Floats:
    return seconds / characters * (100 * CHARACTERS_A_WORD)
