"""Whole PPO runs on a tiny random base; the scorer likes vowels unless a test says otherwise."""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from rewards.ml.artefacts import read_manifest
from rewards.ml.progress import Progress
from rewards.ml.reward_model import LoraSettings, RewardModel
from tests.training import tiny
from training.ml.config import UpdateConfig
from training.ml.invariants import InvariantError
from training.ml.monitors import correlation, distinct_n, reason_to_stop
from training.ml.rollout import Episodes
from training.ml.update import UpdateResult, run_update

QUICK = UpdateConfig(
    iterations=4,
    episodes=8,
    minibatches=1,
    micro_batch=8,
    max_new_tokens=6,
    lora_r=2,
    lora_alpha=4,
    learning_rate=1e-2,
    value_learning_rate=1e-2,
    eval_every=2,
    checkpoint_every=1,
)
LEARNING = replace(
    QUICK,
    iterations=25,
    episodes=32,
    micro_batch=32,
    max_new_tokens=10,
    lora_r=4,
    lora_alpha=8,
    eval_every=5,
    checkpoint_every=100,
    min_distinct_share=0.1,
)


def vowels(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Tensor:
    """-1 for no vowel, up to 3 for nothing else."""
    shares = [sum(token in tiny.VOWELS for token in r) / len(r) for r in responses]
    return 4 * torch.tensor(shares) - 1


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.save_base(tmp_path_factory.mktemp("base"))


def ignore(progress: Progress) -> None:
    pass


def run(base: str, workdir: Path, config: UpdateConfig = QUICK, **changes: Any) -> UpdateResult:
    arguments: dict[str, Any] = {
        "reward_folder": None,
        "prompts": tiny.prompts(20),
        "validation_prompts": tiny.prompts(32, seed=1),
        "on_progress": ignore,
        "scorer": vowels,
    }
    return run_update(base, config=config, workdir=workdir, **arguments | changes)


def mean(result: UpdateResult, name: str, rows: slice = slice(-5, None)) -> float:
    values = [row[name] for row in result.curve[rows]]
    return sum(values) / len(values)


@pytest.fixture(scope="module")
def loose(base: str, tmp_path_factory: pytest.TempPathFactory) -> UpdateResult:
    return run(base, tmp_path_factory.mktemp("loose"), replace(LEARNING, kl_coef=0.05))


@pytest.fixture(scope="module")
def tight(base: str, tmp_path_factory: pytest.TempPathFactory) -> UpdateResult:
    return run(base, tmp_path_factory.mktemp("tight"), replace(LEARNING, kl_coef=0.3))


def test_the_reward_rises_and_kl_follows_its_coefficient(
    loose: UpdateResult, tight: UpdateResult
) -> None:
    """The shape of training.md 2.4: more reward and more KL the smaller kl_coef is."""
    for result in (loose, tight):
        assert result.status == "completed"
        assert result.curve[0]["kl_reference"] == 0
        assert result.metrics["heldout_score"] > result.metrics["start_heldout_score"] + 0.4
        assert mean(result, "eos_rate") > result.curve[0]["eos_rate"] + 0.3
        assert mean(result, "explained_variance", slice(-10, None)) > 0
    assert mean(loose, "score") > mean(tight, "score") + 0.3
    assert mean(loose, "kl_reference") > 1.5 * mean(tight, "kl_reference")
    assert mean(tight, "entropy") > mean(loose, "entropy")


def test_the_curve_tells_what_there_is_to_tell(loose: UpdateResult) -> None:
    expected = {
        "iteration", "reward", "score", "kl_reference", "kl_reference_k3", "kl_coef", "length",
        "eos_rate", "entropy", "distinct_2", "length_score_correlation", "explained_variance",
        "clip_fraction", "approx_kl", "policy_steps", "policy_grad_norm", "value_loss",
        "value_grad_norm", "learning_rate", "seconds",
    }  # fmt: skip
    for number, row in enumerate(loose.curve, 1):
        assert expected <= row.keys()
        assert row["iteration"] == number
        assert all(math.isfinite(value) for value in row.values())
        assert ("heldout_score" in row) == (number % 5 == 0)
        assert row["reward"] == pytest.approx(row["score"] - 0.05 * row["kl_reference"], abs=1e-4)
    rates = [row["learning_rate"] for row in loose.curve]
    assert rates == pytest.approx([0.01 * (1 - i / 25) for i in range(25)])


def test_the_best_policy_by_held_out_score_is_kept(loose: UpdateResult) -> None:
    evaluated = {int(r["iteration"]): r for r in loose.curve if "heldout_score" in r}
    best = evaluated[int(loose.metrics["best_iteration"])]
    assert best["heldout_score"] == max(row["heldout_score"] for row in evaluated.values())
    assert loose.metrics["heldout_score"] == best["heldout_score"]


def test_held_out_scores_differ_by_policy_and_not_by_luck(base: str, tmp_path: Path) -> None:
    """A step too small to change any sample leaves the score exactly where it was."""
    result = run(base, tmp_path, replace(QUICK, iterations=1, learning_rate=1e-12))
    assert result.curve[0]["heldout_score"] == result.metrics["start_heldout_score"]


def test_the_result_is_a_plain_peft_adapter(base: str, loose: UpdateResult) -> None:
    """Plain transformers and PEFT sample responses from it that the scorer likes."""
    tokenizer = tiny.tokenizer()
    model = AutoModelForCausalLM.from_pretrained(base)
    inputs = tokenizer(
        [prompt[0]["content"] for prompt in tiny.prompts(64, seed=1)],
        return_tensors="pt",
        padding=True,
        padding_side="left",
    )

    def score(model: Any) -> float:
        torch.manual_seed(0)
        output = model.generate(**inputs, do_sample=True, max_new_tokens=10)
        responses = output[:, inputs["input_ids"].shape[1] :].tolist()
        return vowels([], [[t for t in r if t != tiny.PAD] for r in responses]).mean().item()

    before = score(model)
    assert score(PeftModel.from_pretrained(model, str(loose.adapter_dir))) > before + 1


class Stop(Exception):
    """Raised by whoever watches a run, to cancel it."""


def stop_at(step: int) -> Any:
    def on_progress(progress: Progress) -> None:
        if progress.step == step:
            raise Stop

    return on_progress


def without_seconds(result: UpdateResult) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in result.curve]


@pytest.fixture(scope="module")
def uninterrupted(base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[UpdateResult, Path]:
    workdir = tmp_path_factory.mktemp("uninterrupted")
    return run(base, workdir, RESUMABLE), workdir


RESUMABLE = replace(QUICK, iterations=7, checkpoint_every=2, kl_target=1.0, minibatches=2)


def assert_same_run(found: tuple[UpdateResult, Path], expected: tuple[UpdateResult, Path]) -> None:
    """The same curve, adapters, heads, optimizers and best policy, bit for bit."""
    assert without_seconds(found[0]) == without_seconds(expected[0])
    digests = [
        read_manifest(workdir / "checkpoints" / "000007").digest()
        for _, workdir in (found, expected)
    ]
    assert digests[0] == digests[1]
    files = [result.adapter_dir / "adapter_model.safetensors" for result, _ in (found, expected)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("step", [0, 1, 4, 5, 7])
def test_an_interrupted_run_goes_on_to_the_same_result(
    base: str, tmp_path: Path, uninterrupted: tuple[UpdateResult, Path], step: int
) -> None:
    with pytest.raises(Stop):
        run(base, tmp_path, RESUMABLE, on_progress=stop_at(step))
    torch.manual_seed(step)  # whatever else the new process drew
    seen: list[int] = []
    result = run(base, tmp_path, RESUMABLE, on_progress=lambda p: seen.append(p.step))
    first = {0: 0, 1: 0, 4: 5, 5: 5, 7: 8}[step]  # after the last multiple of checkpoint_every
    assert seen == list(range(first, 8))
    assert_same_run((result, tmp_path), uninterrupted)


def test_a_damaged_checkpoint_is_passed_over(
    base: str, tmp_path: Path, uninterrupted: tuple[UpdateResult, Path]
) -> None:
    with pytest.raises(Stop):
        run(base, tmp_path, RESUMABLE, on_progress=stop_at(4))
    file = tmp_path / "checkpoints" / "000004" / "value_optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    seen: list[int] = []
    result = run(base, tmp_path, RESUMABLE, on_progress=lambda p: seen.append(p.step))
    assert seen == [3, 4, 5, 6, 7]
    assert_same_run((result, tmp_path), uninterrupted)


def test_a_finished_run_is_not_run_again(base: str, tmp_path: Path) -> None:
    first = run(base, tmp_path)
    seen: list[int] = []
    again = run(base, tmp_path, on_progress=lambda p: seen.append(p.step))
    assert seen == []
    assert (again.status, again.curve, again.metrics) == (first.status, first.curve, first.metrics)


def test_the_work_folder_of_another_run_is_refused(base: str, tmp_path: Path) -> None:
    run(base, tmp_path)
    with pytest.raises(ValueError, match="other settings or data"):
        run(base, tmp_path, replace(QUICK, kl_coef=0.1))
    with pytest.raises(ValueError, match="other settings or data"):
        run(base, tmp_path, prompts=tiny.prompts(21))
    run(base, tmp_path, replace(QUICK, checkpoint_every=3))  # does not change the result


def test_a_reward_that_changed_while_the_run_lay_still_is_noticed(
    base: str, tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        run(base, tmp_path, on_progress=stop_at(2))
    with pytest.raises(InvariantError, match="the reward differs after reloading"):
        run(base, tmp_path, scorer=lambda prompts, responses: vowels(prompts, responses) + 0.1)


def test_next_week_starts_from_this_weeks_policy_and_keeps_the_reference(
    base: str, tmp_path: Path, loose: UpdateResult
) -> None:
    result = run(base, tmp_path, start_adapter=loose.adapter_dir)
    first = result.curve[0]
    assert first["kl_parent"] == 0
    assert first["kl_reference"] > 2
    assert result.curve[-1]["kl_parent"] != 0
    assert first["score"] > loose.curve[0]["score"] + 1


def test_a_run_that_makes_nothing_better_returns_what_it_started_from(
    base: str, tmp_path: Path, loose: UpdateResult
) -> None:
    config = replace(QUICK, missing_eos_score=0.0)
    result = run(
        base,
        tmp_path,
        config,
        start_adapter=loose.adapter_dir,
        scorer=lambda prompts, responses: torch.zeros(len(responses)),
    )
    assert result.metrics["best_iteration"] == 0
    name = "adapter_model.safetensors"
    assert (result.adapter_dir / name).read_bytes() == (loose.adapter_dir / name).read_bytes()


def test_kl_beyond_the_budget_stops_the_run_and_is_never_published(
    base: str, tmp_path: Path
) -> None:
    result = run(base, tmp_path, replace(LEARNING, kl_budget=1.5, eval_every=1))
    assert "kl_reference" in result.status
    assert "exceeds its budget of 1.5" in result.status
    assert result.status.startswith("stopped: ")
    assert len(result.curve) < 25
    best = result.curve[int(result.metrics["best_iteration"]) - 1]
    assert best["heldout_kl_reference"] <= 1.5
    assert (
        run(base, tmp_path, replace(LEARNING, kl_budget=1.5, eval_every=1)).status == result.status
    )


def test_the_budget_to_the_parent_counts_too(
    base: str, tmp_path: Path, tight: UpdateResult
) -> None:
    config = replace(LEARNING, kl_coef=0.0, parent_kl_budget=0.3)
    result = run(base, tmp_path, config, start_adapter=tight.adapter_dir)
    assert "kl_parent" in result.status


def row(**changes: float) -> dict[str, float]:
    healthy = {
        "kl_reference": 1.0,
        "kl_parent": 1.0,
        "entropy": 1.0,
        "distinct_2": 0.8,
        "eos_rate": 0.9,
        "length": 20.0,
        "length_score_correlation": 0.1,
    }
    return healthy | changes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kl_reference": 21.0}, "kl_reference 21.00 nats a response exceeds its budget of 20"),
        ({"kl_parent": 21.0}, "kl_parent 21.00"),
        ({"entropy": 0.05}, "entropy fell from 1 to 0.05"),
        ({"distinct_2": 0.3}, "distinct_2 fell from 0.8 to 0.3"),
        ({"eos_rate": 0.5}, "eos_rate fell from 0.90 to 0.50"),
        ({"length": 40.0, "length_score_correlation": 0.8}, "2.00 times as long .* correlate 0.80"),
    ],
)
def test_each_monitor_gives_its_reason(changes: dict[str, float], reason: str) -> None:
    curve = [row()] + 3 * [row(**changes)]
    found = reason_to_stop(curve, UpdateConfig())
    assert found is not None
    assert re.search(reason, found)


@pytest.mark.parametrize(
    "curve",
    [
        [row()] * 5,
        [row(), row(), row(), row(kl_reference=25.0)],  # one bad batch is not a trend
        [row()] + 3 * [row(length=40.0)],  # longer, but not because it pays
        [row()] + 3 * [row(length_score_correlation=0.9)],  # it would pay, but nothing grew
        [row(kl_reference=25.0)] * 2,  # too early to tell
    ],
)
def test_monitors_let_a_healthy_run_go_on(curve: list[dict[str, float]]) -> None:
    assert reason_to_stop(curve, UpdateConfig()) is None


def test_distinct_n_and_correlation_by_hand() -> None:
    assert distinct_n([[1, 2, 3, 1, 2], [1, 2]], 2) == pytest.approx(3 / 5)
    assert distinct_n([[1]], 2) == 1
    x = torch.tensor([1.0, 2.0, 3.0])
    assert correlation(x, 2 * x + 1) == pytest.approx(1)
    assert correlation(x, torch.tensor([3.0, 1.0, 2.0])) == pytest.approx(-0.5)
    assert correlation(x, torch.ones(3)) == 0


def test_every_prompt_comes_once_in_each_pass(base: str, tmp_path: Path) -> None:
    """3 iterations of 8 over 6 prompts are 4 passes."""
    seen: Counter[tuple[int, ...]] = Counter()
    training = {tuple(tiny.tokenizer()(p[0]["content"])["input_ids"]) for p in tiny.prompts(6)}

    def scorer(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Tensor:
        seen.update(tuple(p) for p in prompts if tuple(p) in training)
        return vowels(prompts, responses)

    config = replace(QUICK, iterations=3)
    run(base, tmp_path, config, prompts=tiny.prompts(6), scorer=scorer)
    assert len(training) == 6
    assert set(seen.values()) == {4}


def test_a_response_without_eos_or_without_anything_else_counts_the_constant(
    base: str, tmp_path: Path
) -> None:
    empty = []

    def fives(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Tensor:
        empty.append(sum(len(response) == 1 for response in responses) / len(responses))
        return torch.full((len(responses),), 5.0)

    result = run(base, tmp_path, scorer=fives)
    evaluated = (0, 1, 4, 7)  # calls for the held-out prompts and the probe of the start
    sampled = [share for call, share in enumerate(empty) if call not in evaluated]
    assert any(sampled)
    for row, share in zip(result.curve, sampled, strict=True):
        complete = row["eos_rate"] - share
        assert 0 <= complete < 1
        assert row["score"] == pytest.approx(5 * complete - (1 - complete))


def test_only_what_ends_and_says_something_is_complete() -> None:
    end = 1
    lengths, ended = torch.tensor([3, 1, 4, 1]), torch.tensor([True, True, False, False])
    episodes = Episodes(
        prompts=((7,),) * 4,
        responses=((5, 6, end), (end,), (5, 6, 5, 6), (5,)),
        ended=ended,
        mask=torch.arange(4) < lengths.unsqueeze(-1),
        sampled_logprobs=torch.zeros(4, 4),
    )
    assert episodes.complete.tolist() == [True, False, False, False]


def test_a_batch_where_all_did_equally_well_teaches_nothing(base: str, tmp_path: Path) -> None:
    """The values start at 0 and KL is 0, so nothing tells the first episodes apart."""
    config = replace(QUICK, missing_eos_score=1.0, gae_lambda=1.0)
    result = run(base, tmp_path, config, scorer=lambda p, r: torch.ones(len(r)))
    assert result.status == "completed"
    assert result.curve[0]["policy_steps"] == 0
    assert result.curve[1]["kl_reference_k3"] == 0


def test_the_adaptive_coefficient_falls_while_kl_is_below_its_target(
    base: str, tmp_path: Path
) -> None:
    config = replace(QUICK, kl_coef=0.1, kl_target=50.0, kl_horizon=80)
    result = run(base, tmp_path, config)
    coefficients = [row["kl_coef"] for row in result.curve]
    assert coefficients == pytest.approx([0.1 * 0.98**i for i in range(4)])  # 0.2 x 8 / 80
    for row in result.curve:
        paid = row["kl_coef"] * row["kl_reference"]
        assert row["reward"] == pytest.approx(row["score"] - paid, abs=1e-4)


def test_passes_end_early_when_the_policy_moved_too_far(base: str, tmp_path: Path) -> None:
    config = replace(QUICK, epochs=6, learning_rate=0.1, target_kl=0.001)
    result = run(base, tmp_path, config)
    assert min(row["policy_steps"] for row in result.curve) < 6
    assert all(row["policy_steps"] >= 1 for row in result.curve)


@pytest.mark.parametrize(
    ("architecture", "dtype"), [("gpt2", "float32"), ("qwen2", "float32"), ("llama", "bfloat16")]
)
def test_other_bases_and_precisions(tmp_path: Path, architecture: str, dtype: Any) -> None:
    base = tiny.save_base(tmp_path / "base", architecture)
    result = run(base, tmp_path / "work", replace(QUICK, dtype=dtype))
    assert result.status == "completed"
    assert result.curve[0]["kl_reference"] == 0
    assert result.curve[-1]["kl_reference_k3"] > 0


@pytest.fixture
def reward_folder(base: str, tmp_path: Path) -> Path:
    folder = tmp_path / "reward"
    folder.mkdir()
    RewardModel.build(base, LoraSettings(rank=2, alpha=4), seed=3).save(folder)
    return folder


def test_a_reward_model_scores_and_starts_the_values(
    base: str, tmp_path: Path, reward_folder: Path
) -> None:
    """Held-out scores of the run are the reward model's own."""
    result = run(base, tmp_path / "work", scorer=None, reward_folder=reward_folder)
    state = read_manifest(tmp_path / "work" / "checkpoints" / "000004").facts["state"]
    probe = json.loads(json.dumps(state))["probe"]
    reward = RewardModel.load(reward_folder, base)
    expected = [
        reward.score_ids(prompt, [response]).item()
        for prompt, response in zip(probe["prompts"], probe["responses"], strict=True)
    ]
    assert probe["scores"] == pytest.approx(expected, abs=1e-5)
    assert result.status == "completed"


def test_a_reward_model_of_another_base_is_refused(tmp_path: Path, reward_folder: Path) -> None:
    other = tiny.save_base(tmp_path / "other", "qwen2")
    with pytest.raises(ValueError, match="another base"):
        run(other, tmp_path / "work", scorer=None, reward_folder=reward_folder)


def test_impossible_runs_are_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a reward model or a scorer"):
        run(base, tmp_path, scorer=None)
    with pytest.raises(ValueError, match="must not be empty"):
        run(base, tmp_path, prompts=[])
    with pytest.raises(ValueError, match="must not be empty"):
        run(base, tmp_path, validation_prompts=[])
    with pytest.raises(ValueError, match="the base takes 64"):
        run(base, tmp_path, replace(QUICK, max_new_tokens=60))
    with pytest.raises(ValueError, match="scorer gave"):
        run(base, tmp_path, scorer=lambda prompts, responses: torch.zeros(1))
    with pytest.raises(ValueError, match="temperature must be above 0"):
        replace(QUICK, temperature=0.0)
    with pytest.raises(ValueError, match="minibatches"):
        replace(QUICK, minibatches=9)
    assert not any(tmp_path.iterdir())
