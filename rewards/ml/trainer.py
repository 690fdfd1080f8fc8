"""The training loop of a reward model: epochs, early stopping, checkpoints.

The loop is our own rather than transformers' Trainer: one element is a prompt with a ragged list of
responses and judgements, so the collator, the loss and the evaluation would all be replaced, and
the Trainer's checkpoints hold pickles and may be resumed half-written. What remains is below.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rewards.ml import checkpoint
from rewards.ml.artefacts import JSON
from rewards.ml.baselines import credit
from rewards.ml.fit_config import FitConfig
from rewards.ml.loss import listwise_loss, pair_tensors, prompt_weights
from rewards.ml.packing import length_batches
from rewards.ml.pairs import RankedPrompt
from rewards.ml.progress import OnProgress, Progress
from rewards.ml.reward_model import RewardModel, packed_length

POOL_BATCHES = 8  # batches are cut from pools of this many, sorted by length
WARMUP_SHARE = 0.1
ADAM_EPS = 1e-5  # Huang et al. 2024, arXiv:2403.17031
MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class CurvePoint:
    """After `step` optimizer steps; losses in nats a pair, None before the first epoch."""

    step: int
    train_loss: float | None
    validation_loss: float
    validation_accuracy: float | None


class JudgedPrompts:
    """The prompts of a split with their tokens."""

    def __init__(self, model: RewardModel, prompts: Sequence[RankedPrompt]) -> None:
        self.prompts = list(prompts)
        self.encoded = [model.encode(p.messages, p.responses) for p in prompts]
        self.lengths = [packed_length(e) for e in self.encoded]


@dataclass
class Training:
    """The course of training: what a checkpoint keeps, and the steps between two of them."""

    model: RewardModel
    train: JudgedPrompts
    validation: JudgedPrompts
    config: FitConfig
    on_progress: OnProgress
    epoch: int = 0
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    curve: list[CurvePoint] = field(default_factory=list)

    def __post_init__(self) -> None:
        trained = self.model.model.named_parameters()
        self.parameters = {name: p for name, p in trained if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), self.config.learning_rate, eps=ADAM_EPS, weight_decay=0.0
        )
        self.epoch_steps = -(-len(self.train.prompts) // self.config.batch_prompts)
        self.total = self.config.epochs * self.epoch_steps + 2  # and calibration, evaluation

    def run(self, workdir: Path, fingerprint: str) -> None:
        """Train until the last epoch or until the validation loss stops falling."""
        if not self._restore(workdir, fingerprint):
            self.curve.append(self._point(None))
        while self.epoch < self.config.epochs and not self._stalled():
            train_loss = self._train_epoch()
            self.epoch += 1
            point = self._point(train_loss)
            trained = [earlier.validation_loss for earlier in self.curve[1:]]
            self.curve.append(point)
            if not trained or point.validation_loss < min(trained):
                self.best_epoch = self.epoch
                self.best = {name: t.detach().clone() for name, t in self.model.weights().items()}
            self._save(workdir, fingerprint)
            self._report(point)

    def _stalled(self) -> bool:
        return self.epoch - self.best_epoch >= self.config.patience

    def _train_epoch(self) -> float:
        """One pass over the training prompts; the mean loss of a pair, before its step."""
        total_loss, step = 0.0, self.epoch * self.epoch_steps
        for batch in _shuffled_batches(self.train.lengths, self.config, self.epoch):
            loss = self._step(batch, step)
            step += 1
            total_loss += loss * len(batch)
            self.on_progress(
                Progress(step, self.total, f"epoch {self.epoch + 1}", {"train_loss": loss})
            )
        return total_loss / sum(prompt_weights(self.train.prompts))

    def _step(self, batch: Sequence[int], step: int) -> float:
        """One optimizer step; returns the mean loss of the batch's prompts."""
        self.optimizer.zero_grad()
        loss = 0.0
        lengths = [self.train.lengths[place] for place in batch]
        for part in length_batches(lengths, len(batch), self.config.microbatch_tokens):
            places = [batch[index] for index in part]
            scores = self.model.raw_scores([self.train.encoded[place] for place in places])
            pairs = pair_tensors([self.train.prompts[place] for place in places], scores.device)
            losses = listwise_loss(scores, pairs)
            part_loss = losses.sum() / len(batch)
            part_loss.backward()  # type: ignore[no-untyped-call]
            loss += part_loss.item()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), MAX_GRADIENT_NORM)
        if not (np.isfinite(loss) and norm.isfinite()):
            raise FloatingPointError(f"loss {loss}, gradient norm {norm} at step {step}")
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self._rate(step)
        self.optimizer.step()
        return loss

    def _rate(self, step: int) -> float:
        """Share of the learning rate: up over the first steps, then linearly to zero."""
        steps = self.config.epochs * self.epoch_steps
        warmup = max(1, round(WARMUP_SHARE * steps))
        return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup), 1.0)

    def _point(self, train_loss: float | None) -> CurvePoint:
        prompts, scores = self.validation.prompts, self.model.score_prompts(self.validation.encoded)
        return CurvePoint(
            step=self.epoch * self.epoch_steps,
            train_loss=train_loss,
            validation_loss=mean_loss(prompts, scores),
            validation_accuracy=mean_accuracy(prompts, scores),
        )

    def _report(self, point: CurvePoint) -> None:
        metrics = {"validation_loss": point.validation_loss}
        if point.validation_accuracy is not None:
            metrics["validation_accuracy"] = point.validation_accuracy
        message = f"epoch {self.epoch} of {self.config.epochs} validated"
        self.on_progress(Progress(point.step, self.total, message, metrics))

    def _save(self, workdir: Path, fingerprint: str) -> None:
        tensors = {
            "weights": self.model.weights(),
            "best": self.best,
            "optimizer": checkpoint.optimizer_tensors(self.optimizer, self.parameters),
        }
        facts: dict[str, JSON] = {
            "fingerprint": fingerprint,
            "best_epoch": self.best_epoch,
            "curve": [asdict(point) for point in self.curve],
        }
        checkpoint.save(workdir, self.epoch, tensors, facts)

    def _restore(self, workdir: Path, fingerprint: str) -> bool:
        found = checkpoint.newest(workdir)
        if found is None:
            return False
        tensors, facts = found
        if facts["fingerprint"] != fingerprint:
            raise ValueError(f"{workdir} holds checkpoints of another run")
        self.model.set_weights(tensors["weights"])
        checkpoint.restore_optimizer(self.optimizer, self.parameters, tensors["optimizer"])
        self.best = tensors["best"]
        self.best_epoch = facts["best_epoch"]
        self.curve = [CurvePoint(**point) for point in facts["curve"]]
        self.epoch = len(self.curve) - 1
        return True


def _shuffled_batches(lengths: Sequence[int], config: FitConfig, epoch: int) -> Iterator[list[int]]:
    """Places of prompts in batches of similar length; the order depends on seed and epoch alone."""
    rng = np.random.default_rng([config.seed, epoch])
    order, size = rng.permutation(len(lengths)), config.batch_prompts
    batches = []
    for start in range(0, len(order), size * POOL_BATCHES):
        pool = sorted(order[start : start + size * POOL_BATCHES], key=lambda place: lengths[place])
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    for index in rng.permutation(len(batches)):
        yield [int(place) for place in batches[index]]


def mean_loss(
    prompts: Sequence[RankedPrompt], scores: Sequence[Tensor], temperature: float = 1.0
) -> float:
    """Mean over prompts of the loss at their scores, one tensor (K,) a prompt, in nats a pair.

    A prompt counts by the mean weight of its pairs.
    """
    pairs = pair_tensors(prompts, scores[0].device)
    losses = listwise_loss(torch.cat([*scores]), pairs, temperature)
    return losses.sum().item() / sum(prompt_weights(prompts))


def mean_accuracy(prompts: Sequence[RankedPrompt], scores: Sequence[Tensor]) -> float | None:
    """Mean over prompts of the share of pairs whose winner scores higher; None if all are ties."""
    credits = [
        credit(prompt, values.cpu().double().numpy())
        for prompt, values in zip(prompts, scores, strict=True)
    ]
    shares = [c.share for c in credits if c is not None]
    return float(np.mean(shares)) if shares else None
