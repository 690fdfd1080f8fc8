"""What people are shown of a changed text, and that they are asked to read and agree anew."""

import pytest
from django.urls import reverse

from annotate.services.people import agree, see_guidelines
from annotate.services.projects import publish_text
from annotate.services.texts import changes
from tests.make import make_task
from tests.pages import words


def shown(before, after):
    """The differences as one line, each with its sign."""
    signs = {"added": "+{}+", "removed": "-{}-", "same": "{}"}
    return [
        "".join(signs[kind].format(text) for kind, text in paragraph.pieces)
        if paragraph.kind != "gap"
        else "…"
        for paragraph in changes(before, after)
    ]


def test_changed_words_stand_in_their_paragraph():
    assert shown("Prefer the right answer.", "Prefer the clear answer.") == [
        "Prefer the -right -+clear +answer."
    ]


def test_an_unchanged_text_shows_nothing_and_other_line_breaks_are_no_change():
    assert shown("One\ntwo.\n\nThree.", "One two.\n\n\nThree.") == []


def test_far_from_a_change_there_is_a_gap():
    before = "\n\n".join(["a a", "b b", "c c", "d d", "e e"])
    assert shown(before, before.replace("a a", "a x")) == ["a -a-+x+", "b b", "…"]


def test_a_rewritten_item_is_compared_with_its_former_self_though_another_came_before_it():
    before = "1. Be right in all that you say.\n2. Be brief."
    after = (
        "1. Be calm and kind to everybody here.\n2. Be right in most that you say.\n3. Be brief."
    )
    found = shown(before, after)
    assert "+1. Be calm and kind to everybody here.+" in found
    assert any("Be right in -all -+most +that you say." in line for line in found)


def test_lines_of_code_and_of_tables_stay_lines():
    assert shown("```\na = 1\nb = 2\n```", "```\na = 1\nb = 3\n```")[1] == "a = 1"
    assert shown("| a |\n|---|\n| 1 |", "| a |\n|---|\n| 2 |") == ["…", "|---|", "| -1 -+2 +|"]


def test_a_text_written_anew_shows_the_old_one_and_the_new_one():
    assert shown("Never mind.", "Something else entirely.\n\nAnd more.") == [
        "-Never mind.-",
        "+Something else entirely.+",
        "+And more.+",
    ]


def test_two_long_texts_are_compared_in_little_time():
    lines = [" ".join(f"w{n * m % 97}" for m in range(300)) for n in range(200)]
    after = [line.replace("w1 ", "w2 ") for line in lines]
    assert changes("\n\n".join(lines), "\n\n".join(after))


# ---- Pages -----------------------------------------------------------------------------------


@pytest.fixture
def as_ada(client, ada):
    client.force_login(ada)
    return client


def url(name, *args):
    return reverse(f"annotate:{name}", args=args)


def test_changed_guidelines_come_before_the_next_task(as_ada, project, ada_member):
    make_task(project), make_task(project)
    rank = url("rank", project.slug)
    first = as_ada.post(rank).url  # has read version 1
    publish_text(project, "guidelines", "Prefer the **clear** response.", by=None)
    after = as_ada.post(f"{first}submit/", {f"rank-{x}": n for n, x in enumerate("abcd", 1)})
    assert after.url == rank
    page = as_ada.get(rank)
    assert "guidelines have changed" in words(page)
    assert "[removed: **correct** ]" in words(page) and "[added: **clear** ]" in words(page)
    assert b"<ins>" in page.content and b"<del>" in page.content
    assert as_ada.post(rank).url.startswith("/a/")
    ada_member.refresh_from_db()
    assert ada_member.guidelines_version == 2


def test_who_has_never_read_the_guidelines_is_shown_them_whole(as_ada, project):
    publish_text(project, "guidelines", "Prefer the **clear** response.", by=None)
    make_task(project)
    page = as_ada.get(url("rank", project.slug))
    assert "have changed" not in words(page)
    assert (
        b"<strong>clear</strong>" in page.content and b'<details class="card" open>' in page.content
    )


def test_the_page_of_guidelines_tells_what_changed_until_it_was_read(as_ada, project, ada_member):
    page = url("guidelines", project.slug)
    see_guidelines(ada_member)
    assert "What changed" not in words(as_ada.get(page))
    publish_text(project, "guidelines", "Prefer the **clear** response.", by=None)
    text = words(as_ada.get(page))
    assert "What changed since you last read it" in text and "Version 2" in text
    assert "What changed" in words(as_ada.get(page))  # looking is not reading
    as_ada.post(page)
    assert "What changed" not in words(as_ada.get(page))


def test_earlier_versions_can_be_read(as_ada, project):
    publish_text(project, "guidelines", "Prefer the **clear** response.", by=None)
    page = as_ada.get(url("guidelines", project.slug)).content.decode()
    first, second = (url("guidelines_version", project.slug, n) for n in (1, 2))
    assert first in page
    old = as_ada.get(first)
    assert b"<strong>correct</strong>" in old.content and "not in force any more" in words(old)
    assert "What this version changed" in words(as_ada.get(second))
    assert as_ada.get(url("guidelines_version", project.slug, 3)).status_code == 404


def test_a_new_consent_text_shows_what_changed(as_ada, project, ada_member):
    publish_text(project, "consent", "We keep rankings.\n\nYou may stop.", by=None)
    consent = url("consent", project.slug)
    assert "has changed" not in words(as_ada.get(consent))
    agree(ada_member)
    publish_text(project, "consent", "We publish rankings.\n\nYou may stop.", by=None)
    text = words(as_ada.get(consent))
    assert "has changed since you agreed" in text
    assert "[removed: keep ]" in text and "[added: publish ]" in text
    assert url("leave", project.slug).encode() in as_ada.get(consent).content


def test_agreeing_counts_for_the_version_that_was_shown(as_ada, project, ada_member):
    publish_text(project, "consent", "We keep rankings.", by=None)
    consent = url("consent", project.slug)
    assert b'name="version" value="1"' in as_ada.get(consent).content
    publish_text(project, "consent", "We sell rankings.", by=None)  # while she reads
    as_ada.post(consent, {"agree": "on", "version": "1"})
    ada_member.refresh_from_db()
    assert ada_member.consent_version == 1
    assert as_ada.get(url("rank", project.slug)).url == consent
    as_ada.post(consent, {"agree": "on", "version": "2"})
    assert as_ada.get(url("rank", project.slug)).status_code == 200
    assert "You have agreed" in words(as_ada.get(consent))


def test_nobody_agrees_to_a_text_that_is_yet_to_come(as_ada, project, ada_member):
    publish_text(project, "consent", "We keep rankings.", by=None)
    as_ada.post(url("consent", project.slug), {"agree": "on", "version": "99"})
    publish_text(project, "consent", "We sell rankings.", by=None)
    assert as_ada.get(url("rank", project.slug)).url == url("consent", project.slug)
