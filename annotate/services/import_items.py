"""Items of an import: each record's prompt, responses and demonstration, checked and stored.

K is the number of responses of an item.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import QuerySet

from annotate.formats.records import BadLine, Record
from annotate.models import (
    Demonstration,
    Project,
    Prompt,
    Response,
    Task,
    TaskResponse,
    content_hash,
)
from annotate.rendering import render_markdown
from annotate.services.content import (
    InvalidContent,
    demonstration_columns,
    prompt_columns,
    render_messages,
    response_columns,
)
from annotate.services.import_judgements import Comparison, JudgedItem, comparison_of
from annotate.services.import_report import ImportReport, Tally
from annotate.services.tasks import DRAWN, distinct, open_ranking_tasks

MAX_RESPONSES = 100  # of one record
MAX_RANKED = 8  # as many as the page for ranking shows

Columns = dict[str, Any]
# Parent row and content hash: a prompt is there once in its project, a response in its prompt.
Key = tuple[int, str]


@dataclass
class Item:
    """One record: the columns of its rows, and once they are stored, their ids."""

    record: Record
    prompt: Columns
    responses: list[Columns]
    demonstration: Columns | None
    comparisons: list[Comparison]
    prompt_id: int = 0
    response_ids: list[int] = field(default_factory=list)  # (K,)

    @property
    def batch(self) -> str:
        """Names the item, the same in whatever file it comes: the batch of its judged tasks."""
        responses = sorted(columns["content_hash"] for columns in self.responses)
        told_by = [self.prompt["content_hash"], responses, self.record.external_id]
        return f"import {content_hash(told_by)[:40]}"

    @property
    def judged(self) -> JudgedItem:
        return JudgedItem(
            batch=self.batch,
            prompt_id=self.prompt_id,
            response_ids=self.response_ids,
            comparisons=self.comparisons,
        )


def item_of(record: Record) -> Item:
    """The record, checked. Raises InvalidContent for what cannot be stored."""
    if len(record.responses) > MAX_RESPONSES:
        raise InvalidContent(f"{len(record.responses)} responses, more than {MAX_RESPONSES}")
    written = record.demonstration
    comparisons = [comparison_of(judgement) for judgement in record.judgements]
    return Item(
        record=record,
        prompt=prompt_columns(
            record.messages,
            record.topic,
            record.language,
            record.external_id,
            record.split,
            record.content_categories,
        ),
        responses=[
            response_columns(response.text, Response.Source.IMPORT, response.source or "")
            for response in record.responses
        ],
        demonstration=None if written is None else demonstration_columns(written),
        comparisons=[comparison for comparison in comparisons if comparison],
    )


def settle_external_ids(
    project: Project, items: Sequence[Item]
) -> tuple[list[Item], list[BadLine]]:
    """The items whose prompts can be stored, and those whose id names another prompt.

    Beside responses an id names the item, so that another item of the same prompt, or another
    source, may use it too; then the prompt goes without.
    """
    digests = [item.prompt["content_hash"] for item in items]
    prompts = project.prompts.filter(content_hash__in=digests)
    there = set(prompts.values_list("content_hash", flat=True))
    ids = [item.prompt["external_id"] for item in items if item.prompt["external_id"]]
    owners = project.prompts.filter(external_id__in=ids)
    taken = dict(owners.values_list("external_id", "content_hash"))
    good, bad = [], []
    for item in items:
        name, digest = item.prompt["external_id"], item.prompt["content_hash"]
        if taken.get(name, digest) != digest:
            if not item.responses:
                reason = f"External id {name!r} names another prompt"
                bad.append(BadLine(item.record.number, reason))
                continue
            item.prompt["external_id"] = None
        elif name is not None and digest not in there:  # a prompt keeps the id it came with
            taken[name] = digest
        there.add(digest)
        good.append(item)
    return good, bad


def store_items(project: Project, items: Sequence[Item], report: ImportReport) -> None:
    """Store prompts, responses and demonstrations, and note their ids in the items."""
    wanted: dict[Key, Columns] = {}
    for item in items:
        wanted.setdefault((project.pk, item.prompt["content_hash"]), item.prompt)
    digests = [digest for _, digest in wanted]
    prompts = _store(
        project.prompts.filter(content_hash__in=digests),
        "project_id",
        wanted,
        report.prompts,
        lambda columns: {"html": render_messages(columns["messages"])},
    )
    for item in items:
        item.prompt_id = prompts[project.pk, item.prompt["content_hash"]]
    responses = _store(
        Response.objects.filter(prompt__in=set(prompts.values())),
        "prompt_id",
        {
            (item.prompt_id, columns["content_hash"]): columns
            for item in items
            for columns in item.responses
        },
        report.responses,
        lambda columns: {"html": render_markdown(columns["text"])},
    )
    for item in items:
        item.response_ids = [
            responses[item.prompt_id, columns["content_hash"]] for columns in item.responses
        ]
    _store(
        Demonstration.objects.filter(prompt__in=set(prompts.values())),
        "prompt_id",
        {
            (item.prompt_id, item.demonstration["content_hash"]): item.demonstration
            for item in items
            if item.demonstration
        },
        report.demonstrations,
        lambda columns: {},
    )


def _store(
    stored: QuerySet[Any],
    parent: str,
    wanted: Mapping[Key, Columns],
    tally: Tally,
    rendered: Callable[[Columns], Columns],
) -> dict[Key, int]:
    """Ids of the wanted rows by key, those that are there and those that are added now.

    `stored` finds the rows among which the wanted ones would be, `parent` is the column that their
    keys begin with.
    """

    def found() -> dict[Key, int]:
        rows = stored.values_list(parent, "content_hash", "pk")
        return {(owner, digest): pk for owner, digest, pk in rows}

    there = found()
    new = [key for key in wanted if key not in there]
    if new:
        # Passing over conflicts, since a job may store the same response at this moment.
        stored.model._default_manager.bulk_create(
            (
                stored.model(**{parent: key[0]}, **wanted[key], **rendered(wanted[key]))
                for key in new
            ),
            batch_size=500,
            ignore_conflicts=True,
        )
        there = found()
    tally.note((there[key] for key in wanted), (there[key] for key in new))
    return {key: there[key] for key in wanted}


def open_tasks(project: Project, items: Sequence[Item], report: ImportReport) -> None:
    """Open tasks for volunteers where responses came without judgements.

    Nobody is asked again what volunteers have judged or are to judge already.
    """
    waiting = [
        item
        for item in items
        if not item.record.judgements and 2 <= len(item.response_ids) <= MAX_RANKED
    ]
    prompts = Prompt.objects.in_bulk({item.prompt_id for item in waiting})
    responses = Response.objects.in_bulk({pk for item in waiting for pk in item.response_ids})
    first_batch = f"import {report.batch}"
    asked = _asked(prompts)
    earlier = Counter(
        Task.objects.filter(prompt__in=prompts, batch__startswith=first_batch).values_list(
            "prompt", flat=True
        )
    )
    rounds: dict[str, list[tuple[Prompt, list[Response]]]] = defaultdict(list)
    for item in waiting:
        different = distinct([responses[pk] for pk in item.response_ids])
        choice = frozenset(response.pk for response in different)
        if len(choice) < 2 or choice in asked:
            continue
        asked.add(choice)
        # A batch holds one task of a prompt, and a file may hold several choices of responses.
        earlier[item.prompt_id] += 1
        number = earlier[item.prompt_id]
        batch = first_batch if number == 1 else f"{first_batch} #{number}"
        rounds[batch].append((prompts[item.prompt_id], different))
    for batch, pairs in rounds.items():
        report.n_opened_tasks += len(open_ranking_tasks(project, pairs, batch=batch))


def _asked(prompt_ids: Collection[int]) -> set[frozenset[int]]:
    """The choices of responses of these prompts that volunteers are asked about."""
    shown: dict[int, set[int]] = defaultdict(set)
    slots = TaskResponse.objects.filter(task__prompt__in=prompt_ids, task__kind__in=DRAWN)
    for task, response in slots.values_list("task", "response"):
        shown[task].add(response)
    return {frozenset(responses) for responses in shown.values()}
