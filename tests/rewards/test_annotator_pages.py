"""Admins see who judges how, and what speaks for and against it; thin data is said to be thin."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotate.models import Assignment, Membership, Project, Ranking, Task
from annotate.services.projects import exclude
from rewards.pseudonyms import keyed_pseudonym
from rewards.services.annotators import signs, standing
from rewards.services.snapshots import freeze
from tests import make
from tests.pages import words
from tests.rewards.pools import (
    Judge,
    Judgement,
    careless,
    honest,
    judge,
    member,
    reversed_judge,
    store,
)
from tests.rewards.test_taste import two_schools
from tests.rewards.test_weights import KEY, right

PEOPLE: dict[str, Judge] = {f"a{i}": honest(0.7) for i in range(8)}


@pytest.fixture
def pool(project: Project) -> Project:
    """Eight honest people, one who does not read and one who answers in reverse."""
    people = PEOPLE | {"idle": careless, "rev": reversed_judge}
    said = judge(people, 140, seed=1)
    pace = dict.fromkeys(people, 40_000) | {"idle": 1_000}
    store(project, said, topics=("ice", "sun"), dwell_ms=pace)
    gold = dict.fromkeys(PEOPLE, right) | {"rev": lambda quality, rng: -right(quality, rng)}
    store(project, judge(gold, 10, seed=2, m=9), kind="gold", key=KEY)
    return project


def show(client: Client, name: str, *args: Any, **query: str) -> str:
    response = client.get(reverse(f"rewards:{name}", args=["climate", *args]), query)
    assert response.status_code == 200
    return words(response)


def test_signs_come_from_what_people_did(pool: Project) -> None:
    found = {person.pseudonym: signs(pool)[person.pk] for person in pool.memberships.all()}
    assert found["rev"].assessment.kind == "failed gold"
    assert set(found["idle"].assessment.flagged) == {"peers", "speed"}
    assert found["idle"].assessment.kind == "one sign"  # being quick is no second one
    assert {found[name].assessment.kind for name in PEOPLE} == {"nothing to see"}
    assert found["a0"].signals["gold"].n == 60
    assert found["a0"].signals["self"].state == "too little data"
    assert found["idle"].pace_s < 40 < found["a0"].pace_s


def test_looking_costs_a_bounded_number_of_queries(
    pool: Project, admin: Client, django_assert_max_num_queries: Any
) -> None:
    store(pool, judge(PEOPLE, 40, seed=3))
    for name in ("annotators", "annotator_matrix", "annotator_taste"):
        with django_assert_max_num_queries(25):
            show(admin, name)
    with django_assert_max_num_queries(45):
        show(admin, "annotator", member(pool, "rev").pk)
    with django_assert_max_num_queries(18):  # nothing has changed since
        show(admin, "annotators")


def test_the_list_has_those_who_stand_out_first_and_sorts_by_links(
    pool: Project, admin: Client
) -> None:
    page = show(admin, "annotators")
    assert "Something stands out about 2 of 10." in page
    assert page.index("rev fails known answers") < page.index("idle one sign") < page.index("a0 ")
    by_name = show(admin, "annotators", sort="name")
    assert by_name.index("a0 nothing") < by_name.index("idle one sign") < by_name.index("rev fails")
    assert show(admin, "annotators", sort="nonsense") == page
    assert "0 of 10" in page  # repeats


def test_a_ranking_more_is_seen_at_once(pool: Project, admin: Client) -> None:
    before = signs(pool)[member(pool, "a0").pk].n_rankings
    make.make_ranking(member(pool, "a0"))
    assert signs(pool)[member(pool, "a0").pk].n_rankings == before + 1


def test_the_card_says_what_each_sign_means_and_what_leaving_out_would_do(
    pool: Project, admin: Client
) -> None:
    page = show(admin, "annotator", member(pool, "rev").pk)
    assert "fails known answers Too many tasks with a known answer were ranked wrongly." in page
    assert "Judged from 20 pairs of gold tasks on." in page
    assert "0 of the 10 repeated tasks it takes." in page
    assert "On prompts that had no part in the suspicion the change is" in page
    assert "No snapshot has weights for these judgements yet." in page
    freeze(pool)
    page = show(admin, "annotator", member(pool, "rev").pk)
    assert "Weight 0 where 1 is the usual; failed the tasks with a known answer" in page


def test_the_card_offers_to_leave_out_and_shows_the_history(pool: Project, admin: Client) -> None:
    person = member(pool, "rev")
    address = reverse("annotate:person", args=["climate", person.pk])
    card = reverse("rewards:annotator", args=["climate", person.pk])
    assert f'action="{address}"' in admin.get(card).content.decode()
    admin.post(address, {"action": "exclude", "reason": "answers in reverse"})
    page = show(admin, "annotator", person.pk)
    assert "These judgements are left out and count nowhere" in page
    assert "answers in reverse" in page and "in force" in page
    listed = show(admin, "annotators")
    assert "Left out rev" in listed and "Something stands out about 1 of 9." in listed


def test_the_standing_is_of_the_snapshot_that_taught_the_model_in_use(pool: Project) -> None:
    first = freeze(pool)
    exclude(pool, member(pool, "a0"), "left", by=None)
    second = freeze(pool)
    assert standing(member(pool, "a0")) is None
    found = standing(member(pool, "a1"))
    assert found is not None and (found.snapshot, found.model) == (second, None)
    assert found.weight == second.weights["people"][key_of(found.snapshot, "a1")]["weight"]
    assert key_of(first, "a0") in first.weights["people"]


def key_of(snapshot: Any, name: str) -> str:
    return keyed_pseudonym(snapshot.project, member(snapshot.project, name).pk)


def test_the_matrix_names_everybody_and_says_where_it_is_thin(pool: Project, admin: Client) -> None:
    html = admin.get(reverse("rewards:annotator_matrix", args=["climate"])).content.decode()
    assert html.count('<th scope="row">') == 10 and html.count("the same person") == 10
    assert "shade-0" in html  # the one who answers in reverse
    page = show(admin, "annotator_matrix")
    assert "Two need 10 prompts in common." in page


def test_one_school_is_said_to_be_one(pool: Project, admin: Client) -> None:
    page = show(admin, "annotator_taste")
    assert "No sign of two tastes" in page and "10 people and 140 prompts" in page


def test_two_schools_are_shown_with_their_topics(project: Project, admin: Client) -> None:
    said = [
        Judgement(place, name, tuple(ranks[str(i)] for i in range(4)), (0, 1, 2, 3))
        for place, prompt in enumerate(two_schools(0))
        for name, ranks in prompt.items()
    ]
    store(project, said, topics=("plain", "style"))
    page = show(admin, "annotator_taste")
    assert "two schools People fall into two parts" in page
    assert "a00 , a01 , a02 , a03 , a04 , a05" in page and "Exclude nobody for it." in page
    assert page.index("Between the schools style") < page.index("What to do")


def test_pages_without_data_say_so(project: Project, admin: Client) -> None:
    assert "Nobody has ranked anything yet." in show(admin, "annotators")
    assert "No two people have judged the same prompt yet." in show(admin, "annotator_matrix")
    assert "It takes six people" in show(admin, "annotator_taste")
    card = show(admin, "annotator", project.memberships.get(role=Membership.Role.ADMIN).pk)
    assert "No ranking of this person counts yet." in card


def test_thin_data_is_no_verdict(project: Project, admin: Client) -> None:
    store(project, judge({"a": honest(), "b": honest()}, 12, seed=1, m=2))
    page = show(admin, "annotators")
    assert "a too little data 12 12 of 25" in page
    assert "12 of the 25 rankings that somebody else gave too it takes." in show(
        admin, "annotator", member(project, "a").pk
    )


def test_repeats_and_pairs_judged_one_by_one_are_signs_too(project: Project) -> None:
    first = store(project, judge({"a": honest()}, 12, seed=1, m=1))
    for task in first:
        earlier = Ranking.objects.get(assignment__task=task)
        repeat = Task.objects.create(
            project=project, prompt=task.prompt, kind="repeat", mirror_of=task, state="done"
        )
        again = Assignment.objects.create(
            task=repeat, annotator=earlier.assignment.annotator, state="submitted", display_order=[]
        )
        Ranking.objects.create(assignment=again, ranks=earlier.ranks, payload_hash="x")
    found = signs(project)[member(project, "a").pk].signals
    assert (found["self"].n, found["self"].value) == (12, 1.0)


def test_circles_among_single_pairs_are_counted(project: Project) -> None:
    person = make.make_member(project, "walter")
    for number in range(20):
        prompt = make.make_prompt(project, responses=3)
        one, two, three = prompt.responses.order_by("pk")
        turns = [(one, two), (two, three), (three, one)] if number < 8 else []
        for better, worse in turns or [(one, two), (two, three), (one, three)]:
            rank_pair(project, person, prompt, better, worse)
    found = signs(project)[person.pk].signals["circles"]
    assert (found.n, found.value, found.verdict) == (20, 0.4, "flag")


def rank_pair(project: Project, person: Membership, prompt: Any, better: Any, worse: Any) -> None:
    task = Task.objects.create(project=project, prompt=prompt, kind="normal", state="done")
    assignment = Assignment.objects.create(
        task=task, annotator=person, state="submitted", display_order=[better.pk, worse.pk]
    )
    ranks = {str(better.pk): 1, str(worse.pk): 2}
    Ranking.objects.create(assignment=assignment, ranks=ranks, payload_hash="x")
