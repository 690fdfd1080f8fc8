"""`manage.py import`: what it says, and what it refuses."""

import gzip
import json
import os
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotate.formats import READABLE
from annotate.models import Project, Prompt, Ranking

CHOICE = {"prompt": "Why is the sky blue?", "chosen": "Air.", "rejected": "Sea."}
OTHER = {"prompt": "Why is ice light?", "chosen": "Air.", "rejected": "Snow."}
BROKEN = b'{"prompt": "Why is the sky'


def lines(*rows: Any) -> bytes:
    return b"".join(
        row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows
    )


def command(*words: Any) -> tuple[str, str]:
    """Standard output and standard error of an import."""
    out, err = StringIO(), StringIO()
    call_command("import", *map(str, words), stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.jsonl"


def test_it_says_what_was_found_and_what_comes_next(project: Project, path: Path) -> None:
    path.write_bytes(lines(CHOICE, OTHER))
    out, err = command("climate", path)
    assert out.splitlines() == [
        "data.jsonl (trl-preference): 2 records.",
        "New: 2 prompts, 4 responses, 1 annotator, 2 judged tasks, 2 rankings.",
        "Next: `manage.py agreement climate` says how far these people agree, "
        "`manage.py snapshot climate` freezes what they said for training.",
    ]
    assert err == ""
    out, _ = command("climate", path)
    assert out.splitlines()[1:3] == [
        "Already there: 2 prompts, 4 responses, 1 annotator, 2 judged tasks, 2 rankings.",
        "Nothing is new.",
    ]


def test_with_json_it_prints_one_object_and_nothing_else(project: Project, path: Path) -> None:
    path.write_bytes(lines(CHOICE, BROKEN + b"\n", OTHER))
    out, err = command("climate", path, "--json", "--skip-bad")
    answer = json.loads(out)
    assert answer["project"] == "climate" and answer["format"] == "trl-preference"
    assert answer["rankings"] == {"new": 2, "already_there": 0}
    ((line,),) = [answer["bad_lines"]]
    assert line["line"] == 2 and "not JSON" in line["reason"]
    assert "line 2: not JSON" in err


def test_a_packed_copy_of_the_file_adds_nothing(project: Project, path: Path) -> None:
    path.write_bytes(lines(CHOICE))
    packed = path.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    command("climate", path)
    assert "Nothing is new." in command("climate", packed)[0]


REFUSED = {
    "missing": (None, "cannot be read: No such file or directory"),
    "empty": (b"", "the file is empty"),
    "an empty list": (b"[]", "the file holds nothing"),
    "binary": (bytes(range(256)) * 20, "is not UTF-8"),
    "of no known format": (b'{"a": 1}\n', "no known format has the fields a"),
    "damaged": (gzip.compress(lines(CHOICE) * 500)[:-9], "damaged or end too early"),
    "broken in its second line": (lines(CHOICE, BROKEN), "line 2: not JSON"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_that_cannot_be_used_is_refused_with_its_reason(
    project: Project, path: Path, what: str
) -> None:
    content, reason = REFUSED[what]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError, match=reason) as refused:
        command("climate", path)
    assert str(path) in str(refused.value)
    assert not Prompt.objects.exists()


def test_every_bad_line_up_to_twenty_is_named(project: Project, path: Path) -> None:
    path.write_bytes(lines(CHOICE, *[b"{\n"] * 30))
    with pytest.raises(CommandError) as refused:
        command("climate", path)
    said = str(refused.value).splitlines()
    assert "30 lines" in said[0]
    assert [line.split(":")[0] for line in said[1:21]] == [f"  line {n}" for n in range(2, 22)]
    assert said[21].strip() == "… and 10 more"
    assert "--skip-bad" in said[22]


def test_nothing_but_bad_lines_is_an_error_even_where_they_are_skipped(
    project: Project, path: Path
) -> None:
    path.write_bytes(lines({"prompt": "Why?"}, {"prompt": "How?"}))
    with pytest.raises(CommandError, match="Nothing in .* can be used"):
        command("climate", path, "--format", "arena", "--skip-bad")


def test_what_is_no_file_is_refused(project: Project, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(CommandError, match="it is not a file"):
            command("climate", place)


def test_another_format_can_be_said(project: Project, path: Path) -> None:
    path.write_bytes(lines(CHOICE))
    out, _ = command("climate", path, "--format", "trl-prompt-only")
    assert "New: 1 prompt.\n" in out
    assert not Ranking.objects.exists()


def test_a_terminal_is_not_steered_by_a_file(project: Project, path: Path) -> None:
    path.write_bytes(lines({"\x1b[2J": 1}))
    with pytest.raises(CommandError) as refused:
        command("climate", path)
    assert "\x1b" not in str(refused.value) and "[U+001B]" in str(refused.value)


def test_topics_are_given_to_prompts_without_one(project: Project, path: Path) -> None:
    responses = {"responses": [], "topic": "ice"}
    path.write_bytes(
        lines(
            {"messages": [{"role": "user", "content": "A?"}], **responses},
            {"messages": [{"role": "user", "content": "B?"}], "responses": []},
        )
    )
    command("climate", path, "--topic", "sky")
    assert dict(Prompt.objects.values_list("messages__0__content", "topic")) == {
        "A?": "ice",
        "B?": "sky",
    }


def test_a_project_is_made_where_that_is_asked_for(db: None, path: Path) -> None:
    path.write_bytes(lines(CHOICE))
    with pytest.raises(CommandError, match="no project 'oceans'; --create makes it"):
        command("oceans", path)
    command("oceans", path, "--create", "--title", "The oceans")
    assert Project.objects.get().title == "The oceans"
    command("oceans", path, "--create")
    with pytest.raises(CommandError, match="--create"):
        command("oceans", path, "--title", "Seas")
    with pytest.raises(CommandError, match="slug"):
        command("No slug!", path, "--create")


def test_no_project_is_left_of_an_import_that_failed(db: None, path: Path) -> None:
    path.write_bytes(lines(CHOICE, BROKEN))
    with pytest.raises(CommandError):
        command("oceans", path, "--create")
    assert not Project.objects.exists()


def test_prompts_and_responses_alone_say_what_to_do_with_them(project: Project, path: Path) -> None:
    path.write_bytes(lines({"prompt": "Why?"}))
    assert "manage.py sample climate" in command("climate", path)[0]
    responses = [{"text": "a"}, {"text": "b"}]
    path.write_bytes(
        lines({"messages": [{"role": "user", "content": "Why?"}], "responses": responses})
    )
    out, _ = command("climate", path)
    assert "1 task waits for volunteers." in out and "manage.py invite climate" in out


def test_labels_of_single_responses_are_said_to_be_left_out(project: Project, path: Path) -> None:
    path.write_bytes(lines({"prompt": "Why?", "completion": "So.", "label": True}))
    out, _ = command("climate", path)
    assert "1 judgement compares nothing" in out


REFERENCE = Path(__file__).parents[2] / "docs/reference/formats.md"
EXAMPLES = dict(
    re.findall(r"^## `([a-z-]+)`\n.*?```(?:json|csv)\n(.*?)```", REFERENCE.read_text(), re.S | re.M)
)


@pytest.mark.parametrize("format", READABLE)
def test_the_examples_in_the_reference_are_understood(
    project: Project, path: Path, format: str
) -> None:
    example = EXAMPLES[format]
    path.write_text(example if format == "csv" else json.dumps(json.loads(example)) + "\n")
    out, err = command("climate", path, "--json")
    answer = json.loads(out)
    assert (answer["format"], answer["records"], err) == (format, 1, "")
