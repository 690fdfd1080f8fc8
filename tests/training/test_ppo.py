"""The arithmetic of PPO against definitions, torch.distributions, autograd and values by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from training.ml import ppo

LENGTHS = (5, 1, 3)


@pytest.fixture
def mask() -> Tensor:
    return torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(-1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_masked_mean_ignores_padding(mask: Tensor) -> None:
    x = random(3, 5)
    expected = torch.cat([row[:length] for row, length in zip(x, LENGTHS, strict=True)]).mean()
    assert ppo.masked_mean(x.masked_fill(~mask, 1e6), mask).item() == pytest.approx(expected.item())


def test_logprobs_and_entropy_are_those_of_a_categorical_distribution(mask: Tensor) -> None:
    logits = random(3, 5, 7)
    tokens = torch.randint(7, (3, 5), generator=torch.Generator().manual_seed(1))
    distribution = Categorical(logits=logits)
    log_distribution = logits.log_softmax(-1)
    found = ppo.gather_logprobs(log_distribution, tokens, mask)
    assert torch.allclose(found[mask], distribution.log_prob(tokens)[mask])
    assert found[~mask].eq(0).all()
    assert torch.allclose(ppo.entropy(log_distribution), distribution.entropy())


def test_a_forbidden_token_in_the_padding_spoils_no_gradient(mask: Tensor) -> None:
    logits = random(3, 5, 7).requires_grad_()
    forbidden = torch.arange(7) == 0
    tokens = torch.full((3, 5), 3).masked_fill(~mask, 0)  # padding holds the forbidden token
    log_distribution = logits.masked_fill(forbidden, -torch.inf).log_softmax(-1)
    ppo.gather_logprobs(log_distribution, tokens, mask).exp().sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert ppo.entropy(log_distribution).isfinite().all()


def test_both_kl_estimators_are_unbiased() -> None:
    policy, reference = Categorical(logits=random(6)), Categorical(logits=random(6, seed=1))
    logprobs, ref_logprobs = policy.logits, reference.logits
    exact = kl_divergence(policy, reference)
    for estimator in (ppo.kl_k1, ppo.kl_k3):
        expected = (policy.probs * estimator(logprobs, ref_logprobs)).sum()
        assert expected.item() == pytest.approx(exact.item())
    assert ppo.kl_k3(logprobs, ref_logprobs).ge(0).all()
    assert ppo.kl_k1(logprobs, ref_logprobs).min() < 0


def test_an_incomplete_response_gets_the_constant() -> None:
    scores = torch.tensor([2.0, -3.0, 0.5])
    complete = torch.tensor([True, False, False])
    assert ppo.replace_incomplete(scores, complete, -1.0).tolist() == [2.0, -1.0, -1.0]


def test_rewards_by_hand(mask: Tensor) -> None:
    kl = torch.full((3, 5), 0.5)
    rewards = ppo.shaped_rewards(torch.tensor([1.0, 2.0, 3.0]), kl, mask, kl_coef=0.1)
    assert rewards.tolist() == [
        pytest.approx([-0.05, -0.05, -0.05, -0.05, 0.95]),
        pytest.approx([1.95, 0, 0, 0, 0]),
        pytest.approx([-0.05, -0.05, 2.95, 0, 0]),
    ]


def gae_by_definition(
    rewards: list[float], values: list[float], gamma: float, lam: float
) -> list[float]:
    """A_t = sum over l of (gamma lam)^l delta_{t+l}: Schulman et al. 2016, eq. 16."""
    following = [*values[1:], 0.0]
    deltas = [r + gamma * n - v for r, n, v in zip(rewards, following, values, strict=True)]
    return [
        sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, len(deltas)))
        for t in range(len(deltas))
    ]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (1.0, 0.0)])
def test_gae_is_the_sum_that_defines_it(mask: Tensor, gamma: float, lam: float) -> None:
    rewards, values = random(3, 5), random(3, 5, seed=1)
    advantages, returns = ppo.gae(rewards, values, mask, gamma, lam)
    for row, length in enumerate(LENGTHS):
        expected = gae_by_definition(
            rewards[row, :length].tolist(), values[row, :length].tolist(), gamma, lam
        )
        assert advantages[row, :length].tolist() == pytest.approx(expected)
        assert advantages[row, length:].eq(0).all()
    assert torch.allclose((returns - advantages)[mask], values[mask])


def test_with_lambda_1_returns_are_the_rewards_to_come(mask: Tensor) -> None:
    rewards = random(3, 5)
    _, returns = ppo.gae(rewards, random(3, 5, seed=1), mask, 1.0, 1.0)
    assert returns[0, 0].item() == pytest.approx(rewards[0].sum().item())
    assert returns[2, 1].item() == pytest.approx(rewards[2, 1:3].sum().item())


def test_whitened_advantages_have_mean_0_and_variance_1_over_the_tokens(mask: Tensor) -> None:
    x = 3 + 2 * random(3, 5)
    whitened = ppo.whiten(x.masked_fill(~mask, 1e3), mask)
    assert whitened[mask].mean().item() == pytest.approx(0, abs=1e-9)
    assert whitened[mask].var(correction=0).item() == pytest.approx(1)
    assert whitened[~mask].eq(0).all()


def test_the_first_step_follows_the_policy_gradient(mask: Tensor) -> None:
    """Where the ratio is 1, PPO's gradient is that of REINFORCE with the same advantages."""
    logprobs = random(3, 5).requires_grad_()
    advantages = random(3, 5, seed=1)
    n_tokens = sum(LENGTHS)
    result = ppo.policy_loss(logprobs, logprobs.detach(), advantages, mask, 0.2, n_tokens)
    (found,) = torch.autograd.grad(result.loss, logprobs)
    (expected,) = torch.autograd.grad(-(logprobs * advantages * mask).sum() / n_tokens, logprobs)
    assert torch.allclose(found, expected)
    assert result.ratio[mask].eq(1).all()
    assert (result.clipped, result.approx_kl) == (0, 0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "moves"),
    [
        (1.5, 1.0, -1.2, False),  # a good token, already far more likely: no further
        (1.5, -1.0, 1.5, True),  # a bad token that became more likely: back
        (0.5, 1.0, -0.5, True),  # a good token that became less likely: back
        (0.5, -1.0, 0.8, False),  # a bad token, already far less likely: no further
        (1.1, 1.0, -1.1, True),
    ],
)
def test_policy_loss_by_hand(ratio: float, advantage: float, loss: float, moves: bool) -> None:
    logprobs = torch.tensor([[math.log(ratio)]], requires_grad=True)
    result = ppo.policy_loss(
        logprobs,
        torch.zeros(1, 1),
        torch.tensor([[advantage]]),
        torch.tensor([[True]]),
        clip_range=0.2,
        n_tokens=1,
    )
    assert result.loss.item() == pytest.approx(loss)
    (gradient,) = torch.autograd.grad(result.loss, logprobs)
    assert bool(gradient != 0) == moves
    assert result.clipped == (not moves)
    assert result.approx_kl == pytest.approx(ratio - 1 - math.log(ratio), rel=1e-5)


def test_parts_of_a_minibatch_add_up_to_the_whole(mask: Tensor) -> None:
    logprobs, old = random(3, 5), random(3, 5, seed=1)
    advantages = random(3, 5, seed=2)
    n_tokens = sum(LENGTHS)

    def policy(rows: slice) -> float:
        tensors = (x[rows] for x in (logprobs, old, advantages, mask))
        return ppo.policy_loss(*tensors, 0.2, n_tokens).loss.item()

    def value(rows: slice) -> float:
        tensors = (x[rows] for x in (logprobs, old, advantages, mask))
        return ppo.value_loss(*tensors, 0.2, n_tokens).loss.item()

    for loss in (policy, value):
        assert loss(slice(0, 2)) + loss(slice(2, 3)) == pytest.approx(loss(slice(0, 3)))


@pytest.mark.parametrize(
    ("value", "loss", "moves"),
    [
        (0.1, 0.5 * 0.9**2, True),  # within the range: the plain squared error
        (0.5, 0.5 * 0.8**2, False),  # went too far towards the return: the error at the edge
        (-0.5, 0.5 * 1.5**2, True),  # went away from it: the plain error
        (1.0, 0.5 * 0.8**2, False),  # has arrived
    ],
)
def test_value_loss_by_hand(value: float, loss: float, moves: bool) -> None:
    """The value was 0 at sampling, the return is 1, the range 0.2."""
    values = torch.tensor([[value]], requires_grad=True)
    found = ppo.value_loss(
        values, torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([[True]]), 0.2, n_tokens=1
    )
    assert found.loss.item() == pytest.approx(loss)
    (gradient,) = torch.autograd.grad(found.loss, values)
    assert bool(gradient != 0) == moves == bool(found.moving)


def test_explained_variance(mask: Tensor) -> None:
    returns = random(3, 5)
    mean = torch.full_like(returns, returns[mask].mean().item())
    assert ppo.explained_variance(returns.masked_fill(~mask, 9.0), returns, mask) == 1
    assert ppo.explained_variance(mean, returns, mask) == pytest.approx(0)
    assert ppo.explained_variance(-returns, returns, mask) == pytest.approx(-3)
    assert ppo.explained_variance(returns, torch.ones_like(returns), mask) == 0


@pytest.mark.parametrize(
    ("kl", "expected"),
    [(6.0, 0.1), (6.6, 0.101), (60.0, 0.102), (5.4, 0.099), (0.0, 0.098)],
)
def test_the_adaptive_coefficient_follows_ziegler(kl: float, expected: float) -> None:
    """beta (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon), target 6, n / horizon = 0.1."""
    found = ppo.adapt_kl_coef(0.1, kl, 6.0, n_episodes=100, horizon_episodes=1000)
    assert found == pytest.approx(expected)
