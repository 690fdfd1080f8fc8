"""Volunteers rank by keys alone, and hear what they did."""

import pytest

from annotate.models import Assignment, Ranking, User
from tests.browser.ranking_page import (
    all_caught_up,
    begin,
    card,
    heard,
    press,
    press_and_go_on,
    ranked,
    stored_ranks,
)
from tests.make import make_task

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_four_responses_take_four_keys_and_a_submit_one_task_after_the_other(
    open_page, project, ada
):
    make_task(project), make_task(project)
    page = open_page(ada)
    begin(page)
    page.evaluate("window.stillTheSamePage = true")
    press(page, "2132")
    assert ranked(page) == {"a": 2, "b": 1, "c": 3, "d": 2}
    assert heard(page) == "D: 2nd, the same as A. All have a place."
    first = page.url
    press_and_go_on(page, "Control+Enter")
    assert page.url != first
    page.get_by_text("Saved.", exact=True).wait_for()
    assert heard(page) == "Saved. Task 2 today. Put the responses in order"
    assert page.evaluate("document.activeElement.tagName") == "H1"
    assert stored_ranks() == [2, 1, 3, 2]
    press(page, "1234")
    page.keyboard.press("Meta+Enter")
    all_caught_up(page)
    assert page.evaluate("window.stillTheSamePage")
    assert Ranking.objects.count() == 2


def test_places_are_changed_tied_and_taken_away(open_page, project, ada):
    make_task(project)
    page = open_page(ada)
    begin(page)
    press(page, ["Shift+C", "1"])  # C, then on to the next without a place: D, A
    press(page, "32")
    assert ranked(page) == {"a": 2, "c": 1, "d": 3}
    press(page, "e")  # the rest are equal, and last
    assert ranked(page) == {"a": 2, "b": 4, "c": 1, "d": 3}
    press(page, ["Shift+B", "["])
    assert ranked(page)["b"] == 3
    press(page, "b")  # the best; who was first moves on
    assert ranked(page) == {"a": 3, "b": 1, "c": 2, "d": 4}
    press(page, "w")
    assert ranked(page)["b"] == 4
    press(page, ["Shift+A", "]", "0"])
    assert "a" not in ranked(page)
    assert heard(page) == "A: not ranked"
    press(page, ["u", "u"])
    assert ranked(page)["a"] == 2
    press(page, ["-"])
    assert card(page, "a").get_by_label("Unacceptable").is_checked()
    press(page, ["x"])
    assert page.locator('[name="unacceptable"]:checked').count() == 4


def test_what_is_missing_is_said_and_nothing_is_sent(open_page, project, ada):
    make_task(project)
    page = open_page(ada)
    begin(page)
    press(page, "12")
    page.keyboard.press("Control+Enter")
    assert heard(page) == "No place yet: C, D"
    assert page.locator(".missing").count() == 2
    press(page, "34")  # the first that lacks a place has the focus
    press_and_go_on(page, "Control+Enter")
    all_caught_up(page)
    assert stored_ranks() == [1, 2, 3, 4]


def test_where_ties_are_not_allowed_a_place_is_taken_over(open_page, project, ada):
    type(project).objects.update(allow_ties=False)
    make_task(project)
    page = open_page(ada)
    begin(page)
    press(page, "11")
    assert ranked(page) == {"b": 1}
    assert page.get_by_role("button", name="Rest equal").count() == 0


def test_of_two_on_three_steps(open_page, project, ada):
    for _ in range(3):
        make_task(project, responses=2)
    page = open_page(ada)
    begin(page)
    press(page, "2")
    assert heard(page) == "B is better"
    press_and_go_on(page, "Control+Enter")
    press(page, ["ArrowLeft", "0"])
    press_and_go_on(page, "Control+Enter")
    press(page, "x")
    page.keyboard.press("Control+Enter")
    all_caught_up(page)
    found = sorted(map(stored_ranks, Ranking.objects.all()), key=str)
    assert found == [[1, 1], [2, 1], [None, None]]


def test_of_two_on_seven_steps(open_page, project, ada):
    type(project).objects.update(preference_steps=7)
    for _ in range(3):
        make_task(project, responses=2)
    page = open_page(ada)
    begin(page)
    for keys in (["1", "1"], ["Shift+2"], ["ArrowRight"]):
        press(page, keys)
        page.keyboard.press("Control+Enter")
        page.locator("#ranking input:checked").wait_for(state="detached")
    all_caught_up(page)
    found = sorted((stored_ranks(one), one.strength) for one in Ranking.objects.all())
    assert found == [([1, 2], 2), ([2, 1], 1), ([2, 1], 3)]


def test_eight_in_rounds_of_best_and_worst(open_page, project, ada):
    make_task(project, responses=8)
    page = open_page(ada)
    begin(page)
    title = page.locator(".round-title")
    assert title.inner_text() == "Which is the best of the 8 left?"
    for letter, key in (("H", "b"), ("A", "w"), ("G", "b"), ("B", "w"), ("F", "b"), ("C", "w")):
        press(page, [f"Shift+{letter}", key])
    assert title.inner_text() == "Which is the best of the 2 left?"
    press(page, ["Shift+E", "b"])  # the last one left gets what is left
    assert heard(page).endswith("Done: every response has its place.")
    page.keyboard.press("Control+Enter")
    all_caught_up(page)
    assert stored_ranks() == [8, 7, 6, 5, 4, 3, 2, 1]


def test_keys_do_nothing_while_somebody_writes(open_page, project, ada):
    make_task(project)
    page = open_page(ada)
    begin(page)
    press(page, "n")
    page.keyboard.type("1 2 s ?")
    assert page.get_by_label("Why this order?").input_value() == "1 2 s ?"
    assert page.locator("#ranking input:checked").count() == 0


def test_keys_may_be_changed_or_switched_off(open_page, project, ada):
    make_task(project)
    User.objects.update(keys={"skip": "k"})
    page = open_page(ada)
    begin(page)
    press(page, "s")
    assert page.locator("#skip[open]").count() == 0
    press(page, "k")
    page.locator("#skip[open]").wait_for()
    User.objects.update(keys={"off": True})
    page.reload()
    press(page, "1k?")
    assert page.locator("#ranking input:checked, #skip[open], dialog[open]").count() == 0


def test_an_action_without_a_key_has_none_and_the_help_says_so(open_page, project, ada):
    make_task(project)
    User.objects.update(keys={"skip": "", "help": ""})
    page = open_page(ada)
    begin(page)
    press(page, "s?")
    assert page.locator("#skip[open], dialog[open]").count() == 0
    button = page.get_by_role("button", name="Keys")
    assert button.inner_text() == "Keys"
    button.click()
    helped = page.get_by_role("dialog", name="Keys").inner_text()
    assert "no key\nskip this one" in helped


def test_an_answer_that_nobody_must_give_is_taken_back_by_space(open_page, project, ada):
    type(project).objects.update(criteria=[{"name": "helpful", "label": "Helpful"}])
    make_task(project)
    page = open_page(ada)
    begin(page)
    press(page, ["Shift+A", "f", "Space", "ArrowRight", "ArrowRight"])
    rated = card(page, "a").locator(".rating :checked")
    assert rated.input_value() == "3"
    press(page, ["Space"])
    assert heard(page) == "No answer any more: Helpful"
    assert rated.count() == 0
    press(page, ["u"])
    assert rated.input_value() == "3"
    press(page, ["Space", "Space"])  # taken back, and given again
    assert rated.input_value() == "3"
    page.get_by_text("How sure are you?").first.click()
    sure = page.get_by_text("Sure", exact=True)
    for then in ("#sure:has(:checked)", "#sure:not(:has(:checked))"):
        sure.click()
        page.locator(then).wait_for()
    press(page, "1234")
    page.keyboard.press("Control+Enter")
    all_caught_up(page)
    ranking = Ranking.objects.get()
    assert ranking.confidence is None and list(ranking.criteria.values()) == [{"helpful": 3}]


def test_help_shows_the_keys_and_the_guidelines_open_beside_the_task(open_page, project, ada):
    make_task(project)
    page = open_page(ada)
    begin(page)
    press(page, "?")
    assert page.get_by_role("dialog", name="Keys").get_by_text("skip this one").is_visible()
    press(page, ["Escape", "g"])
    sheet = page.get_by_role("dialog", name="What to look for")
    sheet.get_by_text("Prefer the correct response.").wait_for()
    press(page, ["Escape", "1"])
    assert ranked(page) == {"a": 1}


def test_skip_and_undo(open_page, project, ada):
    make_task(project), make_task(project)
    page = open_page(ada)
    begin(page)
    page.keyboard.press("s")
    press_and_go_on(page, "Enter")  # the first reason has the focus
    assert Assignment.objects.get(state="skipped").skip_reason == "knowledge"
    press(page, "1234")
    page.keyboard.press("Control+Enter")
    all_caught_up(page)
    page.get_by_role("button", name="Undo").focus()
    press_and_go_on(page, "Enter")
    page.get_by_role("heading", name="Change your ranking").wait_for()
    assert ranked(page) == {"a": 1, "b": 2, "c": 3, "d": 4}
    press(page, ["Shift+A", "4"])
    page.keyboard.press("Control+Enter")
    all_caught_up(page)
    assert stored_ranks() == [3, 1, 2, 3]
    assert Ranking.objects.count() == 2


def test_covered_texts_are_uncovered_by_space_and_not_ranked_before(open_page, project, ada):
    type(project).objects.update(content_categories=[{"name": "violence", "label": "Violence"}])
    make_task(project)
    project.prompts.update(content_categories=["violence"])
    page = open_page(ada)
    begin(page)
    assert not card(page, "a").is_visible()
    press(page, "1")
    assert page.locator("#ranking input:checked").count() == 0
    page.keyboard.press("Space")
    card(page, "a").wait_for()
    press(page, "1")
    assert ranked(page) == {"a": 1}


def test_differences_texts_as_written_and_both_sides_together(open_page, project, ada):
    long = "\n\n".join(f"Paragraph {n} of a *long* response." for n in range(60))
    make_task(project, responses=[f"Warm water rises.\n\n{long}", f"Cold water rises.\n\n{long}"])
    page = open_page(ada)
    begin(page)
    assert page.get_by_role("button", name="Show all").count() == 2  # long texts are folded
    press(page, "d")
    marks = page.locator(".response-text :is(ins, del)")
    assert sorted(marks.all_inner_texts()) == ["Cold", "Warm"]
    assert heard(page) == "2 differences between A, B are marked."
    press(page, "d")
    assert marks.count() == 0
    press(page, "m")
    assert page.get_by_text("a *long* response").first.is_visible()
    press(page, ["m", "y"])
    first, second = (page.locator(f"[data-letter={x}] .response-text") for x in "ab")
    first.evaluate("pane => pane.scrollTop = 300")
    followed = second.evaluate(
        """async (pane) => {
            for (let n = 0; n < 300 && !pane.scrollTop; n += 1) {
                await new Promise(requestAnimationFrame);
            }
            return pane.scrollTop;
        }"""
    )
    assert followed == pytest.approx(300, abs=20)
    assert second.evaluate("pane => pane.tabIndex") == 0
