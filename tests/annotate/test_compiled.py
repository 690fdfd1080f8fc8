"""SQL that is kept means what the queryset means from which it was made."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F, JSONField, Value

from annotate.compiled import Given, Insert, Objects, Rows, Update
from annotate.models import Assignment, Membership, Project, Ranking
from tests.make import make_assignment, make_ranking, make_task


def columns(row):
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_objects_come_with_what_is_related_to_them(project, ada_member):
    mine, other = make_assignment(ada_member), make_task(project)
    rows = Assignment.objects.select_related("task__prompt", "annotator__invite")
    kept = Objects(rows.filter(task=Given("task")).annotate(twice=F("pk") * 2))
    found = kept.get(task=mine.task_id)
    expected = rows.get(pk=mine.pk)
    assert found == expected and found.twice == 2 * mine.pk
    for path in (lambda a: a, lambda a: a.task, lambda a: a.task.prompt, lambda a: a.annotator):
        assert columns(path(found)) == columns(path(expected))
    assert found.annotator.invite is None
    assert kept.first(task=other.pk) is None


def test_what_is_deferred_is_read_when_it_is_asked_for(project, ada_member):
    mine = make_assignment(ada_member)
    kept = Objects(Assignment.objects.filter(pk=Given("pk")).defer("display_order"))
    found = kept.get(pk=mine.pk)
    assert found.get_deferred_fields() == {"display_order"}
    assert found.display_order == mine.display_order


def test_objects_of_one_call_are_not_those_of_another(project, ada_member):
    mine = make_assignment(ada_member)
    kept = Objects(Assignment.objects.filter(pk=Given("pk")))
    kept.get(pk=mine.pk).display_order.clear()
    assert kept.get(pk=mine.pk).display_order == mine.display_order


def test_rows_have_times_dates_and_json_as_python_has_them(project, ada_member):
    make_ranking(ada_member)
    names = ("created_at", "last_day", "languages", "state")
    rows = Membership.objects.values_list(*names)
    kept = Rows(rows.filter(pk=Given("pk")))
    assert [tuple(row) for row in kept.all(pk=ada_member.pk)] == [rows.get(pk=ada_member.pk)]


@pytest.mark.parametrize("title", ["100 % o'clock", "%s", "a\\b", ""])
def test_constants_may_hold_any_sign(project, title):
    Project.objects.filter(pk=project.pk).update(title=title)
    kept = Rows(Project.objects.filter(title=title, pk=Given("pk")).values_list("title"))
    assert kept.all(pk=project.pk) == [[title]]
    changed = Update(Project.objects.filter(pk=Given("pk")), description=Value(title))
    assert changed.run(pk=project.pk) == 1
    project.refresh_from_db()
    assert project.description == title


def test_an_update_changes_what_it_is_told_and_says_how_much(project, ada_member):
    mine = make_assignment(ada_member)
    field = Assignment._meta.get_field
    kept = Update(
        Assignment.objects.leased().filter(pk=Given("pk")),
        draft=Given("draft", field("draft")),
        lease_expires_at=Given("ends", field("lease_expires_at")),
        draft_revision=F("draft_revision") + 1,
    )
    ends = datetime(2026, 3, 1, 12, 30, tzinfo=UTC) + timedelta(microseconds=7)
    assert kept.run(pk=mine.pk, draft={"rank-a": "1"}, ends=ends) == 1
    assert kept.run(pk=mine.pk, draft=None, ends=None) == 1
    assert kept.run(pk=mine.pk + 1, draft=None, ends=None) == 0
    mine.refresh_from_db()
    assert (mine.draft, mine.lease_expires_at, mine.draft_revision) == (None, None, 2)
    kept.run(pk=mine.pk, draft={"rank-a": "1"}, ends=ends)
    mine.refresh_from_db()
    assert (mine.draft, mine.lease_expires_at) == ({"rank-a": "1"}, ends)


def test_a_row_that_is_inserted_is_the_object_that_was_given(project, ada_member):
    mine = make_assignment(ada_member)
    new = Ranking(assignment=mine, ranks={"1": 2, "7": None}, rationale="50 % — 'so'", strength=3)
    assert Insert(Ranking).save(new) is new
    stored = Ranking.objects.get(pk=new.pk)
    assert columns(stored) == columns(new)
    stored.rationale = ""
    stored.save()  # it is known to be stored
    assert Ranking.objects.count() == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        Insert(Ranking).save(Ranking(assignment=mine, ranks={}))


def test_the_field_of_a_value_may_be_one_that_prepares_it(project):
    asked = Rows(Project.objects.filter(languages=Given("it", JSONField())).values_list("pk"))
    Project.objects.filter(pk=project.pk).update(languages=["de", "en"])
    assert asked.all(it=["de", "en"]) == [[project.pk]] and asked.all(it=["de"]) == []
