"""Agreement on a handful of rankings, and what must not move it whatever they are."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from rewards.ml.agreement import report
from rewards.ml.intervals import bootstrap_totals
from rewards.ml.krippendorff import krippendorff
from rewards.ml.ranking_agreement import ranking_agreement
from rewards.ml.ratings import from_ratings
from tests.rewards.test_agreement import WORKED, alpha, plackett_luce, sums, worked

quick = settings(derandomize=True, deadline=None, max_examples=60)
Prompts = dict[str, dict[str, list[int | None]]]


@some.composite
def prompts(draw: Any, missing: bool = True) -> Prompts:
    """Up to five prompts of up to four responses, each ranked by some of four people."""
    rank = some.one_of(some.none(), some.integers(1, 4)) if missing else some.integers(1, 4)
    found = {}
    for number in range(draw(some.integers(0, 5))):
        k = draw(some.integers(2, 4))
        people = draw(some.lists(some.sampled_from("abcd"), unique=True, max_size=4))
        ranking = some.lists(rank, min_size=k, max_size=k)
        found[f"p{number}"] = {name: draw(ranking) for name in people}
    return found


def by_pairs(data: Prompts) -> dict[str, float | None]:
    """Every figure by its definition, annotator pair by annotator pair."""
    observed = ratings = ties = 0.0
    alike: list[bool] = []
    strict: list[bool] = []
    for said in data.values():
        for i, j in combinations(range(max(map(len, said.values()), default=0)), 2):
            v = [
                int(np.sign(r[j] - r[i]))
                for r in said.values()
                if r[i] is not None and r[j] is not None
            ]
            if len(v) < 2:
                continue
            ratings += len(v)
            ties += v.count(0)
            for a, b in combinations(v, 2):
                observed += 2 * abs(a - b) / 2 / (len(v) - 1)
                alike.append(a == b)
                strict += [a == b] if a and b else []
    expected = (1 - (ties / ratings) ** 2) / 2 if ratings else 0.0
    return {
        "alpha": 1 - observed / ratings / expected if expected else None,
        "agreement_with_ties": np.mean(alike) if alike else None,
        "agreement_without_ties": np.mean(strict) if strict else None,
        "n_annotator_pairs": len(alike),
    }


@quick
@given(prompts())
def test_every_figure_is_its_definition(data: Prompts) -> None:
    found = ranking_agreement(data)
    for name, expected in by_pairs(data).items():
        assert getattr(found, name) == (expected if expected is None else pytest.approx(expected))
    assert (found.state == "ok") == (found.alpha is not None)


@quick
@given(prompts(), some.randoms(use_true_random=False))
def test_names_and_orders_move_nothing(data: Prompts, random: Any) -> None:
    """Neither of responses nor of annotators, nor who is listed first."""
    renamed = {}
    for prompt, said in data.items():
        size = max(map(len, said.values()), default=0)
        order = random.sample(range(size), size)
        people = random.sample(sorted(said), len(said))
        renamed[prompt] = {f"x{name}": [said[name][i] for i in order] for name in people}
    one, two = ranking_agreement(data), ranking_agreement(renamed)
    assert one.state == two.state
    for name in ("alpha", "agreement_with_ties", "agreement_without_ties", "top_1", "tau_b"):
        a, b = getattr(one, name), getattr(two, name)
        assert a == (None if b is None else pytest.approx(b, abs=1e-12)), name


@quick
@given(prompts(missing=False))
def test_reversing_everyone_and_a_lone_judgement_change_nothing(data: Prompts) -> None:
    expected = ranking_agreement(data)
    reversed_ = {p: {a: [5 - r for r in rs] for a, rs in said.items()} for p, said in data.items()}
    assert ranking_agreement(reversed_).alpha == expected.alpha
    more = ranking_agreement(data | {"lone": {"a": [1, 2, 3]}})
    assert (more.alpha, more.n_ratings) == (expected.alpha, expected.n_ratings)


@quick
@given(some.lists(some.lists(some.integers(1, 4), min_size=3, max_size=3), min_size=1, max_size=5))
def test_identical_annotators_have_exactly_one(rankings: list[list[int]]) -> None:
    data = {str(n): dict.fromkeys("abc", ranking) for n, ranking in enumerate(rankings)}
    found = ranking_agreement(data)
    assert found.alpha == (None if found.state == "only ties" else 1.0)


def test_it_is_the_reports_figures() -> None:
    data = plackett_luce(30, 4, 3, seed=1, ties=0.3)
    found, page = ranking_agreement({str(n): said for n, said in enumerate(data)}), report(data)
    assert found.alpha == pytest.approx(page.alpha.value)
    assert (found.low, found.high) == pytest.approx((page.alpha.low, page.alpha.high), abs=0.02)
    assert found.top_1 == pytest.approx(page.top_1.value)
    assert found.tau_b == pytest.approx(page.tau_b.value)
    assert found.agreement_with_ties == pytest.approx(page.agreement_with_ties.value)


def test_lists_do_as_well_as_names() -> None:
    listed = [list(said.values()) for said in WORKED.values()]
    assert ranking_agreement(listed).alpha == ranking_agreement(WORKED).alpha


def test_the_jackknife_leaves_out_one_prompt_at_a_time() -> None:
    found = ranking_agreement(WORKED)
    for left_out, value in found.jackknife.items():
        kept = {prompt: said for prompt, said in WORKED.items() if prompt != left_out}
        assert ranking_agreement(kept).alpha == pytest.approx(value, abs=1e-12)
    assert "p5" not in found.jackknife  # one annotator: it counts for nothing
    assert found.jackknife_se == pytest.approx(0.261762011, abs=1e-9)
    assert found.alpha == pytest.approx(alpha(worked()), abs=1e-12)
    assert found.low is None  # six prompts are too few for an interval


def test_the_nominal_metric_on_the_mirrored_table() -> None:
    """The vector's 0.4056: why alpha_sym counts a tie as half a disagreement, not as a whole."""
    columns = []
    for said in WORKED.values():
        for i, j in combinations(range(len(next(iter(said.values())))), 2):
            signs: list[int | None] = []
            for name in ("ann", "bob", "cat", "dan"):
                ranks = said.get(name)
                known = ranks is not None and ranks[i] is not None and ranks[j] is not None
                signs.append(int(np.sign(ranks[j] - ranks[i])) if known else None)
            columns += [signs, [None if v is None else -v for v in signs]]
    mirrored = from_ratings(list(zip(*columns, strict=True)))
    assert krippendorff(mirrored, "nominal").value == pytest.approx(0.405594406, abs=1e-9)


def test_prompts_vary_more_than_pairs_when_rankings_are_long() -> None:
    """Why intervals resample prompts: the pairs of a ranking hang together."""
    data = plackett_luce(150, 7, 2, seed=3)
    whole = sums(data)
    alphas = []
    units = [
        {name: {r: said[r] for r in pair} for name, said in prompt.items()}
        for prompt in data
        for pair in combinations(next(iter(prompt.values())), 2)
    ]
    for each in (whole, sums(units)):
        rows = np.column_stack((each.ratings, each.disagreement))
        totals = bootstrap_totals(rows, 1000, seed=0)
        alphas.append(np.std(1 - 2 * totals[:, 1] / totals[:, 0]))
    assert alphas[0] > 1.2 * alphas[1]


STATES = {
    "no judgements": [{}, {"p": {}}, {"p": {"a": []}}, {"p": {"a": [None, None]}}],
    "one annotator": [{"p": {"a": [1, 2]}, "q": {"a": [2, 1]}}],
    "not enough overlap": [{"p": {"a": [1, 2]}, "q": {"b": [1, 2]}}],
    "only ties": [{"p": {"a": [1, 1], "b": [3, 3]}}],
}


@pytest.mark.parametrize("state", STATES)
def test_too_little_is_a_state(state: str) -> None:
    for data in STATES[state]:
        found = ranking_agreement(data)
        assert (found.state, found.alpha, found.low, found.jackknife) == (state, None, None, {})


def test_hardly_any_choices_among_ties_give_no_interval() -> None:
    tied = {str(n): {"a": [1, 1], "b": [1, 1]} for n in range(30)}
    found = ranking_agreement(tied | {"split": {"a": [1, 2], "b": [2, 1]}})
    assert found.state == "ok" and found.low is None
    assert math.isfinite(found.alpha) and found.jackknife_se is None


@pytest.mark.parametrize(
    ("ranking", "message"),
    [
        ([0, 1], "Prompt p, annotator b, response 0: the rank 0 is not"),
        ({"x": 1, "y": "second"}, "annotator b, response y: the rank 'second'"),
        ([1, 2, 3], "annotator b ranks 3 responses, not 2"),
        ("12", "annotator b: '12' is neither"),
        ([1, math.inf], "the rank inf"),
    ],
)
def test_malformed_rankings_are_refused_by_name(ranking: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranking_agreement({"p": {"a": [1, 2], "b": ranking}})
