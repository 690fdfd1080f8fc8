"""The weekly cycle: one turn of the loop, as a state machine over the rows of `Cycle`.

    freeze → agreement gate → reward model → reward gate → ppo → evaluate → blind comparison
    → promotion gate → sample → end

`advance` does one step if it can. It may be called at any time, by several processes at once, and
after any crash: a step moves by compare-and-swap, and what it asks for is the same run or the same
row when it is asked for again.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from annotate.models import Project, Task, User
from rewards.models import Run
from rewards.services.dataset import trainable
from rewards.services.gates import judge_agreement, judge_reward_model
from rewards.services.reward_models import request_reward_model
from rewards.services.selection import n_candidates
from rewards.services.snapshots import NothingToFreeze, decided_otherwise, freeze
from training.lifecycle import (
    NotAllowed,
    asked_least,
    blind_result,
    excluded_since,
    failing_rules,
    judge_promotion,
    promote,
    request_evaluation,
    request_samples,
    request_update,
)
from training.models import Cycle, LoopPause, PolicyVersion

Step, State = Cycle.Step, Cycle.State

# What a cycle may be told; the next one keeps it unless told otherwise.
DEFAULTS: Mapping[str, Any] = {
    "reward_model": {},  # fields of rewards.ml.fit.FitConfig
    "update": {},  # fields of training.ml.update.UpdateConfig
    "evaluation": {},  # see request_evaluation
    "blind_votes": 60,  # rankings of a blind comparison; 0 leaves it out
    "sample_prompts": 100,  # how many prompts the live policy responds to at the end
}
# A comparison that too few people took part in is judged as it is after this time.
BLIND_PATIENCE = timedelta(days=7)


# When


def iso_week(moment: datetime) -> str:
    """Such as 2026-W47, in UTC; later weeks sort later."""
    year, week, _ = moment.astimezone(UTC).isocalendar()
    return f"{year}-W{week:02d}"


def due_at(moment: datetime) -> datetime:
    """When the cycle of the ISO week around `moment` may begin."""
    year, week, _ = moment.astimezone(UTC).isocalendar()
    day = datetime.fromisocalendar(year, week, settings.CYCLE_WEEKDAY)
    return day.replace(hour=settings.CYCLE_HOUR, tzinfo=UTC)


def is_scheduled(project: Project) -> bool:
    """Whether cycles begin by themselves: there is a live policy to improve, and no pause."""
    paused = project.paused or LoopPause.objects.filter(project=project).exists()
    return not paused and project.policies.live().exists()


def is_due(project: Project, now: datetime) -> bool:
    """Whether the schedule should begin this week's cycle now.

    It waits for a ranking to learn from that is newer than the last cycle, or a reviewer's decision
    that its snapshot does not hold, and for that cycle to end.
    """
    if now < due_at(now) or not is_scheduled(project):
        return False
    last = project.cycles.first()
    if last and (last.state == State.RUNNING or last.iso_week >= iso_week(now)):
        return False
    rankings = trainable(project)
    if last and not (last.snapshot and decided_otherwise(last.snapshot)):
        rankings = rankings.filter(created_at__gt=last.created_at)
    return rankings.exists()


def begin_due(now: datetime) -> None:
    """Begin the cycles that the schedule should begin now."""
    for project in Project.objects.all():
        if is_due(project, now):
            begin(project, iso_week(now))


@transaction.atomic
def begin(
    project: Project, week: str, *, config: Mapping[str, Any] | None = None, by: User | None = None
) -> Cycle:
    """The project's cycle of that ISO week, made if there is none.

    `config` holds what differs from the last cycle's configuration, or from DEFAULTS.
    Raises NotAllowed for an unknown name in it, for other settings than those of a cycle that is
    there, without a live policy, and while another week's cycle is running.
    """
    Project.objects.select_for_update().get(pk=project.pk)
    config = config or {}
    if unknown := set(config) - set(DEFAULTS):
        raise NotAllowed(f"a cycle has no setting {', '.join(sorted(unknown))}")
    if there := project.cycles.filter(iso_week=week).first():
        if other := [name for name in config if config[name] != there.config.get(name)]:
            raise NotAllowed(
                f"the cycle of {week} has begun with its own {', '.join(sorted(other))}, "
                "which cannot be changed any more"
            )
        return there
    if not project.policies.live().exists():
        raise NotAllowed(f"{project.slug} has no live policy: register a base model first")
    last = project.cycles.first()
    if last and last.state == State.RUNNING:
        raise NotAllowed(f"the cycle of {last.iso_week} has not ended")
    former = last.config if last else {}
    return Cycle.objects.create(
        project=project,
        iso_week=week,
        config={**DEFAULTS, **former, **config},
        created_by=by,
    )


# Steps


def advance(cycle: Cycle) -> bool:
    """Do the cycle's next step if nothing stands in its way; True when this call moved it."""
    cycle.refresh_from_db()
    if cycle.state != State.RUNNING:
        return False
    try:
        return STEPS[Step(cycle.step)](cycle)
    except NothingToFreeze as error:
        return cycle.close(State.STOPPED, str(error))
    except NotAllowed as error:
        return cycle.close(State.FAILED, str(error))


def waits_for(cycle: Cycle) -> str:
    """What a running cycle waits for, in words."""
    if cycle.step == Step.BLIND_COMPARISON and cycle.policy:
        found, wanted = blind_result(cycle.policy), cycle.config["blind_votes"]
        return gettext("%(n)s of %(wanted)s blind comparisons by the volunteers") % {
            "n": found["n"],
            "wanted": wanted,
        }
    return f"{cycle.run}: {cycle.run.state}" if cycle.run else ""


def _freeze(cycle: Cycle) -> bool:
    snapshot = freeze(cycle.project, by=cycle.created_by)
    return cycle.move(Step.AGREEMENT_GATE, f"{snapshot} is frozen", snapshot=snapshot)


def _agreement_gate(cycle: Cycle) -> bool:
    assert cycle.snapshot is not None
    gate = judge_agreement(cycle.project, cycle.snapshot.agreement)
    if gate.state == "BLOCK":
        Cycle.objects.filter(pk=cycle.pk).update(agreement_gate=gate)
        return cycle.close(State.STOPPED, f"the agreement gate is shut: {failing_rules(gate)}")
    return cycle.move(Step.REWARD_MODEL, gate.state, agreement_gate=gate)


def _reward_model(cycle: Cycle) -> bool:
    def request() -> dict[str, Any]:
        assert cycle.snapshot is not None
        base = _live(cycle).base
        version = request_reward_model(
            cycle.snapshot, base, cycle.config["reward_model"], by=cycle.created_by
        )
        return {"run": version.run, "reward_model": version}

    if not _done(cycle, request):
        return False
    return cycle.move(Step.REWARD_GATE, f"{cycle.reward_model} is trained")


def _reward_gate(cycle: Cycle) -> bool:
    assert cycle.reward_model is not None and cycle.agreement_gate is not None
    gate = judge_reward_model(cycle.reward_model)
    if not cycle.agreement_gate.opens:
        reason = f"trained in shadow, agreement: {failing_rules(cycle.agreement_gate)}"
        return cycle.close(State.STOPPED, reason)
    if not gate.opens:
        reason = f"{cycle.reward_model} stays behind its gate: {failing_rules(gate)}"
        return cycle.close(State.STOPPED, reason)
    if reason := excluded_since(cycle.reward_model):
        return cycle.close(State.STOPPED, reason)
    return cycle.move(Step.PPO, gate.state)


def _ppo(cycle: Cycle) -> bool:
    def request() -> dict[str, Any]:
        assert cycle.reward_model is not None
        policy = request_update(
            _live(cycle), cycle.reward_model, cycle.config["update"], by=cycle.created_by
        )
        return {"run": policy.run, "policy": policy}

    if not _done(cycle, request):
        return False
    if cycle.policy and cycle.policy.status == PolicyVersion.Status.REJECTED:
        return cycle.close(State.STOPPED, _put_aside(cycle.policy))
    return cycle.move(Step.EVALUATE, f"{cycle.policy} is trained")


def _evaluate(cycle: Cycle) -> bool:
    def request() -> dict[str, Any]:
        assert cycle.policy is not None
        run = request_evaluation(
            cycle.policy,
            _live(cycle),
            cycle.config["evaluation"],
            blind_votes=cycle.config["blind_votes"],
            by=cycle.created_by,
        )
        return {"run": run}

    if not _done(cycle, request):
        return False
    assert cycle.policy is not None
    wins = cycle.policy.evaluation["win_rate"]["value"]
    return cycle.move(Step.BLIND_COMPARISON, f"{cycle.policy} wins {wins:.0%} of held-out prompts")


def _blind_comparison(cycle: Cycle) -> bool:
    assert cycle.policy is not None
    wanted = cycle.config["blind_votes"]
    if not wanted:
        return cycle.move(Step.PROMOTION_GATE, "no blind comparison")
    found = blind_result(cycle.policy)
    since = datetime.fromisoformat(cycle.log[-1]["at"])
    if found["n"] < wanted and found["open"] and timezone.now() < since + BLIND_PATIENCE:
        return False
    # What is left of it would only keep people from other tasks.
    left = cycle.project.tasks.filter(batch=cycle.policy.blind_batch, state=Task.State.OPEN)
    left.update(state=Task.State.CLOSED)
    counts = "{wins} won, {ties} tied, {losses} lost".format(**found)
    return cycle.move(Step.PROMOTION_GATE, f"{counts} before the volunteers")


def _promotion_gate(cycle: Cycle) -> bool:
    policy = cycle.policy
    assert policy is not None
    if policy.status != PolicyVersion.Status.LIVE:  # an admin may have been quicker
        gate = judge_promotion(policy)
        if not gate.opens:
            if gate.state == "BLOCK":
                policy.reject()
            reason = f"{policy} stays behind its gate ({gate.state}): {failing_rules(gate)}"
            return cycle.close(State.STOPPED, reason)
        if policy.status == PolicyVersion.Status.REJECTED:
            return cycle.close(State.STOPPED, _put_aside(policy))
        if policy.reward_model and (reason := excluded_since(policy.reward_model)):
            return cycle.close(State.STOPPED, reason)
        promote(policy, cycle.created_by)
    return cycle.move(Step.SAMPLE, f"{policy} is live")


def _sample(cycle: Cycle) -> bool:
    def request() -> dict[str, Any]:
        n = cycle.config["sample_prompts"]
        run = request_samples(
            _live(cycle),
            asked_least(cycle.project, n_candidates(cycle.project, n)),
            cycle.project.responses_per_prompt,
            seed=cycle.pk,
            queue=n,
            by=cycle.created_by,
        )
        return {"run": run}

    if not _done(cycle, request):
        return False
    assert cycle.run is not None and cycle.run.result is not None
    return cycle.close(State.DONE, f"{cycle.run.result['tasks']} new tasks for the volunteers")


STEPS: Mapping[Cycle.Step, Callable[[Cycle], bool]] = {
    Step.FREEZE: _freeze,
    Step.AGREEMENT_GATE: _agreement_gate,
    Step.REWARD_MODEL: _reward_model,
    Step.REWARD_GATE: _reward_gate,
    Step.PPO: _ppo,
    Step.EVALUATE: _evaluate,
    Step.BLIND_COMPARISON: _blind_comparison,
    Step.PROMOTION_GATE: _promotion_gate,
    Step.SAMPLE: _sample,
}


def _done(cycle: Cycle, request: Callable[[], dict[str, Any]]) -> bool:
    """Whether the run of this step is done. It is asked for here; when it failed, so has the cycle.

    `request` returns the columns of the cycle to set, `run` among them.
    """
    if cycle.run is None:
        with transaction.atomic():
            Project.objects.select_for_update().get(pk=cycle.project_id)
            there = Cycle.objects.get(pk=cycle.pk)
            if (there.step, there.state, there.run) == (cycle.step, State.RUNNING, None):
                Cycle.objects.filter(pk=cycle.pk).update(**request())
        cycle.refresh_from_db()
    run = cycle.run
    if run and run.state in (Run.State.FAILED, Run.State.CANCELLED):
        cycle.close(State.FAILED, f"{run} {run.state}: {run.reason}")
    return run is not None and run.state == Run.State.DONE


def _put_aside(policy: PolicyVersion) -> str:
    """Why a cycle ends that arrived at a rejected policy."""
    what = "was rolled back" if policy.promoted_at else "was rejected by its gate"
    return f"{policy}, made from the same rankings, {what}; new rankings are needed"


def _live(cycle: Cycle) -> PolicyVersion:
    return cycle.project.policies.get(status=PolicyVersion.Status.LIVE)
