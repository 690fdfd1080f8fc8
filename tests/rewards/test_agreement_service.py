"""Which rankings the agreement of a project is measured on, and what is kept of it."""

from collections.abc import Sequence

import pytest
from django.utils import timezone

from annotate.formats import Judgement, Record, ResponseText
from annotate.models import Membership, Project, Task
from annotate.services.importing import import_records
from annotate.services.projects import exclude, lift
from annotate.services.rankings import reopen, submit_ranking
from annotate.services.tasks import open_ranking_tasks
from rewards.services.agreement import audited, measure, report_of
from tests import make

UP, DOWN = (1, 2, 3), (3, 2, 1)


def judge(
    people: Sequence[Membership], rankings: Sequence[Sequence[int]], kind: str = "audit", **of: str
) -> Task:
    """A task that each of the people has ranked in his way."""
    prompt = make.make_prompt(people[0].project, responses=3, **of)
    responses = list(prompt.responses.order_by("pk"))
    (task,) = open_ranking_tasks(
        people[0].project, [(prompt, responses)], batch=f"b{prompt.pk}", kind=kind, need=2
    )
    for person, ranks in zip(people, rankings, strict=True):
        make.make_ranking(person, ranks, task=task)
    Task.objects.filter(pk=task.pk).update(need=2)
    return task


@pytest.fixture
def people(ada_member: Membership, bob_member: Membership) -> list[Membership]:
    return [ada_member, bob_member]


def test_agreement_is_that_of_the_audited_prompts(
    project: Project, people: list[Membership]
) -> None:
    for _ in range(20):
        judge(people, [UP, UP])
    for _ in range(5):
        judge(people, [UP, DOWN], kind="normal")
        judge(people, [UP, DOWN], kind="evaluation")
        judge(people, [UP, DOWN], kind="gold")
    found = report_of(measure(project).figures)
    assert found.n_prompts == 20
    assert found.alpha.value == 1


def test_imported_judgements_all_count(project: Project, people: list[Membership]) -> None:
    third = make.make_member(project, "cleo")
    for _ in range(20):
        judge([*people, third], [UP, UP, DOWN], kind="import")
    found = report_of(measure(project).figures)
    assert found.n_annotators == 3
    # Two of the six ordered pairs of people agree: raw agreement 1/3, so alpha_sym -1/3.
    assert found.alpha.value == pytest.approx(-1 / 3)


def test_imported_items_of_one_prompt_are_units_of_their_own(project: Project) -> None:
    """And the pairs of an item together are one: all of it was drawn at once."""
    pairs = [[1, 2, None], [None, 1, 2]]
    judgements = [Judgement(name, ranks) for name in ("ada", "bob") for ranks in pairs]
    items = [
        Record(
            messages=[{"role": "user", "content": "Why?"}],
            responses=[ResponseText(text) for text in "abc"],
            judgements=judgements,
            external_id=str(number),
        )
        for number in range(25)
    ]
    import_records(project, items, batch="file")
    found = report_of(measure(project).figures)
    assert (found.n_prompts, found.n_comparisons) == (25, 100)
    assert found.alpha.value == 1


def test_who_was_asked_beyond_the_plan_does_not_count(
    project: Project, people: list[Membership]
) -> None:
    third = make.make_member(project, "cleo")
    for _ in range(20):
        judge([*people, third], [UP, UP, DOWN])
    found = report_of(measure(project).figures)
    assert found.n_annotators == 2
    assert found.alpha.value == 1


def test_an_excluded_annotator_does_not_count_until_the_exclusion_is_lifted(
    project: Project, people: list[Membership]
) -> None:
    for _ in range(20):
        judge(people, [UP, DOWN])
    assert report_of(measure(project).figures).alpha.value == -1
    exclusion = exclude(project, people[1], "failed gold", by=None)
    found = report_of(measure(project).figures)
    assert (found.state, found.alpha.value) == ("one annotator", None)
    lift(exclusion, by=None)
    assert report_of(measure(project).figures).alpha.value == -1


def test_a_third_person_takes_the_place_of_an_excluded_one(
    project: Project, people: list[Membership]
) -> None:
    third = make.make_member(project, "cleo")
    judge([*people, third], [DOWN, UP, UP])
    exclude(project, people[0], "careless", by=None)
    ((_, _, said),) = audited(project)
    assert set(said) == {people[1].pseudonym, third.pseudonym}


def test_only_the_last_revision_counts(project: Project, people: list[Membership]) -> None:
    task = judge(people, [UP, DOWN])
    assignment = task.assignments.get(annotator=people[1])
    reopen(assignment, draft={})
    ids = sorted(assignment.display_order)
    submit_ranking(assignment, dict(zip(ids, UP, strict=True)), revises=1)
    ((_, _, said),) = audited(project)
    assert said[people[0].pseudonym] == said[people[1].pseudonym]


def test_tasks_that_show_parts_of_a_prompt_are_taken_together(
    project: Project, people: list[Membership]
) -> None:
    prompt = make.make_prompt(project, responses=3)
    a, b, c = prompt.responses.order_by("pk")
    for batch, pair in (("one", [a, b]), ("two", [b, c])):
        (task,) = open_ranking_tasks(project, [(prompt, pair)], batch=batch, kind="audit")
        for person in people:
            make.make_ranking(person, (1, 2), task=task)
    ((_, _, said),) = audited(project)
    assert said[people[0].pseudonym] == [
        {str(a.pk): 1, str(b.pk): 2},
        {str(b.pk): 1, str(c.pk): 2},
    ]
    assert measure(project).figures["n_comparisons"] == 4


def test_the_same_judgements_give_the_same_report(
    project: Project, people: list[Membership]
) -> None:
    judge(people, [UP, DOWN])
    first = measure(project)
    assert measure(project) == first
    judge(people, [UP, UP])
    second = measure(project)
    assert second != first
    assert second.data_hash != first.data_hash
    assert project.agreement_reports.count() == 2


def test_other_projects_do_not_count(project: Project, people: list[Membership]) -> None:
    elsewhere = make.make_project("elsewhere")
    judge([make.make_member(elsewhere, "ada")], [UP])
    judge(people, [UP, DOWN])
    assert measure(elsewhere).figures["n_prompts"] == 1
    assert measure(project).figures["n_annotators"] == 2


def test_no_judgement_is_a_state_and_no_number(project: Project) -> None:
    found = report_of(measure(project).figures)
    assert (found.state, found.alpha.value, found.n_prompts) == ("no judgements", None, 0)


def test_each_topic_has_its_own_alpha(project: Project, people: list[Membership]) -> None:
    for _ in range(20):
        judge(people, [UP, UP], topic="oceans")
        judge(people, [UP, DOWN], topic="air")
    judge(people, [UP, UP], topic="ice")
    judge(people, [UP, UP])
    topics = measure(project).figures["topics"]
    assert [(one["topic"], one["n_prompts"], one["alpha"]["value"]) for one in topics] == [
        ("air", 20, -1),
        ("oceans", 20, 1),
        ("ice", 1, None),
    ]


def test_a_stored_report_reads_as_it_was_measured(
    project: Project, people: list[Membership]
) -> None:
    for n in range(30):
        judge(people, [UP, UP if n % 3 else (1, 1, 2)])
    row = measure(project)
    before = report_of(row.figures)
    row.refresh_from_db()
    assert report_of(row.figures) == before
    assert before.annotators[0].agreement.n == 30
    assert row.created_at <= timezone.now()
