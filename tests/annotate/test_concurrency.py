"""Many people, each in two tabs, do all that can be done, and an admin interferes, all at once.

Afterwards every promise is recounted from the rows. Runs on the database that DATABASE_URL names.
"""

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from annotate.models import Assignment, Exclusion, Membership, Project, Ranking, Task
from annotate.services.assignments import Conflict, claim, heartbeat, release, save_draft, skip
from annotate.services.projects import exclude, lift, set_member_state
from annotate.services.rankings import submit_ranking
from annotate.services.tasks import ask_second_opinion, open_ranking_tasks, task_progress
from tests.annotate.recount import recount
from tests.annotate.test_checks import open_check, open_training
from tests.make import make_member, make_project, make_prompt, make_task

PEOPLE, TABS, ROUNDS, CAP = 5, 2, 20, 9

# What was acknowledged: ids of rankings and the ranks each was submitted with.
Said = dict[int, dict[str, int | None]]


def in_a_thread(work: Callable[..., Counter[str]], *arguments: object) -> Counter[str]:
    try:
        return work(*arguments)
    finally:
        connection.close()


def work_in_a_tab(member_id: int, seed: int, said: Said, rounds: int = ROUNDS) -> Counter[str]:
    """One tab of one person; returns how often each thing happened."""
    rng = random.Random(seed)
    happened: Counter[str] = Counter()
    for _ in range(rounds):
        member = Membership.objects.select_related("project").get(pk=member_id)
        assignment = claim(member)
        if assignment is None:
            happened["nothing"] += 1
            continue
        happened[assignment.task.kind] += 1
        choice = rng.random()
        if choice < 0.08:
            happened["skipped"] += skip(assignment, "knowledge")
            continue
        if choice < 0.16:
            happened["released"] += release(assignment)
            if choice < 0.12:
                continue
        elif choice < 0.3:  # goes away; the lease runs out, and somebody else may take the slot
            past = timezone.now() - timedelta(seconds=1)
            Assignment.objects.leased().filter(pk=assignment.pk).update(lease_expires_at=past)
            happened["expired"] += Assignment.objects.expire_overdue()
        elif choice < 0.5:
            heartbeat(assignment)
        try:
            if choice < 0.7:
                save_draft(assignment, {"rank-a": "1"}, assignment.draft_revision)
            ranks = {response: rng.randint(1, 3) for response in assignment.display_order}
            first = submit_ranking(assignment, ranks)
            said[first.pk] = first.ranks
            assert submit_ranking(assignment, ranks).pk == first.pk
            happened["submitted"] += 1
            happened["late"] += first.assignment.late
        except Conflict:  # the other tab said something else, or skipped
            happened["conflict"] += 1
    return happened


def interfere(project: Project, people: list[Membership]) -> Counter[str]:
    """What an admin and the clock do meanwhile."""
    rng = random.Random(0)
    happened: Counter[str] = Counter()
    for _ in range(ROUNDS):
        member = Membership.objects.get(pk=rng.choice(people).pk)
        choice = rng.choice(["exclude", "pause", "second opinion", "expire", "open"])
        if choice == "exclude":
            exclusion = exclude(project, member, "spam", by=None)
            lift(exclusion, by=None)
        elif choice == "pause":
            set_member_state(member, "paused", by=None)
            Project.objects.filter(pk=project.pk).update(paused=True)
            Project.objects.filter(pk=project.pk).update(paused=False)
            set_member_state(member, "active", by=None)
        elif choice == "second opinion":
            judged = project.tasks.filter(kind="normal", state="done", n_done=1).first()
            if judged is None or not ask_second_opinion(judged, {"reward_model": 1}):
                continue
        elif choice == "expire":
            Assignment.objects.expire_overdue()
        else:
            prompt = make_prompt(project, responses=2)
            pairs = [(prompt, list(prompt.responses.all()))]
            open_ranking_tasks(project, pairs, batch="while they work")
        happened[choice] += 1
    return happened


@pytest.mark.django_db(transaction=True)
def test_slots_are_neither_lost_nor_taken_twice() -> None:
    project = make_project("busy", daily_cap=CAP, training_tasks=1, gold_rate=0.15, repeat_rate=0.8)
    for number in range(24):
        make_task(project, responses=3, kind="audit" if number % 2 else "normal")
    for _ in range(4):
        open_check(project, (1, 2, 3), responses=3)
        open_training(project, ranks=(1, 2, 3), responses=3)
    people = [make_member(project, f"person-{n}") for n in range(PEOPLE)]
    said: Said = {}
    with ThreadPoolExecutor(PEOPLE * TABS + 1) as pool:
        tabs = [
            pool.submit(in_a_thread, work_in_a_tab, person.pk, PEOPLE * tab + n, said)
            for tab in range(TABS)
            for n, person in enumerate(people)
        ]
        admin = pool.submit(in_a_thread, interfere, project, people)
        happened = sum((tab.result() for tab in tabs), Counter()) + admin.result()
    check(project, said)
    for what in ("expired", "skipped", "released", "late", "gold", "training", "repeat", "exclude"):
        assert happened[what], f"the crowd did not do what is tested: {what}"

    assert project.memberships.filter(n_last_day__gte=CAP).exists(), "nobody came to the cap"

    # Slots that came free after somebody's last claim are still to be had.
    assert not Exclusion.objects.filter(lifted_at=None).exists()
    Project.objects.update(daily_cap=None)
    project.refresh_from_db()
    for person in people:
        while work_in_a_tab(person.pk, person.pk, said, rounds=1)["nothing"] == 0:
            pass
    check(project, said)
    for task in project.tasks.filter(state=Task.State.OPEN, gold_ranks=None, mirror_of=None):
        assert task.assignments.count() == PEOPLE, "somebody could have done it"


def check(project: Project, said: Said) -> None:
    recount(project)
    stored = Ranking.objects.in_bulk(said)
    assert {pk: stored[pk].ranks for pk in stored} == said, "an acknowledged ranking is lost"
    assert all(ranking.is_current for ranking in stored.values())
    assert Ranking.objects.count() == len(said), "a ranking was stored twice"
    asking = project.tasks.filter(kind__in=("normal", "audit"))
    progress = task_progress(project)
    assert progress.tasks == asking.count()
    assert progress.given == sum(min(task.n_done, task.need) for task in asking)
    assert not project.tasks.filter(kind__in=("gold", "training")).exclude(state="open").exists()
