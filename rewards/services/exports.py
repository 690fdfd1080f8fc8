"""Judgements as records, which annotate.formats writes in the formats of others."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from annotate.formats import Judgement, Record, ResponseText, write
from annotate.formats.records import Message
from annotate.formats.trl import Ties
from annotate.models import Project
from rewards.ml.artefacts import verify
from rewards.ml.pairs import PROMPTS_FILE, SnapshotPrompt, read_prompts
from rewards.models import Snapshot
from rewards.services.dataset import decisions, snapshot_prompts, trainable


def records(source: Snapshot | Project, split: str = "") -> Iterator[Record]:
    """The prompts of a snapshot, or of the project's rankings as they stand; all splits or one.

    Annotators have their keyed pseudonyms. Raises ArtefactError where the snapshot was altered.
    """
    if isinstance(source, Snapshot):
        verify(source.path)
        prompts = read_prompts(source.path / PROMPTS_FILE)
    else:
        rankings = trainable(source)
        prompts = snapshot_prompts(source, rankings, decisions(rankings))
    return (_record(prompt) for prompt in prompts if not split or prompt.split == split)


def _record(prompt: SnapshotPrompt) -> Record:
    return Record(
        messages=[Message(role=m["role"], content=m["content"]) for m in prompt.messages],
        responses=[ResponseText(response.text) for response in prompt.responses],
        judgements=[
            Judgement(
                annotator=judgement.annotator,
                ranks=list(judgement.ranks),
                unacceptable=list(judgement.unacceptable),
            )
            for judgement in prompt.judgements
        ],
        topic=prompt.topic,
        language=prompt.language,
        split=prompt.split,
    )


def export_file(snapshot: Snapshot, format: str, ties: Ties) -> IO[bytes]:
    """An open file with the whole snapshot in one of the WRITABLE formats; closing removes it.

    Raises ArtefactError, and ValueError for a record that the format cannot hold.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export"
        write(records(snapshot), path, format, ties)
        return path.open("rb")  # which outlives its name


def file_name(snapshot: Snapshot, format: str) -> str:
    ending = "csv" if format == "csv" else "jsonl"
    return f"{snapshot.project.slug}-snapshot-{snapshot.number}-{format}.{ending}"
