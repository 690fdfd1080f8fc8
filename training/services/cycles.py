"""Beginning this week's cycle by hand, and going on with one that stopped."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotate.models import AuditEvent, Project, User
from rewards.services.runs import retry_run
from training.cycle import begin, iso_week
from training.models import Cycle, LoopPause, PolicyVersion
from training.tasks import advance_cycle

Step = Cycle.Step
# A cycle that stopped there wanted judgements, and begins anew with those that came meanwhile.
BEGIN_ANEW = (Step.AGREEMENT_GATE, Step.REWARD_GATE)


@transaction.atomic
def start_cycle(
    project: Project, *, config: Mapping[str, Any] | None = None, by: User | None = None
) -> Cycle:
    """This week's cycle of the project: begun, resumed where it stopped or failed, or as it is.

    `config` is that of `training.cycle.begin`; a cycle that is there must have been begun with it.
    Raises NotAllowed as `begin` does.
    """
    cycle = begin(project, iso_week(timezone.now()), config=config, by=by)
    ended_at = cycle.log[-1]["step"] if cycle.log else Step.FREEZE
    step = Step.FREEZE if ended_at in BEGIN_ANEW or _leads_nowhere(cycle, ended_at) else ended_at
    if cycle.reopen(step, "resumed") and cycle.run and step == ended_at:
        retry_run(cycle.run, by)
    AuditEvent.record("start cycle", cycle, project=project, actor=by, step=cycle.step)
    _advance_after_commit(cycle)
    return cycle


def _leads_nowhere(cycle: Cycle, ended_at: str) -> bool:
    """Whether no policy could go live if the cycle went on, so that it should begin anew.

    Its judgements were excluded since, or its policy was rejected, or made of one that is live no
    more. Where nothing else has changed, the same snapshot and reward model are found again.
    """
    if ended_at == Step.SAMPLE:
        return False
    if cycle.snapshot and cycle.snapshot.tainted_at:
        return True
    policy, live = cycle.policy, cycle.project.policies.live().first()
    if policy is None or policy == live:
        return False
    return policy.status == PolicyVersion.Status.REJECTED or policy.parent != live


@transaction.atomic
def resume_loop(project: Project, *, by: User | None) -> bool:
    """Let the schedule begin cycles again; False when nothing had paused it."""
    Project.objects.select_for_update().get(pk=project.pk)
    pause = LoopPause.objects.filter(project=project).first()
    if pause is None:
        return False
    AuditEvent.record("resume loop", pause, project=project, actor=by, reason=pause.reason)
    pause.delete()
    return True


def _advance_after_commit(cycle: Cycle) -> None:
    """Ring once the row can be seen. A broker that is down is logged: the clock rings later."""

    def ring() -> None:
        advance_cycle.delay(cycle.pk)

    transaction.on_commit(ring, robust=True)
