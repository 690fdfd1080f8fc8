"""A file comes in through the browser: kept, looked at, and then stored or thrown away.

What is to be shown of it is kept beside it as plain JSON ("facts"), so that looking at the page
computes nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from annotate import upload_store
from annotate.formats import BadLine, FileRefused, Limits, Record, detect, read
from annotate.models import Project, User
from annotate.rendering import render_markdown, show_hidden
from annotate.services.content import render_messages
from annotate.services.import_report import ImportRefused
from annotate.services.importing import import_records, preview_records, with_topic
from annotate.upload_store import TooLarge, Upload

__all__ = ["AlreadyTaken", "TooLarge", "Upload", "find", "keep", "look", "store"]

NAMED_LINES = 100  # bad lines that the page names
PATIENCE_S = 20  # that a preview takes for lines beyond those that it imports
SHOWN_JUDGEMENTS = 5


class AlreadyTaken(Exception):
    """The file was imported already, is being imported, or is gone."""


def keep(project: Project, user: User, pieces: Iterable[bytes], name: str) -> Upload:
    """Keep an uploaded file for the preview. Raises TooLarge."""
    return upload_store.keep(
        pieces,
        name,
        project_id=project.pk,
        user_id=user.pk,
        most_bytes=Limits().packed_bytes,
    )


def find(project: Project, user: User, token: str) -> Upload | None:
    """What the person uploaded to the project under this token, if it is still there."""
    return upload_store.find(token, project_id=project.pk, user_id=user.pk)


def look(project: Project, upload: Upload, *, format: str = "", topic: str = "") -> dict[str, Any]:
    """Import the file and take it back; note what would come of it. Stores nothing."""
    facts: dict[str, Any] = {"format": format, "topic": topic, "told": not format}
    try:
        name = facts["format"] = format or detect(upload.path)
        found = preview_records(
            project,
            with_topic(read(upload.path, name), topic),
            batch=upload.digest[:16],
            patience_s=PATIENCE_S,
        )
    except FileRefused as error:
        facts |= {"refused": show_hidden(str(error))}
    else:
        known = {category["name"] for category in project.content_categories}
        facts |= {
            "counts": found.report.counts(),
            "adds": found.report.adds,
            "n_more": found.n_more,
            "saw_all": found.saw_all,
            "examples": [_example(record) for record in found.examples],
            "unknown_categories": sorted(found.categories - known),
            **_named(found.report.bad),
        }
    upload.note(facts)
    return facts


def store(project: Project, upload: Upload, *, allow_bad: bool, by: User) -> dict[str, Any]:
    """Import the file as it was looked at, note the report, and remove the file.

    Where a line is bad and `allow_bad` is not given, nothing is stored and the file stays. Raises
    AlreadyTaken where the file is not there any more.
    """
    facts: dict[str, Any] = upload.facts()
    if "refused" in facts or not upload.take():
        raise AlreadyTaken
    imported = False
    try:
        report = import_records(
            project,
            with_topic(read(upload.taken, facts["format"]), facts["topic"]),
            batch=upload.digest[:16],
            allow_bad=allow_bad,
            by=by,
        )
        imported = True
    except ImportRefused as error:
        facts |= _named(error.bad)
    except FileRefused as error:
        facts |= {"refused": show_hidden(str(error))}
    else:
        facts |= {"report": report.counts(), "adds": report.adds, **_named(report.bad)}
    finally:
        if not imported:
            upload.put_back()
    upload.note(facts)
    if imported:
        upload.remove_file()
    return facts


def _named(bad: Sequence[BadLine]) -> dict[str, Any]:
    lines = [[line.number, show_hidden(line.reason)] for line in bad[:NAMED_LINES]]
    return {"bad": lines, "n_bad": len(bad)}


def _example(record: Record) -> dict[str, Any]:
    """A record as its page would show it: every text rendered and sanitised."""
    ranks = [said.ranks for said in record.judgements[:SHOWN_JUDGEMENTS]]
    return {
        "number": record.number,
        "messages": [
            {"role": message["role"], "html": html}
            for message, html in zip(record.messages, render_messages(record.messages), strict=True)
        ],
        "responses": [
            {
                "html": render_markdown(response.text),
                "source": show_hidden(response.source or ""),
                "ranks": [said[place] for said in ranks],
            }
            for place, response in enumerate(record.responses)
        ],
        "demonstration": render_markdown(record.demonstration) if record.demonstration else "",
        "about": [
            show_hidden(word)
            for word in (record.topic, record.language, *record.content_categories)
            if word
        ],
        "n_judgements": len(record.judgements),
    }
