"""Taste or noise: do the annotators fall into two schools, each agreeing within itself?

In one school people differ only in how surely they judge: two of them agree as the product of how
far each agrees with what is common to all, so that the table of agreements has rank one. What is
left of it shows schools. Annotators are split in two so that the rest within the parts is greatest
(the leading eigenvector, as for communities in Newman 2006, then single moves). A split of random
remains looks good too, so it is judged on prompts that had no part in it: those of one half of the
prompts are judged by the split that the other half suggests, and back.

A is the number of annotators, E of entries, see annotator_pairs.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import norm

from rewards.ml.alpha import alpha_sym
from rewards.ml.annotator_pairs import PairColumns, pair_columns, square_sums
from rewards.ml.comparisons import Comparisons, Floats, Ints, sum_by

LEAST_PEOPLE = 6
LEAST_SHARE = 0.25  # of the people, to be a school: fewer are odd ones, whom other signs find
LEAST_SHARED = 20  # prompts that an annotator shares with others, before he is put into a school
LEAST_PROMPTS = 50
LEAST_TOPIC = 10  # shared prompts, before a topic is said to divide the schools
OPPOSED = -0.2  # r below which somebody clearly says the reverse
FALSE_ALARM = 0.05
SPLITS = 5  # of the prompts into halves
ROUNDS = 100

State = Literal["ok", "too few people", "not enough overlap"]


@dataclass(frozen=True)
class TopicDifference:
    """Agreement, 0 to 1, of two people of one school and of two of different ones."""

    topic: str
    within: float
    between: float
    n_prompts: int


@dataclass(frozen=True)
class Schools:
    """`two_schools` where the split holds on prompts it was not made from.

    `alpha` is that of all who were compared, `alpha_within` of people of the same part, both on
    prompts that had no part in the split; `p` the probability of so clear a split in one school.
    `members` (two tuples of names) is the split that all prompts together suggest; it is given
    whether or not it holds. Unless `state` is "ok", the numbers are None.
    """

    state: State
    two_schools: bool
    n_people: int
    n_prompts: int
    alpha: float | None = None
    alpha_within: float | None = None
    p: float | None = None
    members: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    topics: tuple[TopicDifference, ...] = ()


def schools(comparisons: Comparisons, topics: Sequence[str] = (), seed: int = 0) -> Schools:
    """Look for two schools. `topics` has the topic of each prompt, "" for none."""
    columns = pair_columns(comparisons)
    kept = _well_known(columns, len(comparisons.annotators))
    columns = _among(columns, kept)
    people, n_prompts = len(kept), len(np.unique(columns.prompt))
    if people < LEAST_PEOPLE:
        return Schools("too few people", False, people, n_prompts)
    if n_prompts < LEAST_PROMPTS:
        return Schools("not enough overlap", False, people, n_prompts)
    side = _split(columns, people)
    p, alpha, within = _held_out(columns, people, seed)
    names = [comparisons.annotators[a] for a in kept]
    parts = sorted(
        tuple(sorted(name for name, mine in zip(names, side, strict=True) if mine == one))
        for one in (1, -1)
    )
    members = (parts[0], parts[1])
    smaller = min(map(len, members))
    found = p <= FALSE_ALARM and within > alpha and smaller >= max(2, LEAST_SHARE * people)
    return Schools(
        state="ok",
        two_schools=found,
        n_people=people,
        n_prompts=n_prompts,
        alpha=alpha,
        alpha_within=within,
        p=p,
        members=members,
        topics=_topics(columns, side, topics) if found else (),
    )


def _well_known(columns: PairColumns, people: int) -> Ints:
    """The annotators with enough shared prompts."""
    who = np.concatenate((columns.one, columns.two))
    prompt = np.concatenate((columns.prompt, columns.prompt))
    once = np.unique(np.column_stack((who, prompt)), axis=0)
    return np.flatnonzero(np.bincount(once[:, 0], minlength=people) >= LEAST_SHARED)


def _among(columns: PairColumns, kept: Ints) -> PairColumns:
    """The entries of these annotators, who are numbered anew."""
    inside = np.isin(columns.one, kept) & np.isin(columns.two, kept)
    return _chosen(
        PairColumns(
            columns.prompt,
            np.searchsorted(kept, columns.one),
            np.searchsorted(kept, columns.two),
            columns.units,
            columns.disagreement,
            columns.ties,
        ),
        inside,
    )


def _chosen(
    columns: PairColumns, entries: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> PairColumns:
    return PairColumns(*(column[entries] for column in vars(columns).values()))


def _alikeness(columns: PairColumns) -> Floats:
    """(E,) agreements less contradictions; every prompt counts alike, whatever its K."""
    return 1 - 2 * columns.disagreement / columns.units


def _sureness(alike: Floats, weight: Floats) -> Floats:
    """(A,) r so that r_a r_b is nearest to the mean alikeness of a and b.

    Below 0 is who clearly says the reverse. A few such people are no school, and this explains
    them; where they are many, r is kept at 0 and above, so that what they have in common remains.
    """
    r = _rank_one(alike, weight, np.full(len(weight), -1.0))
    opposed = r * np.sign(r.sum() or 1) < OPPOSED
    few = opposed.mean() < LEAST_SHARE
    return _rank_one(alike, weight, np.where(opposed & few, -1.0, 0.0))


def _rank_one(alike: Floats, weight: Floats, least: Floats) -> Floats:
    """By least squares for each in turn, r between `least` (A,) and 1."""
    mean = np.divide(alike, weight, out=np.zeros_like(alike), where=weight > 0)
    r = np.full(len(weight), np.sqrt(max(float(alike.sum() / weight.sum()), 1e-3)))
    for _ in range(ROUNDS):
        squares = weight @ (r**2)
        fitted = np.divide((weight * mean) @ r, squares, out=r.copy(), where=squares > 0)
        r = (r + np.clip(fitted, least, 1.0)) / 2  # half steps, which do not swing
    return r


def _residual(columns: PairColumns, people: int) -> tuple[Floats, Floats]:
    """(A, A) what one school leaves unexplained, and (A,) how sure everyone is in it."""
    alike = square_sums(columns, _alikeness(columns), people)
    weight = square_sums(columns, np.ones(len(columns.prompt)), people)
    r = _sureness(alike, weight)
    return alike - weight * np.outer(r, r), r


def _split(columns: PairColumns, people: int) -> Ints:
    """(A,) 1 or -1: the part of each."""
    rest, _ = _residual(columns, people)
    vector = np.linalg.eigh(rest)[1][:, -1]
    side = np.where(vector >= 0, 1, -1)
    for _ in range(ROUNDS):
        gain = -side * (rest @ side)  # of moving one person to the other part
        best = int(np.argmax(gain))
        if gain[best] <= 1e-12:
            break
        side[best] = -side[best]
    return side


def _held_out(columns: PairColumns, people: int, seed: int) -> tuple[float, float, float]:
    """P-value of the split, alpha of all and alpha within the parts, all on unseen prompts.

    The prompts are halved several times, since one halving is a matter of luck. Every half gives a
    standard score of its own; they measure nearly the same, so that their mean, and not their sum,
    is compared with the normal distribution.
    """
    rng = np.random.default_rng(seed)
    prompts, place = np.unique(columns.prompt, return_inverse=True)
    standard: list[float] = []
    totals, inside = np.zeros(3), np.zeros(3)
    sums = np.column_stack((columns.units, columns.disagreement, columns.ties))
    for _ in range(SPLITS):
        first = rng.permutation(len(prompts)) < len(prompts) // 2
        for half in (first, ~first):
            seen, unseen = half[place], ~half[place]
            train = _chosen(columns, seen)
            side, r = _split(train, people), _residual(train, people)[1]
            one, two = columns.one[unseen], columns.two[unseen]
            together = side[one] * side[two]
            rest = _alikeness(_chosen(columns, unseen)) - r[one] * r[two]
            _, group = np.unique(place[unseen], return_inverse=True)
            scores = sum_by(group, together * rest, int(group.max()) + 1)
            standard.append(_standard_score(scores))
            totals += sums[unseen].sum(axis=0)
            inside += sums[unseen][together > 0].sum(axis=0)
    alpha, within = (
        float(alpha_sym(*(2 * np.atleast_1d(x) for x in found))[0]) for found in (totals, inside)
    )
    p = float(norm.sf(np.mean(standard)))
    return p, float(np.nan_to_num(alpha)), float(np.nan_to_num(within))


def _standard_score(scores: Floats) -> float:
    """Of the mean of some prompts' scores, from their spread; 0 where they do not vary."""
    error = float(scores.std(ddof=1)) / np.sqrt(len(scores))
    return float(scores.mean()) / error if error > 0 else 0.0


def _topics(columns: PairColumns, side: Ints, topics: Sequence[str]) -> tuple[TopicDifference, ...]:
    """The topics on which the schools differ, most first."""
    if not topics:
        return ()
    of_entry = np.array(topics, dtype=object)[columns.prompt]
    same = side[columns.one] == side[columns.two]
    agreement = (1 + _alikeness(columns)) / 2
    found = []
    for topic in sorted(set(of_entry) - {""}):
        mine = of_entry == topic
        counts = [len(np.unique(columns.prompt[mine & part])) for part in (same, ~same)]
        if min(counts) >= LEAST_TOPIC:
            within, between = (float(agreement[mine & part].mean()) for part in (same, ~same))
            found.append(TopicDifference(topic, within, between, sum(counts)))
    differing = [one for one in found if one.within > one.between]
    return tuple(sorted(differing, key=lambda one: one.between - one.within))
