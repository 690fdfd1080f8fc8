"""Nothing that the content security policy blocks, or that opens a door, stands in a template."""

import re
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))

FORBIDDEN = {
    "a style of its own": r"\sstyle\s*=|<style",
    "a script of its own": r"<script(?![^>]*\ssrc=)",
    "an event handler": r"\son[a-z]+\s*=|hx-on",
    "htmx that evaluates": r"""js:|javascript:|hx-vals=["']js|hx-trigger="[^"]*\[""",
    "something from another machine": r"""(src|href)=["'](https?:)?//""",
}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_template_needs_nothing_that_the_policy_blocks(path):
    text = path.read_text()
    for what, pattern in FORBIDDEN.items():
        assert not re.search(pattern, text), what


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_html_of_others_is_marked_where_it_is_put_in(path):
    text = path.read_text()
    for found in re.finditer(r"\|\s*safe\b", text):
        opening = text.rindex("<div ", 0, found.start())
        marks = text[opening : found.start()].replace(">", " ").split()
        assert "hx-disable" in marks and "data-untrusted" in marks


@pytest.mark.parametrize(
    "path", sorted((ROOT / "static").glob("*/*.js")), ids=lambda path: path.name
)
def test_our_scripts_build_no_html_and_ask_no_other_machine(path):
    script = path.read_text()
    for forbidden in (
        "innerHTML",
        "insertAdjacentHTML",
        "eval(",
        "Function(",
        "http://",
        "https://",
    ):
        assert forbidden not in script
