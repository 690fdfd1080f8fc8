"""Runs, models, policies and cycles in each of their states, for pages to show; none is trained."""

import math
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from annotate.models import Project, User
from annotate.services.projects import exclude
from rewards.models import RewardModelVersion, Run, RunMetric, Snapshot
from rewards.services.gates import judge_reward_model
from tests.rewards import rows
from training.cycle import DEFAULTS, iso_week
from training.models import Cycle, PolicyVersion
from training.services.policies import judge_promotion, promote, register_base

BASE = "org/base"
FITTED = rows.FITTED | {
    "accuracy_over_former": {"value": 0.02, "low": -0.03, "high": 0.07, "n_prompts": 212},
    "former": 1,
    "tfidf_accuracy": {"value": 0.61, "low": 0.55, "high": 0.68, "n_prompts": 212},
    "accuracy_where_shorter_won": {"value": 0.58, "low": 0.47, "high": 0.69, "n_prompts": 61},
}
COMPARED = {
    "n_prompts": 204,
    "win_rate": {"value": 0.66, "low": 0.59, "high": 0.72, "n": 204},
    "length_controlled_win_rate": {"value": 0.63, "low": 0.55, "high": 0.71, "n": 131},
    "length_change": 0.05,
    "kl": 3.9,
    "eos_rate": 0.99,
    "blind_votes": 0,
    "old": {"score": -0.11, "response_tokens": 31.2, "eos_rate": 0.97, "kl_reference": 0.0,
            "distinct_2": 0.61},
    "new": {"score": 0.83, "response_tokens": 133.9, "eos_rate": 0.99, "kl_reference": 3.9,
            "distinct_2": 0.6},
    "pairs": [
        {"messages": [{"role": "user", "content": "Why is the *sky* blue?"}],
         "old": "Because of the sea.\n\n```\nprint('a line of code that is too long for a phone')"
                "\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |",
         "new": "Air scatters **blue** light more than red light.", "scores": [-0.42, 1.31]},
    ],
}  # fmt: skip


def add_loop(project: Project, snapshot: Snapshot, by: User) -> None:
    """Policies, reward models, runs and cycles, in all states that pages tell apart.

    `snapshot` holds rankings of the project. A policy that is live makes room for a new one.
    """
    base = project.policies.live().first() or register_base(project, BASE, by=by)
    taught = add_reward_model(snapshot, FITTED)
    judge_reward_model(taught)
    add_reward_model(snapshot, FITTED | {"accuracy_over_longest": UNSURE})
    judge_reward_model(project.reward_models.first())
    add_reward_model(snapshot, FITTED)
    add_reward_model(snapshot, {}, RewardModelVersion.Status.FAILED, by=by)
    live = add_policy(base, taught, COMPARED | {"against_number": base.number})
    judge_promotion(live)
    promote(live)
    worse = COMPARED | {"win_rate": {"value": 0.41, "low": 0.3, "high": 0.48, "n": 204}}
    judge_promotion(add_policy(live, taught, worse))
    project.policies.first().reject()
    unsure = COMPARED | {"win_rate": {"value": 0.53, "low": 0.48, "high": 0.58, "n": 204}}
    candidate = add_policy(live, taught, unsure)
    judge_promotion(candidate)
    add_runs(project)
    now = datetime.now(UTC)
    for weeks, state, step, reason in (
        (4, "done", Cycle.Step.END, "policy 2 is live"),
        (3, "stopped", Cycle.Step.END, "the agreement gate is shut: people agree too little"),
        (2, "failed", Cycle.Step.END, "the run failed: CUDA ran out of memory"),
        (0, "running", Cycle.Step.BLIND_COMPARISON, ""),
    ):
        if state == "running" and project.cycles.filter(state=state).exists():
            continue
        begun = now - timedelta(weeks=weeks)
        log = [
            {"step": step.value, "at": begun.isoformat(), "what": what}
            for step, what in (
                (Cycle.Step.FREEZE, f"{snapshot} is frozen"),
                (Cycle.Step.AGREEMENT_GATE, reason or "PASS"),
            )
        ]
        Cycle.objects.create(
            project=project, iso_week=iso_week(begun), state=state, step=step, reason=reason,
            log=log, config=dict(DEFAULTS), snapshot=snapshot, reward_model=taught,
            policy=candidate, created_by=by,
        )  # fmt: skip


UNSURE = {"value": 0.02, "low": -0.02, "high": 0.06, "n_prompts": 212}


def add_reward_model(snapshot, metrics, status="candidate", by=None) -> RewardModelVersion:
    project = snapshot.project
    failed = status == RewardModelVersion.Status.FAILED
    run = add_run(
        project,
        "reward_model",
        Run.State.FAILED if failed else Run.State.DONE,
        reason="TooLittleData: 3 prompts of the training split have pairs" if failed else "",
        created_by=by,
    )
    if not failed:
        add_curves(run, 40, FITTING)
    return RewardModelVersion.objects.create(
        project=project, number=project.reward_models.count() + 1, snapshot=snapshot, run=run,
        base=BASE, config={"epochs": 5, "learning_rate": 1e-4}, status=status, metrics=metrics,
        digest="5f" * 32,
    )  # fmt: skip


def add_policy(parent: PolicyVersion, model: RewardModelVersion, found: dict) -> PolicyVersion:
    run = add_run(parent.project, "ppo", Run.State.DONE)
    add_curves(run, 60, PPO)
    return PolicyVersion.objects.create(
        project=parent.project, number=parent.project.policies.next_number(), parent=parent,
        base=parent.base, reward_model=model, run=run, status=PolicyVersion.Status.CANDIDATE,
        digest="a7" * 32, metrics={"status": "completed"},
        evaluation={"against_number": parent.number, "against": parent.pk, **found},
    )  # fmt: skip


def add_runs(project: Project) -> None:
    """One run of every state."""
    running = add_run(
        project, "ppo", Run.State.RUNNING, step=17, total=40, message="score 0.61, KL 3.2",
        worker="worker-1",
    )  # fmt: skip
    add_curves(running, 17, PPO)
    add_run(project, "sample", Run.State.QUEUED)
    add_run(project, "evaluate", Run.State.CANCELLED, reason="cancelled by root", attempt=2)
    failed = add_run(
        project, "supervised", Run.State.FAILED, losses=2, attempt=3,
        reason="worker lost: not heard of for 60 s; given up after 3 attempts",
        params={"base": BASE, "config": {"epochs": 3}, "corpus": "projects/corpora/1.jsonl"},
    )  # fmt: skip
    add_curves(failed, 1, FITTING)


def add_run(project: Project, kind: str, state: str, **columns) -> Run:
    now = timezone.now()
    began = {} if state == Run.State.QUEUED else {"started_at": now - timedelta(minutes=41)}
    ended = {"finished_at": now} if state in Run.FINISHED else {}
    return Run.objects.create(project=project, kind=kind, state=state, **began, **ended, **columns)


FITTING = {
    "train_loss": lambda t: 0.69 - 0.25 * t + 0.03 * math.sin(9 * t),
    "validation_loss": lambda t: 0.69 - 0.14 * t,
    "validation_accuracy": lambda t: 0.5 + 0.2 * t,
    "learning_rate": lambda t: 1e-4 * (1 - t),
}
PPO = {
    "score": lambda t: -0.1 + t + 0.1 * math.sin(20 * t),
    "reward": lambda t: -0.1 + 0.8 * t,
    "kl_reference": lambda t: 4 * t,
    "kl_parent": lambda t: 3.7 * t,
    "length": lambda t: 30 + 4 * t,
    "heldout_length": lambda t: 31 + 3 * t,
    "entropy": lambda t: 2.4 - 0.4 * t,
    "eos_rate": lambda t: 0.97 + 0.02 * t,
    "clip_fraction": lambda t: 0.05 + 0.02 * math.sin(30 * t),
}


def add_curves(run: Run, steps: int, curves: dict) -> None:
    """Steps 1 to `steps`; each curve is a function of the time from 0 to 1."""
    RunMetric.objects.bulk_create(
        RunMetric(
            run=run, step=n, values={name: curve(n / steps) for name, curve in curves.items()}
        )
        for n in range(1, steps + 1)
    )


def taint(snapshot: Snapshot) -> None:
    """One of its rankings is excluded."""
    ranking = snapshot.rankings.order_by("pk").first()
    exclude(snapshot.project, ranking, "copied from the response above", by=None)
