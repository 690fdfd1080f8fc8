"""Volunteers rank in a real browser, by mouse; and what holds whichever way they do it."""

import re

import pytest
from django.urls import reverse

from annotate.models import Ranking
from tests.annotate.test_rendering import ATTACKS
from tests.browser.ranking_page import (
    all_caught_up,
    begin,
    card,
    overflow,
    press,
    press_and_go_on,
    ranked,
    stored_ranks,
    submit,
)
from tests.make import make_member, make_task

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_by_mouse(open_page, project, ada):
    make_task(project)
    page = open_page(ada)
    begin(page)
    for letter, place in zip("abcd", ("2nd", "1st", "2nd", "4th"), strict=True):
        card(page, letter).get_by_text(place, exact=True).click()
    card(page, "d").get_by_text("Unacceptable").click()
    assert ranked(page) == {"a": 2, "b": 1, "c": 2, "d": 4}
    page.get_by_text("Why? (if you like)").click()
    page.get_by_label("Why this order?").fill("B says it in one line.")
    submit(page)
    all_caught_up(page)
    ranking = Ranking.objects.get()
    assert stored_ranks(ranking) == [2, 1, 2, 3]
    assert ranking.unacceptable == [ranking.assignment.display_order[3]]
    assert ranking.rationale == "B says it in one line."
    assert ranking.dwell_ms > 0 and ranking.n_changes >= 5
    assert ranking.assignment.client["width"] == "wide"


def test_no_page_is_wider_than_its_window(open_page, project):
    make_member(project, "a" * 40)
    make_task(project)
    page = open_page(make_member(project, "root", role="admin").user)
    for name in ("rank", "me", "guidelines", "people"):
        page.goto(reverse(f"annotate:{name}", args=[project.slug]))
        for width in (320, 390, 1280):
            page.set_viewport_size({"width": width, "height": 700})
            assert overflow(page) == 0, (name, width)


def test_no_text_acts(open_page, project, ada):
    """What would act sends a request, sets window.PWN, moves the page or trips over the policy."""
    armed = [attack.replace("alert(1)", "window.PWN=1") for attack in ATTACKS]
    for at in range(0, len(armed), 6):
        make_task(project, responses=[f"{n}: {text}" for n, text in enumerate(armed[at : at + 6])])
    page = open_page(ada)
    begin(page)
    while page.get_by_role("heading", name="All caught up").count() == 0:
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.PWN === undefined")
        assert (
            page.locator("[data-untrusted] :is(img, script, iframe, form, input, svg)").count() == 0
        )
        assert page.locator("#ranking").evaluate("form => form.tagName") == "FORM"
        for link in page.locator("[data-untrusted] a").all():
            assert re.match("https?://", link.get_attribute("href"))
        for letter in [one.get_attribute("data-letter") for one in page.locator(".response").all()]:
            press(page, [f"Shift+{letter.upper()}", "1"])
        press_and_go_on(page, "Control+Enter")
    assert Ranking.objects.count() == project.tasks.count()


def test_a_letter_is_dragged_to_its_place(open_page, project, ada):
    make_task(project)
    page = open_page(ada)
    begin(page)
    for letter, place in (("C", "2"), ("A", "1"), ("C", "1")):
        token = page.locator(f'.board .token[data-letter="{letter.lower()}"]').bounding_box()
        tier = page.locator(f'.tier[data-place="{place}"]').bounding_box()
        page.mouse.move(token["x"] + 20, token["y"] + 20)
        page.mouse.down()
        page.mouse.move(tier["x"] + 10, tier["y"] + 20, steps=4)
        page.mouse.up()
    assert ranked(page) == {"a": 1, "c": 1}
    assert page.locator(".token[aria-pressed=true]").count() == 0


def test_what_was_not_read_to_its_end_is_pointed_out_and_may_be_submitted(open_page, project, ada):
    long = "\n\n".join(f"Paragraph {n}." for n in range(80))
    make_task(project, responses=[long, "Short."])
    page = open_page(ada)
    begin(page)
    page.keyboard.press("1")
    page.get_by_text("You have not seen the end of").wait_for()
    submit(page)
    all_caught_up(page)


def test_the_question_stays_in_sight(open_page, project, ada):
    long = "\n\n".join(f"Paragraph {n}." for n in range(80))
    make_task(project, responses=[long, f"{long} More."])
    page = open_page(ada)
    begin(page)
    pinned = page.locator(".pinned-line")
    assert not pinned.is_visible()
    for _ in range(2):
        page.get_by_role("button", name="Show all").first.click()
    page.mouse.wheel(0, 3000)
    pinned.wait_for()
    assert pinned.inner_text().startswith("Question")
