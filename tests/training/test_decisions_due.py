"""What reviewers decide is for the next snapshot, and the next cycle, though nobody ranked anew."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse

from annotate.models import Adjudication, Membership, Project, Task
from annotate.services.review import adjudicate
from rewards.services.snapshots import freeze
from tests import make
from tests.pages import words
from training.cycle import begin, is_due, iso_week
from training.models import Cycle
from training.services.policies import register_base

MONDAY = datetime(2026, 11, 16, 3, tzinfo=UTC)


@pytest.fixture
def rita(project: Project) -> Membership:
    return make.make_member(project, "rita", Membership.Role.REVIEWER)


@pytest.fixture
def task(ada_member: Membership) -> Task:
    """One that somebody judged, of a prompt that models learn from."""
    task = make.make_ranking(ada_member).assignment.task
    task.project.prompts.update(split="train")
    return task


def decide(task: Task, reviewer: Membership, *ranks: int) -> Adjudication:
    """The reviewer's own ranking, in the order of the responses' ids; none leaves it as it is."""
    ids = sorted(task.responses.values_list("pk", flat=True))
    given = dict(zip(ids, ranks, strict=True)) if ranks else None
    standing = task.adjudications.current().first()
    replaces = standing.pk if standing else None
    return adjudicate(task, reviewer, "taste", ranks=given, replaces=replaces)


def test_the_page_of_snapshots_tells_of_decisions(
    admin: Client, project: Project, task: Task, rita: Membership
) -> None:
    address = reverse("rewards:snapshots", args=[project.slug])
    told = "Reviewers have decided about tasks since"
    decide(task, rita, 4, 3, 2, 1)
    assert told not in words(admin.get(address)), "nothing is frozen yet"
    freeze(project)
    assert told not in words(admin.get(address))
    decide(task, rita, 1, 1, 1, 1)
    text = words(admin.get(address))
    assert "Every ranking is frozen." in text and told in text
    freeze(project)
    assert told not in words(admin.get(address))
    decide(task, rita)  # the people's own rankings count again
    assert told in words(admin.get(address))


def test_a_decision_that_changes_nothing_is_not_told_of(
    admin: Client, project: Project, task: Task, rita: Membership
) -> None:
    freeze(project)
    decide(task, rita)
    project.prompts.update(split="test")  # where what people said is kept
    decide(task, rita, 4, 3, 2, 1)
    assert "Reviewers have" not in words(admin.get(reverse("rewards:snapshots", args=["climate"])))


def test_a_decision_makes_the_next_cycle_due(
    project: Project, task: Task, rita: Membership
) -> None:
    register_base(project, "org/base")
    last = begin(project, iso_week(MONDAY))
    Cycle.objects.filter(pk=last.pk).update(state=Cycle.State.DONE, snapshot=freeze(project))
    next_monday = MONDAY + timedelta(days=7)
    assert not is_due(project, next_monday)
    decide(task, rita, 4, 3, 2, 1)
    assert is_due(project, next_monday)
    Cycle.objects.filter(pk=last.pk).update(snapshot=freeze(project))
    assert not is_due(project, next_monday)
