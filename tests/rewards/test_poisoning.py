"""The defences against hostile volunteers, on the benchmark's world, whose truth is known."""

import sys
from pathlib import Path

import numpy as np
import pytest

from rewards.ml.defence import GoldTask, capped, gold_results, unmet_caps
from rewards.ml.hostile import ATTACKS, Shown, recruit

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import poisoning  # noqa: E402
from poisoning_world import make_world  # noqa: E402


@pytest.fixture(scope="module")
def outcomes() -> list[poisoning.Outcome]:
    world = make_world(0)
    return [poisoning.measure(world, attack, share, 0) for attack, share in poisoning.DECISIVE]


def test_the_targets_of_the_protocol_are_met(outcomes: list[poisoning.Outcome]) -> None:
    found = poisoning.checks(outcomes)
    assert len(found) == 11
    assert [check.name for check in found if not check.ok] == []


def test_colluders_pass_the_agreement_gate_but_not_gold(outcomes: list[poisoning.Outcome]) -> None:
    (clean,) = poisoning.of(outcomes, "nothing", 0.0)
    (colluding,) = poisoning.of(outcomes, "longest wins", 0.3)
    assert colluding.alpha > 0.25  # the gate opens from 0.20
    assert colluding.undefended < clean.undefended - 0.05
    assert colluding.flagged >= 0.9 * colluding.hostile


def test_a_trigger_is_seen_by_the_audit_alone(outcomes: list[poisoning.Outcome]) -> None:
    (clean,) = poisoning.of(outcomes, "nothing", 0.0)
    (planted,) = poisoning.of(outcomes, "trigger", 0.2)
    assert planted.undefended > clean.undefended - 0.02
    assert planted.alpha > clean.alpha - 0.05
    assert planted.flagged == 0
    assert planted.alarm and planted.followers


def test_a_missed_target_is_reported() -> None:
    bad = [
        poisoning.Outcome(0, attack, share, 0.95, 0.80 if share else 0.95, 0.4, 6, 0, 3, False, 0)
        for attack, share in poisoning.DECISIVE
    ]
    missed = {check.name for check in poisoning.checks(bad) if not check.ok}
    assert len(missed) == 9  # all but the two of the clean world


SHOWN = Shown(
    honest=[1, 2, 2, 4],
    lengths=[10, 40, 20, 30],
    slots=[3, 0, 1, 2],
    triggered=[False, False, True, False],
)


@pytest.mark.parametrize(
    ("attack", "ranks"),
    [
        ("reversed", [3, 2, 2, 1]),
        ("first slot", [4, 1, 2, 3]),
        ("longest wins", [4, 1, 3, 2]),
        ("trigger", [2, 3, 1, 4]),
    ],
)
def test_what_hostile_people_say(attack: str, ranks: list[int]) -> None:
    assert ATTACKS[attack](SHOWN, np.random.default_rng(0)) == ranks


def test_the_careless_say_anything() -> None:
    rng = np.random.default_rng(0)
    said = [ATTACKS["random"](SHOWN, rng) for _ in range(200)]
    assert all(sorted(ranks) == [1, 2, 3, 4] for ranks in said)
    assert np.mean(said, axis=0) == pytest.approx([2.5] * 4, abs=0.3)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_the_hostile_give_about_that_share_of_the_judgements(share: float) -> None:
    judged = np.random.default_rng(1).integers(20, 120, 30)
    for seed in range(5):
        hostile = recruit(judged, share, np.random.default_rng(seed))
        assert judged[hostile].sum() / judged.sum() == pytest.approx(share, abs=0.03)


def test_gold_counts_only_pairs_with_a_right_answer() -> None:
    tasks = [
        GoldTask(
            {"ada": {"a": 1, "b": 2, "c": 2}, "eve": {"a": 3, "b": 1, "c": 2}},
            key={"a": 1, "b": 2, "c": 2},
        )
    ] * 10
    found = gold_results(tasks)
    assert (found["ada"].pairs, found["ada"].right, found["ada"].failed) == (20, 20, False)
    assert (found["eve"].right, found["eve"].failed) == (0, True)
    assert found["eve"].rankings == 10
    assert not gold_results(tasks[:9])["eve"].failed  # 18 pairs: too few to fail


def test_nobody_weighs_more_than_his_share() -> None:
    rankings = {"busy": 400, **{f"p{n}": 20 for n in range(30)}}
    weights = capped(dict.fromkeys(rankings, 1.0), rankings)
    total = sum(weights[name] * n for name, n in rankings.items())
    assert weights["busy"] * 400 / total == pytest.approx(0.15, abs=1e-6)
    assert {weights[name] for name in rankings if name != "busy"} == {1.0}
    assert unmet_caps(weights, rankings) == {}
