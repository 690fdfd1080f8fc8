"""Records of files come in: prompts, responses, demonstrations, and what people said elsewhere.

An item is what one record is about: a prompt, its responses, and the id that its source gives it.
Importing an item again adds only what is new in it, so that the same file twice, or a file that has
grown, stores nothing twice, whatever its format. Two items may have the same prompt and the same
responses where their source tells them apart by ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from time import monotonic

from django.db import transaction

from annotate.formats.records import BadLine, Record
from annotate.models import AuditEvent, Project, User
from annotate.services.content import InvalidContent
from annotate.services.import_items import (
    Item,
    item_of,
    open_tasks,
    settle_external_ids,
    store_items,
)
from annotate.services.import_judgements import add_judgements
from annotate.services.import_report import ImportRefused, ImportReport

CHUNK = 500  # records that are stored together
PREVIEWED = 2000  # records and bad lines that a preview stores and takes back
EXAMPLES = 3


@transaction.atomic
def import_records(
    project: Project,
    records: Iterable[Record | BadLine],
    *,
    batch: str,
    allow_bad: bool = False,
    by: User | None = None,
) -> ImportReport:
    """Store everything or, where a line cannot be used, nothing; with `allow_bad`, the good ones.

    `batch` names the file, such as a part of its hash, in up to 40 characters; it also tells the
    unnamed annotators of one file from those of another. Judgements become rankings of tasks that
    are done. Responses that nobody has judged become tasks for volunteers. A judgement that
    compares nothing, such as a label of a single response, is counted and left out.
    Raises ImportRefused, and what `records` raises; then nothing is stored.
    """
    # Two imports at once take turns, so that neither misses what the other adds.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    report = ImportReport(batch)
    rest = iter(records)
    while lines := list(islice(rest, CHUNK)):
        items = _checked(project, lines, report)
        if not report.bad or allow_bad:
            store_items(project, items, report)
            add_judgements(project, [item.judged for item in items], report)
            open_tasks(project, items, report)
    report.bad.sort(key=lambda line: line.number)
    if report.bad and not allow_bad:
        raise ImportRefused(report.bad)
    if report.adds:
        AuditEvent.record(
            "import", project, project=project, actor=by, batch=batch, **report.counts()
        )
    return report


@dataclass(frozen=True)
class ImportPreview:
    """What an import would do.

    `report` is of the first PREVIEWED lines, but names the bad ones among all that were looked at.
    `n_more` records after those were only checked. `saw_all` is False where time ran out.
    """

    report: ImportReport
    examples: list[Record]
    categories: set[str]
    n_more: int
    saw_all: bool


def preview_records(
    project: Project, records: Iterable[Record | BadLine], *, batch: str, patience_s: float
) -> ImportPreview:
    """Import with bad lines left out, and take everything back; the rest is read and checked.

    Raises what `records` raises.
    """
    examples: list[Record] = []
    categories: set[str] = set()

    def watched(lines: Iterable[Record | BadLine]) -> Iterator[Record | BadLine]:
        for line in lines:
            if isinstance(line, Record):
                examples.extend([line] if len(examples) < EXAMPLES else [])
                categories.update(line.content_categories)
            yield line

    rest = iter(watched(records))
    with transaction.atomic():
        report = import_records(project, islice(rest, PREVIEWED), batch=batch, allow_bad=True)
        transaction.set_rollback(True)
    ends = monotonic() + patience_s
    n_more = 0
    for line in rest:
        if monotonic() > ends:
            return ImportPreview(report, examples, categories, n_more, saw_all=False)
        try:
            if isinstance(line, BadLine):
                report.bad.append(line)
            else:
                item_of(line)
                n_more += 1
        except InvalidContent as error:
            report.bad.append(BadLine(line.number, str(error)))
    report.bad.sort(key=lambda bad: bad.number)
    return ImportPreview(report, examples, categories, n_more, saw_all=True)


def with_topic(records: Iterable[Record | BadLine], topic: str) -> Iterator[Record | BadLine]:
    """The records, of which those without a topic get this one."""
    for record in records:
        if topic and isinstance(record, Record) and not record.topic:
            record = replace(record, topic=topic)
        yield record


def _checked(
    project: Project, lines: Sequence[Record | BadLine], report: ImportReport
) -> list[Item]:
    """The items that can be stored; the others are named in the report."""
    items = []
    for line in lines:
        if isinstance(line, BadLine):
            report.bad.append(line)
            continue
        report.n_records += 1
        try:
            item = item_of(line)
        except InvalidContent as error:
            report.bad.append(BadLine(line.number, str(error)))
            continue
        report.n_compare_nothing += len(line.judgements) - len(item.comparisons)
        items.append(item)
    items, bad = settle_external_ids(project, items)
    report.bad += bad
    return items
