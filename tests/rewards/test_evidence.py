"""What gate B asks of the judgements behind a model is found in them when it is trained."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from annotate.models import Assignment, Membership, Project, Task
from annotate.services.checks import open_gold_task
from annotate.services.projects import exclude
from rewards.evidence import audited_of, evidence, gold_of, gold_prompts, shares, window_start
from rewards.ml.pairs import Pair, RankedPrompt, read_snapshot
from rewards.models import RewardModelVersion, Snapshot
from rewards.services.agreement import audited
from rewards.services.reward_models import request_reward_model
from rewards.services.snapshots import freeze
from tests import make


@pytest.fixture
def people(project: Project) -> list[Membership]:
    return [make.make_member(project, f"person {n}") for n in range(3)]


def audit(
    people: list[Membership], *all_ranks: tuple[int, ...], at: datetime | None = None
) -> Task:
    task = make.make_task(people[0].project, kind="audit", responses=len(all_ranks[0]))
    for person, ranks in zip(people, all_ranks, strict=False):
        make.make_ranking(person, ranks, task=task)
    if at:
        Assignment.objects.filter(task=task).update(submitted_at=at)
    return task


def train(project: Project) -> RewardModelVersion:
    return request_reward_model(freeze(project), "base")


def pairs(annotator: str, n: int, weight: float = 1.0, split: str = "train") -> list[RankedPrompt]:
    pair = Pair(0, 1, 1.0, weight, annotator)
    return [RankedPrompt("", (), "", split, ("a", "b"), (pair,)) for _ in range(n)]


def test_shares_are_of_the_weight_of_training_pairs() -> None:
    examples = [
        *pairs("a", 6),
        *pairs("b", 4, weight=0.5),
        *pairs("c", 2),
        *pairs("d", 90, split="test"),
    ]
    assert shares(examples) == {"n_people": 3, "largest": 0.6, "largest_three": 1.0}
    assert shares(pairs("a", 3, split="test")) is None


def test_the_audited_prompts_of_a_snapshot_are_those_that_agreement_is_measured_on(
    people: list[Membership],
) -> None:
    for ranks in ((1, 2, 3), (2, 1, 3)):
        audit(people, (1, 2, 3), ranks)
    late = audit(people, (1, 2), (1, 2), (2, 1))
    Task.objects.filter(pk=late.pk).update(need=2)
    make.make_ranking(people[0])  # of a task that is no audit
    project = people[0].project
    found = sorted(sorted(one.said) for one in audited_of(freeze(project)))
    assert found == sorted(sorted(said) for _, _, said in audited(project))
    assert people[2].pseudonym not in {name for said in found for name in said}


def test_drift_compares_the_last_weeks_with_what_came_before(people: list[Membership]) -> None:
    now = timezone.now()
    for n in range(25):
        audit(people, (1, 2, 3), (1, 2, 3), at=now - timedelta(days=60))
        audit(people, (1, 2, 3), (3, 2, 1) if n % 2 else (1, 2, 3), at=now)
    version = train(people[0].project)
    found = evidence(version, read_snapshot(version.snapshot.path))
    assert (found["drift"]["n_before"], found["drift"]["n_after"]) == (25, 25)
    assert found["drift"]["before"] == 1.0 and found["drift"]["high"] < -0.3
    assert {one["annotator"] for one in found["left_out"]} == {p.pseudonym for p in people[:2]}


def test_the_last_window_begins_with_the_last_accepted_model_or_four_weeks_ago(
    people: list[Membership],
) -> None:
    project = people[0].project
    audit(people, (1, 2), (1, 2))
    first = train(project)
    frozen = first.snapshot.created_at
    assert window_start(first) == frozen - timedelta(weeks=4)
    RewardModelVersion.objects.update(status="accepted")
    Snapshot.objects.update(created_at=frozen - timedelta(weeks=10))
    audit(people, (1, 2), (1, 2))
    assert window_start(train(project)) == frozen - timedelta(weeks=10)


def give_gold(member: Membership, right: int, wrong: int) -> None:
    project = member.project
    for n in range(right + wrong):
        prompt = make.make_prompt(project, responses=4)
        responses = list(prompt.responses.order_by("pk"))
        key = {response.pk: place for place, response in enumerate(responses, 1)}
        task = open_gold_task(project, prompt, responses, key, by=None)
        make.make_ranking(member, (1, 2, 3, 4) if n < right else (4, 3, 2, 1), task=task)


def test_who_teaches_and_fails_gold_is_counted(people: list[Membership]) -> None:
    for person in people:
        make.make_ranking(person)
    give_gold(people[0], right=5, wrong=0)
    give_gold(people[1], right=1, wrong=4)
    give_gold(people[2], right=0, wrong=1)  # too little to tell
    project = people[0].project
    assert gold_of(freeze(project)) == {"judged": 2, "failing": 1}
    exclude(project, people[1], "hostile", by=None)
    assert gold_of(freeze(project)) == {"judged": 1, "failing": 0}


def test_gold_whose_prompt_trains_is_no_test(people: list[Membership]) -> None:
    project = people[0].project
    give_gold(people[0], right=2, wrong=0)
    first, second = gold_prompts(project, [])
    better = [(first.responses[pair.i], first.responses[pair.j]) for pair in first.pairs]
    assert len(better) == 6 and all(a < b for a, b in better)  # Answer 1. before Answer 2.
    taught = RankedPrompt(first.prompt_id, (), "", "train", ("a", "b"), ())
    assert gold_prompts(project, [taught]) == [second]
