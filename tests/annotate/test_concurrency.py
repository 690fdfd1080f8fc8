"""Many people, each in two tabs, claim, submit twice, walk away and come back late, all at once.

Afterwards every promise is recounted from the rows. Runs on the database that DATABASE_URL names.
"""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from annotate.models import Assignment, Membership, Project, Ranking, Task
from annotate.services.assignments import Conflict, claim, heartbeat, save_draft, skip
from annotate.services.rankings import submit_ranking
from tests.make import make_member, make_project, make_task

PEOPLE, TABS, TASKS, NEED = 5, 2, 24, 2


def work_in_a_tab(member_id: int, seed: int) -> Counter[str]:
    """One tab of one person until nothing is left; returns how often each thing happened."""
    rng = random.Random(seed)
    member = Membership.objects.select_related("project").get(pk=member_id)
    happened: Counter[str] = Counter()
    try:
        while assignment := claim(member):
            happened["claimed"] += 1
            choice = rng.random()
            if choice < 0.1:
                happened["skipped"] += skip(assignment, "not my subject")
                continue
            if choice < 0.3:  # goes away; the lease runs out, and somebody else may take the slot
                past = timezone.now() - timedelta(seconds=1)
                Assignment.objects.leased().filter(pk=assignment.pk).update(lease_expires_at=past)
                happened["expired"] += Assignment.objects.expire_overdue()
            if choice < 0.5:
                heartbeat(assignment)
            try:
                if choice < 0.7:
                    save_draft(assignment, {"rank-a": "1"}, assignment.draft_revision)
                ranks = rank(assignment, rng)
                first = submit_ranking(assignment, ranks)
                assert submit_ranking(assignment, ranks).pk == first.pk
                happened["submitted"] += 1
            except Conflict:  # the other tab said something else, or skipped
                happened["conflict"] += 1
        return happened
    finally:
        connection.close()


def rank(assignment: Assignment, rng: random.Random) -> dict[int, int | None]:
    return {response: rng.randint(1, 3) for response in assignment.display_order}


def recount(project: Project) -> None:
    for task in project.tasks.all():
        assignments = task.assignments.all()
        late = sum(a.late for a in assignments)
        states = Counter(a.state for a in assignments)
        assert task.n_live == states["leased"]
        assert task.n_done == states["submitted"]
        assert task.n_done + task.n_live <= task.need + late, "more than wanted, and not late"
        assert (task.state == Task.State.DONE) == (task.n_done >= task.need)
    for assignment in Assignment.objects.all():
        rankings = Ranking.objects.filter(assignment=assignment)
        wanted = 1 if assignment.state == Assignment.State.SUBMITTED else 0
        assert rankings.filter(is_current=True).count() == rankings.count() == wanted
        responses = assignment.task.responses.values_list("pk", flat=True)
        assert sorted(assignment.display_order) == sorted(responses)
    per_person = Counter(Assignment.objects.leased().values_list("annotator", flat=True))
    assert max(per_person.values(), default=0) <= 1


@pytest.mark.django_db(transaction=True)
def test_slots_are_neither_lost_nor_taken_twice():
    project = make_project("busy")
    for _ in range(TASKS):
        make_task(project, responses=3, need=NEED)
    people = [make_member(project, f"person-{n}") for n in range(PEOPLE)]
    with ThreadPoolExecutor(PEOPLE * TABS) as pool:
        tabs = [
            pool.submit(work_in_a_tab, person.pk, PEOPLE * tab + n)
            for tab in range(TABS)
            for n, person in enumerate(people)
        ]
        happened = sum((tab.result() for tab in tabs), Counter())
    recount(project)
    assert happened["expired"] and happened["skipped"], "the crowd did not do what is tested"

    for person in people:  # slots that came free after their last claim are still to be had
        work_in_a_tab(person.pk, seed=person.pk)
    recount(project)
    for task in project.tasks.exclude(state=Task.State.DONE):
        assert task.assignments.count() == PEOPLE, "somebody could have done it"
