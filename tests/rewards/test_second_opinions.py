"""Another person is asked where a confident reward model contradicts the only one who judged."""

from dataclasses import asdict

import numpy as np
import pytest

from annotate.models import Adjudication, Membership, Project, Task
from annotate.services.assignments import claim
from annotate.services.rankings import submit_ranking
from rewards.ml.contradictions import Contradiction, contradictions, judged_once
from rewards.ml.evaluate import ScoredPrompt
from rewards.ml.pairs import Pair, RankedPrompt
from rewards.models import RewardModelVersion
from rewards.second_opinions import ask_where_contradicted
from rewards.services.reward_models import request_reward_model
from rewards.services.snapshots import freeze
from tests import make

TEXTS = ("good", "fair", "bad")


def prompt(name: str, *pairs: Pair) -> RankedPrompt:
    return RankedPrompt(name, ({"role": "user", "content": name},), "", "train", TEXTS, pairs)


def scored(ranked: RankedPrompt, *scores: float) -> ScoredPrompt:
    return ScoredPrompt(ranked, np.array(scores), np.ones(len(scores)))


def test_a_sure_model_contradicts_and_an_unsure_one_does_not() -> None:
    bad_first = Pair(2, 0, 1.0, 1.0, "ada")
    sure = contradictions([scored(prompt("p", bad_first), 3.0, 1.0, 0.0)], temperature=1.0)
    assert [(one.preferred, one.rejected) for one in sure] == [("bad", "good")]
    assert sure[0].p == pytest.approx(0.9525741)  # of a margin of three
    assert contradictions([scored(prompt("p", bad_first), 2.9, 1.0, 0.0)], temperature=1.0) == []
    assert contradictions([scored(prompt("p", bad_first), 3.0, 1.0, 0.0)], temperature=1.1) == []


def test_who_agrees_or_ties_is_not_contradicted() -> None:
    agrees, ties = Pair(0, 2, 1.0, 1.0, "ada"), Pair(0, 2, 0.5, 1.0, "ada")
    assert contradictions([scored(prompt("p", agrees, ties), 1e4, 0.0, -1e4)], 0.01) == []


def test_the_surest_come_first() -> None:
    good_last = Pair(1, 0, 1.0, 1.0, "ada"), Pair(2, 0, 1.0, 1.0, "ada")
    a = scored(prompt("a", *good_last), 4.0, 0.5, 0.0)
    b = scored(prompt("b", *good_last), 9.0, 0.0, 5.0)
    found = contradictions([a, b], temperature=1.0)
    assert [(one.prompt_id, one.preferred) for one in found] == [("b", "fair"), ("a", "bad")]


def test_only_prompts_of_one_person_are_scored() -> None:
    one, other = Pair(0, 1, 1.0, 1.0, "ada"), Pair(0, 1, 1.0, 1.0, "bob")
    by_one = [prompt(str(n), one) for n in range(5)]
    assert judged_once([*by_one, prompt("both", one, other)], 10, seed=0) == by_one
    some = judged_once(by_one, 3, seed=0)
    assert len(some) == 3 and some == judged_once(by_one, 3, seed=0)


@pytest.fixture
def version(ada_member: Membership) -> RewardModelVersion:
    """A reward model of forty tasks that ada alone has judged."""
    for _ in range(40):
        make.make_ranking(ada_member, (1, 2))
    return request_reward_model(freeze(ada_member.project), "org/base")


def against(task: Task) -> dict[str, object]:
    """A contradiction of what ada said of the task."""
    better, worse = task.responses.order_by("pk")
    return asdict(Contradiction(task.prompt.content_hash, better.text, worse.text, 0.99))


def opened(project: Project) -> list[int]:
    return list(project.tasks.filter(state="open").order_by("pk").values_list("pk", flat=True))


def test_at_most_a_twentieth_is_asked_about_and_once(
    version: RewardModelVersion, bob_member: Membership
) -> None:
    tasks = list(version.project.tasks.order_by("pk"))
    contradicted = [against(task) for task in tasks[:10]]
    assert ask_where_contradicted(version, contradicted, n_scored=40) == 2
    assert opened(version.project) == [tasks[0].pk, tasks[1].pk]
    lease = claim(bob_member)
    assert lease is not None and lease.task in tasks[:2]
    submit_ranking(lease, dict(zip(lease.display_order, (1, 2), strict=True)))
    # As after the worker died between asking and reporting.
    assert ask_where_contradicted(version, contradicted, n_scored=40) == 2
    assert len(opened(version.project)) == 1
    assert set(version.project.tasks.values_list("kind", flat=True)) == {"normal"}


def test_only_tasks_that_one_person_judged_and_nobody_decided_are_asked_about(
    version: RewardModelVersion, ada_member: Membership, bob_member: Membership
) -> None:
    project = version.project
    audited, twice, decided, wanted = project.tasks.order_by("pk")[:4]
    project.tasks.filter(pk=audited.pk).update(kind="audit")
    make.make_ranking(bob_member, (1, 2), task=twice)
    Adjudication.objects.create(task=decided, reviewer=bob_member, category="taste")
    contradicted = [against(task) for task in (audited, twice, decided, wanted)]
    assert ask_where_contradicted(version, contradicted, n_scored=400) == 1
    assert opened(project) == [wanted.pk]
