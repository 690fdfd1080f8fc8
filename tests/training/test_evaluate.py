"""Two policies compared: counts by hand, intervals against an independent bootstrap."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap, norm

from rewards.ml.text import Message
from tests.training import tiny
from training.ml.adapters import AdapterBank, lora_config
from training.ml.base import load_base
from training.ml.evaluate import Answers, EvaluationConfig, compare, evaluate, win_rate


def answers(texts: Sequence[str], lengths: Sequence[int], ended: Sequence[bool] = ()) -> Answers:
    return Answers(
        texts=tuple(texts),
        token_ids=tuple(tuple(range(length)) for length in lengths),
        ended=tuple(ended) or (True,) * len(texts),
        kl_reference=tuple(float(i) for i in range(len(texts))),
    )


def as_number(messages: Sequence[Message], responses: Sequence[str]) -> list[float]:
    """The tests' responses say their own score."""
    return [float(text) for text in responses]


def test_wins_ties_and_losses_by_hand() -> None:
    found = win_rate(np.array([1.0, 2, 3, 4]), np.array([2.0, 2, 5, 1]), seed=0)
    assert (found.wins, found.ties, found.losses, found.n) == (2, 1, 1, 4)
    assert found.rate == pytest.approx(2.5 / 4)
    assert found.low is not None and found.high is not None
    assert 0 <= found.low < found.rate < found.high <= 1


def test_the_interval_is_that_of_a_bootstrap_by_prompt() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 3, 120), rng.integers(0, 4, 120)
    found = win_rate(before.astype(float), after.astype(float), seed=1)
    credit = np.where(after > before, 1, np.where(after == before, 0.5, 0))
    independent = bootstrap(
        (credit,), np.mean, method="percentile", n_resamples=5000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert found.low == pytest.approx(independent.low, abs=0.015)
    assert found.high == pytest.approx(independent.high, abs=0.015)
    # and about that of the normal approximation
    half = norm.ppf(0.975) * credit.std() / np.sqrt(120)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_swapping_the_policies_mirrors_the_rate() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=50), rng.normal(0.5, size=50)
    one, other = win_rate(before, after, seed=0), win_rate(after, before, seed=0)
    assert one.rate is not None and other.rate is not None
    assert one.rate + other.rate == pytest.approx(1)
    assert (one.wins, one.losses) == (other.losses, other.wins)


def test_too_few_prompts_give_no_interval() -> None:
    nothing = win_rate(np.array([]), np.array([]), seed=0)
    assert (nothing.n, nothing.rate, nothing.low) == (0, None, None)
    single = win_rate(np.array([1.0]), np.array([2.0]), seed=0)
    assert (single.n, single.rate, single.low, single.high) == (1, 1.0, None, None)


def test_length_controlled_counts_only_pairs_of_like_length() -> None:
    """10 and 8 differ by a fifth of the longer one, which still counts; 13 and 10 do not."""
    found = compare(
        [()] * 4,
        answers(["1", "1", "1", "1"], [10, 10, 10, 30]),
        answers(["2", "2", "2", "0"], [13, 8, 10, 30]),
        as_number,
        seed=0,
    )
    assert (found.overall.wins, found.overall.losses, found.overall.n) == (3, 1, 4)
    controlled = found.length_controlled
    assert (controlled.wins, controlled.losses, controlled.n) == (2, 1, 3)


def test_a_gain_that_is_all_length_leaves_nothing_to_control() -> None:
    found = compare(
        [()] * 3, answers(["1"] * 3, [10] * 3), answers(["2"] * 3, [20] * 3), as_number, seed=0
    )
    assert found.overall.rate == 1
    assert (found.length_controlled.n, found.length_controlled.rate) == (0, None)


def test_summaries_are_means_over_the_prompts() -> None:
    found = compare(
        [()] * 2,
        answers(["1", "2"], [3, 5], ended=[True, False]),
        answers(["5", "6"], [4, 4]),
        as_number,
        seed=0,
    )
    assert found.before.score == 1.5
    assert found.after.score == 5.5
    assert (found.before.response_tokens, found.after.response_tokens) == (4, 4)
    assert (found.before.eos_rate, found.after.eos_rate) == (0.5, 1.0)
    assert found.before.kl_reference == 0.5
    assert found.after.distinct_2 == pytest.approx(3 / 6)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def shouter(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has moved a little away from the base, in whatever direction."""
    model, _ = load_base(base)
    bank = AdapterBank(model, lora_config(4, 8), pad_token_id=tiny.PAD, seed=0)
    generator = torch.Generator().manual_seed(3)
    bank.set_tensors(
        "policy",
        {
            name: 0.2 * torch.randn(tensor.shape, generator=generator)
            for name, tensor in bank.tensors("policy").items()
        },
    )
    folder = tmp_path_factory.mktemp("policy")
    bank.save("policy", folder, base)
    return folder


CONFIG = EvaluationConfig(max_new_tokens=6, micro_batch=8)


def n_words(messages: Sequence[Message], responses: Sequence[str]) -> list[float]:
    return [len(text.split()) for text in responses]


def test_a_policy_against_itself_only_ties(base: str, shouter: Path) -> None:
    for folder in (None, shouter):
        found = evaluate(base, tiny.prompts(12), n_words, CONFIG, before=folder, after=folder)
        assert (found.overall.ties, found.overall.rate) == (12, 0.5)
        assert found.length_controlled.n == 12
        assert found.before == found.after


def test_adapters_are_compared_with_the_base_and_their_kl_measured(
    base: str, shouter: Path
) -> None:
    found = evaluate(base, tiny.prompts(40), n_words, CONFIG, before=None, after=shouter)
    assert found.before.kl_reference == 0
    assert found.after.kl_reference > 0.5
    assert found.overall.wins + found.overall.ties + found.overall.losses == 40
    mirrored = evaluate(base, tiny.prompts(40), n_words, CONFIG, before=shouter, after=None)
    assert (mirrored.before, mirrored.after) == (found.after, found.before)
    assert mirrored.overall.wins == found.overall.losses


def test_the_scorer_sees_the_prompt_and_plain_text(base: str, shouter: Path) -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []

    def scorer(messages: Sequence[Message], responses: Sequence[str]) -> list[float]:
        seen.append((messages[0]["content"], tuple(responses)))
        return [0.0, 0.0]

    prompts = tiny.prompts(5)
    evaluate(base, prompts, scorer, CONFIG, before=None, after=shouter)
    assert [content for content, _ in seen] == [prompt[0]["content"] for prompt in prompts]
    assert not any("<eos>" in text for _, texts in seen for text in texts)


def test_nothing_to_evaluate_on_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="no prompt"):
        evaluate(base, [], n_words, CONFIG, before=None, after=None)
