"""The pages about agreement: live figures, over time, in parts, worked through, asking for more."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.models import Assignment, AuditEvent, Membership, Project, Ranking, Task
from annotate.services.projects import exclude, publish_text
from annotate.services.tasks import open_ranking_tasks
from rewards.models import LiveAgreement
from rewards.services import sums
from tests import make
from tests.pages import words

UP, DOWN, TIED = (1, 2, 3), (3, 2, 1), (1, 1, 2)


@pytest.fixture
def people(ada_member: Membership, bob_member: Membership) -> list[Membership]:
    return [ada_member, bob_member]


def judge(people: list[Membership], *rankings: Any, day: int = 0, **of: Any) -> Task:
    """A task for audit that the people rank, so many days ago."""
    criteria = of.pop("criteria", None)
    prompt = make.make_prompt(people[0].project, responses=3, **of)
    responses = list(prompt.responses.order_by("pk"))
    (task,) = open_ranking_tasks(
        people[0].project, [(prompt, responses)], batch=f"b{prompt.pk}", kind="audit"
    )
    when = timezone.now() - timedelta(days=day)
    for person, ranks in zip(people, rankings, strict=True):
        rated = {
            r.pk: {"safe": rating} for r, rating in zip(responses, criteria or [], strict=False)
        }
        ranking = make.make_ranking(person, ranks, task=task, criteria=rated)
        Assignment.objects.filter(pk=ranking.assignment_id).update(submitted_at=when)
    Task.objects.filter(pk=task.pk).update(need=2)
    return task


def show(client: Client, name: str, **query: Any) -> str:
    response = client.get(reverse(f"rewards:{name}", args=["climate"]), query)
    assert response.status_code == 200
    return words(response)


def test_the_figures_are_live(admin: Client, project: Project, people: list[Membership]) -> None:
    for _ in range(20):
        task = judge(people, UP, UP)
    judge(people, UP, DOWN)
    sums.refresh(project)
    assert "0.90" in show(admin, "agreement")
    exclude(project, task, "unclear", by=None)
    judge(people, UP, DOWN)
    page = show(admin, "agreement")
    assert "2 rankings have come since." in page
    assert "Exclusions have changed since." in page
    sums.refresh(project)
    page = show(admin, "agreement")
    assert "0.81" in page
    assert "since." not in page


def test_people_are_compared_with_themselves(
    admin: Client, project: Project, people: list[Membership]
) -> None:
    sums.refresh(project)
    assert "How far people agree with themselves is not known" in show(admin, "agreement")
    for _ in range(20):
        task = judge(people, UP, DOWN)
        again = make.make_task(project, kind="repeat", responses=3)
        Task.objects.filter(pk=again.pk).update(mirror_of=task)
        ids = list(task.responses.order_by("pk").values_list("pk", flat=True))
        ranking = make.make_ranking(people[0], UP, task=again)
        Ranking.objects.filter(pk=ranking.pk).update(
            ranks=dict(zip(map(str, ids), UP, strict=True))
        )
    sums.refresh(project)
    page = show(admin, "agreement")
    assert "Asked the same again, people agree with themselves at 1.00." in page
    assert "The same people, asked again" in page


# Over time


def test_over_time_with_what_changed(
    admin: Client, project: Project, people: list[Membership]
) -> None:
    for day in range(60, 30, -1):
        judge(people, UP, UP, day=day)
    third = make.make_member(project, "cleo")
    text = publish_text(project, "guidelines", "Prefer the short response.", by=None)
    project.texts.filter(pk=text.pk).update(created_at=timezone.now() - timedelta(days=15))
    for day in range(30, 0, -1):
        judge([people[0], third], UP, DOWN, day=day)
    sums.refresh(project)
    page = show(admin, "drift")
    assert "In the last window alpha is −2.00 against before" in page
    assert "People agree less than they did." in page
    assert "in doubt" in page
    assert "G Guidelines, version 2" in page
    assert f"P New: {third.pseudonym}" in page
    assert page.count("n = 30") == 2


def test_too_few_prompts_for_two_windows(
    admin: Client, project: Project, people: list[Membership]
) -> None:
    assert "Two windows need 40 prompts" in show(admin, "drift")
    judge(people, UP, UP)
    sums.refresh(project)
    assert "There is 1." in show(admin, "drift")


# In parts


def test_topics_languages_and_criteria(
    admin: Client, project: Project, people: list[Membership]
) -> None:
    project.criteria = [{"name": "safe", "label": "Safe to read"}]
    project.save()
    for n in range(25):
        criteria = (1 + n % 5, 5 - n % 5, 3)
        judge(people, UP, UP, topic="oceans", language="en", criteria=criteria)
        judge(people, UP, DOWN, topic="air", language="de", criteria=criteria)
    judge(people, UP, UP, topic="ice")
    sums.refresh(project)
    page = show(admin, "slices")
    assert "oceans" in page
    assert "German" in page
    assert "Not judged: 1 prompt of two people, needs 20" in page
    assert page.count("too low") == 2, "the topic and its language"
    assert "Safe to read" in page
    assert "Responses rated twice" in page
    found = LiveAgreement.objects.get().figures
    (criterion,) = found["criteria"]
    assert (criterion["alpha"]["value"], criterion["n_responses"]) == (1, 150)
    air = next(one for one in found["topics"] if one["topic"] == "air")
    assert air["alpha"]["value"] == -1
    assert air["alpha"]["value"] < air["pooled"]["value"]


def test_nothing_to_cut_in_parts(admin: Client, project: Project) -> None:
    assert "Nothing has been measured yet." in show(admin, "slices")
    sums.refresh(project)
    page = show(admin, "slices")
    assert "The prompts that were judged have no topics." in page
    assert "The project asks for no criteria." in page


# Worked through


def test_an_example_of_the_projects_own_is_worked_through(
    admin: Client, project: Project, people: list[Membership]
) -> None:
    assert "As soon as two people have judged the same prompt" in show(admin, "counting")
    judge(people, UP, UP)
    judge(people, TIED, (1, 2, None))
    judge(people, UP, DOWN)
    sums.refresh(project)
    page = show(admin, "counting")
    # Of A, B, C: the first ties A and B, the second skips C.
    assert "A, B a tie A is better 2 1 1" in page
    assert "A, C A is better nothing not counted" in page
    assert "This prompt 2 1 1" in page
    # Three prompts: 6 + 2 + 6 ratings; D is 0 + 1 + 6; one tie.
    assert "Over all 3 prompts: 14 judgements, disagreement 7, 1 ties." in page
    assert "alpha = 1 − 0.5 / 0.497 = −0.005" in page


# Asking for more


def test_more_prompts_are_put_into_the_queue_once(
    admin: Client, project: Project, people: list[Membership]
) -> None:
    for _ in range(22):
        judge(people, UP, UP)
    for _ in range(22):
        judge(people, UP, DOWN)
    for _ in range(5):
        make.make_ranking(people[0])
    sums.refresh(project)
    assert "Ask two people about" in show(admin, "agreement")
    page = show(admin, "audit_more")
    assert "5 prompts are left to draw from." in page
    assert "Only 5 prompts are left, and about" in page
    url = reverse("rewards:audit_more", args=["climate"])
    key = admin.get(url).context["form"].initial["key"]
    assert not project.tasks.filter(state="open", kind="audit").exists(), "looking adds nothing"
    sent = {"n": 3, "key": key}
    assert "3 prompts are in the queue for two people now." in words(
        admin.post(url, sent, follow=True)
    )
    assert "They are in the queue already." in words(admin.post(url, sent, follow=True))
    assert project.tasks.filter(state="open", kind="audit").count() == 3
    assert AuditEvent.objects.get(verb="draw for audit").detail["n"] == 3
    assert "3 such prompts wait in the queue already." in show(admin, "agreement")
    assert sums.check(project) == 0, "what was said of them before counts at once"


def test_nothing_is_left_to_draw(admin: Client, project: Project) -> None:
    assert "No prompts are left to draw." in show(admin, "audit_more")


@pytest.mark.parametrize("n", ["", "0", "501", "many"])
def test_a_wrong_number_is_said_and_nothing_added(admin: Client, project: Project, n: str) -> None:
    make.make_prompt(project)
    url = reverse("rewards:audit_more", args=["climate"])
    response = admin.post(url, {"n": n, "key": "k"})
    assert response.status_code == 200
    assert 'class="error"' in response.content.decode()
    assert not project.tasks.exists()


# How much the database is asked


@pytest.mark.parametrize("name", ["agreement", "drift", "slices", "counting", "audit_more"])
def test_pages_ask_the_database_as_often_whatever_the_size(
    admin: Client,
    project: Project,
    people: list[Membership],
    name: str,
    django_assert_max_num_queries: Any,
) -> None:
    for n in range(45):
        judge(people, UP, UP, topic=f"topic {n % 3}")
    sums.refresh(project)
    with django_assert_max_num_queries(25):
        show(admin, name)
