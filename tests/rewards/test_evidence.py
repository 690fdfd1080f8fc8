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


def give_gold(
    member: Membership, right: int, wrong: int, mistake: tuple[int, ...] = (4, 3, 2, 1)
) -> list[Task]:
    project = member.project
    tasks = []
    for n in range(right + wrong):
        prompt = make.make_prompt(project, responses=4)
        responses = list(prompt.responses.order_by("pk"))
        key = {response.pk: place for place, response in enumerate(responses, 1)}
        task = open_gold_task(project, prompt, responses, key, by=None)
        make.make_ranking(member, (1, 2, 3, 4) if n < right else mistake, task=task)
        tasks.append(task)
    return tasks


def turn_keys(tasks: list[Task]) -> None:
    for task in Task.objects.filter(pk__in=[task.pk for task in tasks]):
        task.gold_ranks = {response: 5 - rank for response, rank in task.gold_ranks.items()}
        task.save()


def test_who_weighs_something_and_fails_gold_is_counted(people: list[Membership]) -> None:
    for person in people:
        make.make_ranking(person)
    tasks = give_gold(people[0], right=5, wrong=0)
    give_gold(people[1], right=5, wrong=0)
    give_gold(people[2], right=0, wrong=1)  # too little to tell
    project = people[0].project
    snapshot = freeze(project)
    assert gold_of(snapshot) == {"judged": 2, "failing": 0}
    turn_keys(tasks)  # what was right is called wrong when the snapshot is there already
    assert gold_of(snapshot) == {"judged": 2, "failing": 1}
    exclude(project, people[0], "hostile", by=None)
    assert gold_of(snapshot) == {"judged": 1, "failing": 0}


def test_who_weighs_nothing_taught_nothing_and_fails_no_model(people: list[Membership]) -> None:
    for person in people[:2]:
        make.make_ranking(person)
    give_gold(people[0], right=5, wrong=0)
    give_gold(people[1], right=0, wrong=5)
    assert gold_of(freeze(people[0].project)) == {"judged": 1, "failing": 0}


def test_a_tie_on_gold_is_half_right_for_weights_and_models_alike(
    people: list[Membership],
) -> None:
    make.make_ranking(people[0])
    give_gold(people[0], right=0, wrong=5, mistake=(1, 1, 1, 2))
    assert gold_of(freeze(people[0].project)) == {"judged": 1, "failing": 0}


def test_an_excluded_gold_task_examines_nobody_and_no_model(people: list[Membership]) -> None:
    project = people[0].project
    make.make_ranking(people[0])
    tasks = give_gold(people[0], right=5, wrong=0)
    snapshot = freeze(project)
    turn_keys(tasks)
    assert gold_of(snapshot) == {"judged": 1, "failing": 1}
    for task in tasks[1:]:
        exclude(project, task, "wrong key", by=None)
    assert gold_of(snapshot) == {"judged": 0, "failing": 0}
    assert [one.prompt_id for one in gold_prompts(project, [])] == [tasks[0].prompt.content_hash]


def test_what_was_said_of_gold_after_the_snapshot_does_not_count(
    people: list[Membership],
) -> None:
    make.make_ranking(people[0])
    give_gold(people[0], right=1, wrong=0)
    snapshot = freeze(people[0].project)
    give_gold(people[0], right=0, wrong=5)
    assert gold_of(snapshot) == {"judged": 0, "failing": 0}


def test_gold_whose_prompt_trains_is_no_test(people: list[Membership]) -> None:
    project = people[0].project
    give_gold(people[0], right=2, wrong=0)
    first, second = gold_prompts(project, [])
    better = [(first.responses[pair.i], first.responses[pair.j]) for pair in first.pairs]
    assert len(better) == 6 and all(a < b for a, b in better)  # Answer 1. before Answer 2.
    taught = RankedPrompt(first.prompt_id, (), "", "train", ("a", "b"), ())
    assert gold_prompts(project, [taught]) == [second]
