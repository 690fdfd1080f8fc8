"""Measures of held-out agreement: right values, honest about how little they rest on."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from rewards.ml import evaluate
from rewards.ml.baselines import credit, human_credit, tfidf_values
from rewards.ml.evaluate import ScoredPrompt
from rewards.ml.pairs import Pair, RankedPrompt, judgement_pairs

TIE = 0.5


def ranked(*pairs: Pair, responses: tuple[str, ...] = ("a", "b", "c")) -> RankedPrompt:
    return RankedPrompt("p", (), "", "test", responses, pairs)


def scored(scores: list[float], *pairs: Pair, lengths: list[float] | None = None) -> ScoredPrompt:
    return ScoredPrompt(ranked(*pairs), np.array(scores), np.array(lengths or [1.0] * len(scores)))


def test_accuracy_leaves_ties_out_and_gives_half_for_equal_scores() -> None:
    prompt = ranked(
        Pair(0, 1, 1.0, 1.0, "ada"), Pair(1, 2, 1.0, 1.0, "ada"), Pair(0, 2, TIE, 1.0, "ada")
    )
    result = credit(prompt, np.array([2.0, 1.0, 1.0]))
    assert result is not None
    assert (result.share, result.n_pairs) == (0.75, 2)
    assert credit(ranked(Pair(0, 1, TIE, 1.0, "ada")), np.zeros(3)) is None


def test_accuracy_counts_each_prompt_once() -> None:
    right = scored([1.0, 0.0, 0.0], Pair(0, 1, 1.0, 1.0, "ada"))
    wrong = scored([1.0, 2.0, 3.0], *judgement_pairs([1, 2, 3], "ada"))
    result = evaluate.accuracy([right, wrong], seed=0)
    assert result.value == 0.5
    assert (result.n_prompts, result.n_pairs) == (2, 4)


def test_the_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        prompts = [
            scored([1.0, 0.0, 0.0], Pair(*order, 1.0, 1.0, "ada"))
            for order in np.where(rng.random((100, 1)) < 0.7, [0, 1], [1, 0]).tolist()
        ]
        result = evaluate.accuracy(prompts, seed=trial)
        assert result.low is not None and result.high is not None
        covered += result.low <= 0.7 <= result.high
    assert 180 <= covered <= 199


def test_pairs_of_one_prompt_do_not_narrow_the_interval() -> None:
    single = [
        scored([1.0, 0.0, 0.0], Pair(*order, 1.0, 1.0, "ada")) for order in [(0, 1), (1, 0)] * 20
    ]
    repeated = [
        scored([1.0, 0.0, 0.0], *[Pair(*order, 1.0, 1.0, name) for name in "abcdefgh"])
        for order in [(0, 1), (1, 0)] * 20
    ]
    one, many = evaluate.accuracy(single, seed=0), evaluate.accuracy(repeated, seed=0)
    assert (one.low, one.high) == (many.low, many.high)


def test_too_little_data_is_none_with_a_reason_and_never_nan() -> None:
    measures = [
        evaluate.accuracy,
        evaluate.longest_wins_accuracy,
        evaluate.accuracy_where_shorter_won,
        evaluate.human_accuracy,
        evaluate.length_correlation,
    ]
    tied = scored([0.0, 0.0, 0.0], Pair(0, 1, TIE, 1.0, "ada"))
    for measure in measures:
        for prompts in ([], [tied]):
            result = asdict(measure(prompts, 0))
            assert result["value"] is None and result["reason"]
            json.dumps(result, allow_nan=False)
    one = evaluate.accuracy([scored([1.0, 0.0, 0.0], Pair(0, 1, 1.0, 1.0, "ada"))], seed=0)
    assert (one.value, one.low, one.n_prompts) == (1.0, None, 1)
    assert one.reason


def test_another_annotator_is_the_ceiling() -> None:
    agreed = ranked(*judgement_pairs([1, 2, 3], "ada"), *judgement_pairs([1, 2, 3], "bob"))
    result = human_credit(agreed)
    assert result is not None
    assert (result.share, result.n_pairs) == (1.0, 6)

    # of three annotators one dissents: 2 pairs of people of 6 ordered ones agree
    divided = ranked(*[Pair(0, 1, 1.0, 1.0, n) for n in "ab"], Pair(1, 0, 1.0, 1.0, "c"))
    result = human_credit(divided)
    assert result is not None
    assert result.share == pytest.approx(1 / 3)


def test_who_saw_a_tie_predicts_half() -> None:
    prompt = ranked(Pair(0, 1, 1.0, 1.0, "ada"), Pair(0, 1, TIE, 1.0, "bob"))
    result = human_credit(prompt)
    assert result is not None
    assert (result.share, result.n_pairs) == (0.5, 1)


def test_a_pair_judged_by_one_person_says_nothing_of_others() -> None:
    assert human_credit(ranked(*judgement_pairs([1, 2, 3], "ada"))) is None
    apart = ranked(Pair(0, 1, 1.0, 1.0, "ada"), Pair(1, 2, 1.0, 1.0, "bob"))
    assert human_credit(apart) is None
    same_person = ranked(Pair(0, 1, 1.0, 1.0, "ada"), Pair(1, 0, 1.0, 1.0, "ada"))
    assert human_credit(same_person) is None


def test_the_length_rule_and_where_it_fails() -> None:
    long_won = scored([1.0, 0.0, 0.0], Pair(0, 1, 1.0, 1.0, "a"), lengths=[9.0, 3.0, 3.0])
    short_won = scored([1.0, 0.0, 0.0], Pair(1, 0, 1.0, 1.0, "a"), lengths=[9.0, 3.0, 3.0])
    assert evaluate.longest_wins_accuracy([long_won, short_won], 0).value == 0.5
    where = evaluate.accuracy_where_shorter_won([long_won, short_won], 0)
    assert (where.value, where.n_prompts, where.n_pairs) == (0.0, 1, 1)


def test_gain_is_paired() -> None:
    # both are right on the same prompts, so their difference is certain although each is not
    prompts = [
        scored([1.0, 0.0, 0.0], Pair(*order, 1.0, 1.0, "a"), lengths=[9.0, 3.0, 3.0])
        for order in [(0, 1), (1, 0)] * 10
    ]
    result = evaluate.accuracy_gain(prompts, [p.lengths for p in prompts], seed=0)
    assert (result.value, result.low, result.high) == (0.0, 0.0, 0.0)


def test_length_correlation_is_within_prompts() -> None:
    # within each prompt the longer response scores lower; between prompts it is the reverse
    short = scored([0.0, -1.0, -2.0], lengths=[1.0, 2.0, 3.0])
    long = scored([10.0, 9.0, 8.0], lengths=[11.0, 12.0, 13.0])
    result = evaluate.length_correlation([short, long], seed=0)
    assert result.value == pytest.approx(-1.0)
    assert (result.n_prompts, result.n_responses) == (2, 6)
    assert all(math.isfinite(x) for x in (result.low, result.high) if x is not None)


def test_the_words_model_learns_a_telling_word() -> None:
    train = [
        ranked(Pair(n % 2, 1 - n % 2, 1.0, 1.0, "a"), responses=texts)
        for n in range(20)
        for texts in [
            (f"{n} good rain", f"{n} bad rain") if n % 2 == 0 else (f"{n} bad sea", f"{n} good sea")
        ]
    ]
    values = tfidf_values(train, [ranked(responses=("a bad wind", "a good wind", "wind"))])
    assert values[0][1] > values[0][2] > values[0][0]
    assert tfidf_values([ranked(Pair(0, 1, TIE, 1.0, "a"))], train)[0].tolist() == [0.0, 0.0]
