"""The ranking page as tests use it."""

from annotate.models import Ranking

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def begin(page):
    page.goto("/")
    page.get_by_role("button", name="Start ranking").click()
    page.locator("#ranking").wait_for()
    page.wait_for_load_state()  # the style sheet and the scripts


def card(page, letter):
    return page.locator(f'.response[data-letter="{letter}"]')


def chip(page, letter, place):
    return card(page, letter).get_by_text(place, exact=True)


def press(page, keys):
    for key in keys:
        page.keyboard.press(key)


def ranked(page):
    """Each letter's place as the board shows it, those not ranked left out."""
    return page.evaluate(
        """Object.fromEntries(Array.from(document.querySelectorAll(".tier[data-place]"))
            .flatMap((tier) => Array.from(tier.querySelectorAll(".token"), (token) =>
                [token.dataset.letter, Number(tier.dataset.place)]))
            .filter(([, place]) => place))"""
    )


def heard(page):
    """What a screen reader was told last."""
    return page.locator("#status").inner_text()


def submit(page):
    page.get_by_role("button", name="Submit").click()


def and_go_on(page, act):
    """Do what submits or skips, and wait until htmx has put in what comes next."""
    page.evaluate("document.getElementById('work').dataset.old = 'yes'")
    act()
    page.locator("#work:not([data-old]):not(.htmx-added)").wait_for()


def press_and_go_on(page, keys):
    and_go_on(page, lambda: page.keyboard.press(keys))


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


def small_targets(page):
    """What can be tapped in the form, is in sight, and is smaller than 44 pixels."""
    return page.evaluate(
        """Array.from(document.querySelectorAll(
                "#ranking :is(button, label, summary, select, textarea, .button)"))
            .filter((one) => one.checkVisibility({visibilityProperty: true}))
            .filter((one) => one.matches("label") ? one.querySelector("input") : true)
            .map((one) => [one.textContent.trim().slice(0, 30), one.getBoundingClientRect()])
            .filter(([, box]) => box.width > 1 && (box.height < 43.9 || box.width < 43.9))
            .map(([text, box]) => `${text}: ${box.width} x ${box.height}`)"""
    )
