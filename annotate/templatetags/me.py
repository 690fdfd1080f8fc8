"""What the start page tells a volunteer beyond whether there is work."""

from __future__ import annotations

from django import template

from annotate.models import Assignment, Membership, Project, ProjectText, Task
from annotate.services import own_work
from annotate.services.texts import Paragraph, changes_since

register = template.Library()


@register.filter
def streak(member: Membership) -> int:
    """Days in a row, 0 when the row has ended."""
    return own_work.streak(member)


@register.filter
def minutes_needed(project: Project) -> int | None:
    """How many minutes a ranking takes most people; None where too few were timed."""
    return own_work.minutes_needed(project)


@register.filter
def unread_changes(guidelines: ProjectText | None, member: Membership) -> list[Paragraph]:
    """What the guidelines say otherwise than when the person read them; nothing if he never did."""
    read = member.guidelines_version
    return changes_since(guidelines, read) if guidelines and read else []


@register.filter
def practice_left(member: Membership) -> int:
    """How many explained tasks come before the others."""
    project = member.project
    if not project.training_tasks or member.trained_at or member.role != Membership.Role.ANNOTATOR:
        return 0
    explained = Task.objects.keyed(project, Task.Kind.TRAINING)
    done = member.assignments.filter(
        task__kind=Task.Kind.TRAINING, state=Assignment.State.SUBMITTED
    ).count()
    return max(0, min(project.training_tasks, explained.count()) - done)
