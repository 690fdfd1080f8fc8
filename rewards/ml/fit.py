"""Fit a reward model to ranked prompts and say how good it is.

`FitResult.metrics` is JSON. Estimates are objects with value, low, high (95 %), n_prompts, n_pairs
and reason (see evaluate.py); all of them but the losses are of the prompts of the split "test":

    accuracy, chance (the number 0.5), longest_wins_accuracy, accuracy_over_longest,
    tfidf_accuracy, human_accuracy, accuracy_where_shorter_won, length_correlation,
    accuracy_unseen_annotators               of the judgements of people who are not in "train"
    train_loss, validation_loss, test_loss   {"value", "n_prompts"}, nats a pair; at the best epoch,
                                             on "test" with the calibrated temperature
    validation_accuracy                      {"value", "n_prompts"} at the best epoch
    mean, std, temperature                   numbers, see reward_model.py
    best_epoch, n_epochs                     counted from 1
    n_prompts, n_pairs, n_ties               {"train", "validation", "test"}
    n_shortened                              prompts cut to max_tokens, of all splits
    shares_prompt                            whether a prompt can be encoded once for all responses
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from rewards.ml import evaluate
from rewards.ml.artefacts import JSON
from rewards.ml.baselines import tfidf_values
from rewards.ml.evaluate import Correlation, Estimate, ScoredPrompt
from rewards.ml.fit_config import FitConfig
from rewards.ml.pairs import SPLITS, RankedPrompt
from rewards.ml.progress import OnProgress, Progress
from rewards.ml.reward_model import LoraSettings, Normalisation, RewardModel
from rewards.ml.trainer import CurvePoint, JudgedPrompts, Training, mean_loss

__all__ = ["CurvePoint", "FitConfig", "FitResult", "fit", "score_judged"]

NORMALISATION_PROMPTS = 256  # enough for a mean; Ziegler et al. 2019 take 256 responses
LOG_TEMPERATURES = (-4.0, 4.0)  # natural logarithms, of scores of standard deviation 1


@dataclass(frozen=True)
class FitResult:
    """The fitted model, its metrics (see the top of this module) and its course, by epoch."""

    model: RewardModel
    metrics: dict[str, JSON]
    curve: list[CurvePoint]


def fit(
    examples: Sequence[RankedPrompt],
    base: str,
    config: FitConfig,
    *,
    workdir: Path,
    on_progress: OnProgress,
) -> FitResult:
    """Fit a reward model on `base`, the folder or hub id of a causal language model.

    Trains on the split "train", stops and calibrates by "validation", reports on "test", which may
    be empty. The responses of the training prompts stand for the reference policy in the
    normalisation. Every epoch ends with a checkpoint in `workdir`, from which the same call goes on
    and comes to the same result; on a CPU the same arguments give the same model.
    Raises ValueError when a split that is needed has no judged pair, or `workdir` belongs to
    another run; FloatingPointError when the loss is not finite.
    """
    splits = {split: _judged(examples, split) for split in SPLITS}
    for split in ("train", "validation"):
        if not splits[split]:
            raise ValueError(f'no prompt of the split "{split}" has a judged pair')
    model = RewardModel.build(
        base,
        LoraSettings(config.lora_r, config.lora_alpha),
        config.seed,
        max_tokens=config.max_tokens,
        device=config.device,
        dtype=getattr(torch, config.dtype),
    )
    data = {split: JudgedPrompts(model, prompts) for split, prompts in splits.items()}
    training = Training(model, data["train"], data["validation"], config, on_progress)
    training.run(workdir, _fingerprint(examples, model.base_digest, config))
    model.set_weights(training.best)
    model.normalisation = _normalisation(model, data["train"], data["validation"])
    on_progress(Progress(training.total - 1, training.total, "scores normalised and calibrated"))
    metrics = _metrics(model, data, training.curve, config.seed)
    on_progress(Progress(training.total, training.total, "reward model evaluated"))
    return FitResult(model, metrics, training.curve)


def score_judged(model: RewardModel, prompts: Sequence[RankedPrompt]) -> list[ScoredPrompt]:
    """Judged prompts with a model's scores, ready for the measures of evaluate.py.

    With these of two models, `accuracy_gain(new, [p.scores for p in old], seed)` compares them.
    """
    return _scored(model, JudgedPrompts(model, prompts))


def _scored(model: RewardModel, judged: JudgedPrompts) -> list[ScoredPrompt]:
    scores = model.score_prompts(judged.encoded)
    return [
        ScoredPrompt(
            prompt,
            values.cpu().double().numpy(),
            np.array([len(ids) for ids in encoded.responses_ids], dtype=float),
        )
        for prompt, encoded, values in zip(judged.prompts, judged.encoded, scores, strict=True)
    ]


def _judged(examples: Sequence[RankedPrompt], split: str) -> list[RankedPrompt]:
    return [p for p in examples if p.split == split and any(pair.weight > 0 for pair in p.pairs)]


def _normalisation(
    model: RewardModel, train: JudgedPrompts, validation: JudgedPrompts
) -> Normalisation:
    """Mean and standard deviation on training responses, temperature on validation pairs.

    Raises ValueError when the model gives all responses the same score.
    """
    responses = torch.cat(model.score_prompts(train.encoded[:NORMALISATION_PROMPTS])).double()
    mean, std = responses.mean().item(), responses.std(correction=0).item()
    if std < 1e-6:
        raise ValueError(f"the reward model gives every response the score {mean}")
    scores = [raw / std for raw in model.score_prompts(validation.encoded)]

    def loss(log_temperature: float) -> float:
        return mean_loss(validation.prompts, scores, float(np.exp(log_temperature)))

    found = minimize_scalar(loss, bounds=LOG_TEMPERATURES, method="bounded")
    return Normalisation(mean, std, float(np.exp(found.x)))


def _metrics(
    model: RewardModel, data: Mapping[str, JudgedPrompts], curve: Sequence[CurvePoint], seed: int
) -> dict[str, JSON]:
    """What the top of this module describes."""
    test = data["test"]
    scored = _scored(model, test)
    test_scores = [torch.from_numpy(p.scores) for p in scored]
    temperature = model.normalisation.temperature
    test_loss = mean_loss(test.prompts, test_scores, temperature) if test.prompts else None
    tfidf = tfidf_values(data["train"].prompts, test.prompts) if test.prompts else []
    estimates: dict[str, Estimate | Correlation] = {
        "accuracy": evaluate.accuracy(scored, seed),
        "longest_wins_accuracy": evaluate.longest_wins_accuracy(scored, seed),
        "accuracy_over_longest": evaluate.accuracy_gain(scored, [p.lengths for p in scored], seed),
        "tfidf_accuracy": evaluate.values_accuracy(scored, tfidf, seed),
        "human_accuracy": evaluate.human_accuracy(scored, seed),
        "accuracy_where_shorter_won": evaluate.accuracy_where_shorter_won(scored, seed),
        "accuracy_unseen_annotators": evaluate.accuracy_on_others(
            scored, _annotators(data["train"].prompts), seed
        ),
        "length_correlation": evaluate.length_correlation(scored, seed),
    }
    return {
        **{name: asdict(estimate) for name, estimate in estimates.items()},
        "chance": 0.5,
        **_course(data, curve),
        "test_loss": {"value": test_loss, "n_prompts": len(test.prompts)},
        **asdict(model.normalisation),
        **_counts(data),
        "shares_prompt": model.shares_prompt,
    }


def _annotators(prompts: Sequence[RankedPrompt]) -> set[str]:
    return {pair.annotator for prompt in prompts for pair in prompt.pairs}


def _course(data: Mapping[str, JudgedPrompts], curve: Sequence[CurvePoint]) -> dict[str, JSON]:
    """Losses at the best epoch, and which it was."""
    best = min(range(1, len(curve)), key=lambda epoch: curve[epoch].validation_loss)
    point = curve[best]
    n_validation = len(data["validation"].prompts)
    return {
        "train_loss": {"value": point.train_loss, "n_prompts": len(data["train"].prompts)},
        "validation_loss": {"value": point.validation_loss, "n_prompts": n_validation},
        "validation_accuracy": {"value": point.validation_accuracy, "n_prompts": n_validation},
        "best_epoch": best,
        "n_epochs": len(curve) - 1,
    }


def _counts(data: Mapping[str, JudgedPrompts]) -> dict[str, JSON]:
    pairs = {split: [q for p in judged.prompts for q in p.pairs] for split, judged in data.items()}
    return {
        "n_prompts": {split: len(judged.prompts) for split, judged in data.items()},
        "n_pairs": {split: len(found) for split, found in pairs.items()},
        "n_ties": {split: sum(pair.p == 0.5 for pair in found) for split, found in pairs.items()},
        "n_shortened": sum(e.shortened for judged in data.values() for e in judged.encoded),
    }


def _fingerprint(examples: Sequence[RankedPrompt], base_digest: str, config: FitConfig) -> str:
    """Hash of all that decides the course of a run."""
    content = [base_digest, asdict(config), [asdict(example) for example in examples]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
