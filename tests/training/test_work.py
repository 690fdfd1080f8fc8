"""The work of runs, on models made on the spot: real sampling, PPO and comparison."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer

from annotate.formats.records import Judgement, Record, ResponseText
from annotate.models import Project, Prompt, Response, Task
from annotate.services.content import add_demonstration
from annotate.services.importing import import_records
from rewards.ml.artefacts import publish, verify
from rewards.ml.reward_model import LoraSettings, RewardModel
from rewards.models import RewardModelVersion, Run
from rewards.runner import execute
from rewards.services.runs import request_run
from rewards.services.selection import LEAST_LEARNED
from tests import make
from tests.training.rows import make_candidate, make_reward_model
from tests.training.tiny_base import make_base
from training.ml.base import load_base
from training.models import PolicyVersion
from training.services.policies import (
    register_base,
    request_evaluation,
    request_fine_tuning,
    request_samples,
    request_update,
)

SAMPLING = {"temperature": 1.0, "max_new_tokens": 12}
SMALL = {
    "iterations": 2,
    "episodes": 4,
    "minibatches": 1,
    "lora_r": 2,
    "eval_every": 1,
    "missing_eos_score": 0.0,
    "learning_rate": 1e-2,
}


@pytest.fixture
def live(project: Project, artefacts: Path) -> PolicyVersion:
    """A tiny untrained model as the live policy, with prompts of every split."""
    make_base(artefacts / "base")
    for number in range(4):
        for split in ("train", "validation", "test"):
            make.make_prompt(project, f"why {split} {number}?", responses=0, split=split)
    return register_base(project, "base", config={"sampling": SAMPLING})


@pytest.fixture
def reward_model(live: PolicyVersion, artefacts: Path) -> RewardModelVersion:
    untrained = RewardModel.build(live.base_source, LoraSettings(rank=2), seed=1)
    manifest = publish(untrained.save, artefacts / "reward", {})
    return make_reward_model(live.project, "base", folder="reward", digest=manifest.digest())


@pytest.fixture
def candidate(live: PolicyVersion, reward_model: RewardModelVersion) -> PolicyVersion:
    """What PPO made of the live policy."""
    policy = request_update(live, reward_model, SMALL)
    run = execute(policy.run)
    assert run.state == Run.State.DONE, run.reason
    policy.refresh_from_db()
    return policy


def test_samples_wait_to_be_ranked(live: PolicyVersion) -> None:
    prompts = Prompt.objects.all()
    run = execute(request_samples(live, prompts, k=3, seed=7))
    assert run.state == Run.State.DONE, run.reason
    assert (run.step, run.total) == (12, 12)
    tasks = Task.objects.filter(batch=run.params["batch"])
    assert tasks.count() == run.result["tasks"] == 12
    for response in Response.objects.all():
        assert (response.source, response.policy_ref) == ("policy", live.pk)
        assert response.sampling == SAMPLING | {"seed": 7, "run": run.pk}
    assert {task.responses.count() for task in tasks} == {3}


def test_part_of_the_samples_is_chosen_by_what_a_reward_model_reads(
    live: PolicyVersion, reward_model: RewardModelVersion
) -> None:
    project = live.project
    Project.objects.filter(pk=project.pk).update(audit_share=0.2)
    records = [
        Record(
            messages=[{"role": "user", "content": f"how {number}?"}],
            responses=[ResponseText(f"ice melts {number}"), ResponseText(f"no idea {number}")],
            judgements=[Judgement("ada", [1, 2])],
            split="train",
        )
        for number in range(LEAST_LEARNED)
    ]
    import_records(project, records, batch="judged")
    prompts = Prompt.objects.filter(messages__0__content__startswith="why")
    prompts.update(split="train")  # held-out ones are never chosen
    run = execute(request_samples(live, prompts, k=3, seed=7, queue=6))
    assert run.state == Run.State.DONE, run.reason
    assert (run.result["tasks"], run.result["in_reserve"]) == (6, 6)
    chosen = project.selections.get()
    assert (chosen.features, chosen.n_learned) == (str(reward_model), LEAST_LEARNED)
    assert (chosen.n_random, chosen.n_active) == (2, 4)


def test_sampling_again_after_a_crash_adds_nothing(live: PolicyVersion) -> None:
    run = request_samples(live, Prompt.objects.all(), k=3, seed=7)

    def crash(progress: object) -> None:
        raise MemoryError

    execute(run, crash)
    assert run.state == Run.State.FAILED
    half = set(Response.objects.values_list("pk", flat=True))
    assert half
    Run.objects.filter(pk=run.pk).update(state=Run.State.QUEUED)
    execute(run)
    assert run.state == Run.State.DONE, run.reason
    assert half < set(Response.objects.values_list("pk", flat=True)) or len(half) == 36
    assert Response.objects.count() == 36
    assert Task.objects.count() == 12


def test_ppo_publishes_a_candidate(live: PolicyVersion, candidate: PolicyVersion) -> None:
    assert candidate.status == PolicyVersion.Status.CANDIDATE
    assert candidate.metrics["status"] == "completed"
    assert verify(candidate.adapter_path).digest() == candidate.digest
    curve = candidate.run.metrics.order_by("step")
    assert [point.step for point in curve] == [1, 2]
    assert {"kl_reference", "reward", "entropy"} <= set(curve[0].values)
    # Run again after a crash, it finds what it published.
    Run.objects.filter(pk=candidate.run_id).update(state=Run.State.QUEUED)
    run = execute(candidate.run)
    assert run.state == Run.State.DONE, run.reason
    assert PolicyVersion.objects.get(pk=candidate.pk).digest == candidate.digest


def test_comparing_policies_opens_blind_tasks(
    live: PolicyVersion, reward_model: RewardModelVersion, artefacts: Path
) -> None:
    candidate = make_candidate(live, {})
    publish(lambda folder: write_adapter(live.base_source, folder), artefacts / "other", {})
    candidate.folder, candidate.reward_model = "other", reward_model
    candidate.save()
    run = execute(request_evaluation(candidate, live, blind_votes=6))
    assert run.state == Run.State.DONE, run.reason
    candidate.refresh_from_db()
    found = candidate.evaluation
    assert found["n_prompts"] == found["win_rate"]["n"] == 4
    assert found["against"] == live.pk
    assert {"value", "low", "high"} <= set(found["length_controlled_win_rate"])
    tasks = Task.objects.filter(batch=candidate.blind_batch)
    assert tasks.count() == 4
    assert sorted(task.need for task in tasks) == [1, 1, 2, 2], "six votes in all"
    by_prompt = {json.dumps(pair["messages"]): pair for pair in found["pairs"]}
    for task in tasks:
        assert (task.kind, task.prompt.split) == ("evaluation", "test")
        new, old = [slot.response for slot in task.slots.order_by("slot")]
        pair = by_prompt[json.dumps(task.prompt.messages)]
        assert (new.text, old.text) == (pair["new"], pair["old"])


def write_adapter(base: str, folder: Path) -> None:
    """A LoRA adapter of random weights, which changes what the base says."""
    model, _ = load_base(base)
    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder, save_embedding_layers=False)


def test_an_altered_artefact_fails_the_run(
    live: PolicyVersion, reward_model: RewardModelVersion, artefacts: Path
) -> None:
    weights = artefacts / "reward" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x01")
    policy = request_update(live, reward_model, SMALL)
    run = execute(policy.run)
    assert run.state == Run.State.FAILED
    assert "adapter_model.safetensors differs from the manifest" in run.reason
    assert not (artefacts / "projects" / "climate" / "policies").exists()


def test_a_base_is_trained_from_a_corpus(project: Project, artefacts: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    row = {"messages": [{"role": "user", "content": "why?"}], "response": "because light scatters"}
    corpus.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    shape = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32, "vocab_size": 300}
    run = execute(
        request_fine_tuning(
            project,
            corpus=corpus,
            config={"embedded": shape, "sft": {"learning_rate": 1e-3, "log_every": 1}},
        )
    )
    assert run.state == Run.State.DONE, run.reason
    policy = register_base(project, run.result["base"], config={"sampling": SAMPLING})
    assert (policy.digest, policy.status) == (run.result["digest"], "live")
    # A second model begins where the first one ended, on what people wrote.
    prompt = make.make_prompt(project, "why?", responses=0, split="train")
    add_demonstration(prompt, "because blue light scatters most")
    second = execute(request_fine_tuning(project, base=policy.base))
    assert second.state == Run.State.DONE, second.reason
    assert second.result["result"]["n_examples"] == 1
    assert second.result["digest"] != policy.digest


def test_a_base_that_another_made_is_not_taken_for_the_runs_own(
    project: Project, artefacts: Path
) -> None:
    """As after a database was put back from a backup, or where a folder was copied by that name."""
    prompt = make.make_prompt(project, "why?", responses=0, split="train")
    add_demonstration(prompt, "because")
    run = request_fine_tuning(project)
    make_base(artefacts / f"projects/climate/bases/run-{run.pk}")
    execute(run)
    assert run.state == Run.State.FAILED
    assert f"is a base that supervised run {run.pk} did not make" in run.reason


def test_a_kind_that_nobody_knows_fails(project: Project) -> None:
    run = execute(request_run(project, "divination", {}))
    assert run.state == Run.State.FAILED and "divination" in run.reason


@pytest.mark.parametrize("pad", [None, "eos"])
def test_a_published_model_without_a_pad_of_its_own_becomes_a_policy(
    project: Project, artefacts: Path, tmp_path: Path, pad: str | None
) -> None:
    source = make_base(tmp_path / "published")
    (source / "manifest.json").unlink()
    tokenizer = AutoTokenizer.from_pretrained(source)
    own = tokenizer.pad_token
    tokenizer.pad_token = tokenizer.eos_token if pad else None
    tokenizer.save_pretrained(source)
    prompt = make.make_prompt(project, "why?", responses=0, split="train")
    add_demonstration(prompt, "because")
    policy = register_base(project, str(source), config={"sampling": SAMPLING})
    run = execute(request_samples(policy, [prompt], k=2, seed=1))
    assert run.state == Run.State.DONE, run.reason

    run = execute(request_fine_tuning(project, base=policy.base))
    assert run.state == Run.State.DONE, run.reason
    saved = AutoTokenizer.from_pretrained(artefacts / run.result["base"])
    assert saved.pad_token == own != saved.eos_token
