"""Fitting learns what was preferred, repeats exactly, and can be stopped anywhere."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rewards.ml.artefacts import publish, verify
from rewards.ml.evaluate import accuracy_gain
from rewards.ml.fit import FitConfig, FitResult, fit, score_judged
from rewards.ml.pairs import RankedPrompt, judgement_pairs
from rewards.ml.progress import Progress
from rewards.ml.reward_model import RewardModel
from rewards.ml.trainer import mean_loss
from tests.tiny_models import make_base

CONFIG = FitConfig(
    lora_r=4, lora_alpha=8, learning_rate=1e-2, epochs=3, batch_prompts=8, max_tokens=64
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


def ignore(progress: Progress) -> None:
    pass


def ranks_by_letter(responses: Sequence[str], best: bool = True) -> list[int | None]:
    """The more of the letter a, the better, or the worse; equal counts are a tie."""
    return [-r.count("a") if best else r.count("a") for r in responses]


def prompts(split: str, n: int, *, best: bool = True, annotators: int = 1) -> list[RankedPrompt]:
    rng = random.Random(f"{split}{n}")
    made = []
    for number in range(n):
        responses = tuple(
            "".join(rng.choices("abcd", k=rng.randint(4, 10))) for _ in range(rng.randint(2, 4))
        )
        question = "".join(rng.choices("efgh ", k=12))
        ranks = ranks_by_letter(responses, best)
        pairs = tuple(
            pair for who in range(annotators) for pair in judgement_pairs(ranks, f"ann{who}")
        )
        made.append(
            RankedPrompt(
                f"{split}{number}",
                ({"role": "user", "content": question},),
                "letters",
                split,
                responses,
                pairs,
            )
        )
    return made


@pytest.fixture(scope="module")
def examples() -> list[RankedPrompt]:
    return [*prompts("train", 80), *prompts("validation", 20), *prompts("test", 30, annotators=2)]


@pytest.fixture(scope="module")
def fitted(
    examples: list[RankedPrompt], base: str, tmp_path_factory: pytest.TempPathFactory
) -> FitResult:
    return fit(examples, base, CONFIG, workdir=tmp_path_factory.mktemp("work"), on_progress=ignore)


def weights_equal(a: FitResult, b: FitResult) -> bool:
    ours, theirs = a.model.weights(), b.model.weights()
    return ours.keys() == theirs.keys() and all(ours[n].equal(theirs[n]) for n in ours)


def test_held_out_preferences_are_learnt(fitted: FitResult) -> None:
    accuracy = fitted.metrics["accuracy"]
    assert accuracy["low"] > 0.7
    assert accuracy["value"] > fitted.metrics["longest_wins_accuracy"]["value"]
    assert fitted.metrics["accuracy_over_longest"]["low"] > 0
    assert fitted.metrics["human_accuracy"]["value"] == 1.0  # both annotators saw the same
    losses = [point.train_loss for point in fitted.curve[1:]]
    assert losses == sorted(losses, reverse=True)
    question = [{"role": "user", "content": "feg hef"}]
    few, many = fitted.model.score(question, ["bcdbcd", "aaabca"]).tolist()
    assert many > few


def test_metrics_are_json_and_count_what_they_rest_on(
    fitted: FitResult, examples: list[RankedPrompt]
) -> None:
    metrics = json.loads(json.dumps(fitted.metrics, allow_nan=False))
    assert metrics["n_prompts"] == {"train": 80, "validation": 20, "test": 30}
    tested = [p for p in examples if p.split == "test"]
    decided = [pair for p in tested for pair in p.pairs if pair.p != 0.5]
    assert metrics["accuracy"]["n_pairs"] == len(decided)
    assert metrics["accuracy"]["n_prompts"] == sum(any(q.p != 0.5 for q in p.pairs) for p in tested)
    assert metrics["n_pairs"]["test"] == sum(len(p.pairs) for p in tested)
    assert metrics["n_ties"]["test"] == metrics["n_pairs"]["test"] - len(decided)
    assert metrics["length_correlation"]["n_responses"] == sum(len(p.responses) for p in tested)
    assert metrics["chance"] == 0.5


def test_scores_have_mean_0_and_deviation_1_on_training_responses(
    fitted: FitResult, examples: list[RankedPrompt]
) -> None:
    scored = score_judged(fitted.model, [p for p in examples if p.split == "train"])
    scores = torch.cat([torch.from_numpy(p.scores) for p in scored])
    assert scores.mean().item() == pytest.approx(0, abs=1e-5)
    assert scores.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_another_model_is_compared_on_the_same_pairs(
    fitted: FitResult, examples: list[RankedPrompt], base: str, tmp_path: Path
) -> None:
    other = fit(examples, base, replace(CONFIG, epochs=1), workdir=tmp_path, on_progress=ignore)
    tested = [p for p in examples if p.split == "test"]
    new, old = score_judged(fitted.model, tested), score_judged(other.model, tested)
    gain = accuracy_gain(new, [p.scores for p in old], seed=0)
    expected = fitted.metrics["accuracy"]["value"] - other.metrics["accuracy"]["value"]
    assert gain.value == pytest.approx(expected)


def test_the_same_seed_gives_the_same_model_and_another_does_not(
    fitted: FitResult, examples: list[RankedPrompt], base: str, tmp_path: Path
) -> None:
    again = fit(examples, base, CONFIG, workdir=tmp_path / "a", on_progress=ignore)
    assert weights_equal(again, fitted)
    assert (again.metrics, again.curve) == (fitted.metrics, fitted.curve)
    other = fit(examples, base, replace(CONFIG, seed=1), workdir=tmp_path / "b", on_progress=ignore)
    assert not weights_equal(other, fitted)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stop_at", [4, 17, 30, 32])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    fitted: FitResult, examples: list[RankedPrompt], base: str, tmp_path: Path, stop_at: int
) -> None:
    def stop(progress: Progress) -> None:
        if progress.step >= stop_at:
            raise Stopped

    with pytest.raises(Stopped):
        fit(examples, base, CONFIG, workdir=tmp_path, on_progress=stop)
    for folder in tmp_path.iterdir():
        verify(folder)  # nothing half-written
    steps: list[int] = []
    resumed = fit(
        examples, base, CONFIG, workdir=tmp_path, on_progress=lambda p: steps.append(p.step)
    )
    assert weights_equal(resumed, fitted)
    assert (resumed.metrics, resumed.curve) == (fitted.metrics, fitted.curve)
    assert steps[0] > 10 * ((stop_at - 1) // 10)  # epochs that were done are not done again


def test_a_damaged_checkpoint_is_passed_over(
    fitted: FitResult, examples: list[RankedPrompt], base: str, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 25:
            raise Stopped

    with pytest.raises(Stopped):
        fit(examples, base, CONFIG, workdir=tmp_path, on_progress=stop)
    newest = max(tmp_path.iterdir())
    (newest / "best.safetensors").write_bytes(b"")
    resumed = fit(examples, base, CONFIG, workdir=tmp_path, on_progress=ignore)
    assert weights_equal(resumed, fitted)


def test_checkpoints_of_another_run_are_not_taken_up(
    examples: list[RankedPrompt], base: str, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=1)
    fit(examples, base, config, workdir=tmp_path, on_progress=ignore)
    with pytest.raises(ValueError, match="another run"):
        fit(examples[1:], base, config, workdir=tmp_path, on_progress=ignore)


def test_progress_runs_from_the_first_step_to_the_last(
    examples: list[RankedPrompt], base: str, tmp_path: Path
) -> None:
    told: list[Progress] = []
    fit(examples, base, replace(CONFIG, epochs=1), workdir=tmp_path, on_progress=told.append)
    steps = [progress.step for progress in told]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (1, told[-1].total)
    assert all(progress.message for progress in told)
    assert any("validation_loss" in progress.metrics for progress in told)


def test_training_stops_when_validation_worsens_and_keeps_the_best_epoch(
    base: str, tmp_path: Path
) -> None:
    opposed = [*prompts("train", 60), *prompts("validation", 20, best=False)]
    config = replace(CONFIG, epochs=6, patience=2)
    result = fit(opposed, base, config, workdir=tmp_path, on_progress=ignore)
    losses = [point.validation_loss for point in result.curve]
    best = result.metrics["best_epoch"]
    assert losses[best] == min(losses[1:])
    assert result.metrics["n_epochs"] == best + 2 < 6
    scored = score_judged(result.model, opposed[60:])
    scores = [torch.from_numpy(p.scores) for p in scored]
    # undo the normalisation: sigmoid of the difference of raw scores
    loss = mean_loss(opposed[60:], scores, temperature=1 / result.metrics["std"])
    assert loss == pytest.approx(losses[best], abs=1e-5)
    assert result.metrics["validation_loss"]["value"] == losses[best]


def test_the_temperature_is_the_best_on_validation(
    fitted: FitResult, examples: list[RankedPrompt]
) -> None:
    scored = score_judged(fitted.model, [p for p in examples if p.split == "validation"])

    def loss(temperature: float) -> float:
        """The definition once more, pair by pair."""
        total = 0.0
        for p in scored:
            margins = torch.tensor(
                [(p.scores[q.i] - p.scores[q.j]) / temperature for q in p.prompt.pairs]
            )
            wins = torch.tensor([q.p for q in p.prompt.pairs])
            terms = wins * margins.sigmoid().log() + (1 - wins) * (-margins).sigmoid().log()
            total -= terms.mean().item()
        return total / len(scored)

    best = fitted.metrics["temperature"]
    assert loss(best) < min(loss(best * 1.1), loss(best / 1.1))


def test_the_memory_bound_does_not_change_the_result(
    examples: list[RankedPrompt], base: str, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=1)
    whole = fit(examples, base, config, workdir=tmp_path / "a", on_progress=ignore)
    parts = fit(
        examples,
        base,
        replace(config, microbatch_tokens=100),
        workdir=tmp_path / "b",
        on_progress=ignore,
    )
    ours, theirs = whole.model.weights(), parts.model.weights()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)


def test_without_test_prompts_figures_are_missing_with_a_reason(base: str, tmp_path: Path) -> None:
    examples = [*prompts("train", 16), *prompts("validation", 4)]
    result = fit(examples, base, replace(CONFIG, epochs=1), workdir=tmp_path, on_progress=ignore)
    metrics = json.loads(json.dumps(result.metrics, allow_nan=False))
    for name in ("accuracy", "longest_wins_accuracy", "tfidf_accuracy", "human_accuracy"):
        assert metrics[name]["value"] is None and metrics[name]["reason"]
    assert metrics["test_loss"] == {"value": None, "n_prompts": 0}


def test_a_validation_split_of_ties_has_a_loss_and_no_accuracy(base: str, tmp_path: Path) -> None:
    tied = [
        replace(p, pairs=tuple(judgement_pairs([1] * len(p.responses), "ada")))
        for p in prompts("validation", 4)
    ]
    config = replace(CONFIG, epochs=1)
    result = fit([*prompts("train", 16), *tied], base, config, workdir=tmp_path, on_progress=ignore)
    json.dumps(result.metrics, allow_nan=False)
    assert result.metrics["validation_accuracy"] == {"value": None, "n_prompts": 4}
    assert result.metrics["validation_loss"]["value"] > 0.69


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_judged_pairs_is_an_error(
    examples: list[RankedPrompt], base: str, tmp_path: Path, split: str
) -> None:
    unjudged = [replace(p, pairs=()) if p.split == split else p for p in examples]
    with pytest.raises(ValueError, match=split):
        fit(unjudged, base, CONFIG, workdir=tmp_path, on_progress=ignore)
    assert not any(tmp_path.iterdir())


def test_a_fitted_model_is_published_and_scores_the_same(
    fitted: FitResult, base: str, tmp_path: Path
) -> None:
    publish(fitted.model.save, tmp_path / "reward", {"metrics": fitted.metrics})
    question = [{"role": "user", "content": "feg hef"}]
    loaded = RewardModel.load(tmp_path / "reward", base)
    assert loaded.score(question, ["abc", "bcd"]).equal(
        fitted.model.score(question, ["abc", "bcd"])
    )
