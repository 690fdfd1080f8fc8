"""The listwise loss, held to values computed by hand."""

import math

import pytest
import torch

from rewards.ml.loss import listwise_loss, pair_tensors
from rewards.ml.pairs import Pair, RankedPrompt, judgement_pairs
from rewards.ml.trainer import mean_loss

CPU = torch.device("cpu")


def prompt(k: int, *pairs: Pair) -> RankedPrompt:
    return RankedPrompt("p", (), "", "train", ("text",) * k, pairs)


def losses(scores: list[float], *prompts: RankedPrompt, temperature: float = 1.0) -> list[float]:
    tensor = torch.tensor(scores, dtype=torch.float64)
    return listwise_loss(tensor, pair_tensors(prompts, CPU), temperature).tolist()


def nll(margin: float) -> float:
    return math.log1p(math.exp(-margin))


def test_a_full_ranking_is_the_mean_over_its_pairs() -> None:
    # Ouyang et al. 2022, eq. 1, with K = 3: -1/3 sum of log sigmoid(better - worse)
    ranking = prompt(3, *judgement_pairs([2, 1, 3], "ada"))
    expected = (nll(2.0 - 0.5) + nll(2.0 + 1.0) + nll(0.5 + 1.0)) / 3
    assert losses([0.5, 2.0, -1.0], ranking) == pytest.approx([expected])


def test_equal_scores_cost_ln_2_whatever_the_ranking() -> None:
    for k in (2, 4, 9):
        ranking = prompt(k, *judgement_pairs(list(range(k)), "ada"))
        assert losses([1.5] * k, ranking) == pytest.approx([math.log(2)])


def test_a_tie_is_least_at_equal_scores() -> None:
    tie = prompt(2, Pair(0, 1, 0.5, 1.0, "ada"))
    even = losses([1.0, 1.0], tie)[0]
    assert even == pytest.approx(math.log(2))
    assert losses([1.2, 1.0], tie)[0] == pytest.approx(losses([1.0, 1.2], tie)[0])
    assert losses([1.2, 1.0], tie)[0] > even


def test_a_prompt_counts_once_whatever_its_k_and_its_annotators() -> None:
    small = prompt(2, Pair(0, 1, 1.0, 1.0, "ada"))
    twice = prompt(2, Pair(0, 1, 1.0, 1.0, "ada"), Pair(0, 1, 1.0, 1.0, "bob"))
    large = prompt(4, *judgement_pairs([1, 2, 3, 4], "ada"))
    scores = [1.0, 0.0] * 2 + [3.0, 2.0, 1.0, 0.0]
    of_large = (3 * nll(1) + 2 * nll(2) + nll(3)) / 6
    assert losses(scores, small, twice, large) == pytest.approx([nll(1), nll(1), of_large])


def test_pairs_count_by_their_weight() -> None:
    divided = prompt(2, Pair(0, 1, 1.0, 1.5, "ada"), Pair(1, 0, 1.0, 0.5, "eve"))
    assert losses([2.0, 0.0], divided) == pytest.approx([(1.5 * nll(2) + 0.5 * nll(-2)) / 2])


def test_what_only_one_person_judged_counts_by_his_weight_too() -> None:
    """Most prompts have one judge: were weights but shares of a prompt, they would do nothing."""
    trusted, doubted = (prompt(2, Pair(0, 1, 1.0, weight, "ada")) for weight in (1.5, 0.25))
    found = losses([2.0, 0.0] * 2, trusted, doubted)
    assert found == pytest.approx([1.5 * nll(2), 0.25 * nll(2)])


def test_the_mean_loss_is_in_nats_a_pair_whatever_the_weights_are() -> None:
    scores = [torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.0])]
    for scale in (1.0, 0.1):
        prompts = [prompt(2, Pair(0, 1, 1.0, w * scale, "ada")) for w in (3.0, 1.0)]
        assert mean_loss(prompts, scores) == pytest.approx((3 * nll(2) + nll(1)) / 4)


def test_responses_that_nobody_ranked_do_not_count() -> None:
    pairs = judgement_pairs([None, 1, None, 2], "ada")
    assert losses([9.0, 1.0, -9.0, 0.0], prompt(4, *pairs)) == pytest.approx([nll(1)])


def test_a_higher_temperature_is_less_sure() -> None:
    pair = prompt(2, Pair(0, 1, 1.0, 1.0, "ada"))
    assert losses([2.0, 0.0], pair, temperature=4.0) == pytest.approx([nll(0.5)])


def test_gradients_push_winners_up_and_losers_down() -> None:
    scores = torch.zeros(3, requires_grad=True)
    ranking = prompt(3, *judgement_pairs([1, 2, 3], "ada"))
    listwise_loss(scores, pair_tensors([ranking], CPU)).sum().backward()
    # each pair pulls with 1/2 at equal scores, a third of it in the mean over three pairs
    assert scores.grad is not None
    assert scores.grad.tolist() == pytest.approx([-1 / 3, 0.0, 1 / 3])
