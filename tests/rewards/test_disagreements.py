"""Where people contradict each other: the most telling first, its cause by one click."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.models import Adjudication, Membership, Project, Task
from annotate.services.projects import exclude
from annotate.services.review import adjudicate
from annotate.services.tasks import open_ranking_tasks
from rewards.models import RewardModelVersion, Run
from rewards.services.disagreements import shown, split_pairs
from rewards.services.reward_models import request_reward_model
from rewards.services.snapshots import freeze
from tests import make
from tests.pages import words


@pytest.fixture
def people(project: Project) -> list[Membership]:
    return [make.make_member(project, f"person {n}") for n in range(4)]


def judged(people: list[Membership], *all_ranks: tuple[int, ...], topic: str = "ice") -> Task:
    """A finished task that the first so many people ranked."""
    n = len(all_ranks[0])
    prompt = make.make_prompt(people[0].project, responses=n, topic=topic)
    responses = list(prompt.responses.order_by("pk"))
    (task,) = open_ranking_tasks(prompt.project, [(prompt, responses)], batch=str(prompt.pk))
    for member, ranks in zip(people, all_ranks, strict=False):
        make.make_ranking(member, ranks, task=task)
    task.refresh_from_db()
    assert task.state == Task.State.DONE
    return task


def accept(project: Project, *contested: dict[str, Any]) -> RewardModelVersion:
    version = request_reward_model(freeze(project), "base")
    Run.objects.filter(pk=version.run.pk).update(result={"contested": list(contested)})
    project.reward_models.update(status=RewardModelVersion.Status.ACCEPTED)
    return version


def test_pairs_come_by_how_evenly_people_split(people: list[Membership]) -> None:
    even = judged(people, (1, 2), (1, 2), (2, 1), (2, 1))
    uneven = judged(people, (1, 2), (1, 2), (1, 2), (2, 1))
    judged(people, (1, 2), (1, 2))  # agree
    judged(people, (1, 1), (1, 2))  # a tie contradicts nobody
    found = split_pairs(even.project)
    assert [(pair.task_id, pair.split) for pair in found.pairs] == [
        (even.pk, 1.0),
        (uneven.pk, 0.75),
    ]
    assert not found.capped and found.model is None


def test_pairs_of_which_the_model_is_sure_come_first(people: list[Membership]) -> None:
    first = judged(people, (1, 2), (2, 1))
    second = judged(people, (1, 2), (2, 1))
    a, b = second.responses.order_by("pk")
    sure = {
        "prompt_id": second.prompt.content_hash,
        "better": b.content_hash,
        "worse": a.content_hash,
        "p": 0.95,
    }
    accept(first.project, sure)
    found = split_pairs(first.project)
    assert [pair.task_id for pair in found.pairs] == [second.pk, first.pk]
    assert (found.pairs[0].p, found.pairs[0].preferred) == (0.95, b.pk)
    assert found.pairs[1].p is None


def test_only_what_a_reviewer_may_decide_about_is_shown(people: list[Membership]) -> None:
    task = judged(people, (1, 2), (2, 1))
    project = task.project
    for change in ({"state": "open"}, {"kind": "gold"}, {"kind": "evaluation"}):
        before = {name: getattr(task, name) for name in change}
        Task.objects.filter(pk=task.pk).update(**change)
        assert split_pairs(project).pairs == []
        Task.objects.filter(pk=task.pk).update(**before)
    exclude(project, people[1], "careless", by=None)
    assert split_pairs(project).pairs == []


def test_who_said_what_stands_beside_both_texts(people: list[Membership]) -> None:
    task = judged(people, (1, 2), (2, 1), (1, 1))
    (one,) = shown(split_pairs(task.project).pairs)
    assert [side.preferred_by for side in one.sides] == [
        [people[0].pseudonym],
        [people[1].pseudonym],
    ]
    assert one.tied == [people[2].pseudonym]


def test_the_number_of_queries_does_not_grow(people: list[Membership]) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert shown(split_pairs(people[0].project).pairs[:10])
        return len(captured)

    judged(people, (1, 2), (2, 1))
    before = queries()
    for _ in range(12):
        judged(people, (1, 2, 3), (3, 2, 1))
    assert queries() == before


def test_the_page_filters_and_names_the_cause_by_one_click(
    admin: Client, people: list[Membership]
) -> None:
    task = judged(people, (1, 2), (2, 1), topic="ice")
    judged(people, (1, 2), (2, 1), topic="sea")
    url = reverse("rewards:disagreements", args=["climate"])
    page = words(admin.get(url, {"topic": "ice"}))
    assert "1 pair" in page and people[0].pseudonym in page and people[1].pseudonym in page
    cause = reverse("rewards:disagreement_cause", args=["climate", task.pk])
    response = admin.post(f"{cause}?topic=ice", {"category": "taste"}, follow=True)
    assert response.redirect_chain == [(f"{url}?topic=ice", 302)]
    decision = Adjudication.objects.get()
    assert (decision.category, decision.ranks, decision.task) == ("taste", None, task)
    assert "or all of it is decided" in words(response)
    page = words(admin.get(url, {"state": "decided"}))
    assert f"Taste · {decision.reviewer}" in page
    again = admin.post(cause, {"category": "error"}, follow=True)
    assert "Somebody else has decided" in words(again)
    admin.post(cause, {"category": "error", "replaces": decision.pk})
    assert Adjudication.objects.current().get().category == "error"
    assert "Choose why people differ." in words(admin.post(cause, {"category": "x"}, follow=True))


def test_a_click_takes_no_decided_ranking_back(admin: Client, people: list[Membership]) -> None:
    task = judged(people, (1, 2), (2, 1))
    reviewer = task.project.memberships.get(user__username="root")
    adopted = task.assignments.first().rankings.get()
    decision = adjudicate(task, reviewer, "error", adopted=adopted, replaces=None)
    url = reverse("rewards:disagreement_cause", args=["climate", task.pk])
    page = words(admin.post(url, {"category": "taste", "replaces": decision.pk}, follow=True))
    assert "A ranking was decided here." in page
    assert Adjudication.objects.current().get() == decision


def test_without_disagreements_the_page_says_so(admin: Client, people: list[Membership]) -> None:
    url = reverse("rewards:disagreements", args=["climate"])
    assert "No prompt has been judged by two people yet." in words(admin.get(url))
    judged(people, (1, 2), (1, 2))
    assert "Nobody contradicts anybody here" in words(admin.get(url))
