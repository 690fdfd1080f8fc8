"""Nothing that the content security policy blocks, or that opens a door, stands in a template."""

import re
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
# It is downloaded, and read without the site and its stylesheet.
DOCUMENT = ROOT / "templates" / "rewards" / "gate_document.html"
TEMPLATES = sorted(
    path
    for path in (ROOT / "templates").rglob("*")
    if path.suffix in (".html", ".jinja") and path != DOCUMENT
)

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
    "path", sorted((ROOT / "templates").rglob("*.jinja")), ids=lambda path: path.name
)
def test_texts_of_a_jinja_template_are_written_as_makemessages_finds_them(path):
    """It finds `_("…")` where nothing stands before it in the braces, and nothing but the text in
    its own; a text that it misses would stay English without anybody noticing."""
    marked = re.findall(r"\b_\(\s*[\"']|gettext", path.read_text())
    found = re.findall(r"{{ _\((\"[^\"]*\"|'[^']*')\)", path.read_text())
    assert len(found) == len(marked)


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
