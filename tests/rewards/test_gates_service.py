"""Verdicts are kept with every rule; a REVIEW can be released once, with a written reason."""

from typing import Any

import pytest

from annotate.models import AuditEvent, Membership, Project, User
from rewards.ml.agreement import report
from rewards.models import GateReport, GateSetting, RewardModelVersion, Run
from rewards.services.gates import (
    NotReleasable,
    NotTrained,
    judge_agreement,
    judge_reward_model,
    release,
)
from rewards.services.reward_models import InvalidConfig, request_reward_model
from rewards.services.runs import cancel_run
from rewards.services.snapshots import freeze
from tests import make

GOOD = {"value": 0.7, "low": 0.6, "high": 0.8, "n_prompts": 60, "n_pairs": 300, "reason": None}
UNSURE = GOOD | {"value": 0.02, "low": -0.02, "high": 0.06}
NONE = {"value": None, "low": None, "high": None, "n_prompts": 0, "n_pairs": 0, "reason": "none"}
METRICS = {
    "accuracy": GOOD,
    "accuracy_over_longest": GOOD | {"value": 0.1, "low": 0.05, "high": 0.15},
    "human_accuracy": GOOD | {"value": 0.72},
}


def figures(flips: int, prompts: int = 100) -> dict[str, Any]:
    """Agreement of six people, two a prompt, who contradict each other `flips` times in ten."""
    said = []
    for n in range(prompts):
        first, second = f"p{n % 6}", f"p{(n + 1 + n // 6 % 5) % 6}"
        second = second if second != first else f"p{(n + 1) % 6}"
        other = (2, 1) if n % 10 < flips else (1, 2)
        said.append({first: {"a": 1, "b": 2}, second: dict(zip("ab", other, strict=True))})
    return report(said).as_dict()


@pytest.fixture
def version(ada_member: Membership) -> RewardModelVersion:
    """A trained model whose snapshot's agreement passes."""
    make.make_ranking(ada_member)
    snapshot = freeze(ada_member.project)
    snapshot.agreement = figures(flips=1)
    snapshot.save()
    version = request_reward_model(snapshot, "base")
    version.metrics = METRICS
    version.status = RewardModelVersion.Status.CANDIDATE
    version.save()
    return version


@pytest.mark.parametrize(
    ("flips", "prompts", "state"),
    [(1, 100, "PASS"), (5, 300, "BLOCK"), (4, 300, "REVIEW"), (1, 30, "INSUFFICIENT")],
)
def test_agreement_is_judged_with_every_rule(
    project: Project, flips: int, prompts: int, state: str
) -> None:
    found = judge_agreement(project, figures(flips, prompts))
    assert found.state == state
    assert found.opens == (state == "PASS")
    assert [rule["name"] for rule in found.report["rules"]] == [
        "overlapped prompts",
        "annotators",
        "width of the interval",
        "agreement",
    ]


def test_the_same_figures_have_one_verdict(project: Project) -> None:
    found = judge_agreement(project, figures(1))
    assert judge_agreement(project, figures(1)) == found
    assert judge_agreement(project, figures(2)) != found
    assert judge_agreement(make.make_project("elsewhere"), figures(1)) != found


def test_the_newest_settings_of_the_project_hold(project: Project) -> None:
    before = judge_agreement(project, figures(1))
    GateSetting.objects.create(project=project, values={}, reason="begin")
    GateSetting.objects.create(
        project=project, values={"agreement": {"min_prompts": 500}}, reason="a large study"
    )
    after = judge_agreement(project, figures(1))
    assert (before.state, after.state) == ("PASS", "INSUFFICIENT")
    assert after.report["settings"]["min_prompts"] == 500
    assert after.report["settings"]["threshold"] == 0.2


def test_a_review_is_released_once_with_a_reason(project: Project, root: User) -> None:
    found = judge_agreement(project, figures(4, 300))
    with pytest.raises(NotReleasable, match="reason"):
        release(found, root, "  ")
    assert not found.opens
    release(found, root, "New guidelines since Monday")
    assert found.opens
    assert (found.released_by, found.release_reason) == (root, "New guidelines since Monday")
    event = AuditEvent.objects.get(verb="release gate")
    assert (event.actor, event.detail["reason"]) == (root, "New guidelines since Monday")
    with pytest.raises(NotReleasable, match="before"):
        release(found, root, "Once more")
    assert judge_agreement(project, figures(4, 300)).opens  # a release is of these very figures
    assert not judge_agreement(project, figures(4, 290)).opens


@pytest.mark.parametrize(("flips", "prompts"), [(1, 100), (5, 300), (1, 30)])
def test_no_other_verdict_can_be_released(
    project: Project, root: User, flips: int, prompts: int
) -> None:
    found = judge_agreement(project, figures(flips, prompts))
    with pytest.raises(NotReleasable, match=found.state):
        release(found, root, "We are in a hurry")
    found.refresh_from_db()
    assert found.released_at is None


@pytest.mark.parametrize(
    ("metrics", "state", "status"),
    [
        ({}, "PASS", "accepted"),
        ({"accuracy": GOOD | {"low": 0.49}}, "BLOCK", "rejected"),
        ({"accuracy": NONE}, "INSUFFICIENT", "shadow"),
        ({"accuracy_over_longest": UNSURE}, "REVIEW", "shadow"),
        ({"accuracy_over_former": UNSURE | {"value": -0.05, "high": -0.03}}, "BLOCK", "rejected"),
        ({"accuracy_over_former": UNSURE}, "PASS", "accepted"),
    ],
)
def test_a_reward_model_is_what_its_gate_says(
    version: RewardModelVersion, metrics: dict[str, Any], state: str, status: str
) -> None:
    version.metrics = METRICS | metrics
    version.save()
    found = judge_reward_model(version)
    version.refresh_from_db()
    assert (found.state, version.status, version.gate) == (state, status, found)
    assert judge_reward_model(version) == found


@pytest.mark.parametrize(
    ("flips", "prompts", "state", "status"),
    [
        (1, 30, "INSUFFICIENT", "shadow"),
        (4, 300, "BLOCK", "shadow"),  # the agreement is at REVIEW, and may be released
        (5, 300, "BLOCK", "rejected"),
    ],
)
def test_a_model_of_doubtful_judgements_does_not_pass(
    version: RewardModelVersion, flips: int, prompts: int, state: str, status: str
) -> None:
    version.snapshot.agreement = figures(flips, prompts)
    version.snapshot.save()
    found = judge_reward_model(version)
    version.refresh_from_db()
    assert (found.state, version.status) == (state, status)


def test_a_release_of_the_agreement_reaches_the_models_behind_it(
    version: RewardModelVersion, root: User
) -> None:
    version.snapshot.agreement = figures(4, 300)
    version.snapshot.save()
    assert not judge_reward_model(version).opens
    agreement = judge_agreement(version.project, version.snapshot.agreement)
    release(agreement, root, "Two schools of taste, both fine")
    version.refresh_from_db()
    assert version.status == RewardModelVersion.Status.ACCEPTED
    assert version.gate is not None and version.gate.opens


def test_a_release_of_a_reward_model_accepts_it(version: RewardModelVersion, root: User) -> None:
    version.metrics = METRICS | {"accuracy_over_longest": UNSURE}
    version.save()
    release(judge_reward_model(version), root, "Lengths are equal here")
    version.refresh_from_db()
    assert version.status == RewardModelVersion.Status.ACCEPTED
    assert judge_reward_model(version) == version.gate
    version.refresh_from_db()
    assert version.status == RewardModelVersion.Status.ACCEPTED


def test_a_release_is_of_one_model(version: RewardModelVersion, root: User) -> None:
    twin = request_reward_model(version.snapshot, "another base")
    for model in (version, twin):
        model.metrics = METRICS | {"accuracy_over_longest": UNSURE}
        model.status = RewardModelVersion.Status.CANDIDATE
        model.save()
        judge_reward_model(model)
    release(judge_reward_model(version), root, "Lengths are equal here")
    twin.refresh_from_db()
    assert twin.status == RewardModelVersion.Status.SHADOW
    assert not judge_reward_model(twin).opens


def test_a_model_in_training_is_not_judged(version: RewardModelVersion) -> None:
    version.status = RewardModelVersion.Status.TRAINING
    version.save()
    with pytest.raises(NotTrained, match="training"):
        judge_reward_model(version)
    assert not GateReport.objects.filter(gate="reward model").exists()


def test_asking_twice_gives_one_model(version: RewardModelVersion) -> None:
    snapshot = version.snapshot
    assert request_reward_model(snapshot, "base") == version
    other = request_reward_model(snapshot, "base", {"epochs": 2})
    assert other.number == version.number + 1
    assert request_reward_model(snapshot, "base", {"epochs": 3}, key="mine") == (
        request_reward_model(snapshot, "base", {"epochs": 4}, key="mine")
    )
    assert Run.objects.filter(kind="reward_model").count() == 3


def test_asking_again_for_a_cancelled_model_trains_it(version: RewardModelVersion) -> None:
    other = request_reward_model(version.snapshot, "base", {"epochs": 2})
    cancel_run(other.run)
    other.refresh_from_db()
    assert other.status == RewardModelVersion.Status.FAILED
    again = request_reward_model(version.snapshot, "base", {"epochs": 2})
    assert again == other
    assert (again.status, again.run.state) == ("training", "queued")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"epoch": 2}, "unexpected keyword argument 'epoch'"),
        ({"epochs": 0}, "epochs 0 is not above 0"),
        ({"epochs": "3"}, "epochs '3' is not a whole number"),
        ({"learning_rate": float("nan")}, "learning_rate nan is not above 0"),
        ({"dtype": "int8"}, "dtype 'int8' is neither float32 nor bfloat16"),
    ],
)
def test_settings_that_are_none_are_refused_at_once(
    version: RewardModelVersion, config: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidConfig, match=reason):
        request_reward_model(version.snapshot, "base", config)
    assert RewardModelVersion.objects.count() == 1
