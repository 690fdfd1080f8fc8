"""A policy's life: asked for, evaluated, judged, and live.

Both the weekly cycle and people's requests come here; what only people do, registering a base and
rolling back, stands in `services.policies`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Count, QuerySet

from annotate.models import AuditEvent, Project, Prompt, Ranking, Task, User, content_hash
from rewards.ml.gate import PolicyGateSettings, policy_gate
from rewards.ml.intervals import wilson
from rewards.ml.rules import Measured
from rewards.models import GateReport, RewardModelVersion, Run, Snapshot
from rewards.services.gates import thresholds
from rewards.services.runs import request_run, retry_run
from rewards.services.taint import refresh_taint
from training.ml.config import UpdateConfig
from training.models import PolicyVersion

Status = PolicyVersion.Status
PROMOTION = GateReport.Gate.PROMOTION
Config = Mapping[str, Any]


class NotAllowed(Exception):
    """What was asked for cannot be done as things stand; the message says why."""


def asked_least(project: Project, n: int) -> QuerySet[Prompt]:
    """The `n` prompts with the fewest tasks; among equals the hash decides, as good as chance."""
    prompts = project.prompts.annotate(n_tasks=Count("tasks"))
    return prompts.order_by("n_tasks", "content_hash")[:n]


@transaction.atomic
def request_samples(
    policy: PolicyVersion,
    prompts: Iterable[Prompt],
    k: int,
    seed: int,
    *,
    queue: int | None = None,
    by: User | None = None,
) -> Run:
    """Ask for `k` responses of the policy to each prompt, to be ranked by the volunteers.

    With `queue`, so many of the prompts are chosen for the volunteers, and the others come last
    (rewards.services.selection). The same request gives the same run. Raises NotAllowed for a
    policy that is not trained yet.
    """
    if policy.status in (Status.TRAINING, Status.FAILED):
        raise NotAllowed(f"{policy} is not trained")
    params = {"policy": policy.pk, "prompts": [prompt.pk for prompt in prompts]}
    if not params["prompts"]:
        raise NotAllowed("there is no prompt to respond to")
    params |= {"k": k, "seed": seed}
    if queue is not None:
        params["queue"] = queue
    name = content_hash(params)[:12]
    params["batch"] = f"samples of policy {policy.number}, {name}"
    return request_run(policy.project, "sample", params, key=f"sample {policy.pk} {name}", by=by)


@transaction.atomic
def request_update(
    parent: PolicyVersion,
    reward_model: RewardModelVersion,
    config: Config,
    *,
    by: User | None = None,
) -> PolicyVersion:
    """Ask for a policy that PPO makes of `parent`, scored by the reward model.

    `config` holds the fields of training.ml.config.UpdateConfig that differ from their defaults;
    responses are sampled as the parent samples them. The same request gives the same policy; where
    its run failed or was cancelled, it is queued again.
    Raises NotAllowed unless the reward model has passed its gate and shares the parent's base, and
    for settings that PPO cannot have.
    """
    if reward_model.status != RewardModelVersion.Status.ACCEPTED:
        raise NotAllowed(f"{reward_model} is {reward_model.status}: its gate has not opened")
    if reward_model.base != parent.base:
        raise NotAllowed(f"{reward_model} has another base than {parent}")
    settings = {"sampling": parent.sampling, "update": dict(config)}
    try:
        UpdateConfig(**{**config, **parent.sampling})
    except (TypeError, ValueError) as error:
        raise NotAllowed(f"no such setting of PPO: {error}") from error
    project = Project.objects.select_for_update().get(pk=parent.project_id)
    asked = {"parent": parent.pk, "reward_model": reward_model.pk, "update": dict(config)}
    key = f"ppo {project.pk} {content_hash(asked)[:32]}"
    if there := project.policies.filter(run__key=key).select_related("run").first():
        if there.run and retry_run(there.run, by):
            project.policies.filter(pk=there.pk).update(status=Status.TRAINING)
            there.refresh_from_db()
        return there
    run = request_run(project, "ppo", asked, key=key, by=by)
    return PolicyVersion.objects.create(
        project=project,
        number=project.policies.next_number(),
        parent=parent,
        base=parent.base,
        reward_model=reward_model,
        run=run,
        config=settings,
    )


@transaction.atomic
def request_evaluation(
    policy: PolicyVersion,
    against: PolicyVersion,
    config: Config | None = None,
    *,
    blind_votes: int = 0,
    by: User | None = None,
) -> Run:
    """Ask how the policy compares with another on held-out prompts.

    `config` may hold `prompts`, how many at most, and `seed`. With `blind_votes` the responses are
    also put before the volunteers side by side, until so many have ranked them.
    """
    if policy.status in (Status.TRAINING, Status.FAILED):
        raise NotAllowed(f"{policy} is not trained")
    if policy.reward_model is None:
        raise NotAllowed(f"{policy} was made without a reward model that could score it")
    if policy.base != against.base:
        raise NotAllowed(f"{policy} and {against} have different bases")
    params = {"policy": policy.pk, "against": against.pk, "blind_votes": blind_votes}
    params |= {"prompts": 200, "seed": 0} | dict(config or {})
    key = f"evaluate {policy.pk} {content_hash(params)[:32]}"
    return request_run(policy.project, "evaluate", params, key=key, by=by)


def blind_result(policy: PolicyVersion) -> dict[str, Any]:
    """What people said who compared the policy's responses with the other's, blind.

    `win_rate` counts a tie as half a win; its interval is Wilson's 95 %. Every figure but the
    counts is None before the first ranking. `open` counts tasks that still want a ranking.
    """
    tasks = policy.project.tasks.filter(batch=policy.blind_batch)
    wins = ties = losses = 0
    rankings = Ranking.objects.current().not_excluded().filter(assignment__task__in=tasks)
    # Slot 0 holds the policy's response, slot 1 the other's, whatever order people saw.
    slots = {
        task.pk: [slot.response_id for slot in task.slots.order_by("slot")]
        for task in tasks.prefetch_related("slots")
    }
    for ranking in rankings.select_related("assignment"):
        new, old = (ranking.ranks[str(pk)] for pk in slots[ranking.assignment.task_id])
        if new is None or old is None or new == old:  # not ranked: both are unacceptable
            ties += 1
        elif new < old:
            wins += 1
        else:
            losses += 1
    n = wins + ties + losses
    value = (wins + ties / 2) / n if n else None
    low, high = wilson(value, n) if value is not None else (None, None)
    return {
        "n": n,
        "wins": wins,
        "ties": ties,
        "losses": losses,
        "open": tasks.filter(state=Task.State.OPEN).count(),
        "win_rate": {"value": value, "low": low, "high": high, "n": n},
    }


@transaction.atomic
def judge_promotion(policy: PolicyVersion) -> GateReport:
    """Judge the policy by what its run and its evaluation found, and keep the report.

    Judged again on the same figures, the report that exists stays, with its release if it has one.
    Raises NotAllowed for a policy that has not been evaluated.
    """
    policy = PolicyVersion.objects.select_for_update().get(pk=policy.pk)
    evaluation = policy.evaluation
    if not evaluation:
        raise NotAllowed(f"{policy} has not been evaluated")
    blind = blind_result(policy) if evaluation["blind_votes"] else None
    budget = {"kl_budget": UpdateConfig(**policy.config.get("update", {})).kl_budget}
    limits = PolicyGateSettings(**{**budget, **thresholds(policy.project, PROMOTION)})
    controlled = evaluation["length_controlled_win_rate"]
    verdict = policy_gate(
        completed=policy.metrics["status"] == "completed",
        win_rate=_measured(evaluation["win_rate"]),
        kl=evaluation["kl"],
        length_change=evaluation["length_change"],
        eos_rate=evaluation["eos_rate"],
        settings=limits,
        length_controlled_win_rate=_measured(controlled) if controlled else None,
        blind_win_rate=_measured(blind["win_rate"]) if blind else None,
    )
    report = verdict.as_dict() | {"policy": policy.number}
    digest = content_hash(report)
    if policy.gate is None or policy.gate.digest != digest:
        policy.gate = GateReport.objects.create(
            project=policy.project,
            gate=PROMOTION,
            state=verdict.state,
            report=report,
            digest=digest,
        )
    policy.evaluation = evaluation | {"blind": blind}
    policy.save(update_fields=["gate", "evaluation"])
    return policy.gate


def excluded_since(reward_model: RewardModelVersion) -> str:
    """Why nothing may follow this model: it learned from judgements that were excluded since.

    Empty where they all still count.
    """
    refresh_taint(reward_model.project)
    snapshot = Snapshot.objects.get(pk=reward_model.snapshot_id)
    if not snapshot.tainted_at:
        return ""
    reason = "; ".join(snapshot.taint_reason.splitlines())
    return (
        f"{reward_model} learned from judgements in {snapshot} that were excluded since: {reason}"
    )


def promote(policy: PolicyVersion, by: User | None = None) -> PolicyVersion:
    """Make the policy live, if its gate opens; returns it as it then is.

    It is judged anew, since people may have voted after it was judged last; that verdict is kept,
    whatever it is.
    Raises NotAllowed, naming the rules that fail, when the gate is closed; when the policy is no
    candidate; when judgements that its reward model learned from were excluded since; or when
    another policy went live since it was evaluated. That an ancestor learned from such judgements
    is no reason: the policy that is live did so too.
    """
    _require_candidate(PolicyVersion.objects.get(pk=policy.pk))
    judge_promotion(policy)
    return _promote(policy, by)


@transaction.atomic
def _promote(policy: PolicyVersion, by: User | None) -> PolicyVersion:
    Project.objects.select_for_update().get(pk=policy.project_id)
    policy = PolicyVersion.objects.get(pk=policy.pk)
    _require_candidate(policy)
    gate = policy.gate
    assert gate is not None
    if not gate.opens:
        raise NotAllowed(f"{policy} stays behind its gate ({gate.state}): {failing_rules(gate)}")
    if policy.reward_model and (reason := excluded_since(policy.reward_model)):
        raise NotAllowed(reason)
    live = policy.project.policies.live().first()
    if live and policy.evaluation["against"] != live.pk:
        raise NotAllowed(f"{policy} was not compared with {live}, which is live now")
    former = policy.go_live()
    AuditEvent.record(
        "promote",
        policy,
        project=policy.project,
        actor=by,
        former=former.number if former else None,
        gate=gate.digest,
    )
    return policy


def _require_candidate(policy: PolicyVersion) -> None:
    if policy.status != Status.CANDIDATE:
        raise NotAllowed(f"{policy} is {policy.status}, not a candidate")


def failing_rules(gate: GateReport) -> str:
    """The rules that keep a gate closed, in words."""
    rules: Sequence[Mapping[str, Any]] = gate.report["rules"]
    return "; ".join(f"{rule['name']}: {rule['reason']}" for rule in rules if not rule["ok"])


def _measured(found: Mapping[str, Any]) -> Measured:
    return Measured(found["value"], found["low"], found["high"])
