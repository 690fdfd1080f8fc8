"""The signs about annotators find the planted faults, and rarely anything in honest people."""

import json
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from rewards.ml import signals
from rewards.ml.comparisons import compare, tabulate
from rewards.ml.signals import Signal, assess
from tests.data import data_file
from tests.rewards.pools import Judgement, careless, honest, judge, prompts_of, reversed_judge


def flagged(found: dict[Any, Signal]) -> set[Any]:
    return {name for name, signal in found.items() if signal.verdict == "flag"}


def columns(judgements: list[Judgement]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, whether the best was shown first, and how many were shown."""
    first = [one.ranks[one.order[0]] == 1 for one in judgements]
    names = [one.annotator for one in judgements]
    return names, np.array(first), np.array([len(one.ranks) for one in judgements])


def peers(judgements: list[Judgement]) -> dict[Any, Signal]:
    return signals.agreement_with_peers(compare(tabulate(prompts_of(judgements))))


@pytest.fixture(scope="module")
def pool() -> dict[str, Any]:
    return json.loads(data_file("vectors/annotator_pool_dev.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def of_pool(pool: dict[str, Any]) -> dict[str, dict[Any, Signal]]:
    """The three signs that the file has data for."""
    said = [Judgement(p, name, tuple(r), tuple(d)) for p, name, d, r in pool["records"]]
    longer = []
    for one in said:
        lengths = pool["lengths"][one.prompt]
        pairs = [
            (one.ranks[i] < one.ranks[j]) == (lengths[i] > lengths[j])
            for i, j in combinations(range(4), 2)
            if lengths[i] != lengths[j]
        ]
        longer.append(np.mean(pairs))
    names, first, shown = columns(said)
    return {
        signals.PEERS: peers(said),
        signals.POSITION: signals.position_bias(names, first, shown),
        signals.LENGTH: signals.length_bias(names, np.array(longer)),
    }


def test_the_statistics_are_those_of_the_published_pool(
    pool: dict[str, Any], of_pool: dict[str, dict[Any, Signal]]
) -> None:
    names = {
        signals.PEERS: "loo_agreement",
        signals.POSITION: "first_slot_top_share",
        signals.LENGTH: "longer_preferred_share",
    }
    for person, known in pool["expected"]["reference_statistics"].items():
        for sign, name in names.items():
            found = of_pool[sign][person]
            assert found.value == pytest.approx(known[name], abs=pool["tolerance"])
            assert found.low < found.value < found.high or found.value == 1
            assert found.n == known["rankings"]


def test_the_planted_annotators_are_flagged_and_nobody_else(
    pool: dict[str, Any], of_pool: dict[str, dict[Any, Signal]]
) -> None:
    everybody = set().union(*(flagged(found) for found in of_pool.values()))
    assert everybody == set(pool["expected"]["must_flag"])


POOLS = 40
MOST = 4  # of 40 pools with somebody flagged; at the promised 5 % more would come in 5 % of cases


@pytest.mark.parametrize(("k", "m", "n_prompts"), [(4, 3, 200), (2, 2, 300)])
def test_few_honest_pools_have_anybody_flagged_by_peers_or_position(
    k: int, m: int, n_prompts: int
) -> None:
    people = {f"a{i}": honest() for i in range(12)}
    by_peers = by_position = 0
    for seed in range(POOLS):
        said = judge(people, n_prompts, seed, k=k, m=m)
        by_peers += bool(flagged(peers(said)))
        by_position += bool(flagged(signals.position_bias(*columns(said))))
    assert by_peers <= MOST
    assert by_position <= MOST


def test_few_honest_pools_have_anybody_flagged_by_other_signs() -> None:
    rng = np.random.default_rng(0)
    names = [f"a{person}" for person in range(12) for _ in range(60)]
    alarms = dict.fromkeys(("length", "self", "circles"), 0)
    for _ in range(POOLS):
        longer = rng.binomial(6, 0.64, len(names)) / 6
        alarms["length"] += bool(flagged(signals.length_bias(names, longer)))
        again = rng.binomial(6, 0.75, len(names)) / 6
        alarms["self"] += bool(flagged(signals.self_agreement(names, again)))
        circular = rng.binomial(1, 0.08, len(names))
        found = signals.intransitivity(names, circular, np.ones(len(names), dtype=int))
        alarms["circles"] += bool(flagged(found))
    assert max(alarms.values()) <= MOST, alarms


def test_an_honest_person_fails_gold_in_fewer_than_one_case_of_a_hundred() -> None:
    rng = np.random.default_rng(1)
    n = 3000
    names = np.repeat(np.arange(n), 10)
    right = rng.binomial(6, 0.82, len(names))
    assert len(flagged(signals.gold(names, right, np.full(len(names), 6)))) / n < 0.01


@pytest.mark.parametrize(("rankings", "caught"), [(4, 0.7), (8, 0.95)])
def test_gold_finds_who_chooses_at_random(rankings: int, caught: float) -> None:
    """A note on this rule reports 75 % of them with 20 pairs, and 98 % with 40."""
    rng = np.random.default_rng(2)
    names = np.repeat(np.arange(500), rankings)
    right = rng.binomial(5, 0.5, len(names))
    found = signals.gold(names, right, np.full(len(names), 5))
    assert len(flagged(found)) / 500 > caught


def test_careless_and_reversed_people_disagree_with_their_peers() -> None:
    people = {f"a{i}": honest(0.7) for i in range(10)}
    people |= {"careless": careless, "reversed": reversed_judge}
    assert flagged(peers(judge(people, 240, seed=3))) == {"careless", "reversed"}


def test_who_ties_everything_is_found_by_a_rule_of_its_own() -> None:
    people = {f"a{i}": honest(0.7) for i in range(8)}
    said = judge(people, 240, seed=4)
    tied = [
        Judgement(one.prompt, "a0", (1, 1, 1, 1), one.order) if one.annotator == "a0" else one
        for one in said
    ]
    names = [one.annotator for one in tied]
    nothing = np.array([len(set(one.ranks)) == 1 for one in tied])
    found = signals.says_the_same(names, nothing, np.zeros(len(tied), dtype=bool))
    assert flagged(found) == {"a0"}


def test_speed_compares_with_the_other_people_by_the_length_to_read() -> None:
    rng = np.random.default_rng(5)
    names = [f"a{person}" for person in range(6) for _ in range(50)]
    characters = rng.uniform(500, 3000, 300)
    seconds = characters / 600 * rng.lognormal(3, 0.4, 300)
    assert flagged(signals.speed(names, seconds, characters)) == set()
    seconds[:50] /= 20
    found = signals.speed(names, seconds, characters)
    assert flagged(found) == {"a0"} and found["a0"].value > 0.9
    assert signals.median_pace(names, seconds, characters)["a1"] == pytest.approx(20, rel=0.2)


def test_a_lean_to_the_first_slot_is_found_whatever_the_number_of_responses() -> None:
    rng = np.random.default_rng(6)
    shown = np.tile([2, 3, 4], 40)
    honest_first = rng.random(120) < 1 / shown
    leaning = rng.random(120) < 0.8
    names = ["a"] * 120 + ["b"] * 120
    found = signals.position_bias(names, np.concatenate((honest_first, leaning)), np.tile(shown, 2))
    assert flagged(found) == {"b"}
    assert found["a"].usual == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)


def test_too_little_data_is_a_state_that_says_what_is_missing() -> None:
    few = judge({f"a{i}": honest() for i in range(5)}, 20, seed=7)
    names, first, shown = columns(few[:19])
    for found in (
        peers(few),
        signals.position_bias(names, first, shown),
        signals.length_bias(names, np.ones(19)),
        signals.self_agreement(names[:9], np.ones(9)),
        signals.gold(names[:3], np.ones(3), np.full(3, 6)),
        signals.speed(names, np.ones(19), np.ones(19)),
        signals.says_the_same(names, first, first),
        signals.intransitivity(names, np.zeros(19), np.ones(19)),
    ):
        assert {(one.verdict, one.state, one.value) for one in found.values()} == {
            ("missing", "too little data", None)
        }
        assert all(one.n < one.least for one in found.values())
    nobody: list[str] = []
    assert signals.self_agreement(nobody, np.zeros(0)) == {}


def test_two_people_have_figures_but_no_pool_to_differ_from() -> None:
    found = peers(judge({"a": honest(), "b": reversed_judge}, 40, seed=8, m=2))
    assert {(one.verdict, one.state) for one in found.values()} == {("ok", "too few people")}
    assert found["a"].value < 0.5


def signal(verdict: str, low: float = 0.6) -> Signal:
    return Signal(verdict, "ok", 50, 20, low + 0.1, low, low + 0.2)


@pytest.mark.parametrize(
    ("raised", "others", "kind", "excludes"),
    [
        (["gold"], {}, "failed gold", True),
        (["same"], {}, "says the same", True),
        (["peers"], {}, "one sign", False),
        (["position"], {}, "one sign", False),
        (["speed"], {}, "one sign", False),
        (["peers", "speed"], {}, "one sign", False),
        (["peers", "position"], {}, "careless", True),
        (["peers", "self"], {}, "careless", True),
        (["peers"], {"self": signal("ok")}, "different taste", False),
        (["peers"], {"self": signal("ok", low=0.4)}, "one sign", False),
        ([], {"peers": signal("ok")}, "nothing to see", False),
        ([], {"peers": signals.NOTHING["peers"]}, "too little data", False),
    ],
)
def test_one_sign_alone_suggests_no_exclusion_but_failed_gold(
    raised: list[str], others: dict[str, Signal], kind: str, excludes: bool
) -> None:
    found = assess({name: signal("flag") for name in raised} | others)
    assert (found.kind, found.suggests_exclusion) == (kind, excludes)
    assert found.flagged == tuple(raised)
