"""What leaving somebody out would do: told before it is done, and nothing is done by telling."""

import random
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.models import Assignment, Membership, Project, Ranking, Task
from annotate.services.projects import exclude
from annotate.services.tasks import open_ranking_tasks
from rewards.ml.pairs import Pair, RankedPrompt
from rewards.ml.what_if import linear_models
from rewards.services.agreement import measure
from rewards.services.what_if import LeftOut, answer, choices, judged
from tests import make
from tests.pages import everything, words

pseudonym = attrgetter("pseudonym")
N = {"train": 24, "test": 12}


@pytest.fixture
def pool(project: Project) -> list[Membership]:
    """Three people who like the letter a, and one who likes everything else; all judge all."""
    people = [make.make_member(project, name) for name in ("ann", "ben", "cem", "hostile")]
    rng = random.Random(0)
    for split, n in N.items():
        for number in range(n):
            prompt = make.make_prompt(
                project,
                f"{split} {number}?",
                responses=[f"{'good' * (k == 0)} {rng.choice('xyz')} {k}" for k in range(3)],
                split=split,
                topic="ice" if number % 2 else "sea",
            )
            responses = list(prompt.responses.order_by("pk"))
            (task,) = open_ranking_tasks(
                project, [(prompt, responses)], batch=str(prompt.pk), kind=Task.Kind.AUDIT
            )
            Task.objects.filter(pk=task.pk).update(need=4)
            for person in people:
                ranks = (3, 2, 1) if person == people[3] else (1, 2, 3)
                make.make_ranking(person, ranks, task=task)
            Task.objects.filter(pk=task.pk).update(need=4)
    return people


def asked(project: Project, **left_out: list[str]) -> Any:
    gone = {name: frozenset(values) for name, values in left_out.items()}
    return answer(project, LeftOut(**gone))


def test_leaving_out_a_hostile_person_shows_before_it_is_done(pool: list[Membership]) -> None:
    project = pool[0].project
    found = asked(project, people=[pool[3].pseudonym])
    assert found.removed == pytest.approx(0.25)
    assert found.agreement.before == pytest.approx(0.0, abs=1e-9)
    assert (found.agreement.after, found.agreement.low > 0) == (1.0, True)
    assert found.cross_fitted == pytest.approx(1.0, abs=1e-9)
    assert found.accuracy_after.value >= found.accuracy_before.value
    assert found.accuracy_after.n_prompts == N["test"]
    before = measure(project).figures["alpha"]["value"]
    exclude(project, pool[3], "hostile", by=None)
    assert measure(project).figures["alpha"]["value"] == pytest.approx(found.agreement.after)
    assert before == pytest.approx(found.agreement.before)


def test_topics_and_weeks_can_be_left_out_too(pool: list[Membership]) -> None:
    project = pool[0].project
    sea = asked(project, topics=["sea"])
    assert sea.removed == pytest.approx(0.5) and sea.agreement.n_after == sum(N.values()) / 2
    assert sea.cross_fitted is None
    first = Task.objects.order_by("pk").first()
    earlier = timezone.now() - timedelta(days=30)
    Assignment.objects.filter(task=first).update(submitted_at=earlier)
    Ranking.objects.filter(assignment__task=first).update(created_at=earlier)
    weeks = choices(project).weeks
    assert [n for _, n in weeks] == [4 * (sum(N.values()) - 1), 4]
    old = asked(project, weeks=[weeks[1][0]])
    assert old.n_gone == 4 and old.agreement.n_after == sum(N.values()) - 1


def test_choices_count_rankings_by_person_topic_and_week(pool: list[Membership]) -> None:
    project = pool[0].project
    Assignment.objects.update(submitted_at=datetime(2027, 1, 3, 23, 59, tzinfo=UTC))
    first = Task.objects.order_by("pk").first()
    Assignment.objects.filter(task=first).update(
        submitted_at=datetime(2027, 1, 4, 0, 1, tzinfo=UTC)
    )
    found = choices(project)
    assert found.n_rankings == 144
    assert found.people == [(person.pseudonym, 36) for person in sorted(pool, key=pseudonym)]
    assert found.topics == [("ice", 72), ("sea", 72)]
    assert found.weeks == [("2027-W01", 4), ("2026-W53", 140)]
    assert {row.week for row in judged(project)} == {"2027-W01", "2026-W53"}


def test_leaving_out_everything_is_a_state(pool: list[Membership]) -> None:
    found = asked(pool[0].project, people=[person.pseudonym for person in pool])
    assert (found.removed, found.agreement.after, found.agreement.value) == (1.0, None, None)
    assert (found.gate_after.state, found.accuracy_after.value) == ("INSUFFICIENT", None)


def test_the_same_question_is_computed_once_and_anew_after_a_change(
    pool: list[Membership],
) -> None:
    project = pool[0].project
    gone = LeftOut(people=frozenset([pool[3].pseudonym]))
    first = answer(project, gone)
    with CaptureQueriesContext(connection) as captured:
        assert answer(project, gone) == first
    assert len(captured) <= 5
    exclude(project, pool[0], "left", by=None)
    assert answer(project, gone).n_before == first.n_before * 3 / 4


def test_the_page_works_without_scripts_and_changes_nothing(
    admin: Client, pool: list[Membership]
) -> None:
    url = reverse("rewards:what_if", args=["climate"])
    page = words(admin.get(url))
    assert "Nothing is left out." in page and f"{pool[3].pseudonym} (36)" in page
    before = everything("annotate", "rewards")
    kept = {
        "asked": "1",
        "people": [person.pseudonym for person in pool[:3]] + ["nobody"],
        "topics": ["ice", "sea"],
        "weeks": [judged(pool[0].project)[0].week],
    }
    response = admin.get(url, kept)
    page = words(response)
    assert "This leaves out 25.0 % of the rankings: 36 of 144." in page
    assert "the gain above may flatter" in page
    assert "To really exclude somebody" in page
    fragment = admin.get(url, kept, headers={"HX-Request": "true"})
    assert fragment.content.decode().lstrip().startswith('<section id="what-if"')
    assert everything("annotate", "rewards") == before


def test_before_anything_is_left_out_the_database_counts(
    admin: Client, pool: list[Membership]
) -> None:
    """However many rankings there are, none is loaded."""
    with CaptureQueriesContext(connection) as captured:
        admin.get(reverse("rewards:what_if", args=["climate"]))
    asked = [query["sql"] for query in captured if 'FROM "annotate_ranking"' in query["sql"]]
    assert asked and all("COUNT(" in sql for sql in asked)


def test_a_project_without_rankings_has_nothing_to_leave_out(
    admin: Client, project: Project
) -> None:
    page = words(admin.get(reverse("rewards:what_if", args=["climate"])))
    assert "There is no ranking yet that could be left out." in page


def ranked_words(n: int, flipped: float) -> list[RankedPrompt]:
    """Prompts of which the response with "good" is preferred, in training but for some flips."""
    rng = random.Random(0)
    found = []
    for number in range(n):
        split = "test" if number % 3 == 0 else "train"
        flip = split == "train" and rng.random() < flipped
        pair = Pair(1, 0, 1.0, 1.0, "a") if flip else Pair(0, 1, 1.0, 1.0, "a")
        texts = (f"good {rng.random()}", f"bad {rng.random()}")
        found.append(RankedPrompt(str(number), (), "", split, texts, (pair,)))
    return found


def test_both_linear_models_are_held_to_the_same_judgements() -> None:
    honest, all_of_them = ranked_words(60, 0.0), ranked_words(60, 0.9)
    found = linear_models(all_of_them, honest)
    assert found.before.n_pairs == found.after.n_pairs
    assert found.gain.value == pytest.approx(found.after.value - found.before.value)
    assert found.gain.low > 0.5, "nine judgements in ten were flipped"
    same = linear_models(honest, honest)
    assert (same.gain.value, same.gain.low, same.gain.high) == (0, 0, 0)
