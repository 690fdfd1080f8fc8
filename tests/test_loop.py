"""One whole turn of the loop, in small, with nothing simulated but the people.

A tiny model learns to be kind, plain or rude; people like it kind; at the end the policy is kind
more often, is live, and its new responses wait to be ranked.
"""

import json
import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from annotate.models import Project, Response, Task
from annotate.services.assignments import claim
from annotate.services.content import add_prompt
from annotate.services.rankings import submit_ranking
from annotate.services.tasks import task_progress
from rewards.ml.artefacts import verify
from tests import make

LIKED = {"what a lovely": 1, "there is a": 0, "go away with": -1}
THINGS = ("sun", "bird", "tree", "lake", "mud", "rust", "fog", "weed")
SHARES = {"train": 48, "validation": 12, "test": 80}
CONFIG = {
    "reward_model": {"epochs": 20, "learning_rate": 3e-3, "batch_prompts": 4},
    "update": {
        "iterations": 24,
        "episodes": 64,
        "kl_coef": 0.1,
        "learning_rate": 1e-3,
        "value_learning_rate": 3e-3,
        "lora_r": 8,
    },
    "blind_votes": 80,
    "sample_prompts": 10,
}


def liking(text: str) -> int:
    """How much everybody likes a response: for its manners, whatever it is about."""
    return sum(value for manner, value in LIKED.items() if manner in text)


def question(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"say {number}"}]


@pytest.fixture
def small_world(db: None) -> Project:
    """A project with prompts and six volunteers; every prompt is judged by two."""
    project = make.make_project("loop", audit_first=1000)
    splits = [split for split, n in SHARES.items() for _ in range(n)]
    for number, split in enumerate(splits):
        add_prompt(project, question(number), split=split)
    for number in range(6):
        make.make_member(project, f"volunteer {number}")
    return project


def write_corpus(path: Path) -> Path:
    """Every manner is as frequent as any other, about every thing."""
    rng = random.Random(0)
    answers = [f"{manner} {thing}" for manner, thing in product(LIKED, THINGS)]
    rows = [
        {"messages": question(rng.randrange(sum(SHARES.values()))), "response": answer}
        for answer in answers * 40
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def let_people_rank(project: Project) -> int:
    """Everybody takes tasks and ranks by liking, now and then by chance, until none is left."""
    rng = random.Random(1)
    members = list(project.memberships.all())
    given = 0
    while any(assignments := [claim(member) for member in members]):
        for assignment in filter(None, assignments):
            shown = Response.objects.in_bulk(assignment.display_order)
            noise = 0.1
            values = {
                pk: rng.randint(-1, 1) if rng.random() < noise else liking(response.text)
                for pk, response in shown.items()
            }
            order = sorted(set(values.values()), reverse=True)
            submit_ranking(assignment, {pk: order.index(v) + 1 for pk, v in values.items()})
            given += 1
    return given


def ask(capsys: Any, *arguments: Any) -> Any:
    """The one JSON object that a command prints."""
    capsys.readouterr()
    call_command(*arguments, "--json")
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_loop_closes(small_world: Project, capsys: Any, tmp_path: Path) -> None:
    project = small_world
    base = supervised(project, write_corpus(tmp_path / "corpus.jsonl"))
    ask(capsys, "register_policy", "loop", base, "--max-new-tokens", "12")
    sampled = ask(capsys, "sample", "loop", "--prompts", "140")
    assert sampled["tasks"] >= 135
    assert let_people_rank(project) == 2 * sampled["tasks"]

    config = json.dumps(CONFIG)
    waiting = ask(capsys, "cycle", "loop", "--config", config)
    assert waiting["waits_for"] == "0 of 80 blind comparisons by the volunteers", waiting["reason"]
    assert let_people_rank(project) == 80
    cycle = ask(capsys, "cycle", "loop")
    assert cycle["state"] == "done", cycle["reason"]

    live = project.policies.live().get()
    assert live.number == 2
    assert verify(live.adapter_path).digest() == live.digest
    # Judged by what people like, which neither the reward model nor PPO was told.
    pairs = [
        (liking(new.response.text), liking(old.response.text))
        for task in Task.objects.filter(batch=live.blind_batch)
        for new, old in [task.slots.order_by("slot")]
    ]
    assert sum(new > old for new, old in pairs) > 2 * sum(new < old for new, old in pairs)
    # From the live policy back to every ranking that shaped it.
    assert live.reward_model.snapshot.rankings.count() == 2 * sampled["tasks"]
    # The new responses wait to be ranked, and nobody can tell whose they are.
    progress = task_progress(project)
    assert progress.waiting == 2 * Task.objects.filter(state="open").count() > 0
    assert Response.objects.filter(policy_ref=live.pk).exists()
    assert claim(project.memberships.first()) is not None


def supervised(project: Project, corpus: Path) -> str:
    from rewards.management.foreground import carry_out
    from training.services.policies import request_fine_tuning

    shape = {
        "vocab_size": 320,
        "hidden_size": 48,
        "layers": 2,
        "heads": 2,
        "intermediate_size": 96,
        "max_tokens": 64,
    }
    sft = {"epochs": 4, "learning_rate": 5e-3, "batch_size": 32, "max_tokens": 64}
    run = carry_out(
        request_fine_tuning(project, corpus=corpus, config={"embedded": shape, "sft": sft})
    )
    assert run.result is not None
    return str(run.result["base"])
