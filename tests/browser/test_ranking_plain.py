"""Volunteers rank where scripts are off."""

import pytest

from annotate.models import Demonstration, Ranking
from tests.browser.ranking_page import all_caught_up, begin, chip, stored_ranks, submit
from tests.make import make_task

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(open_page, ada):
    return open_page(ada, java_script_enabled=False)


def test_a_whole_session(page, project):
    make_task(project), make_task(project)
    begin(page)
    chip(page, "a", "1st").click()
    submit(page)
    assert "No place yet: B, C and D." in page.get_by_role("alert").inner_text()
    for letter, place in zip("bcd", ("2nd", "3rd", "4th"), strict=True):
        chip(page, letter, place).click()
    submit(page)
    assert stored_ranks() == [1, 2, 3, 4]
    page.get_by_role("button", name="Undo").click()
    chip(page, "d", "1st").click()
    page.get_by_role("button", name="Store the change").click()
    assert stored_ranks() == [1, 2, 3, 1]
    page.get_by_text("Skip this one", exact=True).click()
    page.get_by_role("button", name="broken").click()
    all_caught_up(page)
    for name in ("Keys", "Differences", "Show all", "Rest equal"):
        assert page.get_by_role("button", name=name).count() == 0


def test_eight_responses_have_all_their_places(page, project):
    make_task(project, responses=8)
    begin(page)
    for letter, place in zip("abcdefgh", ("8th", "7th", "6th", *["1st"] * 5), strict=True):
        chip(page, letter, place).click()
    submit(page)
    all_caught_up(page)
    assert stored_ranks() == [4, 3, 2, 1, 1, 1, 1, 1]


def test_what_nobody_must_answer_is_taken_back(page, project):
    type(project).objects.update(criteria=[{"name": "helpful", "label": "Helpful"}])
    make_task(project, responses=2)
    begin(page)
    page.get_by_text("About equal", exact=True).click()
    page.get_by_text("How sure are you?").first.click()
    page.get_by_text("Rate or flag").first.click()
    assert page.get_by_text("No answer").locator("visible=true").count() == 0
    for question, answer in (("How sure are you?", "Guessed"), ("Helpful", "4")):
        choices = page.get_by_role("group", name=question).first
        choices.get_by_text(answer, exact=True).click()
        choices.get_by_text("No answer").click()
    submit(page)
    all_caught_up(page)
    ranking = Ranking.objects.get()
    assert (ranking.confidence, ranking.criteria) == (None, {})


def test_covered_texts_and_a_better_one(page, project):
    type(project).objects.update(
        content_categories=[{"name": "violence", "label": "Violence"}], preference_steps=7
    )
    make_task(project, responses=["One.", "Two."])
    project.prompts.update(content_categories=["violence"])
    begin(page)
    assert not page.get_by_text("One.", exact=True).is_visible()
    page.get_by_text("The texts are covered").click()
    page.get_by_text("B slightly").click()
    page.get_by_text("Write a better one").click()
    page.get_by_role("button", name="Take its text").click()
    page.get_by_label("A better text").fill("Three.")
    submit(page)
    all_caught_up(page)
    ranking = Ranking.objects.get()
    assert (stored_ranks(), ranking.strength) == ([2, 1], 1)
    better = Demonstration.objects.get()
    assert (better.text, better.edited_from_id) == ("Three.", ranking.assignment.display_order[1])
