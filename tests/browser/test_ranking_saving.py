"""What volunteers chose is not lost: drafts, other tabs, ended sessions, failing networks, undo."""

import pytest
from django.urls import reverse

from annotate.models import Assignment, Ranking
from tests.browser.conftest import sign_in
from tests.browser.ranking_page import (
    all_caught_up,
    and_go_on,
    begin,
    card,
    chip,
    press,
    ranked,
    stored_ranks,
    submit,
)
from tests.make import PASSWORD, make_member, make_task

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(open_page, project, ada):
    """A task that has been begun."""
    make_task(project)
    page = open_page(ada)
    begin(page)
    return page


def saved(page):
    page.locator("#draft-state[data-saved]").wait_for()


def sign_in_again(page, name="ada"):
    page.get_by_role("heading", name="Sign in").wait_for()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_a_draft_survives_reloading(page):
    press(page, "21")
    saved(page)
    page.reload()
    card(page, "a").wait_for()
    assert ranked(page) == {"a": 2, "b": 1}


def test_another_tab_is_noticed_and_what_it_stored_can_be_loaded(page):
    other = page.context.new_page()
    other.goto(page.url)
    press(page, "1")
    saved(page)
    press(other, "2")
    other.get_by_text("edited in another tab").wait_for()
    other.get_by_role("link", name="Load what is stored").click()
    other.get_by_role("button", name="A, 1st").wait_for()
    assert Assignment.objects.get().draft["rank-a"] == "1"


def test_another_tab_is_noticed_and_this_one_can_be_kept(page):
    other = page.context.new_page()
    other.goto(page.url)
    press(page, "1")
    saved(page)
    press(other, "2")
    other.get_by_role("button", name="Keep mine").click()
    saved(other)
    assert Assignment.objects.get().draft["rank-a"] == "2"
    press(page, ["Shift+A", "3"])  # now this one is behind
    page.get_by_text("edited in another tab").wait_for()
    assert Assignment.objects.get().draft["rank-a"] == "2"


def test_many_quick_changes_end_in_one_saved_draft(page):
    for _ in range(3):
        press(page, "1234")
        for letter in "ABCD":
            press(page, [f"Shift+{letter}", "2"])
    saved(page)
    assert page.get_by_text("another tab").count() == 0
    assert {Assignment.objects.get().draft[f"rank-{x}"] for x in "abcd"} == {"2"}


def test_what_was_not_saved_when_the_session_ended_is_there_after_signing_in(page):
    here = page.url
    page.context.clear_cookies(name="sessionid")
    press(page, "31")
    sign_in_again(page)
    page.wait_for_url(here)
    saved(page)
    assert ranked(page) == {"a": 3, "b": 1}
    assert Assignment.objects.get().draft["rank-b"] == "1"


def test_a_submission_after_the_session_ended_is_not_lost(page):
    here = page.url
    press(page, "2134")
    page.context.clear_cookies(name="sessionid")
    submit(page)
    sign_in_again(page)
    page.wait_for_url(here)
    card(page, "a").wait_for()
    submit(page)
    all_caught_up(page)
    assert stored_ranks() == [2, 1, 3, 4]


def test_a_sign_in_in_another_tab_changes_nothing(page):
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_role("button", name="Sign out").click()
    other.get_by_role("heading", name="Sign in").wait_for()
    other.goto(reverse("login"))
    sign_in_again(other)
    other.get_by_role("button", name="Sign out").wait_for()
    press(page, "1")
    saved(page)
    press(page, "234")
    page.context.clear_cookies(name="csrftoken")
    submit(page)
    all_caught_up(page)
    assert stored_ranks() == [1, 2, 3, 4]


def test_where_somebody_else_signed_in_it_is_said(page, project):
    bob = make_member(project, "bob").user
    page.context.clear_cookies()
    other = page.context.new_page()
    sign_in(other, bob)
    press(page, "1")
    page.get_by_text("Somebody else is signed in now").wait_for()
    assert ranked(page) == {"a": 1}


def test_a_failing_network_is_shown_and_the_draft_sent_when_it_is_back(page):
    page.context.set_offline(True)
    press(page, "12")
    page.get_by_text("No connection. What you chose is kept here").wait_for()
    page.context.set_offline(False)
    saved(page)
    assert Assignment.objects.get().draft["rank-b"] == "2"


def kept(page):
    """How many tasks' unsaved choices the browser keeps."""
    return page.evaluate("Object.keys(localStorage).length")


@pytest.fixture
def closed(page):
    """Where the person was who chose something offline and closed the tab; the browser is left."""
    page.context.set_offline(True)
    press(page, "21")
    page.get_by_text("No connection. What you chose is kept here").wait_for()
    page.close()
    page.context.set_offline(False)
    return page


def test_what_was_chosen_offline_is_there_after_the_tab_was_closed(closed):
    again = closed.context.new_page()
    again.goto(closed.url)
    saved(again)
    assert ranked(again) == {"a": 2, "b": 1}
    assert Assignment.objects.get().draft["rank-b"] == "1"
    assert kept(again) == 0


def test_who_sits_there_next_is_shown_nothing_of_it(closed, project, ada):
    make_task(project)
    bob = make_member(project, "bob").user
    closed.context.clear_cookies()
    other = closed.context.new_page()
    sign_in(other, bob)
    begin(other)
    assert ranked(other) == {} and kept(other) == 1
    closed.context.clear_cookies()
    sign_in(other, ada)
    other.goto(closed.url)
    saved(other)
    assert ranked(other) == {"a": 2, "b": 1}


def test_signing_out_leaves_nothing_in_the_browser(closed):
    other = closed.context.new_page()
    other.goto(reverse("password"))
    assert kept(other) == 1
    other.get_by_role("button", name="Sign out").click()
    other.get_by_role("heading", name="Sign in").wait_for()
    assert kept(other) == 0


def test_drafts_are_saved_where_the_browser_keeps_nothing(open_page, project, ada):
    """Who blocks cookies of a site denies it storage, too, which is said by an error."""
    make_task(project), make_task(project)
    page = open_page(ada)
    page.add_init_script(
        """for (const name of ["sessionStorage", "localStorage"]) {
            Object.defineProperty(window, name, {
                get() { throw new DOMException("denied", "SecurityError"); },
            });
        }"""
    )
    begin(page)
    press(page, "1234")
    saved(page)
    assert Assignment.objects.get().draft["rank-d"] == "4"
    and_go_on(page, lambda: submit(page))
    press(page, "21")
    saved(page)
    assert Assignment.objects.leased().get().draft["rank-a"] == "2"


def test_what_was_kept_too_long_is_forgotten(closed):
    other = closed.context.new_page()
    other.goto(reverse("password"))
    other.evaluate(
        """for (const name of Object.keys(localStorage)) {
            const old = JSON.parse(localStorage[name]);
            localStorage[name] = JSON.stringify({...old, at: old.at - 8 * 24 * 3600 * 1000});
        }"""
    )
    other.goto(closed.url)
    card(other, "a").wait_for()
    other.wait_for_load_state()
    assert ranked(other) == {} and kept(other) == 0


def test_a_submission_is_repeated_until_it_arrives(page):
    press(page, "1234")
    page.context.set_offline(True)
    submit(page)
    page.get_by_text("It is sent as soon as there is").wait_for()
    page.context.set_offline(False)
    all_caught_up(page)
    assert stored_ranks() == [1, 2, 3, 4]


def test_who_changes_something_meanwhile_submits_again(page):
    press(page, "1234")
    page.context.set_offline(True)
    submit(page)
    page.get_by_text("It is sent as soon as there is").wait_for()
    press(page, ["Shift+A", "2"])
    page.get_by_text("Not sent, since you changed it").wait_for()
    page.context.set_offline(False)
    saved(page)
    assert not Ranking.objects.exists()


def test_an_answer_that_got_lost_does_no_harm(page):
    """The server stores the draft, then the ranking, but the page does not learn of it."""
    for address in ("**/draft/", "**/submit/"):

        def lose(route):
            route.fetch()
            route.abort()

        page.route(address, lose, times=1)
    press(page, "12")
    page.get_by_text("No connection").wait_for()
    press(page, "34")
    saved(page)  # repeated with more; no other tab is suspected
    submit(page)
    all_caught_up(page)
    assert stored_ranks() == [1, 2, 3, 4]
    assert Ranking.objects.count() == 1


def test_a_double_click_is_one_ranking(page, project):
    make_task(project)
    press(page, "1234")
    and_go_on(page, lambda: page.get_by_role("button", name="Submit").dblclick())
    assert Ranking.objects.count() == 1
    assert Assignment.objects.leased().count() == 1


def test_undo_opens_the_last_ranking_again(page, project):
    make_task(project)
    press(page, "1234")
    and_go_on(page, lambda: submit(page))
    press(page, ["1"])
    press(page, ["u"])  # first the change in this task, then the ranking before
    and_go_on(page, lambda: page.keyboard.press("u"))
    page.get_by_role("heading", name="Change your ranking").wait_for()
    assert ranked(page) == {"a": 1, "b": 2, "c": 3, "d": 4}
    chip(page, "a", "4th").click()
    and_go_on(page, lambda: page.get_by_role("button", name="Store the change").click())
    assert stored_ranks() == [3, 1, 2, 3]
    assert Ranking.objects.count() == 2
