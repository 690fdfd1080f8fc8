"""Rows that tests of policies and cycles share."""

from typing import Any

from annotate.models import Project
from rewards.models import RewardModelVersion, Run, Snapshot
from training.models import PolicyVersion

EVALUATION: dict[str, Any] = {
    "n_prompts": 100,
    "win_rate": {"value": 0.8, "low": 0.7, "high": 0.9, "n": 100},
    "length_controlled_win_rate": {"value": 0.8, "low": 0.7, "high": 0.9, "n": 60},
    "length_change": 0.05,
    "kl": 4.0,
    "eos_rate": 0.99,
    "against_number": 1,
    "blind_votes": 0,
    "pairs": [],
}

REWARD_METRICS: dict[str, Any] = {
    "accuracy": {"value": 0.7, "low": 0.6, "high": 0.8},
    "accuracy_over_longest": {"value": 0.1, "low": 0.05, "high": 0.2},
}


def make_reward_model(project: Project, base: str = "org/base", **columns: Any) -> Any:
    """An accepted reward model with its snapshot and run; nothing is trained."""
    number = project.reward_models.count() + 1
    snapshot = Snapshot.objects.create(
        project=project, number=number, folder="", digest="", code_version=""
    )
    run = Run.objects.create(project=project, kind="reward_model", state=Run.State.DONE)
    columns = {"status": RewardModelVersion.Status.ACCEPTED, "config": {}, **columns}
    return RewardModelVersion.objects.create(
        project=project, number=number, snapshot=snapshot, run=run, base=base, **columns
    )


def make_candidate(live: PolicyVersion, evaluation: dict[str, Any] | None = None) -> PolicyVersion:
    """A trained policy that was compared with the live one, by default with great success."""
    project = live.project
    return PolicyVersion.objects.create(
        project=project,
        number=project.policies.next_number(),
        parent=live,
        base=live.base,
        reward_model=make_reward_model(project, live.base),
        status=PolicyVersion.Status.CANDIDATE,
        metrics={"status": "completed"},
        evaluation={**EVALUATION, "against": live.pk, **(evaluation or {})},
    )
