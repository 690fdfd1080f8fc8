from datetime import timedelta

import pytest
from django.utils import timezone

from annotate.models import Assignment, Membership, Task
from annotate.services.assignments import (
    Conflict,
    claim,
    heartbeat,
    release,
    save_draft,
    skip,
)
from annotate.services.projects import set_member_state
from annotate.services.rankings import submit_ranking
from annotate.tasks import expire_leases
from tests.make import make_assignment, make_member, make_project, make_ranking, make_task


def slots(task):
    task.refresh_from_db()
    return task.n_live, task.n_done, task.state


def let_lease_run_out(assignment):
    past = timezone.now() - timedelta(seconds=1)
    Assignment.objects.filter(pk=assignment.pk).update(lease_expires_at=past)


def in_order(assignment):
    return {pk: rank for rank, pk in enumerate(assignment.display_order, start=1)}


def test_two_tabs_get_the_same_task(project, ada_member):
    make_task(project), make_task(project)
    assert claim(ada_member) == claim(ada_member)
    assert Assignment.objects.count() == 1


def test_a_task_that_wants_one_judgement_goes_to_one_person(project, ada_member, bob_member):
    task = make_task(project)
    assert claim(ada_member).task == task
    assert claim(bob_member) is None
    assert slots(task) == (1, 0, "open")


def test_an_audited_task_is_shown_the_other_way_round_to_the_second(
    project, ada_member, bob_member
):
    make_task(project, kind="audit")
    first, second = claim(ada_member), claim(bob_member)
    assert first.task == second.task
    assert second.display_order == first.display_order[::-1]


def test_more_urgent_tasks_come_first(project, ada_member):
    for priority in range(40):
        make_task(project, priority=priority)
    assert claim(ada_member).task.priority == 39


def test_nobody_judges_what_he_wrote(project, ada_member, bob_member):
    task = make_task(project)
    task.responses.update(author=ada_member)
    assert claim(ada_member) is None
    assert claim(bob_member) is not None


def test_people_get_only_languages_they_read(project, ada_member):
    task = make_task(project)
    task.prompt.language = "fr"
    task.prompt.save()
    ada_member.languages = ["en", "de"]
    assert claim(ada_member) is None
    ada_member.languages = ["fr"]
    assert claim(ada_member) is not None


def test_a_reserved_task_is_for_one_person(project, ada_member, bob_member):
    task = make_task(project)
    Task.objects.filter(pk=task.pk).update(reserved_for=ada_member)
    assert claim(bob_member) is None
    assert claim(ada_member) is not None


@pytest.mark.parametrize("state", ["paused", "excluded", "left"])
def test_who_does_not_take_part_gets_nothing_and_gives_back_what_he_had(
    project, ada_member, bob_member, state
):
    task = make_task(project)
    claim(ada_member)
    set_member_state(ada_member, state, by=None)
    assert slots(task) == (0, 0, "open")
    assert claim(ada_member) is None
    assert claim(bob_member).task == task


def test_a_paused_project_hands_out_nothing(project, ada_member):
    make_task(project)
    project.paused = True
    project.save()
    ada_member.refresh_from_db()
    assert claim(ada_member) is None


def test_the_daily_cap_is_kept(project, ada_member):
    project.daily_cap = 2
    project.save()
    make_ranking(ada_member), make_ranking(ada_member)
    make_task(project)
    ada_member.refresh_from_db()
    assert claim(ada_member) is None


def test_a_lease_that_ran_out_frees_its_slot(project, ada_member, bob_member):
    task = make_task(project)
    mine = claim(ada_member)
    assert expire_leases() == 0
    let_lease_run_out(mine)
    assert claim(bob_member).task == task  # noticed by the claim itself
    assert slots(task) == (1, 0, "open")
    mine.refresh_from_db()
    assert mine.state == Assignment.State.EXPIRED


def test_the_sweep_frees_slots_once(project, ada_member):
    task = make_task(project)
    let_lease_run_out(claim(ada_member))
    assert expire_leases() == 1
    assert expire_leases() == 0
    assert slots(task) == (0, 0, "open")


def test_a_heartbeat_keeps_the_lease(project, ada_member):
    mine = make_assignment(ada_member)
    let_lease_run_out(mine)
    assert heartbeat(mine)
    assert expire_leases() == 0
    let_lease_run_out(mine)
    expire_leases()
    assert not heartbeat(mine)


def test_an_expired_task_comes_back_with_its_order_and_draft(project, ada_member):
    mine = make_assignment(ada_member)
    save_draft(mine, {"rank-a": "2"}, 0)
    let_lease_run_out(mine)
    expire_leases()
    again = claim(ada_member)
    assert again.pk == mine.pk
    assert (again.display_order, again.draft) == (mine.display_order, {"rank-a": "2"})


def test_a_skipped_task_never_comes_back_to_the_same_person(project, ada_member, bob_member):
    task = make_task(project)
    mine = claim(ada_member)
    assert skip(mine, "knowledge")
    assert not skip(mine, "knowledge")
    assert slots(task) == (0, 0, "open")
    assert claim(ada_member) is None
    assert claim(bob_member).task == task


def test_a_task_can_be_skipped_after_the_lease_ran_out(project, ada_member):
    task = make_task(project)
    mine = claim(ada_member)
    let_lease_run_out(mine)
    expire_leases()
    assert skip(mine, "other")
    assert slots(task) == (0, 0, "open")
    assert claim(ada_member) is None


def test_a_released_task_may_come_back(project, ada_member):
    make_task(project)
    mine = claim(ada_member)
    assert release(mine)
    assert claim(ada_member) == mine


def test_a_draft_is_refused_when_another_tab_saved_meanwhile(project, ada_member):
    mine = make_assignment(ada_member)
    assert save_draft(mine, {"rank-a": "1"}, 0) == 1
    with pytest.raises(Conflict, match="another tab"):
        save_draft(mine, {"rank-a": "2"}, 0)
    assert save_draft(mine, {"rank-a": "3"}, 1) == 2
    mine.refresh_from_db()
    assert mine.draft == {"rank-a": "3"}
    assert mine.first_interaction_at is not None


def test_a_late_draft_does_not_reopen_a_submitted_ranking(project, ada_member):
    mine = make_assignment(ada_member)
    submit_ranking(mine, in_order(mine))
    with pytest.raises(Conflict):
        save_draft(mine, {"rank-a": "1"}, mine.draft_revision)
    mine.refresh_from_db()
    assert mine.draft is None


def test_people_of_another_project_are_not_given_this_ones_tasks(project, ada_member):
    other = make_project("other")
    make_task(project)
    stranger = make_member(other, "stranger")
    assert claim(stranger) is None
    assert claim(ada_member) is not None


def test_one_person_may_hold_a_lease_in_each_of_two_projects(project, ada, ada_member):
    other = make_project("other")
    also_ada = make_member(other, "ada")
    assert also_ada.user == ada
    make_task(project), make_task(other)
    assert claim(ada_member) and claim(also_ada)
    assert Membership.objects.filter(user=ada).count() == 2
