"""Judgements by real people, from published files through the commands to figures and models."""

import gzip
import json
from collections import Counter

import pytest
from django.test import Client
from django.urls import reverse

from annotate.models import Assignment, Membership, Project, Response
from tests import make
from tests.commands import ask
from tests.data import data_file
from tests.imported import check_tasks

PANDALM = "pandalm/testset-v1.json.gz"
LAMP = "lamp_ranking/rankings.jsonl.gz"
QA_FEEDBACK = "finegrained_qa/dev_feedback.json.gz"


# Items, people and responses of each, and how many judgements an item has: the sources' counts.
COUNTS = {
    PANDALM: {"items": 999, "people": 3, "judgements": 3, "shown": 2},
    LAMP: {"items": 201, "people": 13, "judgements": 3, "shown": 3},
    QA_FEEDBACK: {"items": 500, "people": 1, "judgements": 6, "shown": 2},
}


@pytest.mark.parametrize("file", COUNTS)
def test_a_published_file_is_imported_whole_and_once(db: None, file: str) -> None:
    path, known = data_file(file), COUNTS[file]
    first = ask("import", "real", str(path), "--create")
    assert first["records"] == known["items"]
    assert first["rankings"]["new"] == known["items"] * known["judgements"]
    assert first["annotators"]["new"] == known["people"]
    assert first["bad_lines"] == [] and first["compare_nothing"] == first["repeated"] == 0
    project = Project.objects.get(slug="real")
    assert project.tasks.values("batch").distinct().count() == known["items"]
    shown = Counter(len(order) for order in orders(project))
    assert shown == {known["shown"]: first["rankings"]["new"]}
    check_tasks(project)
    again = ask("import", "real", str(path))
    for kind in ("prompts", "responses", "annotators", "judged_tasks", "rankings"):
        assert again[kind] == {"new": 0, "already_there": first[kind]["new"]}


def orders(project: Project) -> list[list[int]]:
    assignments = Assignment.objects.filter(task__project=project)
    return [*assignments.values_list("display_order", flat=True)]


def test_the_order_in_which_people_saw_responses_is_kept(db: None) -> None:
    """LAMP records it, and people of one text saw different orders."""
    path = data_file(LAMP)
    ask("import", "lamp", str(path), "--create")
    sources = dict(Response.objects.values_list("pk", "source_name"))
    stored = Counter()
    first_places = Counter()
    for assignment in Assignment.objects.prefetch_related("rankings"):
        assert assignment.client == {"display_order": "recorded"}
        ranks = assignment.rankings.get().ranks
        shown = [(sources[pk], ranks[str(pk)]) for pk in assignment.display_order]
        stored[tuple(shown)] += 1
        first_places[[rank for _, rank in shown].index(1)] += 1
    published = Counter()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            rank = {label: place for place, label in enumerate(line["order"], 1)}
            published[tuple((name, rank[label]) for label, name in line["mapping"].items())] += 1
    assert stored == published
    assert first_places == {0: 178, 1: 196, 2: 229}


def test_the_agreement_page_shows_the_figures_that_are_known(db: None) -> None:
    ask("import", "pandalm", str(data_file(PANDALM)), "--create")
    project = Project.objects.get(slug="pandalm")
    client = Client()
    client.force_login(make.make_member(project, "root", Membership.Role.ADMIN).user)
    client.post(reverse("rewards:agreement_measure", args=["pandalm"]))
    page = client.get(reverse("rewards:agreement", args=["pandalm"])).content.decode()
    for figure in ("0.872", "0.850", "0.894", "92.0", "94.7"):
        assert figure in page


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_reward_model_learns_from_real_judgements() -> None:
    """One epoch on short texts: it is the way that is tested here, not what such a base can do."""
    base = data_file("models/stories260k")
    ask("import", "qa", str(data_file(QA_FEEDBACK)), "--create")
    assert ask("snapshot", "qa")["counts"]["pairs"] == 3000
    config = json.dumps({"epochs": 1, "max_tokens": 64, "learning_rate": 1e-3})
    trained = ask("train_reward_model", "qa", "--base", str(base), "--config", config)
    accuracy = trained["metrics"]["accuracy"]
    held_out = Project.objects.get(slug="qa").prompts.filter(split="test").count()
    assert accuracy["n_prompts"] == held_out > 30
    assert 0.3 < accuracy["low"] < accuracy["value"] < accuracy["high"] < 0.7
    assert trained["metrics"]["chance"] == 0.5
