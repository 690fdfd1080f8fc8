"""Runs whose work is done in an instant, for tests of what strings them together."""

from typing import Any

from rewards.ml.progress import OnProgress
from rewards.models import RewardModelVersion, Run
from tests.make import make_task
from tests.training.rows import EVALUATION, REWARD_METRICS
from training.models import PolicyVersion


def reward_model(run: Run, report: OnProgress) -> dict[str, Any]:
    RewardModelVersion.objects.filter(run=run).update(
        metrics=REWARD_METRICS, status=RewardModelVersion.Status.CANDIDATE
    )
    return {}


def ppo(run: Run, report: OnProgress) -> dict[str, Any]:
    PolicyVersion.objects.filter(run=run).update(
        metrics={"status": "completed"}, status=PolicyVersion.Status.CANDIDATE
    )
    return {}


def evaluate(run: Run, report: OnProgress) -> dict[str, Any]:
    compared = {"against": run.params["against"], "blind_votes": run.params["blind_votes"]}
    policy = PolicyVersion.objects.get(pk=run.params["policy"])
    policy.evaluation = EVALUATION | compared
    policy.save()
    if run.params["blind_votes"]:  # one comparison, which nobody gets round to
        make_task(run.project, batch=policy.blind_batch, kind="evaluation", responses=2)
    return {}


def sample(run: Run, report: OnProgress) -> dict[str, Any]:
    n = len(run.params["prompts"])
    return {"prompts": n, "responses": n * run.params["k"], "tasks": n}
