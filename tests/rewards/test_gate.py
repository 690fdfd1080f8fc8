"""Gates open on evidence only, and say in plain words what they found."""

import json

import numpy as np
import pytest

from rewards.ml.agreement import Report, report
from rewards.ml.gate import (
    GateSettings,
    PolicyGateSettings,
    agreement_gate,
    label_accuracy,
    policy_gate,
    reward_model_gate,
)
from rewards.ml.rules import GateReport, Measured, Rule

BUDGET = PolicyGateSettings(kl_budget=10.0)


def pool(accuracy: float, n_prompts: int, people: int = 8, seed: int = 0) -> Report:
    """Strict rankings of four by two people a prompt: the truth or, else, a random order."""
    rng = np.random.default_rng(seed)
    prompts = []
    for _ in range(n_prompts):
        said = {}
        for person in rng.choice(people, 2, replace=False):
            order = np.arange(4) if rng.random() < accuracy else rng.permutation(4)
            said[f"a{person}"] = {f"r{i}": int(rank) for i, rank in enumerate(order)}
        prompts.append(said)
    return report(prompts)


def line(gate: GateReport, name: str) -> Rule:
    (rule,) = (rule for rule in gate.rules if rule.name == name)
    return rule


def test_good_agreement_passes() -> None:
    gate = agreement_gate(pool(0.8, 120))
    assert gate.state == "PASS" and all(rule.ok for rule in gate.rules)
    agreement = line(gate, "agreement")
    assert agreement.low >= 0.20 and agreement.low < agreement.value < agreement.high


def test_random_rankings_are_blocked() -> None:
    assert agreement_gate(pool(0.0, 300)).state == "BLOCK"


def test_agreement_about_the_threshold_is_a_case_for_review() -> None:
    found = pool(0.45, 120)
    assert found.alpha_lower_bound < 0.20 <= found.alpha_upper_bound
    assert agreement_gate(found).state == "REVIEW"
    assert agreement_gate(found, GateSettings(threshold=0.05)).state == "PASS"


def test_the_bounds_are_one_sided() -> None:
    found = pool(0.8, 120)
    assert found.alpha.low < found.alpha_lower_bound < found.alpha.value
    between = (found.alpha.low + found.alpha_lower_bound) / 2
    assert agreement_gate(found, GateSettings(threshold=between)).state == "PASS"


@pytest.mark.parametrize(
    ("accuracy", "n_prompts", "people", "name"),
    [
        (0.9, 49, 8, "overlapped prompts"),
        (0.9, 120, 4, "annotators"),
        (0.4, 55, 8, "width of the interval"),
        (0.9, 10, 8, "width of the interval"),
        (0.9, 0, 8, "agreement"),
    ],
)
def test_too_little_data_is_insufficient_and_says_which(
    accuracy: float, n_prompts: int, people: int, name: str
) -> None:
    gate = agreement_gate(pool(accuracy, n_prompts, people))
    assert gate.state == "INSUFFICIENT"
    assert line(gate, name).verdict == "missing"
    json.dumps(gate.as_dict(), allow_nan=False)


def test_low_agreement_of_too_few_prompts_is_no_verdict() -> None:
    gate = agreement_gate(pool(0.0, 40))
    assert line(gate, "agreement").verdict == "failed"
    assert gate.state == "INSUFFICIENT"


def test_missing_prompts_are_estimated_and_would_do() -> None:
    found = pool(0.4, 55)
    width = line(agreement_gate(found), "width of the interval")
    expected = 55 * (width.value / 0.125) ** 2 - 55
    assert width.missing_low - 1 <= expected <= width.missing_high
    later = line(agreement_gate(pool(0.4, 55 + width.missing_high)), "width of the interval")
    assert later.verdict == "ok"
    assert line(agreement_gate(pool(0.9, 30)), "overlapped prompts").missing_low == 20


def test_people_with_few_overlapped_rankings_do_not_count() -> None:
    found = pool(0.9, 60, people=40)  # about three rankings each
    assert line(agreement_gate(found), "annotators").value == 0
    assert agreement_gate(found).state == "INSUFFICIENT"


GOOD = Measured(0.72, 0.66, 0.78)


def test_a_reward_model_that_holds_on_every_line_passes() -> None:
    gate = reward_model_gate(
        "PASS",
        GOOD,
        over_longest=Measured(0.1, 0.03, 0.16),
        human_accuracy=Measured(0.73, 0.66, 0.80),
        against_live=Measured(0.01, -0.04, 0.06),
    )
    assert gate.state == "PASS" and {rule.verdict for rule in gate.rules} == {"ok", "not judged"}


def test_rules_without_data_are_not_judged_and_say_so() -> None:
    gate = reward_model_gate("PASS", GOOD)
    assert gate.state == "PASS"
    silent = [rule for rule in gate.rules if rule.verdict == "not judged"]
    assert [rule.name for rule in silent] == [
        "better than length",
        "close to people",
        "people it never saw",
        "no leak",
        "not worse than the live model",
        "not worse on gold",
        "where the shorter won",
        "no one person decides",
        "shares",
        "drift",
        "topics",
        "token lift",
        "gold",
    ]
    assert all(rule.reason.startswith("Not judged.") for rule in silent)


@pytest.mark.parametrize(
    ("arguments", "state", "name"),
    [
        ({"accuracy": Measured(0.55, 0.49, 0.61)}, "BLOCK", "better than chance"),
        ({"accuracy": Measured(None)}, "INSUFFICIENT", "better than chance"),
        ({"over_longest": Measured(-0.01, -0.05, 0.03)}, "BLOCK", "better than length"),
        ({"over_longest": Measured(0.02, -0.02, 0.06)}, "REVIEW", "better than length"),
        ({"human_accuracy": Measured(0.90, 0.85, 0.95)}, "BLOCK", "close to people"),
        ({"human_accuracy": Measured(0.80, 0.75, 0.85)}, "REVIEW", "close to people"),
        ({"against_live": Measured(-0.1, -0.15, -0.05)}, "BLOCK", "not worse than the live model"),
        ({"against_live": Measured(-0.03, -0.08, 0.02)}, "REVIEW", "not worse than the live model"),
        ({"agreement": "REVIEW"}, "BLOCK", "agreement gate"),
        ({"agreement": "INSUFFICIENT"}, "INSUFFICIENT", "agreement gate"),
    ],
)
def test_one_line_that_does_not_hold_stops_a_reward_model(
    arguments: dict[str, object], state: str, name: str
) -> None:
    gate = reward_model_gate(**({"agreement": "PASS", "accuracy": GOOD} | arguments))
    assert gate.state == state
    assert [rule.name for rule in gate.rules if not rule.ok] == [name]


def test_a_released_review_lets_a_reward_model_through() -> None:
    assert reward_model_gate("REVIEW", GOOD, released=True).state == "PASS"
    assert reward_model_gate("BLOCK", GOOD, released=True).state == "BLOCK"


def test_accuracy_beyond_what_the_labels_allow_is_an_alarm() -> None:
    human = Measured(0.68, 0.64, 0.72)  # so a label is right four times in five
    honest = reward_model_gate("PASS", Measured(0.79, 0.76, 0.82), human_accuracy=human)
    assert honest.state == "PASS"
    leaked = reward_model_gate("PASS", Measured(0.90, 0.87, 0.93), human_accuracy=human)
    assert leaked.state == "REVIEW" and line(leaked, "no leak").verdict == "alarm"


def test_label_accuracy_is_the_published_reading_aid() -> None:
    for agreement, right in [(0.60, 0.72), (0.63, 0.76), (0.726, 0.84), (0.81, 0.89), (0.4, 0.5)]:
        assert label_accuracy(agreement) == pytest.approx(right, abs=0.006)


POLICY = {
    "completed": True,
    "win_rate": Measured(0.75, 0.68, 0.82),
    "kl": 6.0,
    "length_change": 0.05,
    "eos_rate": 0.99,
}


def test_a_policy_that_wins_within_its_limits_passes() -> None:
    assert policy_gate(**POLICY, settings=BUDGET).state == "PASS"


@pytest.mark.parametrize(
    ("change", "state", "name"),
    [
        ({"win_rate": Measured(0.48, 0.40, 0.56)}, "BLOCK", "wins"),
        ({"win_rate": Measured(0.55, 0.47, 0.63)}, "REVIEW", "wins"),
        ({"win_rate": Measured(None)}, "INSUFFICIENT", "wins"),
        ({"kl": 10.5}, "BLOCK", "distance"),
        ({"kl": None}, "INSUFFICIENT", "distance"),
        ({"length_change": 0.5}, "BLOCK", "length"),
        ({"length_change": -0.5}, "BLOCK", "length"),
        ({"eos_rate": 0.5}, "BLOCK", "endings"),
        ({"completed": False}, "BLOCK", "run completed"),
    ],
)
def test_one_line_that_does_not_hold_stops_a_policy(
    change: dict[str, object], state: str, name: str
) -> None:
    gate = policy_gate(**(POLICY | change), settings=BUDGET)
    assert gate.state == state
    assert [rule.name for rule in gate.rules if not rule.ok] == [name]


def test_longer_responses_pass_when_they_win_at_equal_length_too() -> None:
    longer = POLICY | {"length_change": 0.5}
    ahead, behind = Measured(0.7, 0.6, 0.8), Measured(0.52, 0.42, 0.62)
    assert policy_gate(**longer, settings=BUDGET, length_controlled_win_rate=ahead).state == "PASS"
    gate = policy_gate(**longer, settings=BUDGET, length_controlled_win_rate=behind)
    assert gate.state == "BLOCK"


def test_a_gate_report_is_plain_json_with_its_settings() -> None:
    found = json.loads(json.dumps(policy_gate(**POLICY, settings=BUDGET).as_dict()))
    assert found["settings"]["kl_budget"] == 10.0
    assert found["rules"][0]["ok"] is True and found["rules"][0]["reason"]
