"""What a supervised model learns from: conversations, each with the response to give."""

import json
from pathlib import Path
from typing import TypedDict

from django.conf import settings

from annotate.formats.lines import Limits, decode
from annotate.formats.records import BadRecord, Message, Record, message_list, text_field
from annotate.models import Demonstration, Project, content_hash
from rewards.ml.artefacts import publish
from training.lifecycle import NotAllowed
from training.work import CORPUS_FILE


class Example(TypedDict):
    messages: list[Message]
    response: str


def read_corpus(path: Path) -> list[Example]:
    """The examples of a file of JSON lines, each with `messages` and `response`.

    Raises NotAllowed, naming the first bad line by its number, and where there is nothing to read.
    """
    examples = []
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    examples.append(_example(line, f"{path} line {number}"))
    except OSError as error:
        raise NotAllowed(f"{path} cannot be read: {error.strerror}") from error
    if not examples:
        raise NotAllowed(f"{path} holds no example to learn from")
    return examples


def _example(line: bytes, where: str) -> Example:
    try:
        row = decode(line, Limits())
        record = Record(message_list(row.get("messages"), "messages"))
        response = text_field(row, "response")
    except BadRecord as error:
        raise NotAllowed(f"{where}: {error}") from error
    if not response.strip():
        raise NotAllowed(f"{where}: the response is empty")
    return {"messages": record.messages, "response": response}


def demonstrations(project: Project) -> list[Example]:
    """What people wrote for the project's training prompts; raises NotAllowed without any."""
    written = Demonstration.objects.filter(
        prompt__project=project, prompt__split="train", retired_at=None
    )
    rows = written.order_by("pk").values_list("prompt__messages", "text")
    if not rows:
        raise NotAllowed(f"{project.slug} has no demonstration for a prompt to learn from")
    return [{"messages": messages, "response": text} for messages, text in rows]


def keep_corpus(project: Project, examples: list[Example]) -> str:
    """Store the examples where every worker finds them; returns the folder below the artefacts."""
    name = f"projects/{project.slug}/corpora/{content_hash(examples)[:16]}"
    target = Path(settings.ARTEFACT_ROOT) / name

    def build(folder: Path) -> None:
        lines = (json.dumps(example, ensure_ascii=False) + "\n" for example in examples)
        (folder / CORPUS_FILE).write_text("".join(lines), encoding="utf-8")

    if not target.exists():
        publish(build, target, {"examples": len(examples)})
    return name
