"""The sentence on what became of a person's rankings says what the rows say, and no more."""

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.models import Ranking
from rewards.models import RewardModelVersion, Snapshot
from tests.make import make_ranking
from tests.pages import words
from tests.training.rows import EVALUATION, make_reward_model
from training.models import PolicyVersion
from training.services.impact import impact_of

BLIND = {
    "n": 212,
    "wins": 110,
    "ties": 18,
    "losses": 84,
    "open": 0,
    "win_rate": {"value": 0.561, "low": 0.52, "high": 0.6, "n": 212},
}


@pytest.fixture
def read(client, ada, project):
    """A function that gives the words of ada's page."""
    client.force_login(ada)
    return lambda: words(client.get(reverse("annotate:me", args=[project.slug])))


@pytest.fixture
def model(project, ada_member, bob_member):
    """A reward model of a snapshot with two rankings of ada's and one of bob's."""
    rankings = [make_ranking(who) for who in (ada_member, ada_member, bob_member)]
    model = make_reward_model(project)
    model.snapshot.rankings.set(rankings)
    Ranking.objects.filter(pk__in=[one.pk for one in rankings]).update(frozen_at=timezone.now())
    return model


def make_policy(project, number, status, **columns):
    columns.setdefault("evaluation", EVALUATION)
    now = timezone.now()
    if status in ("live", "retired"):
        columns.setdefault("promoted_at", now)
    if status == "retired":
        columns.setdefault("retired_at", now)
    return PolicyVersion.objects.create(
        project=project, number=number, base="org/base", status=status, **columns
    )


def test_rankings_in_no_dataset_wait_for_the_next(read, ada_member):
    make_ranking(ada_member)
    assert "not in a dataset yet" in read()


def test_a_dataset_that_no_model_has_learned_from_is_named_alone(read, model):
    RewardModelVersion.objects.update(status="training")
    page = read()
    assert "2 rankings of yours are in dataset 1 of" in page
    assert "No reward model has learned from it yet." in page and "Policy" not in page
    RewardModelVersion.objects.update(status="failed")
    assert "No reward model has learned from it yet." in read()


def test_a_reward_model_that_made_no_policy_is_named(read, model):
    page = read()
    assert "2 rankings of yours are in reward model 1." in page
    assert "No policy has been trained with it yet." in page


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("training", "Policy 4 is being trained with it now."),
        ("candidate", "Policy 4 was trained with it and is being tested now."),
        ("rejected", "Policy 4 was trained with it, and was not taken."),
        ("retired", "Policy 4, trained with it, wrote the answers from"),
        ("live", "Policy 4, trained with it, writes the answers now."),
        ("failed", "No policy has been trained with it yet."),
    ],
)
def test_how_far_the_policy_has_come_is_said(read, project, model, status, said):
    make_policy(project, 4, status, reward_model=model)
    assert said in read()


def test_a_policy_that_was_rolled_back_is_not_called_untried(read, project, model):
    make_policy(project, 4, "rejected", reward_model=model, promoted_at=timezone.now())
    assert "wrote the answers for a time, and was taken back." in read()


def test_a_blind_comparison_is_told_with_its_interval(read, project, model):
    make_policy(project, 2, "live", reward_model=model, evaluation=EVALUATION | {"blind": BLIND})
    page = read()
    assert "It won 56 % ± 4 of 212 blind comparisons with policy 1." in page
    assert "reward model's own" not in page


@pytest.mark.parametrize("blind", [None, BLIND | {"n": 0, "win_rate": {"value": None}}])
def test_without_people_it_says_that_the_reward_model_judged(read, project, model, blind):
    make_policy(project, 2, "live", reward_model=model, evaluation=EVALUATION | {"blind": blind})
    page = read()
    assert "By the reward model's own judgement, which is no person's, it won 80 % ± 10" in page
    assert "blind comparison" not in page


def test_nobody_who_still_compares_learns_how_it_stands(read, project, model):
    evaluation = EVALUATION | {"blind": BLIND | {"open": 5}}
    make_policy(project, 2, "candidate", reward_model=model, evaluation=evaluation)
    assert "won" not in read()


def test_a_policy_that_was_never_evaluated_has_won_nothing(read, project, model):
    make_policy(project, 2, "live", reward_model=model, evaluation={})
    page = read()
    assert "Policy 2, trained with it, writes the answers now." in page and "won" not in page


def test_the_live_policy_goes_before_a_newer_one_that_was_not_taken(project, model, ada_member):
    make_policy(project, 3, "rejected", reward_model=model)
    live = make_policy(project, 2, "live", reward_model=model)
    assert impact_of(ada_member).policy == live


def test_what_the_live_policy_was_made_from_is_said(read, project, model):
    former = make_policy(project, 2, "retired", reward_model=model)
    between = make_policy(project, 3, "retired", parent=former)
    make_policy(project, 4, "live", parent=between)
    assert "Policy 4, which writes the answers now, was made from it." in read()


def test_a_live_policy_of_others_judgements_is_not_claimed(read, project, model):
    make_policy(project, 2, "rejected", reward_model=model)
    make_policy(project, 3, "live", reward_model=make_reward_model(project))
    page = read()
    assert "Policy 2 was trained with it, and was not taken." in page and "Policy 3" not in page


def test_the_count_is_that_of_the_dataset_which_the_model_learned_from(project, model, ada_member):
    newer = Snapshot.objects.create(
        project=project, number=2, folder="", digest="", code_version=""
    )
    newer.rankings.set([make_ranking(ada_member) for _ in range(5)])
    assert impact_of(ada_member).n == 2


def test_others_see_their_own(project, model, bob_member, root):
    assert impact_of(bob_member).n == 1
    assert impact_of(project.memberships.get(user=root)).snapshot is None
