"""Improve a policy by PPO with LoRA: one run, from prompts to a PEFT adapter.

Each iteration samples the policy's responses, scores them, takes off the KL to the reference and
makes a few passes of PPO over them; see `ppo` for the arithmetic, `adapters` for the models,
`rollout` for what is gathered. A run leaves a checkpoint behind every few iterations and goes on
from there when it is called again with the same work folder, to the same result.

Shape letters: B episodes, R response positions.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam
from transformers import PreTrainedModel

from rewards.ml import checkpoint
from rewards.ml.artefacts import JSON, load_tensors
from rewards.ml.progress import OnProgress, Progress
from rewards.ml.reward_model import ADAPTER_FILE, REWARD_FILE, base_digest
from rewards.ml.text import Message, encode_prompt
from training.ml import ppo
from training.ml.adapters import (
    AdapterBank,
    Trained,
    collate,
    lora_config,
    read_lora_config,
)
from training.ml.base import load_base
from training.ml.config import UpdateConfig
from training.ml.invariants import (
    check_has_moved,
    check_reloaded,
    check_starts_equal,
)
from training.ml.monitors import describe, reason_to_stop
from training.ml.rollout import (
    Episodes,
    LanguageModel,
    Rollout,
    Sampling,
    Scorer,
    Tokens,
    collect,
    logprobs_under,
    reward_scorer,
    sample_episodes,
    score_episodes,
)
from training.ml.steps import train_policy, train_value

POLICY_FOLDER = "policy"
CHECKPOINTS_FOLDER = "checkpoints"
PROBE_ROWS = 4
CPU = torch.device("cpu")

__all__ = ["UpdateConfig", "UpdateResult", "run_update"]


@dataclass(frozen=True)
class UpdateResult:
    """What a run gave.

    `adapter_dir` is a plain PEFT folder: the policy with the best held-out score within the KL
    budget, which may be the one it started from. `status` is "completed" or "stopped: <reason>".
    `curve` has one row an iteration; rows of evaluated iterations also hold `heldout_…`.
    """

    adapter_dir: Path
    status: str
    metrics: dict[str, float]
    curve: tuple[dict[str, float], ...]


@dataclass
class State:
    """What changes during a run besides tensors; `iteration` counts those that are done."""

    iteration: int
    kl_coef: float
    status: str = "running"
    curve: list[dict[str, float]] = field(default_factory=list)
    best_iteration: int = 0
    best_score: float = 0.0
    start_score: float = 0.0
    probe: dict[str, Any] = field(default_factory=dict)


def run_update(
    base: str,
    reward_folder: Path | None,
    prompts: Sequence[Sequence[Message]],
    config: UpdateConfig,
    *,
    validation_prompts: Sequence[Sequence[Message]],
    workdir: Path,
    on_progress: OnProgress,
    start_adapter: Path | None = None,
    scorer: Scorer | None = None,
) -> UpdateResult:
    """Train a policy adapter for `base` against a reward model and return the best one.

    `base` is the supervised model: the reference, and the start unless `start_adapter`, last
    week's policy, is given. Rewards come from the adapter in `reward_folder`, or from `scorer`
    where that is given. `workdir` holds checkpoints; a run found there is continued.
    Raises InvariantError when the run cannot be trusted, ValueError when `workdir` holds another
    run, no reward is given, the reward model is for another base, a list of prompts is empty or a
    prompt with its response would be longer than the base allows.
    """
    if reward_folder is None and scorer is None:
        raise ValueError("a reward model or a scorer is needed")
    if not prompts or not validation_prompts:
        raise ValueError("prompts and validation prompts must not be empty")
    model, tokenizer = load_base(base, getattr(torch, config.dtype), config.device)
    if reward_folder:
        check_reward_base(reward_folder, base, model)
    prompt_ids = [encode_prompt(tokenizer, messages) for messages in prompts]
    validation_ids = [encode_prompt(tokenizer, messages) for messages in validation_prompts]
    check_room(model, [*prompt_ids, *validation_ids], config.max_new_tokens)
    bank = build_bank(model, tokenizer.pad_token_id, config, reward_folder, start_adapter)
    update = Update(
        bank=bank,
        config=config,
        prompts=prompt_ids,
        validation_prompts=validation_ids,
        sampling=Sampling(
            eos_token_id=tokenizer.eos_token_id,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            micro_batch=config.micro_batch,
        ),
        scorer=scorer or reward_scorer(bank, config.micro_batch),
        workdir=workdir,
        adapter_files=[
            folder / ADAPTER_FILE for folder in (reward_folder, start_adapter) if folder
        ],
    )
    update.resume_or_start(on_progress)
    while update.state.status == "running":
        update.iterate()
        on_progress(update.progress())
    return update.finish(base)


def check_reward_base(reward_folder: Path, base: str, model: PreTrainedModel) -> None:
    """Raise ValueError when the reward model was trained on another base."""
    facts = json.loads((reward_folder / REWARD_FILE).read_text(encoding="utf-8"))
    if facts["base_digest"] != base_digest(base, model.config):
        raise ValueError(f"{reward_folder.name} was trained on another base than {base}")


def check_room(model: PreTrainedModel, prompts: Sequence[Tokens], max_new_tokens: int) -> None:
    """Raise ValueError when a response to the longest prompt may exceed the model's positions."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    needed = max(map(len, prompts)) + max_new_tokens
    if limit is not None and needed > limit:
        raise ValueError(
            f"the longest prompt and {max_new_tokens} new tokens are {needed} tokens; "
            f"the base takes {limit}"
        )


def build_bank(
    model: PreTrainedModel,
    pad_token_id: int,
    config: UpdateConfig,
    reward_folder: Path | None,
    start_adapter: Path | None,
) -> AdapterBank:
    """The base with every adapter that a run needs; a policy with a parent keeps its rank."""
    lora = lora_config(config.lora_r, config.lora_alpha)
    policy = read_lora_config(start_adapter) if start_adapter else lora
    bank = AdapterBank(model, policy, pad_token_id=pad_token_id, seed=config.seed)
    if start_adapter:
        bank.load("policy", start_adapter)
        bank.load("parent", start_adapter)
    if reward_folder:
        bank.load_reward(reward_folder)
    # settings of its own, since PEFT writes into those of an adapter
    bank.add_value(lora_config(config.lora_r, config.lora_alpha), seed=config.seed + 1)
    return bank


def generator_for(seed: int, purpose: str, number: int, device: torch.device) -> torch.Generator:
    """A generator of random numbers for one purpose of one iteration or pass over the prompts."""
    name = hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()
    generator = torch.Generator(device)
    generator.manual_seed(int.from_bytes(name[:7]))
    return generator


class Update:
    """One run: models, optimizers and state; `iterate` is the loop of PPO."""

    def __init__(
        self,
        *,
        bank: AdapterBank,
        config: UpdateConfig,
        prompts: Sequence[Tokens],
        validation_prompts: Sequence[Tokens],
        sampling: Sampling,
        scorer: Scorer,
        workdir: Path,
        adapter_files: Sequence[Path],
    ) -> None:
        self.bank, self.config, self.sampling, self.scorer = bank, config, sampling, scorer
        self.prompts, self.validation_prompts = prompts, validation_prompts
        self.workdir = workdir
        self.fingerprint = self._fingerprint(adapter_files)
        self.rates: dict[Trained, float] = {
            "policy": config.learning_rate,
            "value": config.value_learning_rate,
        }
        self.optimizers = {
            name: Adam(bank.parameters(name).values(), lr=rate, eps=config.adam_eps)
            for name, rate in self.rates.items()
        }
        self.state = State(iteration=0, kl_coef=config.kl_coef)
        self.best: dict[str, Tensor] = {}

    # -- the loop ------------------------------------------------------------------------------

    def iterate(self) -> None:
        """One iteration: sample, score, take off the KL, estimate advantages, train both."""
        began = time.monotonic()
        config, state = self.config, self.state
        rollout = collect(
            self.bank, self._next_prompts(), self.sampling, self._generator("rollout"), self.scorer
        )
        self._check_start(rollout)
        mask = rollout.episodes.mask
        kl = ppo.kl_k1(rollout.logprobs, rollout.ref_logprobs)
        scores = self._final_scores(rollout.episodes, rollout.scores)
        rewards = ppo.shaped_rewards(scores, kl, mask, state.kl_coef)
        advantages, returns = ppo.gae(
            rewards, rollout.values, mask, config.gamma, config.gae_lambda
        )
        row = {"iteration": state.iteration + 1.0, "kl_coef": state.kl_coef}
        row |= {"learning_rate": self._set_learning_rates()}
        row |= describe(rollout, rewards, scores, returns)
        row |= train_policy(
            self.bank,
            self.optimizers["policy"],
            rollout,
            ppo.whiten(advantages, mask),
            config,
            self._generator("order of policy", CPU),
        )
        row |= train_value(
            self.bank,
            self.optimizers["value"],
            rollout,
            returns,
            config,
            self._generator("order of value", CPU),
        )
        if config.kl_target is not None:
            state.kl_coef = ppo.adapt_kl_coef(
                state.kl_coef,
                row["kl_reference"],
                config.kl_target,
                len(rollout.episodes),
                config.kl_horizon,
            )
        state.iteration += 1
        state.curve.append(row)
        reason = reason_to_stop(state.curve, config)
        is_last = state.iteration == config.iterations or reason is not None
        if is_last or state.iteration % config.eval_every == 0:
            row |= self.evaluate()
        if is_last:
            state.status = f"stopped: {reason}" if reason else "completed"
        row["seconds"] = time.monotonic() - began
        if is_last or state.iteration % config.checkpoint_every == 0:
            self._save_checkpoint()

    def _set_learning_rates(self) -> float:
        """Lower both learning rates in proportion to the iterations left; returns the policy's."""
        left = 1 - self.state.iteration / self.config.iterations
        for name, optimizer in self.optimizers.items():
            optimizer.param_groups[0]["lr"] = self.rates[name] * left
        return self.rates["policy"] * left

    def _next_prompts(self) -> list[Tokens]:
        """The prompts of this iteration: pass after pass over all, each in an order of its own."""
        first = self.state.iteration * self.config.episodes
        chosen: list[Tokens] = []
        for place in range(first, first + self.config.episodes):
            epoch, index = divmod(place, len(self.prompts))
            if index == 0 or not chosen:
                generator = generator_for(self.config.seed, "prompts", epoch, CPU)
                order = torch.randperm(len(self.prompts), generator=generator).tolist()
            chosen.append(self.prompts[order[index]])
        return chosen

    def _generator(self, purpose: str, device: torch.device | None = None) -> torch.Generator:
        return generator_for(
            self.config.seed, purpose, self.state.iteration, device or self.bank.causal.device
        )

    # -- what is measured ----------------------------------------------------------------------

    def _check_start(self, rollout: Rollout) -> None:
        """KL to what the run started from is 0 before the first update and not 0 after it."""
        name, start = "reference", rollout.ref_logprobs
        if rollout.parent_logprobs is not None:
            name, start = "parent", rollout.parent_logprobs
        if self.state.iteration == 0:
            check_starts_equal(name, rollout.logprobs, start, rollout.episodes.mask)
        elif self.state.iteration == 1 and self.state.curve[0]["policy_steps"] > 0:
            check_has_moved(name, rollout.logprobs, start, rollout.episodes.mask)

    def _final_scores(self, episodes: Episodes, scores: Tensor) -> Tensor:
        return ppo.replace_incomplete(scores, episodes.complete, self.config.missing_eos_score)

    def evaluate(self) -> dict[str, float]:
        """Score the policy on the held-out prompts and keep it when it is the best so far.

        The same random numbers are used each time, so that policies differ and luck does not.
        """
        config, state = self.config, self.state
        episodes = sample_episodes(
            self.bank,
            "policy",
            self.validation_prompts,
            self.sampling,
            generator_for(config.seed, "heldout", 0, self.bank.causal.device),
        )
        scores = self._final_scores(episodes, score_episodes(self.scorer, episodes))
        row = {
            "heldout_score": float(scores.mean()),
            "heldout_length": float(episodes.lengths.float().mean()),
        }
        logprobs, _ = logprobs_under(self.bank, "policy", episodes, self.sampling)
        budgets: dict[LanguageModel, float] = {"reference": config.kl_budget}
        if "parent" in self.bank.adapters:
            budgets["parent"] = config.parent_kl_budget
        for role in budgets:
            other_logprobs, _ = logprobs_under(self.bank, role, episodes, self.sampling)
            row[f"heldout_kl_{role}"] = float(ppo.kl_k1(logprobs, other_logprobs).sum(-1).mean())
        if state.iteration == 0:
            state.start_score = row["heldout_score"]
            state.probe = self._probe(episodes)
        within = all(row[f"heldout_kl_{role}"] <= budget for role, budget in budgets.items())
        if state.iteration == 0 or (within and row["heldout_score"] > state.best_score):
            state.best_iteration, state.best_score = state.iteration, row["heldout_score"]
            self.best = {k: v.clone() for k, v in self.bank.tensors("policy").items()}
        return row

    def _probe(self, episodes: Episodes) -> dict[str, Any]:
        """A few episodes with their scores, to recognise the models by after reloading."""
        prompts = [list(prompt) for prompt in episodes.prompts[:PROBE_ROWS]]
        responses = [list(response) for response in episodes.responses[:PROBE_ROWS]]
        scores = self.scorer(prompts, responses).tolist()
        return {"prompts": prompts, "responses": responses, "scores": scores}

    def progress(self) -> Progress:
        """Where the run stands, for whoever watches."""
        row = self.state.curve[-1]
        message = f"score {row['score']:.2f}, KL {row['kl_reference']:.2f}"
        return Progress(self.state.iteration, self.config.iterations, message, row)

    # -- beginning, going on and ending --------------------------------------------------------

    def resume_or_start(self, on_progress: OnProgress) -> None:
        """Go on from the newest whole checkpoint, or evaluate the policy that the run starts from.

        Raises ValueError when the checkpoint is of a run with other settings or data.
        """
        found = checkpoint.newest(self.workdir / CHECKPOINTS_FOLDER)
        if found is None:
            self.evaluate()
            message = f"held-out score {self.state.start_score:.2f} before training"
            on_progress(Progress(0, self.config.iterations, message))
            return
        tensors, facts = found
        if facts["fingerprint"] != self.fingerprint:
            raise ValueError(f"{self.workdir.name} holds a run with other settings or data")
        self.state = State(**facts["state"])
        self.bank.set_tensors("policy", tensors["policy"])
        self.bank.set_tensors("value", tensors["value"])
        self.bank.value_head.load_state_dict(tensors["value_head"])
        self.best = tensors["best"]
        for name, optimizer in self.optimizers.items():
            checkpoint.restore_optimizer(
                optimizer, self.bank.parameters(name), tensors[f"{name}_optimizer"]
            )
        probe = self.state.probe
        scores = self.scorer(probe["prompts"], probe["responses"])
        check_reloaded("the reward", torch.tensor(probe["scores"]), scores.cpu())

    def _save_checkpoint(self) -> None:
        tensors: dict[str, Mapping[str, Tensor]] = {
            "policy": self.bank.tensors("policy"),
            "value": self.bank.tensors("value"),
            "value_head": self.bank.value_head.state_dict(),
            "best": self.best,
        }
        for name, optimizer in self.optimizers.items():
            tensors[f"{name}_optimizer"] = checkpoint.optimizer_tensors(
                optimizer, self.bank.parameters(name)
            )
        facts: dict[str, JSON] = {"fingerprint": self.fingerprint, "state": asdict(self.state)}
        folder = self.workdir / CHECKPOINTS_FOLDER
        checkpoint.save(folder, self.state.iteration, tensors, facts)

    def _fingerprint(self, adapter_files: Sequence[Path]) -> str:
        """Hash of all that the result depends on, the base apart, whose place may change."""
        settings = asdict(self.config)
        for name in ("micro_batch", "checkpoint_every", "device"):
            del settings[name]
        content = json.dumps(
            {
                "config": settings,
                "prompts": self.prompts,
                "validation_prompts": self.validation_prompts,
                "adapters": [hashlib.sha256(p.read_bytes()).hexdigest() for p in adapter_files],
            },
            sort_keys=True,
        )
        return hashlib.sha256(content.encode()).hexdigest()

    def finish(self, base: str) -> UpdateResult:
        """Write the best policy as a PEFT folder, having checked that it reads back the same."""
        folder = self.workdir / POLICY_FOLDER
        self.bank.set_tensors("policy", self.best)
        self.bank.save("policy", folder, base)
        self._check_saved(folder)
        state, last = self.state, self.state.curve[-1]
        metrics = {
            "iterations": float(state.iteration),
            "best_iteration": float(state.best_iteration),
            "start_heldout_score": state.start_score,
            "heldout_score": state.best_score,
            "n_validation_prompts": float(len(self.validation_prompts)),
            "n_prompts": float(len(self.prompts)),
            "n_episodes": float(state.iteration * self.config.episodes),
            "seconds": sum(row["seconds"] for row in state.curve),
            **{f"last_{name}": last[name] for name in ("score", "kl_reference", "length")},
        }
        return UpdateResult(folder, state.status, metrics, tuple(state.curve))

    @torch.no_grad()
    def _check_saved(self, folder: Path) -> None:
        """The saved adapter gives the log probabilities of the one in memory."""
        probe = self.state.probe
        batch = collate(
            probe["prompts"], probe["responses"], self.bank.pad_token_id, self.bank.causal.device
        )

        def logprobs() -> Tensor:
            with self.bank.using("policy"):
                distribution = self.bank.distribution(batch, self.config.temperature)
            return ppo.gather_logprobs(distribution, batch.response_ids, batch.response_mask)

        before = logprobs()
        self.bank.set_tensors("policy", load_tensors(folder / ADAPTER_FILE))
        check_reloaded("the policy", before, logprobs())
