"""The rules of gate B beyond accuracy: each opens on evidence, and is silent without."""

from dataclasses import replace

import pytest

from rewards.ml.agreement import report
from rewards.ml.gate import GateSettings, RewardModelGateSettings, agreement_gate, reward_model_gate
from rewards.ml.model_rules import Counted, Evidence, LeftOut, Shares, Slice, TokenLift
from rewards.ml.rules import GateReport, Measured, Rule

GOOD = Measured(0.72, 0.68, 0.76)
HUMAN = Measured(0.73, 0.66, 0.80)
SURE = Evidence(
    unseen_annotators=Counted(0.70, 0.64, 0.76, 60),
    shorter_won=Counted(0.62, 0.55, 0.69, 112),
    gold_over_live=Counted(0.01, -0.01, 0.03, 80),
    alpha_bounds=(0.35, 0.47),
    left_out=[LeftOut("ada", 0.40, 0.33, 0.46), LeftOut("bob", 0.43, 0.36, 0.50)],
    shares=Shares(n_people=12, largest=0.09, largest_three=0.26),
    drift=Counted(-0.04, -0.12, 0.04, 200),
    slices=[Slice("ice", 0.5, 80, 0.3, 0.4), Slice("sea", 0.5, 80, 0.4, 0.5)],
    token_lift=TokenLift(False, 0.06, 0.15),
    judged_by_gold=9,
)


def judge(evidence: Evidence, **arguments: object) -> GateReport:
    return reward_model_gate("PASS", GOOD, human_accuracy=HUMAN, evidence=evidence, **arguments)


def line(gate: GateReport, name: str) -> Rule:
    (rule,) = (rule for rule in gate.rules if rule.name == name)
    return rule


def test_a_model_that_holds_on_every_line_passes() -> None:
    gate = judge(SURE)
    assert gate.state == "PASS"
    silent = {rule.name for rule in gate.rules if rule.verdict == "not judged"}
    assert silent == {"better than length", "not worse than the live model"}


@pytest.mark.parametrize(
    ("change", "state", "name"),
    [
        ({"unseen_annotators": Counted(0.66, 0.60, 0.72, 60)}, "REVIEW", "people it never saw"),
        ({"unseen_annotators": Counted(0.55, 0.50, 0.60, 60)}, "BLOCK", "people it never saw"),
        ({"shorter_won": Counted(0.52, 0.44, 0.60, 80)}, "REVIEW", "where the shorter won"),
        ({"shorter_won": Counted(0.30, 0.22, 0.38, 80)}, "BLOCK", "where the shorter won"),
        ({"gold_over_live": Counted(-0.01, -0.05, 0.03, 80)}, "REVIEW", "not worse on gold"),
        ({"gold_over_live": Counted(-0.10, -0.15, -0.05, 80)}, "BLOCK", "not worse on gold"),
        (
            {"left_out": [LeftOut("eve", 0.24, 0.17, 0.31)]},
            "REVIEW",
            "no one person decides",
        ),
        (
            {"left_out": [*SURE.left_out, LeftOut("eve", None, None, None)]},
            "REVIEW",
            "no one person decides",
        ),
        ({"shares": Shares(12, 0.16, 0.30)}, "REVIEW", "shares"),
        ({"shares": Shares(12, 0.14, 0.41)}, "REVIEW", "shares"),
        ({"drift": Counted(-0.20, -0.30, -0.06, 200)}, "REVIEW", "drift"),
        ({"slices": [Slice("ice", 0.5, 80, 0.02, 0.09)]}, "BLOCK", "topics"),
        ({"token_lift": TokenLift(True, 0.36, 0.15, ["SUDO"])}, "REVIEW", "token lift"),
        ({"failing_gold": 1}, "REVIEW", "gold"),
    ],
)
def test_one_line_that_does_not_hold_stops_it(
    change: dict[str, object], state: str, name: str
) -> None:
    gate = judge(replace(SURE, **change))
    assert gate.state == state
    assert [rule.name for rule in gate.rules if not rule.ok] == [name]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"unseen_annotators": Counted(0.40, 0.30, 0.50, 19)}, "people it never saw"),
        ({"shorter_won": Counted(0.20, 0.10, 0.30, 19)}, "where the shorter won"),
        ({"gold_over_live": Counted(-0.5, -0.6, -0.4, 29)}, "not worse on gold"),
        ({"left_out": []}, "no one person decides"),
        ({"shares": Shares(6, 0.6, 0.9)}, "shares"),
        ({"slices": [Slice("ice", 0.09, 80, 0.02, 0.05)]}, "topics"),
        ({"slices": [Slice("ice", 0.50, 19, 0.02, 0.05)]}, "topics"),
    ],
)
def test_thin_data_are_not_judged(change: dict[str, object], name: str) -> None:
    gate = judge(replace(SURE, **change))
    assert gate.state == "PASS" and line(gate, name).verdict == "not judged"


@pytest.mark.parametrize("n", range(7, 40))
def test_people_who_judge_equally_much_never_break_the_limits_of_shares(n: int) -> None:
    assert line(judge(replace(SURE, shares=Shares(n, 1 / n, 3 / n))), "shares").verdict == "ok"


def test_the_reason_names_who_decides_and_what_is_rewarded() -> None:
    found = replace(
        SURE,
        left_out=[LeftOut("ada", 0.40, 0.33, 0.46), LeftOut("eve", 0.1, 0.02, 0.18)],
        token_lift=TokenLift(True, 0.36, 0.15, ["SUDO"]),
    )
    gate = judge(found)
    reason = line(gate, "no one person decides").reason
    assert reason == "Without eve it would be at BLOCK instead of PASS."
    assert "“SUDO”" in line(gate, "token lift").reason


def test_a_person_whose_absence_would_open_the_gate_is_named_too() -> None:
    bounds = (0.15, 0.25)
    found = replace(SURE, alpha_bounds=bounds, left_out=[LeftOut("eve", 0.5, 0.4, 0.6)])
    reason = line(judge(found), "no one person decides").reason
    assert "PASS instead of REVIEW" in reason


def test_people_without_whom_agreement_cannot_be_told_are_named() -> None:
    hubs = [LeftOut(name, None, None, None) for name in ("eve", "mal")]
    rule = line(judge(replace(SURE, left_out=[*SURE.left_out, *hubs])), "no one person decides")
    assert rule.reason == "Without eve or mal agreement cannot be told."


def test_the_threshold_of_gate_a_counts_and_limits_are_settings() -> None:
    assert line(judge(SURE, threshold=0.34), "no one person decides").verdict == "alarm"
    strict = RewardModelGateSettings(person_share=0.05, min_people=2)
    assert line(judge(SURE, settings=strict), "shares").verdict == "ok"  # 1.5 / 12 people
    crowd = replace(SURE, shares=Shares(100, 0.09, 0.2))
    assert line(judge(crowd, settings=strict), "shares").verdict == "alarm"


def test_the_defaults_are_those_that_were_reasoned_for() -> None:
    """Who lowers one changes what every project is held to: say so in the changelog."""
    assert GateSettings() == GateSettings(0.20, 0.125, 50, 5, 10, False)
    settings = RewardModelGateSettings()
    assert (settings.human_margin, settings.live_margin, settings.gold_margin) == (0.05, 0.02, 0.02)
    assert (settings.person_share, settings.three_share) == (0.15, 0.40)
    assert (settings.drift, settings.slice_floor, settings.slice_traffic) == (0.05, 0.10, 0.10)


def test_a_single_annotator_passes_only_where_it_is_allowed_and_says_so() -> None:
    alone = report([{"ada": {"a": 1, "b": 2}}] * 60)
    assert agreement_gate(alone).state == "INSUFFICIENT"
    allowed = agreement_gate(alone, GateSettings(one_annotator=True))
    assert allowed.state == "PASS"
    assert [rule.verdict for rule in allowed.rules] == ["not judged"]
    first = judge(replace(SURE, one_annotator=True)).rules[0]
    assert first.verdict == "not judged" and "one person judged" in first.reason
