"""A headless Chromium that reports whatever it was refused, and any request to another machine."""

import os
import shutil

import pytest
from django.urls import reverse

from tests import make

# Playwright's synchronous interface runs inside an event loop, where Django would refuse to work.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no Chromium: neither chromium nor chromium-browser nor google-chrome is found")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, live_server):
    """A function that opens a page of a person; `options` are those of a browser's context."""
    contexts, complaints = [], []

    def open_page(user=None, **options):
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        context = chromium.new_context(base_url=live_server.url, **options)
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("request", lambda request: watch(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complain(message))
        if user:
            sign_in(page, user)
        return page

    def watch(url):
        if not url.startswith((live_server.url, "data:")):
            complaints.append(f"request to {url}")

    def complain(message):
        # That an answer had an error status is said by the page itself, and tested there.
        # So is that there was none.
        told = ("the server responded", "Error Code", "net::ERR_", "htmx:afterRequest", "htmx:send")
        answered = any(words in message.text for words in told)
        if message.type in ("error", "warning") and not answered:
            complaints.append(message.text)

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def sign_in(page, user):
    page.goto(reverse("login"))
    page.get_by_label("Name").fill(user.username)
    page.get_by_label("Password").fill(make.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()
