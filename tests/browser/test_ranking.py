"""Volunteers rank in a real browser: by mouse, by keys, on a phone, and without scripts."""

import re

import pytest
from django.urls import reverse

from annotate.models import Assignment, Project, Ranking
from annotate.services.people import create_invite
from annotate.services.projects import publish_text
from tests.annotate.test_rendering import ATTACKS
from tests.make import PASSWORD, make_member, make_project, make_task

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def project() -> Project:
    return make_project("climate")


@pytest.fixture
def ada(project):
    return make_member(project, "ada").user


def begin(page):
    page.goto("/")
    page.get_by_role("button", name="Start ranking").click()
    page.locator("#ranking").wait_for()
    page.wait_for_load_state()  # the style sheet and the scripts


def card(page, letter):
    return page.locator(f'.response[data-letter="{letter}"]')


def submit(page):
    page.get_by_role("button", name="Submit").click()


def press_and_go_on(page, keys):
    """Press what submits or skips, and wait until htmx has put in what comes next."""
    page.evaluate("document.getElementById('work').dataset.old = 'yes'")
    page.keyboard.press(keys)
    page.locator("#work:not([data-old]):not(.htmx-added)").wait_for()


def stored_ranks(ranking=None):
    """The ranks in the order of the screen."""
    ranking = ranking or Ranking.objects.current().get()
    return [ranking.ranks[str(pk)] for pk in ranking.assignment.display_order]


def all_caught_up(page):
    page.get_by_role("heading", name="All caught up").wait_for()


def overflow(page):
    """By how many pixels the page is wider than its window."""
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


def test_by_mouse(open_page, project, ada):
    make_task(project)
    page = open_page(ada)
    begin(page)
    for letter, place in zip("abcd", ("2nd", "1st", "2nd", "4th"), strict=True):
        card(page, letter).get_by_text(place, exact=True).click()
    card(page, "d").get_by_text("Unacceptable").click()
    assert page.locator(".order").inner_text() == "B › A = C › D"
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


def test_by_keys_one_task_after_the_other_in_the_same_page(open_page, project, ada):
    make_task(project), make_task(project)
    page = open_page(ada)
    begin(page)
    page.evaluate("window.stillTheSamePage = true")
    page.keyboard.press("c")
    page.keyboard.press("1")  # C, then on to the next without a rank: D, A, B
    for key in "322":
        page.keyboard.press(key)
    page.keyboard.press("a")
    page.keyboard.press("x")
    assert page.locator(".order").inner_text() == "C › A = B › D"
    assert page.locator("#status").inner_text() == "C › A = B › D"
    first = page.url
    press_and_go_on(page, "Control+Enter")
    assert page.url != first
    page.get_by_text("Saved.", exact=True).wait_for()
    assert page.locator("#status").inner_text() == "Saved. Put the responses in order"
    assert stored_ranks() == [2, 2, 1, 3]
    for key in "1234":
        page.keyboard.press(key)
    page.keyboard.press("Meta+Enter")
    all_caught_up(page)
    assert page.evaluate("window.stillTheSamePage")
    assert Ranking.objects.count() == 2


def test_of_two_by_keys(open_page, project, ada):
    make_task(project, responses=2), make_task(project, responses=2)
    page = open_page(ada)
    begin(page)
    page.keyboard.press("2")
    press_and_go_on(page, "Control+Enter")
    page.keyboard.press("0")
    page.keyboard.press("Control+Enter")
    all_caught_up(page)
    assert sorted(map(stored_ranks, Ranking.objects.all())) == [[1, 1], [2, 1]]


def test_keys_do_nothing_while_somebody_writes_and_can_be_switched_off(open_page, project, ada):
    make_task(project)
    page = open_page(ada)
    begin(page)
    page.get_by_text("Why? (if you like)").click()
    page.get_by_label("Why this order?").press_sequentially("1 2 s ?")
    assert page.get_by_label("Why this order?").input_value() == "1 2 s ?"
    assert page.locator(":checked").count() == 1  # only the switch in the help
    page.locator(".response-text").first.click()
    page.keyboard.press("?")
    page.get_by_label("Use keys without Ctrl").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("1")
    assert page.locator("#ranking :checked").count() == 0
    page.reload()
    page.keyboard.press("1")
    assert page.locator("#ranking :checked").count() == 0


def test_skip_and_undo_by_keys(open_page, project, ada):
    make_task(project), make_task(project)
    page = open_page(ada)
    begin(page)
    page.keyboard.press("s")
    press_and_go_on(page, "Enter")  # the first reason has the focus
    assert Assignment.objects.get(state="skipped").skip_reason == "knowledge"
    for key in "1234":
        page.keyboard.press(key)
    page.keyboard.press("Control+Enter")
    all_caught_up(page)
    press_and_go_on(page, "u")
    page.get_by_role("heading", name="Change your ranking").wait_for()
    assert page.locator(".order").inner_text() == "A › B › C › D"
    page.keyboard.press("a")
    page.keyboard.press("4")
    page.get_by_role("button", name="Store the change").click()
    all_caught_up(page)
    assert stored_ranks() == [3, 1, 2, 3]
    assert Ranking.objects.count() == 2


def test_without_scripts(open_page, project, ada):
    make_task(project), make_task(project)
    page = open_page(ada, java_script_enabled=False)
    begin(page)
    card(page, "a").get_by_text("1st", exact=True).click()
    submit(page)
    assert page.get_by_role("alert").inner_text().count("has no rank yet") == 3
    for letter, place in zip("bcd", ("2nd", "3rd", "4th"), strict=True):
        card(page, letter).get_by_text(place, exact=True).click()
    submit(page)
    assert stored_ranks() == [1, 2, 3, 4]
    page.get_by_role("button", name="Undo").click()
    card(page, "d").get_by_text("1st", exact=True).click()
    page.get_by_role("button", name="Store the change").click()
    assert stored_ranks() == [1, 2, 3, 1]
    page.get_by_text("Skip this one").click()
    page.get_by_role("button", name="broken").click()
    all_caught_up(page)
    assert page.get_by_role("button", name="Keys").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(open_page, project, ada, scheme):
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
        chip = card(page, letter).locator(".chip", has_text=place)
        chip.scroll_into_view_if_needed()
        box = chip.bounding_box()
        assert box["width"] >= 44 and box["height"] >= 44
        chip.tap()
    assert page.get_by_role("button", name="Submit").bounding_box()["height"] >= 44
    page.get_by_role("button", name="Submit").tap()
    all_caught_up(page)
    assert stored_ranks() == [1, 2, 3, 4, 5, 6]
    assert Assignment.objects.get().client["width"] == "narrow"


def test_no_page_is_wider_than_its_window(open_page, project):
    make_member(project, "a" * 40)
    make_task(project)
    page = open_page(make_member(project, "root", role="admin").user)
    for name in ("rank", "me", "guidelines", "people"):
        page.goto(reverse(f"annotate:{name}", args=[project.slug]))
        for width in (320, 390, 1280):
            page.set_viewport_size({"width": width, "height": 700})
            assert overflow(page) == 0, (name, width)


def test_a_draft_survives_reloading_and_another_tab_is_noticed(open_page, project, ada):
    make_task(project)
    page = open_page(ada)
    begin(page)
    other = page.context.new_page()
    other.goto(page.url)
    card(page, "b").get_by_text("1st", exact=True).click()
    page.get_by_text("Draft saved").wait_for()
    page.reload()
    assert page.locator(".order").inner_text() == "B"
    card(other, "a").get_by_text("1st", exact=True).click()
    other.get_by_text("edited in another tab").wait_for()
    other.get_by_role("link", name="Load what is stored").click()
    other.wait_for_function("document.querySelector('.order').textContent === 'B'")


def test_many_quick_changes_end_in_one_saved_draft(open_page, project, ada):
    make_task(project)
    page = open_page(ada)
    begin(page)
    for _ in range(3):
        for key in "1234":
            page.keyboard.press(key)
        for letter in "abcd":
            page.keyboard.press(letter)
            page.keyboard.press("2")
        page.wait_for_timeout(700)
    page.get_by_text("Draft saved").wait_for()
    assert page.get_by_text("another tab").count() == 0
    assert {Assignment.objects.get().draft[f"rank-{x}"] for x in "abcd"} == {"2"}


def test_a_session_that_ended_leads_through_the_sign_in_back_to_the_draft(open_page, project, ada):
    make_task(project)
    page = open_page(ada)
    begin(page)
    here = page.url
    card(page, "a").get_by_text("3rd", exact=True).click()
    page.get_by_text("Draft saved").wait_for()
    page.context.clear_cookies(name="sessionid")
    submit(page)
    page.get_by_role("heading", name="Sign in").wait_for()
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(here)
    assert page.locator(".order").inner_text() == "A"


def test_a_page_that_the_server_refuses_says_so(open_page, project, ada):
    make_task(project)
    page = open_page(ada)
    begin(page)
    page.context.clear_cookies(name="csrftoken")
    card(page, "a").get_by_text("1st", exact=True).click()
    page.get_by_text("The server did not take this").wait_for()


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
        for letter in [
            card.get_attribute("data-letter") for card in page.locator(".response").all()
        ]:
            page.keyboard.press(letter)
            page.keyboard.press("1")
        press_and_go_on(page, "Control+Enter")
    assert Ranking.objects.count() == project.tasks.count()


def test_an_invited_person_joins_and_ranks(open_page, project):
    publish_text(project, "consent", "Your rankings are published.", by=None)
    make_task(project, responses=2)
    _, token = create_invite(project)
    page = open_page(**PHONE)
    page.goto(reverse("annotate:invite", args=[token]))
    page.get_by_label("Name to sign in with").fill("cleo")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("I have read this and agree.").check()
    page.get_by_role("button", name="Join and start").tap()
    page.get_by_role("button", name="Start ranking").tap()
    page.get_by_text("About equal").tap()
    page.get_by_role("button", name="Submit").tap()
    all_caught_up(page)
    assert stored_ranks() == [1, 1]
