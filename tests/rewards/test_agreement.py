"""Agreement against published values, an independent library, and what must not move it."""

import gzip
import json
import math
from collections.abc import Iterable, Sequence
from itertools import combinations

import krippendorff
import numpy as np
import pytest
from scipy.stats import kendalltau

from rewards.ml import concordance
from rewards.ml.agreement import report
from rewards.ml.alpha import AlphaSums, alpha_sums, alpha_sym, forecast
from rewards.ml.comparisons import PromptRankings, compare, tabulate
from rewards.ml.intervals import bootstrap_totals, wilson
from tests.data import data_file

# pairs_from_rankings.json: ties, partial rankings and partial overlap; the expected values were
# checked with the krippendorff package on the mirrored table.
WORKED = {
    "p1": {"ann": [1, 2, 3, 4], "bob": [1, 2, 4, 3], "cat": [2, 1, 3, 3]},
    "p2": {"ann": [1, 1, 2, 3], "bob": [2, 1, 3, 4]},
    "p3": {"bob": [1, 2, 3], "cat": [3, 2, 1], "dan": [1, 3, 2]},
    "p4": {"ann": [1, 2, None, 3], "dan": [2, 1, 3, None]},
    "p5": {"dan": [1, 2, 3, 4]},
    "p6": {"cat": [1, 1], "ann": [1, 1]},
}
JACKKNIFE = {"p1": 0.269480519, "p2": 0.218487395, "p3": 0.58245614, "p4": 0.458258258}


def by_id(ranks: Sequence[int | None]) -> dict[str, int | None]:
    return {f"r{place}": rank for place, rank in enumerate(ranks)}


def worked() -> list[PromptRankings]:
    return [{name: by_id(r) for name, r in said.items()} for said in WORKED.values()]


def sums(prompts: Iterable[PromptRankings]) -> AlphaSums:
    return alpha_sums(compare(tabulate(prompts)))


def alpha(prompts: Iterable[PromptRankings]) -> float:
    found = sums(prompts)
    totals = (x.sum(keepdims=True) for x in (found.ratings, found.disagreement, found.ties))
    return float(alpha_sym(*totals)[0])


def plackett_luce(
    n_prompts: int, k: int, m: int, seed: int, people: int = 12, ties: float = 0.0
) -> list[PromptRankings]:
    """Rankings of random utilities with Gumbel noise; near-equal scores are tied."""
    rng = np.random.default_rng(seed)
    prompts: list[PromptRankings] = []
    for _ in range(n_prompts):
        utility = rng.normal(0, 1.2, k)
        said: dict[str, dict[str, int | None]] = {}
        for person in rng.choice(people, m, replace=False):
            noisy = utility + rng.gumbel(0, 1, k)
            # The rank is one more than the number of responses that are clearly better.
            ranks = 1 + (noisy[None, :] > noisy[:, None] + ties).sum(axis=1)
            said[f"a{person}"] = by_id([int(rank) for rank in ranks])
        prompts.append(said)
    return prompts


def mirrored_table(prompts: Sequence[PromptRankings]) -> np.ndarray:
    """Annotators x (2 x pairs of responses), each pair both ways round, NaN where not judged."""
    people = sorted({name for prompt in prompts for name in prompt})
    columns = []
    for prompt in prompts:
        responses = sorted({r for said in prompt.values() for r in said})
        for one, two in combinations(responses, 2):
            column = []
            for name in people:
                a, b = (prompt.get(name, {}).get(r) for r in (one, two))
                column.append(math.nan if a is None or b is None else np.sign(b - a))
            columns += [column, [-v for v in column]]
    return np.array(columns).T


def half_steps(v1: np.ndarray, v2: np.ndarray, **_: object) -> np.ndarray:
    return np.abs(v1 - v2) / 2


def test_the_worked_example() -> None:
    found = sums(worked())
    assert found.ratings.sum() == 43 and found.ties.sum() == 4
    assert found.disagreement.sum() / 43 == pytest.approx(0.302325581, abs=1e-9)
    assert alpha(worked()) == pytest.approx(0.390070922, abs=1e-9)


@pytest.mark.parametrize("left_out", JACKKNIFE)
def test_the_worked_example_without_a_prompt(left_out: str) -> None:
    kept = [{n: by_id(r) for n, r in said.items()} for p, said in WORKED.items() if p != left_out]
    assert alpha(kept) == pytest.approx(JACKKNIFE[left_out], abs=1e-8)


def test_raw_agreement_of_the_worked_example() -> None:
    found = report(worked() * 5)  # five times over, since six prompts are too few for a report
    assert found.agreement_with_ties.value == pytest.approx(0.628571429, abs=1e-9)
    assert found.agreement_without_ties.value == pytest.approx(0.677419355, abs=1e-9)
    assert found.n_annotator_pairs == 5 * 35
    ties = 4 / 43
    assert found.agreement_with_ties.chance == pytest.approx(ties**2 + (1 - ties) ** 2 / 2)
    assert found.agreement_without_ties.chance == 0.5


@pytest.mark.parametrize(("k", "m", "ties"), [(2, 2, 0.0), (3, 3, 0.7), (4, 2, 0.4), (5, 4, 0.2)])
def test_alpha_equals_krippendorffs_on_the_mirrored_table(k: int, m: int, ties: float) -> None:
    prompts = plackett_luce(40, k, m, seed=k, ties=ties)
    n = sums(prompts).ratings.sum()
    expected = krippendorff.alpha(
        reliability_data=mirrored_table(prompts), level_of_measurement=half_steps
    )
    assert 1 - (1 - alpha(prompts)) * (2 * n - 1) / (2 * n) == pytest.approx(expected, abs=1e-12)


def test_alpha_without_ties_is_twice_the_agreement_less_one() -> None:
    found = report(plackett_luce(60, 4, 2, seed=1))
    assert found.alpha.value == pytest.approx(2 * found.agreement_without_ties.value - 1)


def test_names_and_order_do_not_move_alpha() -> None:
    prompts = plackett_luce(30, 4, 3, seed=2, ties=0.3)
    rng = np.random.default_rng(0)
    shuffled = []
    for prompt in prompts:
        names = {f"r{i}": f"other{j}" for i, j in enumerate(rng.permutation(4))}
        said = [
            (f"x{name}", {names[r]: rank for r, rank in sorted(ranks.items(), reverse=True)})
            for name, ranks in prompt.items()
        ]
        shuffled.append(dict(reversed(said)))
    assert alpha(shuffled) == pytest.approx(alpha(prompts), abs=1e-12)


def test_the_same_ranking_from_everyone_is_perfect_agreement() -> None:
    prompts = [{name: by_id([1, 2, 2, 4]) for name in "abc"} for _ in range(20)]
    found = report(prompts)
    assert found.alpha.value == 1.0
    assert found.top_1.value == 1.0 and found.tau_b.value == pytest.approx(1.0)


def test_a_prompt_that_one_person_judged_changes_nothing() -> None:
    prompts = plackett_luce(25, 4, 2, seed=3)
    more = [*prompts, {"alone": by_id([4, 3, 2, 1])}]
    assert report(more).alpha == report(prompts).alpha
    assert report(more).n_prompts == 26 and report(more).n_overlapped_prompts == 25


def reverse(ranks: dict[str, int]) -> dict[str, int]:
    return {response: -rank for response, rank in ranks.items()}


def test_reversing_everyone_changes_nothing_and_reversing_one_lowers_alpha() -> None:
    prompts = plackett_luce(80, 4, 3, seed=4, people=6)
    everyone = [{name: reverse(r) for name, r in p.items()} for p in prompts]
    one = [{n: reverse(r) if n == "a2" else r for n, r in p.items()} for p in prompts]
    assert alpha(everyone) == pytest.approx(alpha(prompts), abs=1e-12)
    assert alpha(one) < alpha(prompts) - 0.1
    assert report(one).leave_one_out.high_without == "a2"


def test_pairwise_judgements_of_one_prompt_are_one_judgement() -> None:
    whole = plackett_luce(25, 4, 2, seed=5)
    parts = [
        {
            name: [{a: ranks[a], b: ranks[b]} for a, b in combinations(ranks, 2)]
            for name, ranks in prompt.items()
        }
        for prompt in whole
    ]
    found, expected = report(parts), report(whole)
    assert found.alpha == expected.alpha and found.tau_b == expected.tau_b
    assert found.annotators == expected.annotators


def test_who_judges_a_pair_twice_counts_once_by_his_first_judgement() -> None:
    once = [{"a": by_id([1, 2]), "b": by_id([1, 2])} for _ in range(25)]
    twice = [{"a": [by_id([1, 2]), by_id([2, 1])], "b": by_id([1, 2])} for _ in range(25)]
    assert report(twice).alpha == report(once).alpha


def test_leaving_out_an_annotator_is_like_not_having_him() -> None:
    prompts = plackett_luce(40, 4, 3, seed=6, people=5, ties=0.3)
    alphas = {
        name: alpha([{n: r for n, r in p.items() if n != name} for p in prompts])
        for name in (f"a{i}" for i in range(5))
    }
    found = report(prompts).leave_one_out
    assert found.low == pytest.approx(min(alphas.values()), abs=1e-12)
    assert found.high == pytest.approx(max(alphas.values()), abs=1e-12)
    assert alphas[found.low_without] == min(alphas.values())


def test_tau_b_is_scipys_on_ranks() -> None:
    prompts = plackett_luce(30, 5, 3, seed=7, ties=0.5)
    means = []
    for prompt in prompts:
        rows = [list(ranks.values()) for ranks in prompt.values()]
        taus = [kendalltau(a, b).statistic for a, b in combinations(rows, 2)]
        defined = [tau for tau in taus if not math.isnan(tau)]
        means += [np.mean(defined)] if defined else []
    assert report(prompts).tau_b.value == pytest.approx(np.mean(means), abs=1e-12)


def test_reversed_orders_have_tau_minus_one() -> None:
    """Correlating the lists of names instead, as one platform does, gives +0.6 here."""
    order_a, order_b = "ACEDB", "BDECA"
    prompt = {
        "a": {name: rank for rank, name in enumerate(order_a, 1)},
        "b": {name: rank for rank, name in enumerate(order_b, 1)},
    }
    assert report([prompt] * 20).tau_b.value == pytest.approx(-1.0)


def test_top_1_breaks_ties_at_random_and_needs_the_same_responses() -> None:
    shared = {"a": by_id([1, 1, 3]), "b": by_id([1, 2, 3])}  # agree with probability 1/2
    other = {"a": {"x": 1, "y": 2}, "b": {"x": 1, "z": 2}}
    found = report([shared] * 20 + [other] * 20)
    assert found.top_1.value == pytest.approx(0.5)
    assert found.top_1.chance == pytest.approx(1 / 3)
    assert found.top_1.n == 20


def test_prompts_drawn_alike_are_the_ordinary_bootstrap() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 3, size=(60, 2)).astype(float)
    drawn = rows[rng.integers(0, 60, size=(4000, 60))].sum(axis=1)
    totals = bootstrap_totals(rows, 4000, seed=1)
    assert totals.mean(axis=0) == pytest.approx(rows.sum(axis=0), rel=0.01)
    assert np.cov(totals.T) == pytest.approx(np.cov(drawn.T), rel=0.15, abs=2)


def test_the_interval_covers_although_pairs_hang_together() -> None:
    """Nominal 95 %. Resampling pairs instead of prompts covers about 78 % at this K."""
    truth = alpha(plackett_luce(6000, 9, 2, seed=99))
    intervals = [
        report(plackett_luce(100, 9, 2, seed=seed), resamples=400).alpha for seed in range(80)
    ]
    covered = np.mean([i.low <= truth <= i.high for i in intervals])
    assert covered > 0.88


def test_the_forecast_goes_with_the_square_of_the_width() -> None:
    prompts = plackett_luce(60, 4, 2, seed=8)
    found = report(prompts)
    half_width = (found.alpha.high - found.alpha.low) / 2
    expected = 60 * (half_width / 0.05) ** 2 - 60
    assert found.forecast.low < expected < found.forecast.high
    assert found.forecast.high - found.forecast.low < expected  # a range that is of use
    assert forecast(sums(prompts), half_width=0.5).high == 0  # narrower than that already


def test_the_forecast_comes_true() -> None:
    more = report(plackett_luce(60, 4, 2, seed=8)).forecast
    later = report(plackett_luce(60 + (more.low + more.high) // 2, 4, 2, seed=9)).alpha
    assert (later.high - later.low) / 2 == pytest.approx(0.05, rel=0.2)


def test_wilson_stays_inside_and_is_the_published_interval() -> None:
    # Newcombe 1998, table I, method 3: 81/263 and 0/20.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


STATES = {
    "no judgements": [],
    "one annotator": [{"a": by_id([1, 2, 3])}] * 30,
    "not enough overlap": [{"a": by_id([1, 2]), "b": by_id([2, 1])}] * 19,
    "only ties": [{"a": by_id([1, 1]), "b": by_id([1, 1])}] * 30,
}


@pytest.mark.parametrize("state", STATES)
def test_too_little_data_is_a_state_and_not_a_number(state: str) -> None:
    found = report(STATES[state])
    assert found.state == found.alpha.state == state
    assert found.alpha.value is None and found.alpha_lower_bound is None
    assert found.forecast is None and found.leave_one_out is None
    json.dumps(found.as_dict(), allow_nan=False)


def test_only_ties_still_agree_when_ties_count() -> None:
    found = report(STATES["only ties"])
    assert found.agreement_with_ties.value == 1.0 and found.agreement_with_ties.chance == 1.0
    assert found.agreement_without_ties.state == "only ties"
    assert found.tie_share == 1.0


def test_the_same_seed_gives_the_same_report() -> None:
    prompts = plackett_luce(30, 4, 2, seed=10)
    assert report(prompts, seed=3) == report(prompts, seed=3)
    assert report(prompts, seed=3).alpha != report(prompts, seed=4).alpha


def test_agreement_of_each_annotator_with_peers() -> None:
    vector = json.loads(data_file("vectors/annotator_pool_dev.json").read_text(encoding="utf-8"))
    prompts: dict[int, dict[str, dict[str, int | None]]] = {}
    for prompt, annotator, _, ranks in vector["records"]:
        prompts.setdefault(prompt, {})[annotator] = by_id(ranks)
    expected = vector["expected"]["reference_statistics"]
    found = report(prompts.values()).annotators
    assert [person.annotator for person in found] == sorted(expected)
    for person in found:
        reference = expected[person.annotator]
        assert person.n_prompts == person.agreement.n == reference["rankings"]
        assert person.agreement.value == pytest.approx(reference["loo_agreement"], abs=1e-6)
        width = (person.agreement.high - person.agreement.low) / 2
        assert width == pytest.approx(1.96 * reference["se"], rel=0.1)


def test_a_tie_against_a_win_is_half_an_agreement() -> None:
    prompts = [{"a": by_id([1, 2, 3]), "b": by_id([1, 1, 3])}] * 30
    a, b = report(prompts).annotators
    assert a.agreement.value == b.agreement.value == pytest.approx((2 + 0.5) / 3)


def test_many_annotators_of_a_prompt_are_compared_a_block_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts = plackett_luce(30, 4, 6, seed=12, ties=0.3)
    whole = report(prompts).tau_b
    monkeypatch.setattr(concordance, "BLOCK", 100)
    assert report(prompts).tau_b == whole


def test_an_annotator_with_few_overlaps_has_no_figure() -> None:
    found = report(plackett_luce(30, 4, 2, seed=11, people=12)).annotators
    assert {person.agreement.state for person in found} == {"not enough overlap"}


def test_pandalm_gives_the_published_figures() -> None:
    with gzip.open(data_file("pandalm/testset-v1.json.gz"), "rt", encoding="utf-8") as file:
        items = json.load(file)
    ranks = {0: [1, 1], 1: [1, 2], 2: [2, 1]}
    people = ("annotator1", "annotator2", "annotator3")
    found = report({name: by_id(ranks[item[name]]) for name in people} for item in items)
    assert found.alpha.value == pytest.approx(0.872, abs=5e-4)
    assert found.alpha.low == pytest.approx(0.850, abs=0.003)
    assert found.alpha.high == pytest.approx(0.894, abs=0.003)
    assert found.agreement_with_ties.value == pytest.approx(0.920, abs=5e-4)
    assert found.agreement_without_ties.value == pytest.approx(0.947, abs=5e-4)
    assert found.leave_one_out.low == pytest.approx(0.859, abs=5e-4)
    assert found.leave_one_out.high == pytest.approx(0.889, abs=5e-4)
    assert found.n_overlapped_prompts == 999


def test_lamp_gives_the_published_figures() -> None:
    path = data_file("lamp_ranking/rankings.jsonl.gz")
    prompts: dict[str, dict[str, dict[str, int | None]]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            said = json.loads(line)
            ranks = {said["mapping"][shown]: rank for rank, shown in enumerate(said["order"], 1)}
            prompts.setdefault(said["item"], {})[said["annotator"]] = ranks
    found = report(prompts.values())
    assert found.alpha.value == pytest.approx(0.617, abs=5e-4)
    assert found.alpha.low == pytest.approx(0.562, abs=0.006)
    assert found.alpha.high == pytest.approx(0.675, abs=0.006)
    assert found.leave_one_out.low == pytest.approx(0.591, abs=5e-4)
    assert found.leave_one_out.high == pytest.approx(0.646, abs=5e-4)
    assert (found.n_overlapped_prompts, found.n_annotators) == (201, 13)
