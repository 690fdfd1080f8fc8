"""Sampling draws from the very distribution that it reports."""

import math

import pytest
import torch
from transformers import PreTrainedModel

from tests.training import tiny
from training.ml.generate import Sampled, next_token_logprobs, sample

ARCHITECTURES = ("llama", "qwen2", "gpt2")
GREEDY = 1e-5  # so low a temperature that the best token is drawn, though another be close


def draw(
    model: PreTrainedModel, prompts: list[list[int]], seed: int = 0, **options: float
) -> list[Sampled]:
    return sample(
        model,
        prompts,
        eos_token_id=tiny.EOS,
        pad_token_id=tiny.PAD,
        generator=torch.Generator().manual_seed(seed),
        **{"max_new_tokens": 12, **options},  # type: ignore[arg-type]
    )


def tokens(results: list[Sampled]) -> list[tuple[int, ...]]:
    return [result.ids for result in results]


@torch.no_grad()
def full_logits(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """Logits (T, V) of one sequence without padding or cache."""
    logits: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return logits


def set_bias(model: PreTrainedModel, token: int, bias: float) -> PreTrainedModel:
    """Make a token much more likely, or less."""

    def add(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        output[..., token] += bias
        return output

    model.get_output_embeddings().register_forward_hook(add)
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_logprobs_are_those_of_a_full_forward_pass(architecture: str, temperature: float) -> None:
    model = tiny.model(architecture)
    prompts = tiny.ids(7, 2) + tiny.ids(2, 2)  # of several lengths, some twice
    results = draw(model, prompts, temperature=temperature, batch_size=4)
    assert len({len(result.ids) for result in results}) > 1
    for prompt, result in zip(prompts, results, strict=True):
        logits = full_logits(model, [*prompt, *result.ids])[len(prompt) - 1 : -1]
        scaled = logits.double() / temperature
        scaled = torch.cat([scaled[:, : tiny.PAD], scaled[:, tiny.PAD + 1 :]], dim=1)
        expected = [
            row[token - 1].item() - torch.logsumexp(row, 0).item()  # PAD, at place 0, is cut out
            for row, token in zip(scaled, result.ids, strict=True)
        ]
        assert result.logprobs == pytest.approx(expected, abs=2e-5)


def test_frequencies_are_those_of_the_distribution() -> None:
    model, prompt = tiny.model(), [5, 9, 4]
    n, temperature = 4000, 0.7
    drawn = draw(model, [prompt] * n, max_new_tokens=1, temperature=temperature, batch_size=n)
    logits = full_logits(model, prompt)[-1] / temperature
    logits[tiny.PAD] = -torch.inf
    expected = torch.softmax(logits, 0)
    counts = torch.bincount(torch.tensor([r.ids[0] for r in drawn]), minlength=len(expected))
    error = (expected * (1 - expected) / n).sqrt()
    assert ((counts / n - expected).abs() <= 5 * error).all()


def test_pad_is_never_sampled_however_likely() -> None:
    model = set_bias(tiny.model(), tiny.PAD, 30.0)
    results = draw(model, tiny.ids(20, 3))
    assert all(tiny.PAD not in result.ids for result in results)
    assert all(math.isfinite(value) for result in results for value in result.logprobs)


def test_the_distribution_leaves_out_pad_and_sums_to_one() -> None:
    logits = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = next_token_logprobs(logits.bfloat16(), temperature=0.3, pad_token_id=2)
    assert found.dtype == torch.float32
    assert torch.equal(found[..., 2].exp(), torch.zeros(3, 5))
    assert found.exp().sum(-1) == pytest.approx(torch.ones(3, 5), abs=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_neither_padding_nor_order_nor_batch_matters(architecture: str) -> None:
    model = tiny.model(architecture)
    prompts = tiny.ids(9, 2, seed=1)
    alone = [draw(model, [prompt], temperature=GREEDY)[0] for prompt in prompts]
    assert tokens(draw(model, prompts, temperature=GREEDY)) == tokens(alone)
    assert tokens(draw(model, prompts, temperature=GREEDY, batch_size=2)) == tokens(alone)
    backwards = draw(model, prompts[::-1], temperature=GREEDY, seed=5)
    assert tokens(backwards) == tokens(alone)[::-1]
    long_neighbour = draw(model, [*prompts, tiny.ids(1, 25)[0]], temperature=GREEDY)
    assert tokens(long_neighbour)[:-1] == tokens(alone)


def test_the_best_token_is_drawn_at_a_very_low_temperature() -> None:
    model = tiny.model()
    prompt = [3, 8, 11]
    (result,) = draw(model, [prompt], temperature=GREEDY, max_new_tokens=6)
    ids = list(prompt)
    for token in result.ids:
        logits = full_logits(model, ids)[-1]
        logits[tiny.PAD] = -torch.inf
        assert token == int(logits.argmax())
        ids.append(token)


def test_a_seed_repeats_and_another_differs() -> None:
    model, prompts = tiny.model(), tiny.ids(8, 3)
    assert draw(model, prompts, seed=3) == draw(model, prompts, seed=3)
    assert draw(model, prompts, seed=3) != draw(model, prompts, seed=4)


def test_the_global_random_state_is_neither_used_nor_changed() -> None:
    model, prompts = tiny.model(), tiny.ids(4, 3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw(model, prompts)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert draw(model, prompts) == first


def test_a_repeated_prompt_gets_responses_of_its_own() -> None:
    assert len(set(tokens(draw(tiny.model(), [[4, 7]] * 12)))) > 6


def test_responses_end_at_eos_or_at_the_limit() -> None:
    model = set_bias(tiny.model(), tiny.EOS, 1.5)
    results = draw(model, tiny.ids(40, 2), max_new_tokens=8)
    assert {result.ended for result in results} == {True, False}
    for result in results:
        assert tiny.EOS not in result.ids[:-1]
        assert result.ended == (result.ids[-1] == tiny.EOS)
        assert result.ended or len(result.ids) == 8
        assert len(result.ids) == len(result.logprobs) <= 8


def test_an_immediate_end_is_a_response_of_eos_alone() -> None:
    results = draw(set_bias(tiny.model(), tiny.EOS, 50.0), tiny.ids(3, 2))
    assert results == [Sampled((tiny.EOS,), results[0].logprobs, True)] * 3
    assert results[0].logprobs == pytest.approx((0.0,), abs=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_restored(training: bool) -> None:
    model = tiny.model("gpt2").train(training)  # has dropout, which would spoil the numbers
    first = draw(model, tiny.ids(3, 3))
    assert model.training is training
    assert draw(model.eval(), tiny.ids(3, 3)) == first


def test_what_cannot_be_sampled_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature"):
        draw(tiny.model(), [[4]], temperature=0)
    with pytest.raises(ValueError, match="without tokens"):
        draw(tiny.model(), [[4], []])
    assert draw(tiny.model(), []) == []
