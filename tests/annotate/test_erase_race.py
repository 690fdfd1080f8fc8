"""What is on its way while a person is erased is either found and emptied, or refused.

Runs on the database that DATABASE_URL names: on PostgreSQL in any order of the two, on SQLite one
after the other.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest
from django.db import connection

from annotate.models import (
    Adjudication,
    Assignment,
    Demonstration,
    Membership,
    Project,
    Ranking,
    Task,
)
from annotate.services.assignments import Conflict, save_draft
from annotate.services.leaving import erase
from annotate.services.rankings import reopen, revisable_ranking, submit_ranking
from annotate.services.review import adjudicate
from tests.make import make_member, make_project, make_ranking, make_task
from tests.pages import everything

ROUNDS = 4
SECRET = "As I told you in Graz"

Work = Callable[[], object]


def loaded(assignment: Assignment) -> Assignment:
    """As a request has it that began before the person was erased."""
    rows = Assignment.objects.select_related("task__project", "task__prompt", "annotator__user")
    return rows.get(pk=assignment.pk)


def begun(member: Membership) -> Assignment:
    """Work whose lease has run out, of which a person may have any number."""
    task = make_task(member.project, responses=2)
    ids = list(task.responses.order_by("pk").values_list("pk", flat=True))
    return loaded(
        Assignment.objects.create(
            task=task, annotator=member, state=Assignment.State.EXPIRED, display_order=ids
        )
    )


def given(member: Membership) -> Assignment:
    return loaded(make_ranking(member, (1, 2), rationale=SECRET).assignment)


def on_their_way(member: Membership) -> Sequence[Work]:
    """All that stores what a person writes, each about a task of its own."""
    new, noted, same = begun(member), begun(member), given(member)
    revised, undone = given(member), given(member)
    reopen(revised, {"rationale": SECRET})
    ranks = [dict(zip(one.display_order, (1, 2), strict=True)) for one in (new, revised, same)]
    better = (same.display_order[0], "A better text.")
    decided = make_ranking(make_member(member.project, f"other {member.pk}"), (1, 2))
    task = Task.objects.get(pk=decided.assignment.task_id)
    draft = {"rationale": SECRET, "unacceptable": []}
    return (
        lambda: submit_ranking(new, ranks[0], rationale=SECRET, client={"language": SECRET}),
        lambda: submit_ranking(revised, ranks[1], rationale=f"{SECRET}, again", revises=1),
        lambda: submit_ranking(same, ranks[2], rationale=SECRET, edited=better),
        lambda: reopen(undone, {"rationale": revisable_ranking(undone).rationale}),
        lambda: save_draft(noted, draft, noted.draft_revision),
        lambda: adjudicate(task, member, "taste", note=SECRET, replaces=None),
    )


def at_once(work: Sequence[Work]) -> None:
    """Do all of it in threads that start together; each is done or refused."""
    ready = threading.Barrier(len(work))

    def do(one: Work) -> None:
        try:
            ready.wait()
            with suppress(Conflict):
                one()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(work)) as pool:
        list(pool.map(do, work))


def nothing_is_left(member: Membership) -> None:
    assert "Graz" not in everything("annotate")
    assert not Demonstration.objects.filter(author=member).exists()
    member.refresh_from_db()
    assert member.user is None


@pytest.fixture
def project() -> Project:
    return make_project("busy")


@pytest.mark.django_db
def test_what_arrives_too_late_is_refused(project: Project) -> None:
    member = make_member(project, "ada")
    work = on_their_way(member)
    counted = Ranking.objects.count()
    erase(member, keep_rankings=True)
    for arrives in work:
        with pytest.raises(Conflict):
            arrives()
    nothing_is_left(member)
    assert Ranking.objects.count() == counted and not Adjudication.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("keep", [True, False], ids=["keep", "take out"])
def test_nothing_that_was_written_outlives_the_person(project: Project, keep: bool) -> None:
    for number in range(ROUNDS):
        member = make_member(project, f"person {number}")
        at_once([*on_their_way(member), partial(erase, member, keep_rankings=keep)])
        nothing_is_left(member)
