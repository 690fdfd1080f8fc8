"""The queue as an admin sees it: the counts are the rows', and what is clicked is done once."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.models import Assignment, AuditEvent, Membership, Task
from annotate.services.assignments import claim
from annotate.services.queue import close_task, tasks_by_kind
from annotate.services.rankings import submit_ranking
from annotate.services.tasks import n_drawn, stored_progress
from tests import make
from tests.annotate.test_checks import open_check, open_training
from tests.pages import words


def url(name, *args):
    return reverse(f"annotate:{name}", args=["climate", *args])


@pytest.fixture
def batch(admin):
    """A function that does something to a batch."""

    def act(action, batch):
        return admin.post(url("batch"), {"action": action, "batch": batch}, follow=True)

    return act


def test_an_empty_project_is_told_to_upload_prompts(admin, project):
    page = admin.get(url("queue"))
    assert "There are no prompts yet" in words(page)
    assert url("upload") in page.content.decode()


def test_tasks_are_counted_by_kind_and_state(admin, project, ada_member, bob_member):
    audited = make.make_task(project, kind="audit", need=2)
    make.make_ranking(ada_member, task=audited)
    Task.objects.filter(pk=audited.pk).update(need=2)
    make.make_ranking(ada_member)
    closed = make.make_task(project)
    Task.objects.filter(pk=closed.pk).update(state="closed")
    make.make_task(project, priority=1)
    claim(bob_member)
    rows = {row.kind: row for row in tasks_by_kind(project)}
    normal, audit = rows["normal"], rows["audit"]
    assert (normal.n_open, normal.n_done, normal.n_closed) == (1, 1, 1)
    assert (normal.wanted, normal.given, normal.live, normal.waiting) == (2, 1, 1, 0)
    assert (audit.wanted, audit.given, audit.waiting) == (2, 1, 1)
    page = words(admin.get(url("queue")))
    assert "Judged by two (audit)" in page and "Prompts 4" in page


def test_gold_wants_thirty_people_and_practice_everybody(project):
    open_check(project)
    open_training(project)
    rows = {row.kind: row for row in tasks_by_kind(project)}
    assert rows["training"].is_for_everybody and not rows["gold"].is_for_everybody
    assert rows["gold"].waiting == 30


def test_responses_that_nobody_was_asked_about_become_tasks(admin, project):
    several = make.make_prompt(project, responses=6)
    make.make_prompt(project, responses=1)
    make.make_prompt(project, responses=["Same.", "Same. "])
    asked = make.make_task(project)
    retired = make.make_prompt(project, responses=2)
    retired.responses.update(retired_at="2026-01-01T00:00Z")
    assert "2 prompts have responses" in words(admin.get(url("queue")))
    page = admin.post(url("open_tasks"), follow=True)
    assert "1 task is open now" in words(page)
    task = project.tasks.exclude(pk=asked.pk).get()
    assert task.prompt == several
    newest = several.responses.order_by("-pk")[: project.responses_per_prompt]
    assert set(task.responses.all()) == set(newest)
    assert "No prompt waits for a task" in words(admin.post(url("open_tasks"), follow=True))
    assert AuditEvent.objects.filter(verb="open tasks").count() == 1


def test_a_batch_is_put_before_all_others(batch, project, ada_member):
    make.make_task(project, batch="urgent", priority=5)
    later = make.make_task(project, batch="later")
    batch("raise", "later")
    assert claim(ada_member).task == later


def test_a_closed_batch_is_given_to_nobody_until_it_is_opened_again(batch, project, ada_member):
    task = make.make_task(project, batch="old")
    assert "1 task was changed" in words(batch("close", "old"))
    assert claim(ada_member) is None
    assert stored_progress(project.__class__.objects.get()).wanted == 0
    assert "There was nothing to change" in words(batch("close", "old"))
    batch("reopen", "old")
    assert claim(ada_member).task == task
    verbs = AuditEvent.objects.filter(verb__endswith="batch").order_by("pk")
    assert list(verbs.values_list("verb", flat=True)) == ["close batch", "reopen batch"]


def test_a_large_batch_is_changed_some_tasks_at_a_time_in_their_order(batch, project, monkeypatch):
    monkeypatch.setattr("annotate.services.queue.CHANGED_AT_ONCE", 2)
    ids = sorted(make.make_task(project, batch="old").pk for _ in range(5))
    other = make.make_task(project, batch="new")
    with CaptureQueriesContext(connection) as asked:
        assert "5 tasks were changed" in words(batch("close", "old"))
    closed = Task.objects.filter(state="closed").order_by("pk")
    assert list(closed.values_list("pk", flat=True)) == ids
    assert Task.objects.get(state="open") == other
    assert AuditEvent.objects.get(verb="close batch").detail["n"] == 5
    if connection.features.has_select_for_update:
        locks = [query["sql"] for query in asked if "FOR UPDATE" in query["sql"]]
        locks = [sql for sql in locks if sql.startswith('SELECT "annotate_task"."id"')]
        assert len(locks) == 3 and all("ORDER BY" in sql for sql in locks)


def test_of_prompts_that_had_their_draw_no_more_are_counted_than_matter(project):
    for _ in range(3):
        make.make_task(project)
    for first, counted in ((0, 0), (2, 2), (50, 3)):
        project.audit_first = first
        assert n_drawn(project) == counted


def test_what_is_judged_stays_done_when_its_batch_is_closed_and_opened(batch, project, ada_member):
    task = make.make_task(project, batch="old")
    make.make_ranking(ada_member, task=task)
    batch("close", "old")
    batch("reopen", "old")
    task.refresh_from_db()
    assert (task.state, task.n_done) == ("done", 1)


def test_who_has_a_closed_task_on_the_screen_may_still_submit_it(batch, project, ada_member):
    make.make_task(project, batch="old")
    assignment = claim(ada_member)
    batch("close", "old")
    submit_ranking(assignment, dict(zip(assignment.display_order, (1, 2, 3, 4), strict=True)))
    task = Task.objects.get()
    assert (task.state, task.n_done, task.n_live) == ("closed", 1, 0)
    assert "nothing to change" in words(batch("reopen", "old"))  # it has all that it needs
    assert Assignment.objects.get().state == "submitted"


def test_one_task_is_closed(admin, project, ada_member):
    task = make.make_task(project)
    page = admin.get(url("queue")).content.decode()
    assert url("close_task", task.pk) in page
    assert "The task is closed" in words(admin.post(url("close_task", task.pk), follow=True))
    assert claim(ada_member) is None
    again = admin.post(url("close_task", task.pk), follow=True)
    assert "was not open any more" in words(again)
    assert AuditEvent.objects.filter(verb="close task").count() == 1


@pytest.mark.django_db(transaction=True)
def test_who_closes_a_task_does_not_hold_it_while_waiting_for_the_project(project):
    """Whoever draws prompts for audit holds the project and waits for tasks."""
    task = make.make_task(project)
    held = []

    def watch(execute, sql, params, many, context):
        if sql.startswith('UPDATE "annotate_project"'):
            held.append(context["connection"].in_atomic_block)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        assert close_task(task, by=None)
    assert held == [False]
    assert stored_progress(project).tasks == 0


def test_a_batch_of_another_project_is_left_alone(batch, project):
    other = make.make_task(make.make_project("other"), batch="shared")
    make.make_task(project, batch="shared")
    batch("close", "shared")
    other.refresh_from_db()
    assert other.state == "open"


def test_an_unknown_action_is_not_found(batch, project):
    assert batch("delete", "x").status_code == 404


def test_a_task_of_another_project_is_not_closed(admin, project):
    other = make.make_task(make.make_project("other"))
    assert admin.post(url("close_task", other.pk)).status_code == 404
    other.refresh_from_db()
    assert other.state == "open"


def test_the_page_asks_the_database_as_often_for_many_tasks_as_for_few(
    admin, project, django_assert_max_num_queries
):
    make.make_task(project)
    with django_assert_max_num_queries(40) as few:
        admin.get(url("queue"))
    for number in range(40):
        prompt = make.make_prompt(project, topic=f"topic {number}")
        assert prompt.pk
        make.make_task(project, batch=f"batch {number}")
    with django_assert_max_num_queries(len(few.captured_queries)):
        page = admin.get(url("queue"))
    assert len(page.context["batches"]) == 25 and len(page.context["next_tasks"]) == 5


@pytest.mark.parametrize("role", [Membership.Role.ANNOTATOR, Membership.Role.REVIEWER])
def test_only_admins_see_and_change_the_queue(client, project, role):
    task = make.make_task(project, batch="old")
    client.force_login(make.make_member(project, "zoe", role).user)
    assert client.get(url("queue")).status_code == 404
    for address, sent in (
        (url("open_tasks"), {}),
        (url("batch"), {"action": "close", "batch": "old"}),
        (url("close_task", task.pk), {}),
    ):
        assert client.post(address, sent).status_code == 404
    task.refresh_from_db()
    assert task.state == "open"
