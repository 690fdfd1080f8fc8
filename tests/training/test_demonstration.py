"""What `make demo` does around the loop: its project, its volunteers and its last judgement."""

from collections import Counter

import pytest

from annotate.models import Ranking, Task
from annotate.services.content import add_response
from annotate.services.tasks import open_ranking_tasks
from tests.training.rows import make_candidate
from training.climate.domain import facts, prompts
from training.climate.volunteers import volunteers
from training.management import demonstration as demo
from training.services.policies import register_base


@pytest.fixture
def project(db: None) -> demo.Project:
    return demo.make_project()


def test_the_project_is_made_once(project: demo.Project) -> None:
    again = demo.make_project()
    assert again == project
    n_prompts = sum(len(prompts(split)) for split in demo.SPLITS)
    assert project.prompts.count() == n_prompts > 500
    assert {one.pseudonym for one in project.memberships.all()} == {v.name for v in volunteers()}


def test_two_volunteers_rank_each_prompt_through_the_services(project: demo.Project) -> None:
    answered = []
    for prompt in project.prompts.all()[:6]:
        asked = demo.lookup(prompt.messages[-1]["content"])
        fact = facts()[asked.fact_ids[0]]
        texts = (f"{fact.right[0]} {fact.reasons[0]}", fact.right[0], fact.wrong[0])
        added = [add_response(prompt, text, source="policy")[0] for text in texts]
        answered.append((prompt, added))
    open_ranking_tasks(project, answered, batch="first")
    seen: list[int] = []
    assert demo.let_volunteers_rank(project, seen.append) == 12
    assert seen == list(range(1, 13))
    judges = Ranking.objects.values_list("assignment__task__prompt", "assignment__annotator")
    assert set(Counter(prompt for prompt, _ in set(judges)).values()) == {2}


def test_the_hidden_score_counts_wins_ties_and_losses(project: demo.Project) -> None:
    """One prompt is won by a shorter response, one tied, one lost by a longer one."""
    policy = make_candidate(register_base(project, "org/base"))
    held_out = list(project.prompts.filter(split="test").order_by("pk")[:3])
    pairs = []
    for place, prompt in enumerate(held_out):
        fact = facts()[demo.lookup(prompt.messages[-1]["content"]).fact_ids[0]]
        right, also_right = (f"{text} {fact.reasons[0]}" for text in fact.right)
        poor = f"{fact.wrong[0]} {fact.false_reasons[0]} {' '.join(['And so on.'] * 9)}"
        new, old = [(right, poor), (right, also_right), (poor, right)][place]
        pairs.append((prompt, [add_response(prompt, t, source="policy")[0] for t in (new, old)]))
    open_ranking_tasks(project, pairs, batch=policy.blind_batch, kind=Task.Kind.EVALUATION, need=1)
    found = demo.judge(policy)
    n = project.prompts.filter(split="test").count()
    assert (found.wins, found.ties, found.losses, found.n) == (1, n - 2, 1, n)
    assert found.win_rate == 0.5
    assert found.low < 0.5 < found.high
    grew = sum(len(new.text.split()) > len(old.text.split()) for _, (new, old) in pairs)
    assert found.n_no_longer == 3 - grew
    assert found.no_longer == (1.5 / 2 if grew == 1 else 1.0)
