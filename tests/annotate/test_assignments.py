from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from annotate.models import Assignment, Membership, Project, Task
from annotate.services.assignments import (
    EXPIRED_BY_A_CLAIM,
    FRONT,
    Conflict,
    cap_reached,
    claim,
    has_work,
    heartbeat,
    live_lease,
    release,
    save_draft,
    skip,
)
from annotate.services.projects import set_member_state
from annotate.services.rankings import submit_ranking
from annotate.services.tasks import (
    count_progress,
    label_prompt,
    open_ranking_tasks,
    stored_progress,
    task_progress,
)
from annotate.tasks import count_progress as count_each_minute
from annotate.tasks import expire_leases
from tests.make import (
    make_assignment,
    make_member,
    make_project,
    make_prompt,
    make_ranking,
    make_task,
)


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


def open_in(project, language="", categories=(), **options):
    prompt = make_prompt(project, language=language, content_categories=categories)
    pairs = [(prompt, list(prompt.responses.order_by("pk")))]
    (task,) = open_ranking_tasks(project, pairs, batch=f"batch {prompt.pk}", **options)
    return task


@pytest.mark.parametrize(
    ("language", "reads", "gets"),
    [
        ("fr", ["en", "de"], False),
        ("fr", ["fr"], True),
        ("fr", [], True),
        ("", ["fr"], True),
        ("de-AT", ["de"], True),
        ("de", ["de-AT"], True),
        ("de_AT", ["DE-ch"], True),
    ],
)
def test_people_get_only_languages_they_read(project, ada_member, language, reads, gets):
    open_in(project, language)
    ada_member.languages = reads
    assert has_work(ada_member) is gets
    assert (claim(ada_member) is not None) is gets


def test_people_do_not_get_what_they_opted_out_of(project, ada_member):
    open_in(project, categories=["health", "violence"])
    open_in(project, categories=["violence against animals"])
    ada_member.category_opt_outs = ["violence"]
    assert claim(ada_member).task.categories == "|violence against animals|"
    ada_member.category_opt_outs = ["violence", "violence against animals"]
    release(live_lease(ada_member))
    assert claim(ada_member) is None


def test_a_task_that_suits_is_found_behind_any_number_that_do_not(project, ada_member):
    for _ in range(FRONT + 1):
        open_in(project, "fr", priority=5)
        open_in(project, "de", ["violence"], priority=5)
    less, more = open_in(project, "de", ["health"]), open_in(project, "", priority=1)
    ada_member.languages, ada_member.category_opt_outs = ["de"], ["violence"]
    assert claim(ada_member).task == more
    skip(live_lease(ada_member), "other")
    assert claim(ada_member).task == less
    skip(live_lease(ada_member), "other")
    assert not has_work(ada_member)


def test_a_task_is_found_behind_any_number_that_wait_for_others(project, ada_member, bob_member):
    for _ in range(FRONT + 1):
        make_ranking(ada_member, task=make_task(project, kind="audit"))
    waiting = Task.objects.filter(project=project)
    waiting.update(state="open", need=2)
    assert claim(ada_member) is None
    assert claim(bob_member).task in waiting
    release(live_lease(bob_member))
    last = make_ranking(bob_member, task=make_task(project)).assignment.task
    Task.objects.filter(pk=last.pk).update(state="open", need=2)
    assert claim(ada_member).task == last
    skip(live_lease(ada_member), "other")
    fresh = make_task(project)
    assert claim(ada_member).task == fresh


def test_people_who_take_turns_do_not_judge_everything_with_the_same_partner(project):
    for _ in range(24):
        make_task(project, need=2)
    people = [make_member(project, f"person-{n}") for n in range(4)]

    def take_turn(person):
        lease = claim(person)
        if lease:
            submit_ranking(lease, dict.fromkeys(lease.display_order, 1))
        return lease

    while leases := [take_turn(person) for person in people]:
        if not any(leases):
            break
    pairs = {
        frozenset(task.assignments.values_list("annotator", flat=True))
        for task in project.tasks.all()
    }
    assert len(pairs) > 2


def test_a_prompt_that_is_labelled_anew_goes_to_whom_it_suits(project, ada_member):
    task = open_in(project, "en")
    ada_member.languages, ada_member.category_opt_outs = ["de"], ["violence"]
    assert claim(ada_member) is None
    label_prompt(task.prompt, language="de-CH", content_categories=["violence", "health"])
    assert claim(ada_member) is None
    label_prompt(task.prompt, language="de-CH", content_categories=["health"])
    assert claim(ada_member).task == task
    task.prompt.refresh_from_db()
    assert (task.prompt.language, task.prompt.content_categories) == ("de-CH", ["health"])


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


def test_the_daily_cap_ends_with_the_day(project, ada_member):
    project.daily_cap = 1
    project.save()
    make_ranking(ada_member)
    make_task(project)
    ada_member.refresh_from_db()
    assert claim(ada_member) is None
    Membership.objects.filter(pk=ada_member.pk).update(
        last_day=timezone.now().date() - timedelta(days=1)
    )
    ada_member.refresh_from_db()
    assert claim(ada_member) is not None


def test_the_cap_of_the_project_is_kept(project, ada_member):
    project.total_cap = 2
    project.save()
    make_ranking(ada_member), make_ranking(ada_member)
    Membership.objects.filter(pk=ada_member.pk).update(last_day=None, n_last_day=0)
    make_task(project)
    ada_member.refresh_from_db()
    assert cap_reached(ada_member)
    assert claim(ada_member) is None


def test_a_lease_is_handed_out_in_few_queries_however_much_was_judged(
    project, ada_member, bob_member, django_assert_max_num_queries
):
    for _ in range(30):
        make_ranking(ada_member)
    for _ in range(3):
        make_task(project, kind="audit")
    ada_member.refresh_from_db()
    with django_assert_max_num_queries(16):
        assert claim(ada_member)


def test_a_claim_ends_a_bounded_number_of_leases(project, ada_member):
    for n in range(EXPIRED_BY_A_CLAIM + 3):
        make_task(project)
        assert claim(make_member(project, f"person-{n}"))
    for lease in Assignment.objects.leased():
        let_lease_run_out(lease)
    assert claim(ada_member)
    assert Assignment.objects.overdue().count() == 3
    assert expire_leases() == 3


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


def test_a_task_that_is_skipped_while_it_is_taken_up_again_stays_skipped(project, ada_member):
    """Skipping late work does not wait for who holds the task."""
    task = make_task(project)
    mine = claim(ada_member)
    release(mine)
    update = 'UPDATE "annotate_assignment" SET "state" = %s'

    def other_tab(execute, sql, params, many, context):
        if sql.startswith(update):
            skip_late = f'{update} WHERE "id" = %s AND "state" = %s'
            execute(skip_late, ("skipped", mine.pk, "released"), False, context)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(other_tab):
        assert claim(ada_member) is None
    assert slots(task) == (0, 0, "open")


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


def fresh(project):
    return Project.objects.get(pk=project.pk)


def test_pages_know_of_new_tasks_at_once_and_of_judgements_when_they_are_counted(
    project, ada_member, django_assert_num_queries
):
    assert stored_progress(project).tasks == 0
    make_task(project), make_task(project, kind="audit")
    mine = claim(ada_member)
    with django_assert_num_queries(1):
        assert stored_progress(fresh(project)).wanted == 3
    submit_ranking(mine, in_order(mine))
    count_each_minute()
    progress = stored_progress(fresh(project))
    assert progress == task_progress(project) == count_progress(project)
    assert (progress.tasks, progress.given, progress.live) == (2, 1, 0)
