"""Whether choosing helps: each week the chosen prompts are compared with those that came by chance.

Where the chosen ones were not ahead in three of four weeks, the active arm is off until an admin
lets it begin anew.
"""

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from annotate.models import AuditEvent, Project, Task, User
from rewards.models import ArmComparison
from rewards.services.judged import Judged, featured, newest_judged

WEEKS, LOST = 4, 3
LEAST_LABELS = 30  # of each arm
LEAST_HELD_OUT = 30  # prompts
ASKED = (Task.Kind.NORMAL, Task.Kind.AUDIT)  # what was imported is of no arm
SEED = 0


def fallen_back(project: Project) -> bool:
    """Whether the active arm has shown that it does not help."""
    newest = project.arm_comparisons.filter(counts=True)[:WEEKS]
    return sum(not week.is_ahead for week in newest) >= LOST


@transaction.atomic
def choose_again(project: Project, *, by: User | None) -> None:
    """Let the active arm begin anew; the weeks that were measured stay, and count no more."""
    if project.arm_comparisons.filter(counts=True).update(counts=False):
        AuditEvent.record("choose prompts again", project, project=project, actor=by)


def compare_arms(project: Project) -> ArmComparison | None:
    """This week's comparison; the one that is there, or None while there is too little of it.

    What was judged since the last comparison, or since prompts were first chosen, is compared.
    Reads many texts, so it is for workers.
    """
    week = f"{timezone.now():%G-W%V}"
    if there := project.arm_comparisons.filter(iso_week=week).first():
        return there
    since = _since(project)
    if since is None:
        return None
    said = newest_judged(project)
    asked = [one for one in said if one.kind in ASKED]

    def arm(name: Task.Arm) -> list[Judged]:
        return [one for one in asked if _is_new(one, since) and one.arm == name]

    held_out = [one for one in asked if one.split != "train" and one.arm == Task.Arm.RANDOM]
    before = [one for one in said if one.split == "train" and not _is_new(one, since)]
    random, active = arm(Task.Arm.RANDOM), arm(Task.Arm.ACTIVE)
    n_held_out = len({one.prompt_id for one in held_out})
    if min(len(random), len(active)) < LEAST_LABELS or n_held_out < LEAST_HELD_OUT:
        return None
    from rewards.ml.arms import compare

    features = featured(project, said, [])
    found = compare(
        features.rows,
        before=features.pairs(before, by_prompt=False),
        random=features.pairs(random, by_prompt=False),
        active=features.pairs(active, by_prompt=False),
        held_out=features.pairs(held_out, by_prompt=False),
        seed=SEED,
    )
    row, _ = ArmComparison.objects.get_or_create(
        project=project,
        iso_week=week,
        defaults={
            "n_labels": found.n,
            "n_held_out": n_held_out,
            "before": found.before,
            "random": found.random,
            "active": found.active,
        },
    )
    return row


def _since(project: Project) -> datetime | None:
    last = project.arm_comparisons.first()
    if last:
        return last.created_at
    first = project.selections.filter(n_active__gt=0).order_by("pk").first()
    return first.created_at if first else None


def _is_new(one: Judged, since: datetime) -> bool:
    return one.split == "train" and one.at > since
