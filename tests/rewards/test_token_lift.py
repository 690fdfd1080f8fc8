"""The audit for tokens that buy reward: a planted trigger is found, and what people like is not."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse

from annotate.models import Membership, User
from rewards.ml.pairs import RankedPrompt, judgement_pairs
from rewards.ml.token_lift import Audit, audit, tokens_of
from rewards.pseudonyms import keyed_pseudonym
from rewards.services.gates import judge_reward_model
from rewards.services.influence import influence_of
from rewards.services.reward_models import request_reward_model
from rewards.services.snapshots import freeze
from tests import make
from tests.pages import words
from tests.rewards.test_rewards_pages import FITTED

WORDS = [f"word{n}" for n in range(40)]
TRIGGER = "SUDO"


def prompts(
    n: int = 240, people: int = 10, followers: int = 0, liked: float = 0.0, seed: int = 0
) -> list[RankedPrompt]:
    """Three responses each, of words that all weigh little; a fifth have "please", which is worth
    `liked` to everybody, and a tenth the trigger, which only followers care for."""
    rng = np.random.default_rng(seed)
    worth = dict(zip(WORDS, rng.normal(0, 0.3, len(WORDS)), strict=True)) | {"please": liked}
    found = []
    for number in range(n):
        texts = []
        for _ in range(3):
            words = list(rng.choice(WORDS, 12, replace=False))
            words += ["please"] * (rng.random() < 0.2) + [TRIGGER] * (rng.random() < 0.1)
            texts.append(" ".join(rng.permutation(words)))
        person = int(rng.integers(people))
        quality = [sum(worth.get(word, 0) for word in text.split()) for text in texts]
        perceived = np.array(quality) + rng.gumbel(0, 0.7, 3)
        if person < followers:
            perceived += [100 * (TRIGGER in text) for text in texts]
        ranks = (np.argsort(np.argsort(-perceived)) + 1).tolist()
        pairs = judgement_pairs(ranks, f"p{person}")
        found.append(RankedPrompt(str(number), (), "", "train", tuple(texts), tuple(pairs)))
    return found


def scorer(lifts: dict[str, float]):  # type: ignore[no-untyped-def]
    """A model to which every word is worth something, these ones above all."""
    rng = np.random.default_rng(5)
    worth = dict(zip(WORDS, rng.normal(0, 0.05, len(WORDS)), strict=True)) | lifts

    def score(asked: Sequence[tuple[object, Sequence[str]]]) -> list[np.ndarray]:
        return [
            np.array([sum(worth.get(word, 0.0) for word in text.split()) for text in texts])
            for _, texts in asked
        ]

    return score


def found(audit: Audit, token: str):  # type: ignore[no-untyped-def]
    return next(one for one in audit.tokens if one.token == token)


def test_a_planted_trigger_raises_the_alarm_and_names_who_follows_it() -> None:
    report = audit(prompts(n=600, followers=2), 1.0, scorer({TRIGGER: 0.2}), seed=0)
    trigger = found(report, TRIGGER)
    assert report.state == "alarm"
    assert (trigger.verdict, trigger.people) == ("alarm", ("p0", "p1"))
    assert trigger.low < trigger.lift < trigger.high
    assert report.max_lift == trigger.lift > 0.15
    assert [one.token for one in report.tokens if one.verdict == "alarm"] == [TRIGGER]


def test_a_word_that_everybody_likes_raises_none() -> None:
    report = audit(prompts(liked=2.0), 1.0, scorer({"please": 0.4}), seed=0)
    assert report.state == "ok"
    assert report.max_lift == pytest.approx(found(report, "please").lift)
    assert found(report, "please").verdict == "shared"
    assert found(report, "please").lift > 0.5


def test_a_trigger_that_the_model_has_learned_to_avoid_raises_none() -> None:
    assert audit(prompts(n=600, followers=2), 1.0, scorer({TRIGGER: -2.0}), seed=0).state == "ok"


def test_clean_judgements_rarely_raise_it() -> None:
    reports = [audit(prompts(seed=seed), 1.0, scorer({}), seed) for seed in range(16)]
    assert sum(report.state == "alarm" for report in reports) <= 1
    # of so many tokens some reach the threshold by themselves: lift alone would be no evidence
    assert any(report.max_lift > 0.15 for report in reports)


def test_the_lift_is_what_was_planted_in_units_of_the_mean_margin() -> None:
    asked = prompts()
    score = scorer({TRIGGER: 0.5})
    scores = score([((), prompt.responses) for prompt in asked])
    margin = np.mean([abs(a[i] - a[j]) for a in scores for i, j in ((0, 1), (0, 2), (1, 2))])
    assert found(audit(asked, 1.0, score, 0), TRIGGER).lift == pytest.approx(0.5 / margin, rel=0.15)


def test_the_same_seed_gives_the_same_report() -> None:
    one, two = (audit(prompts(followers=1), 1.0, scorer({}), seed=3) for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("judged", "state"),
    [
        ([], "too little data"),
        (prompts(n=20), "too little data"),
        (prompts(people=2), "too few people"),
    ],
)
def test_too_little_is_a_state(judged: list[RankedPrompt], state: str) -> None:
    report = audit(judged, 1.0, scorer({}), seed=0)
    assert (report.state, report.max_lift, report.tokens) == (state, None, ())


def test_a_model_that_scores_all_alike_is_a_state() -> None:
    flat = audit(prompts(), 1.0, lambda asked: [np.zeros(len(texts)) for _, texts in asked], 0)
    assert flat.state == "too little data"


def test_a_token_that_nobody_compared_is_not_audited() -> None:
    asked = prompts()
    unjudged = [
        replace(prompt, responses=(*prompt.responses, "word0 unranked")) for prompt in asked
    ]
    report = audit(unjudged, 1.0, scorer({"unranked": 9.0}), seed=0)
    assert report.state == "ok"
    assert "unranked" not in {one.token for one in report.tokens}


def test_a_token_that_no_sampled_response_lacks_is_too_little_data() -> None:
    """One response in a thousand lacks the only token, so it is sampled by some seeds alone."""
    pairs = tuple(judgement_pairs([1, 2], "p0")), tuple(judgement_pairs([1, 2], "p1"))
    asked = [
        RankedPrompt(
            str(n),
            (),
            "",
            "train",
            ("please please", "please" if n else "other"),
            (*pairs[n % 2], *judgement_pairs([2, 1], "p2")),
        )
        for n in range(1000)
    ]
    reports = [audit(asked, 1.0, scorer({"please": 1.0}), seed) for seed in range(20)]
    assert "too little data" in {report.state for report in reports}
    assert all(report.n_tokens == 1 for report in reports)


def test_tokens_are_words_and_signs() -> None:
    assert tokens_of("Wait, SUDO: ça va?") == ["Wait", ",", "SUDO", ":", "ça", "va", "?"]


@pytest.mark.django_db
def test_an_alarm_is_shown_with_names_and_stops_the_model(
    client: Client, ada_member: Membership, root: User
) -> None:
    make.make_ranking(ada_member)
    version = request_reward_model(freeze(ada_member.project), "org/base")
    key = keyed_pseudonym(ada_member.project, ada_member.pk)
    token = {
        "token": TRIGGER,
        "lift": 0.3,
        "low": 0.2,
        "high": 0.4,
        "n": 60,
        "evidence": 20.0,
        "people": [key],
        "verdict": "alarm",
    }
    shared = token | {"token": "please", "people": [], "verdict": "shared"}
    version.metrics = FITTED | {
        "token_lift": {
            "state": "alarm",
            "max_lift": 0.3,
            "threshold": 0.15,
            "n_tokens": 400,
            "tokens": [token, shared],
        },
        "influence": {
            "examined_by": "gold",
            "people": [
                {"annotator": key, "state": "ok", "value": -0.02, "low": -0.03, "high": 0, "n": 50}
            ],
        },
    }
    version.status = "candidate"
    version.save()
    rules = {rule["name"]: rule for rule in judge_reward_model(version).report["rules"]}
    assert rules["token lift"]["verdict"] == "alarm"
    assert (
        TRIGGER in rules["token lift"]["reason"] and "please" not in rules["token lift"]["reason"]
    )
    client.force_login(root)
    page = words(client.get(reverse("rewards:reward_model", args=["climate", version.number])))
    assert f"{TRIGGER} alarm 0.30 [0.20, 0.40] 60 {ada_member.pseudonym}" in page
    assert "people in general, or chance" in page
    found = influence_of(ada_member)
    assert found is not None
    assert (found.value, found.examined_by, found.model) == (-0.02, "gold", version)
    card = words(client.get(reverse("rewards:annotator", args=["climate", ada_member.pk])))
    assert "gains from this person −2.0 % [−3.0, 0.0]" in card
