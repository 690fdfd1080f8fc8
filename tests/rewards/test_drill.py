"""The poison drill: a part of the volunteers is hostile in a copy, and nothing is written."""

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse

from annotate.models import Membership, Project, User
from annotate.services.checks import open_gold_task
from rewards.ml.drill import Drill, Judged
from rewards.ml.gate import GateSettings
from rewards.models import Run
from rewards.runner import execute
from rewards.services.drill import request_drill
from tests import make
from tests.commands import say
from tests.pages import everything, words

WORTH = {"good": 2.0, "fair": 1.0, "dull": -1.0, "wrong": -2.0, "long": 0.0, "and": 0.0}


def judged(n: int, people: int, rng: np.random.Generator, kind: str = "said") -> list[Judged]:
    """Prompts of four responses made of a few words; a third of them is judged by two people."""
    found = []
    for number in range(n):
        texts, values = {}, []
        for place in range(4):
            chosen = rng.choice(list(WORTH), int(rng.integers(3, 9)))
            texts[f"r{place}"] = " ".join(chosen)
            values.append(sum(WORTH[word] for word in chosen) / 2)
        order = np.argsort(np.argsort(-np.array(values)))
        audit = kind == "said" and number % 3 == 0
        judges = rng.choice(people, people if kind == "key" else 1 + audit, replace=False)
        said = {}
        for person in judges:
            perceived = np.array(values) + rng.gumbel(0, 0.7, 4)
            ranks = np.argsort(np.argsort(-perceived)) + 1
            said[f"p{person}"] = dict(zip(texts, ranks.tolist(), strict=True))
        right = {name: 1 if order[place] < 2 else 2 for place, name in enumerate(texts)}
        split = "test" if number % 5 == 0 else "train"
        found.append(Judged(texts, said, split, audit, right if kind == "key" else None))
    return found


@pytest.fixture(scope="module")
def drill() -> Drill:
    rng = np.random.default_rng(0)
    return Drill(judged(400, 20, rng), judged(20, 20, rng, "key"), GateSettings(), seed=0)


def test_nobody_is_caught_where_nobody_is_hostile(drill: Drill) -> None:
    found = drill.attacked("reversed", 0.0)
    assert (found.hostile, found.caught, found.state) == (0, 0, "PASS")
    assert found.suspended <= 1
    assert drill.examined_by == "gold"
    assert found.without > 0.8


@pytest.mark.parametrize("attack", ["reversed", "longest wins"])
def test_gold_finds_the_hostile_and_keeps_the_model(drill: Drill, attack: str) -> None:
    clean, found = drill.attacked("reversed", 0.0), drill.attacked(attack, 0.3)
    assert 4 <= found.hostile <= 8
    assert found.caught >= 0.9 * found.hostile
    assert found.alpha < clean.alpha
    assert found.defended > found.without
    assert found.defended > clean.without - 0.03


def test_without_gold_nothing_is_known_of_anybody() -> None:
    rng = np.random.default_rng(1)
    found = Drill(judged(300, 20, rng), [], GateSettings(), seed=0).attacked("longest wins", 0.3)
    assert found.caught == 0
    assert found.defended == pytest.approx(found.without, abs=0.02)


def test_with_too_little_data_accuracy_is_not_shown() -> None:
    few = Drill(judged(20, 5, np.random.default_rng(0)), [], GateSettings(), seed=0)
    found = few.attacked("reversed", 0.2)
    assert (few.examined_by, found.without, found.defended) == ("", None, None)
    assert found.state == "INSUFFICIENT"
    assert Drill([], [], GateSettings(), seed=0).attacked("reversed", 0.3).n_people == 0


# The run and its page


@pytest.fixture
def ranked(ada_member: Membership, bob_member: Membership) -> Project:
    project = ada_member.project
    for n in range(12):
        task = make.make_task(project, responses=[f"Short {n}.", f"Rather long {n}."], kind="audit")
        make.make_ranking(ada_member, (1, 2), task=task)
        make.make_ranking(bob_member, (1, 2) if n % 4 else (2, 1), task=task)
    prompt = make.make_prompt(project, responses=["Right.", "Wrong, but longer."])
    right, wrong = prompt.responses.order_by("pk")
    gold = open_gold_task(project, prompt, [right, wrong], {right.pk: 1, wrong.pk: 2}, by=None)
    make.make_ranking(ada_member, (1, 2), task=gold)
    return project


@pytest.mark.django_db(transaction=True)
def test_a_drill_changes_nothing_but_its_run(ranked: Project) -> None:
    run = request_drill(ranked, by=None)
    assert request_drill(ranked, by=None) == run  # still queued
    before = everything("annotate")
    done = execute(run)
    assert (done.state, done.reason) == ("done", "")
    assert everything("annotate") == before
    outcomes = done.result["outcomes"]
    assert [(one["attack"], one["share"]) for one in outcomes] == [
        ("reversed", 0.0),
        *((attack, share) for attack in ("reversed", "longest wins") for share in (0.1, 0.2, 0.3)),
    ]
    assert (done.result["n_people"], done.result["n_gold"]) == (2, 1)
    assert request_drill(ranked, by=None) != run


@pytest.mark.django_db(transaction=True)
def test_the_command_says_what_came_of_it(ranked: Project) -> None:
    text = say("poison_drill", ranked.slug)
    assert "nobody hostile" in text
    assert "gate INSUFFICIENT" in text


OUTCOME = {
    "attack": "reversed",
    "share": 0.0,
    "n_people": 20,
    "hostile": 0,
    "caught": 0,
    "suspended": 0,
    "state": "PASS",
    "alpha": 0.45,
    "without": 0.8,
    "defended": 0.81,
}


@pytest.fixture
def drilled(project: Project) -> Run:
    outcomes = [
        OUTCOME,
        OUTCOME | {"share": 0.2, "hostile": 4, "caught": 4, "state": "REVIEW", "without": 0.7},
        OUTCOME | {"attack": "longest wins", "share": 0.2, "hostile": 4, "caught": 3},
    ]
    result = {"examined_by": "gold", "n_people": 20, "n_gold": 30, "outcomes": outcomes}
    return Run.objects.create(project=project, kind="drill", state="done", result=result)


@pytest.mark.django_db
def test_the_page_says_what_would_have_happened(client: Client, drilled: Run, root: User) -> None:
    client.force_login(root)
    page = words(client.get(reverse("rewards:drill", args=[drilled.project.slug])))
    assert "7 of 8 hostile people were found out" in page
    assert "would have passed 1 of 2 attacks" in page
    assert "lost 10.0 points without the defences and 0.0 points with them" in page
    assert "wants review" in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("defended", "said"),
    [
        ([None, None], ["In 2 attacks nobody would have been left to learn from"]),
        (
            [None, 0.75],
            [
                "In 1 attack nobody would have been left to learn from",
                "lost 10.0 points without the defences and 5.0 points with them",
            ],
        ),
    ],
)
def test_the_page_says_where_nobody_is_left_to_learn_from(
    client: Client, project: Project, root: User, defended: list[float | None], said: list[str]
) -> None:
    attack = OUTCOME | {"share": 0.2, "hostile": 4, "caught": 4, "without": 0.7}
    outcomes = [OUTCOME, *(attack | {"defended": value} for value in defended)]
    result = {"examined_by": "gold", "n_people": 20, "n_gold": 30, "outcomes": outcomes}
    Run.objects.create(project=project, kind="drill", state="done", result=result)
    client.force_login(root)
    page = words(client.get(reverse("rewards:drill", args=[project.slug])))
    assert all(sentence in page for sentence in said)
    assert ("points with them" in page) == (len(said) == 2)


@pytest.mark.django_db
def test_the_page_asks_for_a_drill_once(client: Client, project: Project, root: User) -> None:
    client.force_login(root)
    address = reverse("rewards:drill", args=[project.slug])
    assert "Start a drill" in words(client.get(address))
    for _ in range(2):
        assert "A drill is on its way" in words(client.post(address, follow=True))
    assert project.runs.filter(kind="drill").count() == 1
