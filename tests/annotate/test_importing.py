"""Imports: everything or nothing, once however often, no names, and whole tasks."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from threading import Barrier
from typing import Any

import pytest
from django.db import connection

from annotate.formats import BadLine, Judgement, Record, ResponseText
from annotate.models import Assignment, AuditEvent, Project, Prompt, Ranking, Response
from annotate.services.import_report import ImportRefused, ImportReport
from annotate.services.importing import import_records
from tests import make
from tests.imported import check_tasks
from tests.pages import everything

SKY = [{"role": "user", "content": "Why is the sky **blue**?"}]


def said(annotator: str | None, *ranks: int | None, **more: Any) -> Judgement:
    return Judgement(annotator, list(ranks), **more)


def record(*judgements: Judgement, texts: str = "abc", **more: Any) -> Record:
    """About the sky, with one response for each letter."""
    responses = [ResponseText(text, f"model {text}") for text in texts]
    return Record(
        **{"messages": SKY, "responses": responses, "judgements": list(judgements)} | more
    )


def take(project: Project, *records: Record | BadLine, **options: Any) -> ImportReport:
    return import_records(project, records, **{"batch": "file one"} | options)


def by_text(ranking: Ranking) -> dict[str, int | None]:
    texts = dict(Response.objects.values_list("pk", "text"))
    return {texts[int(pk)]: rank for pk, rank in ranking.ranks.items()}


def test_a_record_becomes_a_prompt_with_a_task_that_is_done(project: Project) -> None:
    at = datetime(2024, 5, 6, 7, 8, tzinfo=timezone(timedelta(hours=2)))
    spoken = said(
        "Ada", 3, 1, 3, display_order=[2, 0, 1], unacceptable=[False, False, True],
        rationale=" Clear. ", created_at=at,
    )  # fmt: skip
    report = take(
        project,
        record(
            spoken, topic="sky", language="en", external_id="s1", split="test", demonstration="So."
        ),
    )
    prompt = project.prompts.get()
    assert (prompt.messages, prompt.html) == (
        SKY,
        ["<p>Why is the sky <strong>blue</strong>?</p>\n"],
    )
    assert (prompt.topic, prompt.language, prompt.external_id) == ("sky", "en", "s1")
    assert prompt.split == "test"
    assert prompt.demonstrations.get().text == "So."
    responses = {r.text: r for r in prompt.responses.all()}
    assert {(r.source, r.source_name) for r in responses.values()} == {
        ("import", "model a"), ("import", "model b"), ("import", "model c")
    }  # fmt: skip
    check_tasks(project)
    assignment = Assignment.objects.get()
    assert assignment.display_order == [responses[text].pk for text in "cab"]
    assert assignment.client == {"display_order": "recorded"}
    assert assignment.submitted_at == at
    assert assignment.annotator.user is None
    ranking = assignment.rankings.get()
    assert by_text(ranking) == {"a": 2, "b": 1, "c": 2}
    assert ranking.unacceptable == [responses["c"].pk]
    assert ranking.rationale == "Clear."
    counts = report.counts()
    assert {name: counts[name]["new"] for name in counts if isinstance(counts[name], dict)} == {
        "prompts": 1, "responses": 3, "demonstrations": 1, "annotators": 1, "judged_tasks": 1,
        "rankings": 1,
    }  # fmt: skip
    event = AuditEvent.objects.get(verb="import")
    assert event.detail["rankings"] == {"new": 1, "already_there": 0}


def test_an_order_that_nobody_recorded_is_marked_as_unknown(project: Project) -> None:
    take(project, record(said("Ada", 2, 1, 3)))
    assignment = Assignment.objects.get()
    assert assignment.client == {"display_order": "unknown"}
    texts = dict(Response.objects.values_list("pk", "text"))
    assert [texts[pk] for pk in assignment.display_order] == ["a", "b", "c"]
    assert assignment.submitted_at is None


def everything_at_once() -> list[Record]:
    """Records of every kind."""
    return [
        record(
            said("Ada", 1, 2, 3), said(None, 1, 2, 3), said(None, 1, 2, 3), said("Ada", 3, 2, 1)
        ),
        record(said("Ada", 1, 2), texts="ab", external_id="x1"),
        record(said("Ada", 1, 2), texts="ab", external_id="x2"),
        record(said("Bob", 1, None, 2), said("Bob", None, 1, 1)),
        record(texts="xyz"),
        record(said(None, None, unacceptable=[True]), texts="u"),
        record(
            texts="",
            demonstration="So.",
            external_id="x3",
            messages=[{"role": "user", "content": "B?"}],
        ),
    ]


def test_the_same_file_twice_adds_nothing(project: Project) -> None:
    first = take(project, *everything_at_once())
    before = everything("annotate", "rewards")
    again = take(project, *everything_at_once())
    assert everything("annotate", "rewards") == before
    assert not again.adds
    check_tasks(project)
    for kind in ImportReport.KINDS:
        assert getattr(again, kind).n_there == getattr(first, kind).n_new


def test_the_same_records_from_another_file_add_nothing(project: Project) -> None:
    take(project, *everything_at_once())
    before = everything("annotate", "rewards")
    take(project, *reversed(everything_at_once()), batch="file two")
    assert everything("annotate", "rewards") == before


def test_chunks_make_no_difference(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    take(project, *everything_at_once())
    monkeypatch.setattr("annotate.services.importing.CHUNK", 1)
    elsewhere = make.make_project("elsewhere")
    one_by_one = take(elsewhere, *everything_at_once())
    assert not take(project, *everything_at_once()).adds
    assert one_by_one.counts() == take(make.make_project("third"), *everything_at_once()).counts()


def test_a_file_that_has_grown_adds_what_is_new(project: Project) -> None:
    take(project, record(said("Ada", 1, 2, 3)))
    report = take(project, record(said("Ada", 1, 2, 3), said("Bob", 1, 2, 3)), batch="file two")
    assert (report.rankings.n_new, report.rankings.n_there) == (1, 1)
    task = project.tasks.get()
    assert (task.need, task.assignments.count()) == (2, 2)
    check_tasks(project)


def test_names_of_annotators_are_not_stored(project: Project) -> None:
    take(project, record(said("Ada Lovelace", 1, 2, 3)))
    assert "Lovelace" not in everything("annotate", "rewards")
    assert project.memberships.get().pseudonym.startswith("import-")


def test_the_same_name_is_the_same_annotator_in_this_project_alone(project: Project) -> None:
    take(project, record(said("Ada", 1, 2, 3), said("Bob", 1, 2, 3)))
    take(project, record(said("Ada", 1, 2), texts="xy"), batch="file two")
    assert sorted(
        Ranking.objects.values_list("assignment__annotator", flat=True).distinct()
    ) == sorted(project.memberships.values_list("pk", flat=True))
    assert project.memberships.count() == 2
    elsewhere = make.make_project("elsewhere")
    take(elsewhere, record(said("Ada", 1, 2, 3)))
    names = project.memberships.values_list("pseudonym", flat=True)
    assert elsewhere.memberships.get().pseudonym not in names


def test_unnamed_annotators_of_one_item_are_different_people(project: Project) -> None:
    take(project, record(said(None, 1, 2, 3), said(None, 1, 2, 3), said(None, 2, 1, 3)))
    assert project.tasks.get().need == 3
    assert project.memberships.count() == 3
    check_tasks(project)


def test_unnamed_annotators_are_told_apart_by_file(project: Project) -> None:
    take(project, record(said(None, 1, 2), texts="ab"), record(said(None, 1, 2), texts="cd"))
    take(project, record(said(None, 1, 2), texts="ef"), batch="file two")
    counts = [member.assignments.count() for member in project.memberships.order_by("pk")]
    assert counts == [2, 1]


def test_a_line_that_comes_twice_counts_once(project: Project) -> None:
    line = record(said(None, 1, 2), texts="ab")
    report = take(project, line, line, record(said(None, 2, 1), texts="ab"))
    assert (report.rankings.n_new, Ranking.objects.count()) == (2, 2)
    assert project.tasks.get().need == 2


def test_who_judged_the_same_twice_has_two_tasks(project: Project) -> None:
    report = take(
        project, record(said("Ada", 1, 2), said("Ada", 2, 1), said("Bob", 1, 2), texts="ab")
    )
    assert report.n_repeated == 1
    assert sorted(project.tasks.values_list("need", flat=True)) == [1, 2]
    assert len(set(project.tasks.values_list("batch", flat=True))) == 1
    check_tasks(project)


def test_pairs_of_an_item_are_tasks_of_two_responses(project: Project) -> None:
    pairs = [said(None, 1, 2, None), said(None, 1, None, 1), said(None, None, 2, 1)]
    take(project, record(*pairs))
    check_tasks(project)
    assert [task.responses.count() for task in project.tasks.all()] == [2, 2, 2]
    assert len(set(project.tasks.values_list("batch", flat=True))) == 1
    assert project.memberships.count() == 1
    assert [by_text(ranking) for ranking in Ranking.objects.order_by("pk")] == [
        {"a": 1, "b": 2}, {"a": 1, "c": 1}, {"b": 2, "c": 1}
    ]  # fmt: skip


def test_a_response_that_was_shown_and_not_ranked_belongs_to_the_task(project: Project) -> None:
    take(project, record(said("Ada", 1, 2, None, display_order=[2, 1, 0])))
    check_tasks(project)
    assert by_text(Ranking.objects.get()) == {"a": 1, "b": 2, "c": None}


def test_items_of_the_same_prompt_are_tasks_of_their_own(project: Project) -> None:
    take(project, *(record(said("Ada", 1, 2), texts="ab", external_id=name) for name in "xyz"))
    assert project.prompts.get().external_id == "x"
    assert project.prompts.get().responses.count() == 2
    assert project.tasks.count() == 3
    assert len(set(project.tasks.values_list("batch", flat=True))) == 3


def test_a_bad_line_leaves_nothing_behind(project: Project) -> None:
    before = everything("annotate", "rewards")
    lines = [record(said("Ada", 1, 2, 3)), BadLine(2, "not JSON"), record(texts="xyz")]
    with pytest.raises(ImportRefused, match="line 2: not JSON") as refused:
        take(project, *lines)
    assert refused.value.bad == (BadLine(2, "not JSON"),)
    assert everything("annotate", "rewards") == before


def test_bad_lines_are_left_out_where_that_was_chosen(project: Project) -> None:
    lines = [BadLine(3, "late"), record(said("Ada", 1, 2, 3)), BadLine(1, "not JSON")]
    report = take(project, *lines, allow_bad=True)
    assert report.bad == [BadLine(1, "not JSON"), BadLine(3, "late")]
    assert Ranking.objects.count() == 1


UNSTORABLE = {
    "The topic is longer than 100": {"topic": "t" * 101},
    "The language is longer than 16": {"language": "l" * 17},
    "The external id is longer than 200": {"external_id": "i" * 201},
    "The source's name is longer": {"responses": [ResponseText("a", "s" * 201)], "judgements": []},
    "NUL": {"messages": [{"role": "user", "content": "a\0"}]},
    "surrogate": {"demonstration": "\ud83d"},
    "The rationale": {"judgements": [said("Ada", 1, 2, 3, rationale="\0")]},
    "The annotator": {"judgements": [said("\ud83d", 1, 2, 3)]},
    "out of range": {
        "judgements": [
            said("A", 1, 2, 3, created_at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=9))))
        ]
    },
    "not shown": {"judgements": [said("Ada", 1, 2, 3, display_order=[0, 1])]},
    "101 responses": {"responses": [ResponseText(str(n)) for n in range(101)], "judgements": []},
    "The demonstration is empty": {"demonstration": " "},
}


@pytest.mark.parametrize("reason", UNSTORABLE)
def test_what_cannot_be_stored_is_named_with_its_line(project: Project, reason: str) -> None:
    good = record(said("Ada", 1, 2), texts="xy", messages=[{"role": "user", "content": "B?"}])
    bad = replace(record(said("Ada", 1, 2, 3)), number=17, **UNSTORABLE[reason])
    report = take(project, good, bad, allow_bad=True)
    ((number, why),) = [(line.number, line.reason) for line in report.bad]
    assert number == 17 and reason in why
    assert project.prompts.get().messages[0]["content"] == "B?"
    assert Ranking.objects.count() == 1


def test_judgements_that_compare_nothing_are_counted_and_left_out(project: Project) -> None:
    report = take(
        project,
        record(said(None, None, unacceptable=[True]), texts="u"),
        record(said("Ada", 1, None, None), said("Bob", None, None, None), said("Cleo", 1, 1, 2)),
    )
    assert report.n_compare_nothing == 3
    assert Response.objects.count() == 4
    assert by_text(Ranking.objects.get()) == {"a": 1, "b": 1, "c": 2}


def test_all_unacceptable_is_a_judgement(project: Project) -> None:
    take(project, record(said("Ada", None, None, unacceptable=[True, True]), texts="ab"))
    check_tasks(project)
    assert len(Ranking.objects.get().unacceptable) == 2


def test_ties_count_even_where_the_pages_allow_none(project: Project) -> None:
    project.allow_ties = False
    project.save()
    take(project, record(said("Ada", 1, 1, 2)))
    assert by_text(Ranking.objects.get()) == {"a": 1, "b": 1, "c": 2}


def test_responses_that_nobody_judged_wait_for_volunteers(project: Project) -> None:
    two = [record(texts="ab"), record(texts="cd"), record(texts="e")]
    report = take(project, *two)
    assert report.n_opened_tasks == 2
    tasks = project.tasks.with_free_slots()
    shown = [sorted(task.responses.values_list("text", flat=True)) for task in tasks.order_by("pk")]
    assert shown == [["a", "b"], ["c", "d"]]
    assert {task.kind for task in tasks} == {"normal"}


def test_volunteers_are_not_asked_again(project: Project) -> None:
    take(project, record(texts="ab"))
    alike = record(texts="ab", responses=[ResponseText(text) for text in ("a", "b", "b ")])
    for batch in ("file one", "file two"):
        assert take(project, record(texts="ba"), alike, batch=batch).n_opened_tasks == 0
    assert project.tasks.count() == 1


def test_an_id_names_one_prompt(project: Project) -> None:
    def prompt(text: str, external_id: str, number: int) -> Record:
        return Record([{"role": "user", "content": text}], external_id=external_id, number=number)

    report = take(project, prompt("A?", "7", 1), prompt("B?", "7", 2), allow_bad=True)
    assert report.bad == [BadLine(2, "External id '7' names another prompt")]
    take(project, prompt("A?", "8", 1))
    assert project.prompts.get().external_id == "7"
    # Of a record with responses the id names the item, and other sources count from 1 as well.
    take(project, record(said("Ada", 1, 2, 3), external_id="7"))
    assert project.prompts.get(messages=SKY).external_id is None


def test_what_is_there_stays_as_it_is(project: Project) -> None:
    prompt = make.make_prompt(project, SKY[0]["content"], responses=["a"], topic="air")
    report = take(project, record(said("Ada", 1, 2), texts="ab", topic="sky", split="test"))
    prompt.refresh_from_db()
    assert (prompt.topic, report.prompts.n_there) == ("air", 1)
    assert (report.responses.n_new, report.responses.n_there) == (1, 1)
    assert prompt.responses.get(text="a").source == Response.Source.POLICY


def test_other_projects_are_left_alone(project: Project) -> None:
    take(project, *everything_at_once())
    elsewhere = make.make_project("elsewhere")
    report = take(elsewhere, *everything_at_once())
    assert report.prompts.n_new == elsewhere.prompts.count() == project.prompts.count()
    assert elsewhere.tasks.count() == project.tasks.count()


@pytest.mark.django_db(transaction=True)
def test_two_imports_at_once_store_everything_once() -> None:
    project = make.make_project("busy")
    # Content and annotators are there, so that no unique row makes one import wait for the other.
    texts = [f"Question {n}?" for n in range(60)]
    prompts = [make.make_prompt(project, text, responses=["a", "b", "c"]) for text in texts]
    judgements = [said("Ada", 1, 2, 3), said(None, 3, 2, 1)]
    take(project, record(*judgements))
    records = [record(*judgements, messages=prompt.messages) for prompt in prompts]
    together = Barrier(2)

    def run(order: Iterable[Record]) -> int:
        try:
            together.wait()
            return take(Project.objects.get(slug="busy"), *order).rankings.n_new
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        added = [*pool.map(run, (records, records[::-1]))]
    assert sorted(added) == [0, 120]
    assert Prompt.objects.count() == 61 and Ranking.objects.count() == 122
    check_tasks(project)


@pytest.mark.parametrize("names", [["a|b"], ["a,b"], [" "], ["x" * 150, "y" * 150]])
def test_a_name_that_no_task_can_hold_makes_a_line_bad(project: Project, names: list[str]) -> None:
    report = take(project, record(content_categories=names), allow_bad=True)
    assert len(report.bad) == 1
    assert not project.prompts.exists()


def test_the_content_categories_of_a_record_reach_its_task(project: Project) -> None:
    take(project, record(content_categories=["war", "health", "war"]))
    assert project.prompts.get().content_categories == ["health", "war"]
    assert project.tasks.get().categories == "|health|war|"
