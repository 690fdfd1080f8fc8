"""Each invariant catches the fault that it is for."""

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from training.ml import invariants
from training.ml.adapters import AdapterBank, lora_config
from training.ml.config import UpdateConfig
from training.ml.invariants import InvariantError
from training.ml.ppo import whiten
from training.ml.rollout import Rollout, Sampling, collect, sample_episodes
from training.ml.steps import train_policy, train_value
from training.ml.update import run_update

SAMPLING = Sampling(eos_token_id=tiny.EOS, max_new_tokens=8, temperature=1.0, micro_batch=4)
CONFIG = UpdateConfig(episodes=6, minibatches=1, max_new_tokens=8, micro_batch=4)


def zeros(prompts: object, responses: list[list[int]]) -> torch.Tensor:
    return torch.zeros(len(responses))


@pytest.fixture
def bank() -> AdapterBank:
    bank = AdapterBank(tiny.model(), lora_config(4, 8), pad_token_id=tiny.PAD, seed=1)
    bank.add_value(lora_config(4, 8), seed=2)
    return bank


def train_a_little(bank: AdapterBank) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = bank.tensors("policy")
    bank.set_tensors(
        "policy",
        {k: t + 0.01 * torch.randn(t.shape, generator=generator) for k, t in tensors.items()},
    )


def roll(bank: AdapterBank) -> Rollout:
    return collect(bank, tiny.ids(6, 3), SAMPLING, torch.Generator().manual_seed(0), zeros)


def step(bank: AdapterBank, rollout: Rollout) -> None:
    mask = rollout.episodes.mask
    generator = torch.Generator().manual_seed(0)
    advantages = whiten(torch.randn(mask.shape, generator=generator), mask)
    optimizer = torch.optim.SGD(bank.parameters("policy").values(), lr=0.1)
    train_policy(bank, optimizer, rollout, advantages, CONFIG, generator)


def test_a_rollout_that_does_not_use_the_trained_adapter(
    bank: AdapterBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_a_little(bank)
    roll(bank)
    monkeypatch.setattr(bank, "sampling", lambda role: bank.using("reference"))
    with pytest.raises(InvariantError, match="sampling and policy: log prob.*largest difference"):
        roll(bank)


def test_a_rollout_at_another_temperature_than_it_is_trained_with(bank: AdapterBank) -> None:
    rollout = roll(bank)
    hot = UpdateConfig(episodes=6, minibatches=1, max_new_tokens=8, temperature=1.1)
    mask = rollout.episodes.mask
    optimizer = torch.optim.SGD(bank.parameters("policy").values(), lr=0.1)
    with pytest.raises(InvariantError, match="ratio before the first step is not 1"):
        train_policy(bank, optimizer, rollout, mask.float(), hot, torch.Generator())


def test_a_rollout_of_an_older_policy(bank: AdapterBank) -> None:
    rollout = roll(bank)
    step(bank, rollout)
    with pytest.raises(InvariantError, match="ratio before the first step is not 1"):
        step(bank, rollout)


def test_the_wrong_adapter_during_an_update(bank: AdapterBank) -> None:
    train_a_little(bank)
    rollout = roll(bank)
    training = bank.training
    bank.training = lambda name: training("value")  # type: ignore[method-assign]
    with pytest.raises(InvariantError, match="ratio before the first step is not 1"):
        step(bank, rollout)


def test_an_adapter_switched_behind_the_banks_back(bank: AdapterBank) -> None:
    """PEFT's own switch also freezes the adapter that was active before."""
    with (
        pytest.raises(InvariantError, match="adapter policy was active where value"),
        bank.using("value"),
    ):
        bank._peft.set_adapter("policy")
    with (
        pytest.raises(InvariantError, match="adapter policy was active where value"),
        bank.training("value"),
    ):
        bank._peft.set_adapter("policy")


def test_one_layer_left_on_another_adapter(bank: AdapterBank) -> None:
    with (
        pytest.raises(InvariantError, match="a mixture of"),
        bank.using("policy"),
    ):
        bank._layers[-1].set_adapter("value")


def test_values_and_scores_under_another_adapter(bank: AdapterBank) -> None:
    rollout = roll(bank)
    batch = rollout.episodes.batch([0, 1], bank)
    for call in (bank.values, bank.scores):
        with pytest.raises(InvariantError, match="policy was active"), bank.using("policy"):
            call(batch)


def test_a_frozen_value(bank: AdapterBank) -> None:
    batch = roll(bank).episodes.batch([0, 1], bank)
    name = next(iter(bank.parameters("value")))
    with (
        pytest.raises(InvariantError, match="1 parameters of value got no gradient"),
        bank.training("value"),
    ):
        bank.parameters("value")[name].requires_grad_(False)
        bank.values(batch).sum().backward()


def test_a_loss_that_depends_on_nothing(bank: AdapterBank, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = roll(bank)
    distribution = bank.distribution
    monkeypatch.setattr(
        bank, "distribution", lambda *arguments: _constant(distribution(*arguments))
    )
    with pytest.raises(InvariantError, match="all gradients of policy are zero"):
        step(bank, rollout)


def _constant(x: torch.Tensor) -> torch.Tensor:
    """The same tensor, with a gradient of zero; its infinities stay out of the product."""
    return x.detach() + 0.0 * x.clamp(min=-1e9)


def learn_values(bank: AdapterBank, rollout: Rollout, returns: torch.Tensor) -> dict[str, float]:
    optimizer = torch.optim.SGD(bank.parameters("value").values(), lr=0.1)
    return train_value(bank, optimizer, rollout, returns, CONFIG, torch.Generator())


def test_values_that_depend_on_nothing(bank: AdapterBank, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = roll(bank)
    values = bank.values
    monkeypatch.setattr(bank, "values", lambda batch: _constant(values(batch)))
    with pytest.raises(InvariantError, match="all gradients of value are zero"):
        learn_values(bank, rollout, torch.ones_like(rollout.values))


def test_values_that_have_moved_as_far_as_they_may(bank: AdapterBank) -> None:
    """Then no gradient is left, and nothing is wrong."""
    rollout = roll(bank)
    far = dataclasses.replace(rollout, values=rollout.values - 2 * CONFIG.value_clip_range)
    found = learn_values(bank, far, rollout.values + 1.0)
    assert found["value_grad_norm"] == 0 and found["value_loss"] > 0


def test_a_gradient_that_is_not_finite(bank: AdapterBank) -> None:
    batch = roll(bank).episodes.batch([0, 1], bank)
    with (
        pytest.raises(InvariantError, match="gradient of .* not finite"),
        bank.training("policy"),
    ):
        (torch.inf * bank.distribution(batch, 1.0)[:, :, 2]).sum().backward()


def test_a_gradient_that_reaches_another_adapter(bank: AdapterBank) -> None:
    with pytest.raises(InvariantError, match="training value gave a gradient to 1 others"):
        invariants.check_gradients(
            "value", {"value": torch.ones(2)}, {"policy": torch.zeros(2), "base": None}
        )


def test_padding_that_was_sampled(bank: AdapterBank) -> None:
    """With another token for PAD, the sampler draws what training calls padding."""
    generator = torch.Generator().manual_seed(0)
    episodes = sample_episodes(bank, "policy", tiny.ids(6, 3), SAMPLING, generator)
    sampled = {token for response in episodes.responses for token in response}
    batch = episodes.batch(range(6), bank)
    invariants.check_no_pad(batch.response_ids, batch.response_mask, tiny.PAD)
    with pytest.raises(InvariantError, match=r"PAD \(token \d+\) was sampled"):
        invariants.check_no_pad(batch.response_ids, batch.response_mask, max(sampled))


def test_a_scorer_that_gives_nan(bank: AdapterBank) -> None:
    def nan(prompts: object, responses: list[list[int]]) -> torch.Tensor:
        return torch.tensor([torch.nan, *[0.0] * (len(responses) - 1)])

    with pytest.raises(InvariantError, match="scores has 1 of 6 values that are not finite"):
        collect(bank, tiny.ids(6, 3), SAMPLING, torch.Generator().manual_seed(0), nan)


def test_a_start_that_is_not_the_reference() -> None:
    mask = torch.tensor([[True, True, False]])
    same, other = torch.zeros(1, 3), torch.tensor([[0.0, 0.01, 5.0]])
    invariants.check_starts_equal("reference", same, same, mask)
    with pytest.raises(InvariantError, match="KL to the reference is not 0.*0.01"):
        invariants.check_starts_equal("reference", same, other, mask)


def test_an_update_that_changes_nothing(tmp_path: Path) -> None:
    """A learning rate of 0 stands for any reason why steps do not reach the policy."""
    base = tiny.save_base(tmp_path / "base")
    config = UpdateConfig(iterations=3, episodes=4, max_new_tokens=4, learning_rate=0.0, lora_r=2)
    with pytest.raises(InvariantError, match="KL to the reference is still 0 after an update"):
        run_update(
            base,
            None,
            tiny.prompts(4),
            config,
            validation_prompts=tiny.prompts(2, seed=1),
            workdir=tmp_path / "work",
            on_progress=lambda progress: None,
            scorer=lambda prompts, responses: torch.tensor([float(len(r)) for r in responses]),
        )


def test_something_that_reads_back_differently() -> None:
    before = torch.tensor([1.0, 2.0])
    invariants.check_reloaded("the reward", before, before + 1e-6)
    with pytest.raises(InvariantError, match="the reward differs after reloading, by up to 0.5"):
        invariants.check_reloaded("the reward", before, torch.tensor([1.0, 2.5]))
    with pytest.raises(InvariantError):
        invariants.check_reloaded("the reward", before, torch.tensor([1.0, torch.nan]))


def test_low_precision_is_held_by_its_mean() -> None:
    mask = torch.ones(1, 100, dtype=torch.bool)
    expected, actual = torch.zeros(1, 100), torch.zeros(1, 100)
    actual[0, 0] = 0.5  # one token off, as rounding may do
    invariants.check_same_logprobs("x", expected, actual, mask, torch.bfloat16)
    with pytest.raises(InvariantError, match="mean difference 0.1"):
        invariants.check_same_logprobs("x", expected, expected + 0.1, mask, torch.bfloat16)
    with pytest.raises(InvariantError, match="largest difference 0.5"):
        invariants.check_same_logprobs("x", expected, actual, mask, torch.float32)
