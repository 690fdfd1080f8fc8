"""Where the loop of a project stands, and the one thing that needs its admin now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext, ngettext

from annotate.models import Membership, Project, Ranking, Response
from annotate.services.tasks import TaskProgress, task_progress
from rewards.models import AgreementReport, GateReport, RewardModelVersion, Run, Snapshot
from rewards.services.agreement import is_due, newer_rankings, newest_report
from rewards.services.gates import agreement_verdict
from training.cycle import due_at, is_scheduled, iso_week
from training.lifecycle import blind_result
from training.models import Cycle, LoopPause, PolicyVersion


@dataclass(frozen=True)
class Loop:
    """What each station of the loop shows; None where it was never reached."""

    project: Project
    n_prompts: int
    n_responses: int
    judgements: TaskProgress
    n_volunteers: int
    n_rankings: int
    n_rankings_week: int
    n_rankers_week: int
    agreement: AgreementReport | None
    n_rankings_since: int  # that count, and came after the agreement was measured
    agreement_is_due: bool  # it is old, or missing, and the clock has not measured it yet
    agreement_gate: GateReport | None
    snapshot: Snapshot | None
    n_snapshot_rankings: int
    reward_model: RewardModelVersion | None  # the newest that was measured
    reward_models: list[RewardModelVersion]  # that one, and one that is newer
    live: PolicyVersion | None
    newest_policy: PolicyVersion | None
    run: Run | None  # running, or else the next in the queue
    failed_run: Run | None  # the run that ended last, if it failed
    cycle: Cycle | None
    blind: Mapping[str, Any] | None  # while the cycle waits for it, see blind_result
    next_cycle_at: datetime | None
    next_cycle_waits: bool  # it is due, and begins with a new ranking or decision
    pause: LoopPause | None  # why no cycle begins by itself, since a rollback


def read(project: Project) -> Loop:
    """The loop as it is now, with the agreement as it was measured last."""
    now = timezone.now()
    agreement = newest_report(project)
    rankings = Ranking.objects.current().in_project(project)
    this_week = rankings.filter(created_at__gt=now - timedelta(days=7))
    snapshot = project.snapshots.first()
    unfinished = project.runs.filter(state__in=[Run.State.RUNNING, Run.State.QUEUED])
    ended = project.runs.filter(state__in=Run.FINISHED).order_by("-finished_at", "-pk").first()
    policies = project.policies.select_related("parent", "gate", "run")
    cycle = project.cycles.select_related("policy", "agreement_gate").first()
    begins_at = next_cycle_at(project, now)
    untrained = [RewardModelVersion.Status.TRAINING, RewardModelVersion.Status.FAILED]
    measured = project.reward_models.exclude(status__in=untrained).first()
    return Loop(
        project=project,
        n_prompts=project.prompts.count(),
        n_responses=Response.objects.filter(prompt__project=project).count(),
        judgements=task_progress(project),
        n_volunteers=project.memberships.filter(
            role=Membership.Role.ANNOTATOR, state=Membership.State.ACTIVE
        ).count(),
        n_rankings=rankings.count(),
        n_rankings_week=this_week.count(),
        n_rankers_week=this_week.values("assignment__annotator").distinct().count(),
        agreement=agreement,
        n_rankings_since=newer_rankings(agreement) if agreement else 0,
        agreement_is_due=is_due(project, now),
        agreement_gate=agreement_verdict(project, agreement.figures) if agreement else None,
        snapshot=snapshot,
        n_snapshot_rankings=snapshot.rankings.count() if snapshot else 0,
        reward_model=measured,
        reward_models=list(dict.fromkeys(filter(None, (measured, project.reward_models.first())))),
        live=policies.live().first(),
        newest_policy=policies.first(),
        run=unfinished.order_by("-state", "pk").first(),
        failed_run=ended if ended and ended.state == Run.State.FAILED else None,
        cycle=cycle,
        blind=_blind(cycle) if cycle else None,
        next_cycle_at=begins_at,
        next_cycle_waits=begins_at is not None and begins_at <= now,
        pause=LoopPause.objects.filter(project=project).select_related("paused_by").first(),
    )


def _blind(cycle: Cycle) -> Mapping[str, Any] | None:
    """How far the blind comparison has come that the cycle waits for."""
    waits = cycle.state == Cycle.State.RUNNING and cycle.step == Cycle.Step.BLIND_COMPARISON
    if not (waits and cycle.policy and cycle.config["blind_votes"]):
        return None
    wanted = cycle.config["blind_votes"]
    found = blind_result(cycle.policy)
    return found | {"wanted": wanted, "missing": max(0, wanted - found["n"])}


def next_cycle_at(project: Project, now: datetime) -> datetime | None:
    """When the schedule may begin the next cycle; None while it begins none."""
    if not is_scheduled(project):
        return None
    began = project.cycles.filter(iso_week=iso_week(now)).exists()
    return due_at(now + timedelta(days=7) if began else now)


@dataclass(frozen=True)
class Need:
    """What an admin should do or know first, and the page for it: its name and its number."""

    text: str
    page: str = ""
    link: str = ""
    number: str | int | None = None
    urgent: bool = False


def what_needs_you(loop: Loop) -> Need:
    """The first thing, in this order, that holds the loop up or waits for a person."""
    checks: tuple[Callable[[Loop], Need | None], ...] = (
        _setup,
        _failure,
        _pause,
        _release,
        _promotion,
        _blind_votes,
        _agreement,
        _stopped,
        _tasks,
    )
    for check in checks:
        if need := check(loop):
            return need
    return Need(gettext("Nothing: the loop goes on by itself."))


def _setup(loop: Loop) -> Need | None:
    if not loop.n_prompts:
        text = gettext("There are no prompts yet: import some, with responses to rank.")
        return Need(text, "annotate:upload", gettext("Upload prompts"))
    if not loop.n_volunteers:
        text = gettext("Nobody ranks yet: invite volunteers.")
        return Need(text, "annotate:people", gettext("Invite people"))
    if loop.project.paused:
        text = gettext("The project is paused: nobody is given tasks, and no cycle begins.")
        return Need(text, "annotate:settings", gettext("Let it go on"))
    return None


def _failure(loop: Loop) -> Need | None:
    if run := loop.failed_run:
        text = gettext("The last run failed: %(reason)s") % {"reason": run.reason}
        return Need(text, "rewards:run", gettext("See the run"), run.pk, urgent=True)
    cycle = loop.cycle
    if cycle and cycle.state == Cycle.State.FAILED:
        text = gettext("This cycle failed: %(reason)s") % {"reason": cycle.reason}
        return Need(text, "training:cycle", gettext("See the cycle"), cycle.iso_week, urgent=True)
    return None


def _pause(loop: Loop) -> Need | None:
    if not loop.pause:
        return None
    return Need(
        gettext(
            "The weekly cycle is paused since a rollback. Find out what went wrong, then resume it "
            "below."
        )
    )


def _release(loop: Loop) -> Need | None:
    gate = loop.agreement_gate
    if gate and gate.state == "REVIEW" and not gate.opens:
        text = gettext(
            "Agreement may be too low to train on. Look at it, and release the gate with a "
            "reason or wait for more rankings."
        )
        return Need(text, "rewards:agreement", gettext("See the agreement"))
    return None


def _promotion(loop: Loop) -> Need | None:
    policy = loop.newest_policy
    if not policy or policy.status != PolicyVersion.Status.CANDIDATE or not policy.gate:
        return None
    if policy.gate.opens:
        text = gettext("Policy %(number)s has passed its gate and can go live.")
    elif policy.gate.state == "REVIEW":
        text = gettext("The gate of policy %(number)s wants your judgement.")
    else:
        return None
    link = gettext("See the policy")
    return Need(text % {"number": policy.number}, "training:policy", link, policy.number)


def _blind_votes(loop: Loop) -> Need | None:
    if not (loop.blind and loop.blind["missing"] and loop.cycle and loop.cycle.policy):
        return None
    text = ngettext(
        "Policy %(number)s waits for %(n)s more blind comparison.",
        "Policy %(number)s waits for %(n)s more blind comparisons.",
        loop.blind["missing"],
    ) % {"number": loop.cycle.policy.number, "n": loop.blind["missing"]}
    return Need(text, "training:cycle", gettext("See the cycle"), loop.cycle.iso_week)


def _agreement(loop: Loop) -> Need | None:
    gate = loop.agreement_gate
    if gate and gate.state == "BLOCK":
        text = gettext("People agree too little to train on what they say.")
        return Need(text, "rewards:agreement", gettext("See the agreement"), urgent=True)
    if gate and gate.state == "INSUFFICIENT":
        missing = [rule for rule in gate.report["rules"] if rule["verdict"] == "missing"]
        more = max((rule["missing_high"] or 0 for rule in missing), default=0)
        if more:
            text = ngettext(
                "About %(n)s more prompt judged by two people until agreement can be judged.",
                "About %(n)s more prompts judged by two people until agreement can be judged.",
                more,
            ) % {"n": more}
        else:
            text = " ".join(rule["reason"] for rule in missing)
        return Need(text, "rewards:agreement", gettext("See the agreement"))
    return None


def _stopped(loop: Loop) -> Need | None:
    cycle = loop.cycle
    if not cycle or cycle.state != Cycle.State.STOPPED:
        return None
    gate = cycle.agreement_gate
    if cycle.policy is None and gate and gate.released_at:
        text = gettext("The agreement gate is released: the cycle can go on.")
        return Need(text, "training:cycles", gettext("Go on"))
    text = gettext("This week's cycle stopped: %(reason)s") % {"reason": cycle.reason}
    return Need(text, "training:cycle", gettext("See the cycle"), cycle.iso_week)


def _tasks(loop: Loop) -> Need | None:
    if loop.judgements.waiting or loop.judgements.live or loop.run:
        return None
    return Need(gettext("Every task is ranked: the volunteers have nothing to do."))
