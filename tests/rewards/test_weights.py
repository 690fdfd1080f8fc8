"""What everyone's judgements weigh in a snapshot: by gold where there is some, never too much."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.db import connection

from annotate.models import Project, Ranking
from annotate.services.projects import exclude, lift
from rewards.ml.artefacts import read_manifest
from rewards.ml.pairs import read_snapshot
from rewards.models import Snapshot
from rewards.pseudonyms import keyed_pseudonym
from rewards.services.snapshots import freeze
from rewards.services.weights import _trained_on
from tests.rewards.pools import Judge, honest, judge, member, reversed_judge, store

KEY = (1, 2, 3, 4)


def right(quality: Any, rng: Any) -> Any:
    """The key's order, hardly ever another."""
    return 0.3 * rng.standard_normal(4) - np.arange(4)


def gold_for(project: Project, people: dict[str, Judge], n: int) -> None:
    """Everybody does `n` gold tasks; `right` of them rightly, by the key."""
    store(project, judge(people, n, seed=9, m=len(people)), kind="gold", key=KEY)


def reported(snapshot: Snapshot, name: str) -> dict[str, Any]:
    person = keyed_pseudonym(snapshot.project, member(snapshot.project, name).pk)
    return snapshot.weights["people"][person]


def written(snapshot: Snapshot) -> dict[str, set[float]]:
    """The weights on the lines of the snapshot, by pseudonym."""
    found: dict[str, set[float]] = {}
    for line in (snapshot.path / "prompts.jsonl").read_text(encoding="utf-8").splitlines():
        for one in json.loads(line)["judgements"]:
            found.setdefault(one["annotator"], set()).add(one["weight"])
    return found


@pytest.fixture
def people() -> dict[str, Judge]:
    return {f"a{i}": honest(0.6) for i in range(13)} | {"rev": reversed_judge}


def test_without_gold_all_weigh_the_same(project: Project, people: dict[str, Judge]) -> None:
    store(project, judge(people, 60, seed=1))
    snapshot = freeze(project)
    assert snapshot.weights["method"] == "equal"
    assert {weight for weights in written(snapshot).values() for weight in weights} == {1.0}
    assert all(one["reasons"] == [] for one in snapshot.weights["people"].values())


def test_who_fails_gold_weighs_nothing_and_the_manifest_says_why(
    project: Project, people: dict[str, Judge]
) -> None:
    store(project, judge(people, 60, seed=1))
    gold_for(project, dict.fromkeys(people, right) | {"rev": lambda q, rng: -right(q, rng)}, 12)
    snapshot = freeze(project)
    assert snapshot.weights["method"] == "joint with gold"
    assert reported(snapshot, "rev")["weight"] == 0
    assert reported(snapshot, "rev")["reasons"] == ["failed gold"]
    assert reported(snapshot, "rev")["gold_right"] < 0.2
    trusted = [reported(snapshot, f"a{i}") for i in range(13)]
    assert min(one["weight"] for one in trusted) > 0.5
    assert min(one["reliability"] for one in trusted) > 0.7
    assert read_manifest(snapshot.path).facts["weights"] == snapshot.weights
    rev = keyed_pseudonym(project, member(project, "rev").pk)
    assert written(snapshot)[rev] == {0.0}
    taught = {pair.annotator for prompt in read_snapshot(snapshot.path) for pair in prompt.pairs}
    assert rev not in taught and len(taught) == 13


def test_a_newcomer_weighs_half_at_most_until_he_has_done_ten_gold_tasks(
    project: Project, people: dict[str, Judge]
) -> None:
    people = {name: one for name, one in people.items() if name != "rev"}
    store(project, judge(people, 60, seed=1))
    store(project, judge({"a0": right, "a1": right}, 9, seed=2, m=2), kind="gold", key=KEY)
    store(project, judge({"a1": right}, 3, seed=3, m=1), kind="gold", key=KEY)
    snapshot = freeze(project)
    assert reported(snapshot, "a0")["weight"] <= 0.5
    assert reported(snapshot, "a0")["reasons"] == ["newcomer"]
    assert reported(snapshot, "a1")["weight"] > 0.5
    assert "newcomer" not in reported(snapshot, "a1")["reasons"]


def test_new_answers_to_gold_make_another_snapshot_and_the_same_ones_do_not(
    project: Project, people: dict[str, Judge]
) -> None:
    store(project, judge(people, 40, seed=1))
    first = freeze(project)
    gold_for(project, dict.fromkeys(people, right), 12)
    second = freeze(project)
    assert second.number == 2 and second.digest != first.digest
    assert freeze(project) == second
    exclusion = exclude(project, member(project, "a0"), "careless", by=None)
    assert freeze(project).number == 3
    lift(exclusion, by=None)
    again = freeze(project)
    assert again.number == 4
    assert (again.digest, again.weights) == (second.digest, second.weights)


@pytest.fixture
def reversed_database(db: None) -> Iterator[None]:
    """What is asked for in no order comes in reverse."""
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite can be told to")
    connection.cursor().execute("PRAGMA reverse_unordered_selects = ON")
    yield
    connection.cursor().execute("PRAGMA reverse_unordered_selects = OFF")


@pytest.mark.usefixtures("reversed_database")
def test_what_trains_is_read_in_one_order_whatever_the_database_does(
    project: Project, people: dict[str, Judge]
) -> None:
    """Sums in another order differ in their last digits, and so would a snapshot's weights."""
    store(project, judge(people, 30, seed=1))
    read = [pk for pk, _ in _trained_on(project)]
    assert len(read) == 90 and read == sorted(read)


def test_who_ties_everything_weighs_nothing_even_without_gold(
    project: Project, people: dict[str, Judge]
) -> None:
    store(project, judge(people, 60, seed=1))
    store(project, judge({"tied": lambda q, rng: q * 0}, 25, seed=2, m=1))
    for ranking in Ranking.objects.filter(assignment__annotator__pseudonym="tied"):
        ranking.ranks = dict.fromkeys(ranking.ranks, 1)
        ranking.save()
    snapshot = freeze(project)
    assert reported(snapshot, "tied")["weight"] == 0
    assert reported(snapshot, "tied")["reasons"] == ["says the same"]
    assert reported(snapshot, "a0")["weight"] == 1


def test_nobody_teaches_more_than_a_share(project: Project, people: dict[str, Judge]) -> None:
    store(project, judge(people, 40, seed=1))
    store(project, judge({"a0": people["a0"]}, 60, seed=2, m=1))
    snapshot = freeze(project)
    busiest = reported(snapshot, "a0")
    assert busiest["share"] == pytest.approx(0.15, abs=0.002)
    assert busiest["reasons"] == ["share capped"]
    assert snapshot.weights["caps_not_met"] == {}
    assert reported(snapshot, "a1")["weight"] == 1


def test_where_a_cap_cannot_hold_nobody_is_silenced_and_the_manifest_says_so(
    project: Project, people: dict[str, Judge]
) -> None:
    """Three people cannot have 15 % each; and one who did nearly all is not thrown away."""
    few = {name: people[name] for name in ("a0", "a1", "a2")}
    store(project, judge(few, 20, seed=1))
    snapshot = freeze(project)
    assert {weight for weights in written(snapshot).values() for weight in weights} == {1.0}
    assert set(snapshot.weights["caps_not_met"]) == {"1", "3"}
    store(project, judge({"a0": people["a0"]}, 300, seed=2, m=1))
    store(project, judge({f"b{i}": people["a0"] for i in range(6)}, 6, seed=3, m=1))
    crowded = freeze(project)
    assert reported(crowded, "a0")["weight"] == pytest.approx(0.1)
    assert set(crowded.weights["caps_not_met"]) == {"1", "3"}
