"""Volunteers rank on a phone, by tapping alone."""

import pytest

from annotate.models import Assignment, Project, Ranking
from annotate.services.people import create_invite
from annotate.services.projects import publish_text
from tests.browser.ranking_page import (
    PHONE,
    all_caught_up,
    begin,
    card,
    chip,
    overflow,
    ranked,
    small_targets,
    stored_ranks,
)
from tests.make import PASSWORD, make_project, make_task

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def project() -> Project:
    return make_project(
        "climate",
        criteria=[{"name": "helpful", "label": "Helpful"}],
        flags=[{"name": "greenwash", "label": "Greenwash"}],
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_long_and_wide_texts(open_page, project, ada, scheme):
    long = "\n\n".join(
        f"Paragraph {n} of a long response, which must be scrolled." for n in range(40)
    )
    table = "| a | b |\n|---|---|\n| " + "wide " * 60 + " | c |"
    code = "```python\n" + "x = " + "1 + " * 80 + "1\n```"
    make_task(project, responses=[long, table, code, "w" * 300, "short", "Short!"])
    page = open_page(ada, color_scheme=scheme, **PHONE)
    begin(page)
    assert overflow(page) == 0
    for letter, place in zip("abcdef", ("1st", "2nd", "3rd", "4th", "5th", "6th"), strict=True):
        chip(page, letter, place).tap()
    assert small_targets(page) == []
    page.evaluate(
        "for (const one of document.querySelectorAll('#ranking details')) one.open = true"
    )
    assert overflow(page) == 0 and small_targets(page) == []
    page.get_by_role("button", name="Submit").tap()
    all_caught_up(page)
    assert stored_ranks() == [1, 2, 3, 4, 5, 6]
    assert Assignment.objects.get().client["width"] == "narrow"


def test_the_order_is_changed_on_the_board(open_page, project, ada):
    make_task(project)
    page = open_page(ada, **PHONE)
    begin(page)
    page.get_by_role("button", name="No place yet").tap()
    board = page.get_by_role("group", name="The order so far")
    for letter, place in (("D", "1st"), ("B", "2nd"), ("A", "2nd")):
        board.get_by_role("button", name=f"{letter}, not ranked yet").tap()
        board.get_by_role("button", name=place, exact=True).tap()
    assert ranked(page) == {"a": 2, "b": 2, "d": 1}
    board.get_by_role("button", name="Rest equal, last").tap()
    assert page.locator(".order").inner_text() == "D › A = B › C"
    assert overflow(page) == 0 and small_targets(page) == []
    page.get_by_role("button", name="Submit").tap()
    all_caught_up(page)
    assert stored_ranks() == [2, 2, 3, 1]


def test_eight_in_rounds(open_page, project, ada):
    make_task(project, responses=8)
    page = open_page(ada, **PHONE)
    begin(page)
    assert overflow(page) == 0 and small_targets(page) == []
    letters = page.locator(".round-letters")
    for letter in "HAGBFC":
        letters.get_by_role("button", name=letter, exact=True).tap()
    card(page, "e").get_by_role("button", name="Best left").tap()
    assert page.locator(".round-title").inner_text().startswith("Done")
    page.get_by_role("button", name="Submit").tap()
    all_caught_up(page)
    assert stored_ranks() == [8, 7, 6, 5, 4, 3, 2, 1]


def test_of_two_on_seven_steps_and_all_that_may_be_said_besides(open_page, project, ada):
    type(project).objects.update(preference_steps=7)
    make_task(project, responses=2)
    page = open_page(ada, **PHONE)
    begin(page)
    assert overflow(page) == 0
    page.get_by_text("B clearly").tap()
    card(page, "a").get_by_text("Rate or flag").tap()
    card(page, "a").get_by_text("Greenwash").tap()
    card(page, "a").get_by_text("4", exact=True).tap()
    page.get_by_text("Flag the question").tap()
    page.get_by_role("group", name="Flags of the question").get_by_text("Off topic").tap()
    page.get_by_text("How sure are you?").first.tap()
    page.get_by_text("Guessed").tap()
    page.get_by_text("Guessed").tap()  # takes it back
    page.locator("#sure:not(:has(:checked))").wait_for()
    page.get_by_text("Fairly sure").tap()
    page.get_by_text("Write a better one").tap()
    page.get_by_role("button", name="Take its text").tap()
    page.locator("#id_edited:not(:empty)").wait_for()
    better = page.get_by_label("A better text")
    better.fill(better.input_value() + " And more.")
    assert overflow(page) == 0 and small_targets(page) == []
    page.get_by_role("button", name="Submit").tap()
    all_caught_up(page)
    ranking = Ranking.objects.get()
    a, b = ranking.assignment.display_order
    assert (stored_ranks(), ranking.strength, ranking.confidence) == ([2, 1], 2, 2)
    assert ranking.flags == {str(a): ["greenwash"], "prompt": ["off topic"]}
    assert ranking.criteria == {str(a): {"helpful": 4}}
    edited = ranking.assignment.demonstrations.get()
    assert edited.edited_from_id == b and edited.text.endswith(". And more.")


def test_an_invited_person_joins_and_ranks(open_page, project):
    publish_text(project, "consent", "Your rankings are published.", by=None)
    make_task(project, responses=2)
    _, token = create_invite(project)
    page = open_page(**PHONE)
    page.goto(f"/invite/{token}/")
    page.get_by_label("Name to sign in with").fill("cleo")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("I have read this and agree.").check()
    page.get_by_role("button", name="Join and start").tap()
    page.get_by_role("button", name="Start ranking").tap()
    page.get_by_text("About equal", exact=True).tap()
    page.get_by_role("button", name="Submit").tap()
    all_caught_up(page)
    assert stored_ranks() == [1, 1]
