"""The embedded domain: its splits, its hidden score, its simulated volunteers, its settings."""

import random
import re
from itertools import combinations
from statistics import mean

import pytest

from rewards.ml.agreement import report
from rewards.ml.fit_config import FitConfig
from rewards.ml.gate import GateSettings, agreement_gate
from training.climate import settings
from training.climate.domain import (
    ClimatePrompt,
    Fact,
    Split,
    corpus,
    facts,
    lookup,
    prompts,
    wording,
)
from training.climate.grade import grade, hidden_score
from training.climate.volunteers import Volunteer, rank, volunteers
from training.ml.config import UpdateConfig
from training.ml.embedded import build_model, build_tokenizer
from training.ml.sft import SftConfig

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TIED = Volunteer("Toni", "honest", noise=0.0, tie_below=0.05)


def text_of(prompt: ClimatePrompt) -> str:
    return prompt.messages[-1]["content"]


def single(fact: Fact) -> ClimatePrompt:
    """A training prompt that asks for this fact alone."""
    return next(p for p in prompts("train") if p.fact_ids == (fact.id,))


# The prompts


def test_there_are_hundreds_of_prompts_over_many_topics() -> None:
    for split in SPLITS:
        assert len({p.topic for p in prompts(split)}) >= 10
        assert {p.split for p in prompts(split)} == {split}
    assert sum(len(prompts(split)) for split in SPLITS) >= 300
    assert len(prompts("test")) >= 100


def test_no_prompt_occurs_twice_whatever_its_split() -> None:
    texts = [text_of(p) for split in SPLITS for p in prompts(split)]
    assert len(set(texts)) == len(texts)


def test_no_two_splits_ask_for_the_same_facts_together() -> None:
    pairs = {
        split: {frozenset(p.fact_ids) for p in prompts(split) if len(p.fact_ids) > 1}
        for split in SPLITS
    }
    assert all(pairs.values())
    for first, second in combinations(SPLITS, 2):
        assert not pairs[first] & pairs[second]


def test_a_prompt_is_found_by_its_text() -> None:
    for split in SPLITS:
        assert all(lookup(text_of(p)) == p for p in prompts(split)[:5])
    with pytest.raises(ValueError, match="no prompt"):
        lookup("Is it going to rain?")


# The corpus


def test_the_corpus_asks_every_held_out_fact_in_other_words() -> None:
    asked = "\n".join(messages[-1]["content"] for messages, _ in corpus(settings.CORPUS_SIZE))
    for prompt in prompts("test"):
        for fact_id in prompt.fact_ids:
            fact = facts()[fact_id]
            assert any(question in asked for question in fact.questions), fact_id
            assert not any(question in asked for question in fact.held_out_questions), fact_id


def test_no_test_prompt_occurs_in_the_corpus() -> None:
    written = {messages[-1]["content"] for messages, _ in corpus(settings.CORPUS_SIZE)}
    assert not written & {text_of(p) for p in prompts("test")}


def test_the_corpus_never_pairs_what_the_test_pairs() -> None:
    by_question = {q: fact.id for fact in facts().values() for q in fact.questions}
    apart = {frozenset(p.fact_ids) for p in prompts("test") if len(p.fact_ids) == 2}
    n_pairs = 0
    for messages, _ in corpus(2000, seed=3):
        content = messages[-1]["content"]
        together = frozenset(fact for question, fact in by_question.items() if question in content)
        n_pairs += len(together) == 2
        assert together not in apart
    assert n_pairs > 300  # one example in four


def test_the_corpus_repeats_and_grows() -> None:
    assert corpus(50, seed=1) == corpus(50, seed=1)
    assert corpus(50, seed=1) != corpus(50, seed=2)
    assert len(corpus(50, seed=1)) == 50


def test_the_corpus_teaches_answers_of_every_quality() -> None:
    """A policy that only ever read good answers would leave nothing to be preferred."""
    by_question = {q: fact for fact in facts().values() for q in fact.questions}
    scores = []
    for messages, response in corpus(1500):
        content = messages[-1]["content"]
        asked = [fact for question, fact in by_question.items() if question in content]
        if len(asked) == 1:
            scores.append(hidden_score(single(asked[0]), response))
    assert min(scores) < 0.3
    assert max(scores) == pytest.approx(1)
    assert 0.4 < mean(scores) < 0.8


# The hidden score


@pytest.mark.parametrize("fact", facts().values(), ids=lambda fact: fact.id)
def test_reasons_beat_plain_right_beats_vague_beats_wrong_with_a_false_reason(fact: Fact) -> None:
    prompt = single(fact)
    for right in fact.right:
        for wrong in fact.wrong:
            answers = [
                f"{right} {fact.reasons[0]}",
                right,
                wording().phrases["vague"][0],
                f"{wrong} {fact.false_reasons[0]}",
            ]
            scores = [hidden_score(prompt, answer) for answer in answers]
            assert scores == sorted(set(scores), reverse=True)
            assert scores[0] == pytest.approx(1)
            assert hidden_score(prompt, wrong) < scores[1] - 0.3


def test_vague_beats_wrong_without_a_reason(asked: ClimatePrompt) -> None:
    wrong = hidden_score(asked, facts()["methane"].wrong[0])
    assert wrong < hidden_score(asked, wording().phrases["vague"][0])


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_fact_is_graded_alike_however_it_is_asked(split: Split) -> None:
    """The questions differ between splits, what is right does not."""
    for prompt in prompts(split):
        good = " ".join(f"{facts()[f].right[0]} {facts()[f].reasons[0]}" for f in prompt.fact_ids)
        bad = " ".join(facts()[f].wrong[0] for f in prompt.fact_ids)
        assert hidden_score(prompt, good) == pytest.approx(1)
        assert hidden_score(prompt, bad) < 0.4


@pytest.fixture
def asked() -> ClimatePrompt:
    return single(facts()["methane"])


@pytest.fixture
def good() -> str:
    methane = facts()["methane"]
    return f"{methane.right[0]} {methane.reasons[0]}"


@pytest.mark.parametrize("kind", ["rude", "hedge", "filler", "vague"])
def test_what_does_not_answer_costs(kind: str, asked: ClimatePrompt, good: str) -> None:
    for phrase in wording().phrases[kind]:
        assert hidden_score(asked, f"{phrase} {good}") < hidden_score(asked, good) - 0.03
        assert hidden_score(asked, f"{good} {phrase}") < hidden_score(asked, good) - 0.03


def test_hedging_and_rudeness_cost_more_than_filler(asked: ClimatePrompt, good: str) -> None:
    """They cost in themselves, not only as words that do not answer."""
    scores = {
        kind: [hidden_score(asked, f"{good} {phrase}") for phrase in wording().phrases[kind]]
        for kind in ("filler", "hedge", "rude")
    }
    assert max(scores["hedge"]) < min(scores["filler"]) - 0.02
    assert max(scores["rude"]) < min(scores["filler"]) - 0.02


def test_each_fault_costs_and_is_called_by_its_name(asked: ClimatePrompt, good: str) -> None:
    right = facts()["methane"].right[0]
    elsewhere = facts()["rice"].right[0]
    faults = {
        "repeat": f"{good} {right}",
        "garbled": f"{good} Methane the the tonne of rice breaks blue so of it.",
        "unrelated": f"{good} {elsewhere}",
        "wrong": f"{good} {facts()['methane'].wrong[0]}",
        "false_reason": f"{right} {facts()['methane'].false_reasons[0]}",
    }
    for kind, response in [*faults.items(), ("repeat", f"{good} As I said: {right}")]:
        assert kind in grade(asked, response).kinds
        assert hidden_score(asked, response) < hidden_score(asked, good) - 0.05, kind


def test_an_unfinished_answer_costs(asked: ClimatePrompt, good: str) -> None:
    assert hidden_score(asked, good.rstrip(".")) < hidden_score(asked, good)
    assert hidden_score(asked, good[:-12]) < hidden_score(asked, good)


def test_rudeness_is_seen_by_its_words_within_another_sentence(
    asked: ClimatePrompt, good: str
) -> None:
    rude = good.replace("Tonne for tonne,", "Tonne for tonne, stupid,")
    assert (grade(asked, good).polite, grade(asked, rude).polite) == (1, 0)


def test_a_slip_of_a_word_is_forgiven(asked: ClimatePrompt, good: str) -> None:
    slip = good.replace("far more heat", "far much heat")
    assert slip != good
    assert grade(asked, slip).correct == 1


def test_half_an_answer_to_two_questions_counts_half() -> None:
    prompt = next(p for p in prompts("test") if len(p.fact_ids) == 2)
    first, second = (facts()[fact_id] for fact_id in prompt.fact_ids)
    both = f"{first.right[0]} {first.reasons[0]} {second.right[0]} {second.reasons[0]}"
    half = f"{first.right[0]} {first.reasons[0]}"
    spoilt = f"{half} {second.wrong[0]}"
    scores = [hidden_score(prompt, answer) for answer in (both, half, spoilt)]
    assert scores == sorted(set(scores), reverse=True)
    assert grade(prompt, spoilt).correct == pytest.approx(0.5)


def test_an_empty_response_gets_next_to_nothing(asked: ClimatePrompt, good: str) -> None:
    for empty in ("", "   ", "..."):
        assert hidden_score(asked, empty) < hidden_score(asked, good) / 2
        assert 0 <= hidden_score(asked, empty) <= 1


def test_length_alone_does_not_raise_the_score(asked: ClimatePrompt) -> None:
    """Any quality, longer by one more sentence of filler or by saying the same again."""
    methane = facts()["methane"]
    fillers = wording().phrases["filler"]
    starts = (
        methane.right[0],
        f"{methane.right[0]} {methane.reasons[0]}",
        f"{methane.wrong[0]} {methane.false_reasons[0]}",
        wording().phrases["vague"][0],
    )
    for start in starts:
        padded = [start]
        for filler in fillers:
            padded.append(f"{padded[-1]} {filler}")
        repeated = [" ".join([start] * n) for n in (1, 2, 3)]
        for answers in (padded, repeated):
            scores = [hidden_score(asked, answer) for answer in answers]
            assert scores == sorted(scores, reverse=True), start


def test_no_score_leaves_its_range() -> None:
    rng = random.Random(0)
    asked = prompts("train")
    for _, response in corpus(150, seed=5):
        found = grade(rng.choice(asked), response)
        assert 0 <= found.score <= 1 + 1e-9
        assert 0 <= found.correct <= 1 and 0 <= found.clear <= 1 and -0.5 <= found.reason <= 1


# The volunteers


def ladder(fact: Fact) -> list[str]:
    """Four answers, from the best to the worst."""
    return [
        f"{fact.right[0]} {fact.reasons[0]}",
        f"{wording().phrases['hedge'][0]} {fact.right[0]}",
        f"{wording().phrases['vague'][0]} {wording().phrases['rude'][0]}",
        f"{fact.wrong[0]} {fact.false_reasons[0]} {wording().phrases['rude'][1]}",
    ]


def concordance(volunteer: Volunteer) -> float:
    """Share of pairs that he ranks as the hidden score does, less the share of those reversed."""
    points = []
    for fact in facts().values():
        prompt, answers = single(fact), ladder(fact)
        ranks = rank(volunteer, prompt, answers)
        for i, j in combinations(range(len(answers)), 2):
            points.append((ranks[j] > ranks[i]) - (ranks[j] < ranks[i]))
    return mean(points)


def test_the_cast_is_ten_honest_people_one_careless_and_one_hostile() -> None:
    kinds = [volunteer.kind for volunteer in volunteers()]
    assert (kinds.count("honest"), kinds.count("careless"), kinds.count("hostile")) == (10, 1, 1)
    assert len({volunteer.name for volunteer in volunteers()}) == 12


def test_the_honest_come_near_the_hidden_order_and_the_hostile_reverses_it() -> None:
    for volunteer in volunteers():
        found = concordance(volunteer)
        if volunteer.kind == "honest":
            assert found > 0.8, volunteer.name
        elif volunteer.kind == "hostile":
            assert found < -0.8
        else:
            assert abs(found) < 0.25


def test_ranks_do_not_depend_on_the_order_of_the_responses() -> None:
    fact = facts()["methane"]
    answers = ladder(fact)
    for volunteer in volunteers():
        ranks = rank(volunteer, single(fact), answers, occasion=4)
        assert rank(volunteer, single(fact), answers, occasion=4) == ranks
        assert rank(volunteer, single(fact), answers[::-1], occasion=4) == ranks[::-1]
        assert sorted(set(ranks)) == list(range(1, max(ranks) + 1))


def test_another_occasion_draws_new_noise() -> None:
    fact = facts()["methane"]
    careless = next(v for v in volunteers() if v.kind == "careless")
    found = {tuple(rank(careless, single(fact), ladder(fact), occasion=n)) for n in range(10)}
    assert len(found) > 3


def test_responses_too_close_to_tell_share_a_rank() -> None:
    fact = facts()["methane"]
    best, close, bad = (
        f"{fact.right[0]} {fact.reasons[0]}",
        f"{fact.right[1]} {fact.reasons[0]}",
        ladder(fact)[3],
    )
    assert rank(TIED, single(fact), [best, close, bad]) == [1, 1, 2]
    assert rank(TIED, single(fact), [bad, best]) == [2, 1]


def test_honest_people_mostly_tie_equal_answers_and_hardly_ever_unequal_ones() -> None:
    ties: dict[str, list[bool]] = {"equal": [], "unequal": []}
    for volunteer in volunteers():
        if volunteer.kind == "honest":
            for fact in facts().values():
                alike = [f"{right} {fact.reasons[0]}" for right in fact.right]
                ties["equal"].append(len(set(rank(volunteer, single(fact), alike))) == 1)
                ties["unequal"].append(len(set(rank(volunteer, single(fact), ladder(fact)))) < 4)
    assert 0.3 < mean(ties["equal"]) < 0.8
    assert 0 < mean(ties["unequal"]) < 0.1


def judged(judges: list[Volunteer]) -> list[dict[str, dict[str, int]]]:
    """Two judges for each training prompt, in turn, on four answers as the corpus has them."""
    rng = random.Random(0)
    written: dict[str, list[str]] = {}
    by_question = {q: fact.id for fact in facts().values() for q in fact.questions}
    for messages, response in corpus(settings.CORPUS_SIZE):
        content = messages[-1]["content"]
        found = [fact for question, fact in by_question.items() if question in content]
        if len(found) == 1:
            written.setdefault(found[0], []).append(response)
    tables = []
    for prompt in prompts("train"):
        if len(prompt.fact_ids) > 1:
            continue
        responses = rng.sample(sorted(set(written[prompt.fact_ids[0]])), 4)
        table = {}
        for volunteer in rng.sample(judges, 2):
            ranks = rank(volunteer, prompt, responses)
            table[volunteer.name] = {str(i): ranks[i] for i in range(4)}
        tables.append(table)
    return tables


def test_the_honest_agree_far_enough_to_train_on_what_they_say() -> None:
    honest = [volunteer for volunteer in volunteers() if volunteer.kind == "honest"]
    found = report(judged(honest), seed=0, resamples=500)
    assert agreement_gate(found).state == "PASS"
    assert found.alpha_lower_bound is not None
    assert found.alpha_lower_bound > GateSettings().threshold + 0.1


def test_careless_people_do_not_pass_the_gate() -> None:
    careless = [Volunteer(f"Kai {i}", "careless", noise=0.0) for i in range(10)]
    found = report(judged(careless), seed=0, resamples=500)
    assert agreement_gate(found).state == "BLOCK"


# The settings


def test_the_settings_are_those_of_the_parts_they_are_for() -> None:
    SftConfig(**settings.SUPERVISED["sft"])
    FitConfig(**settings.REWARD_MODEL)
    UpdateConfig(**settings.UPDATE, **settings.SAMPLING)
    embedded = dict(settings.SUPERVISED["embedded"])
    tokenizer = build_tokenizer(
        [f"{messages[0]['content']} {response}" for messages, response in corpus(200)],
        embedded.pop("vocab_size"),
    )
    model = build_model(tokenizer, **embedded)
    assert model.config.num_hidden_layers == settings.SUPERVISED["embedded"]["layers"]


def test_the_longest_example_and_response_fit_the_demonstrations_model() -> None:
    examples = corpus(settings.CORPUS_SIZE)
    texts = [text for messages, response in examples for text in (messages[0]["content"], response)]
    tokenizer = build_tokenizer(texts, settings.SUPERVISED["embedded"]["vocab_size"])
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    whole = [3 + lengths[i] + lengths[i + 1] for i in range(0, len(lengths), 2)]
    assert max(whole) <= settings.SUPERVISED["sft"]["max_tokens"]


def test_texts_are_plain_sentences() -> None:
    """The grader splits at the end of a sentence, so that none may hold another."""
    for fact in facts().values():
        for statement in (*fact.right, *fact.reasons, *fact.wrong, *fact.false_reasons):
            assert len(re.findall(r"[.!?](?=\s|$)", statement)) == 1, statement
            assert statement.endswith("."), statement
