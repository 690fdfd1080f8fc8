from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from tqdm import tqdm

from annotate.formats import READABLE, BadLine, FileRefused, detect, read
from annotate.management.output import JsonCommand
from annotate.models import Project
from annotate.rendering import show_hidden
from annotate.services.import_report import ImportRefused, ImportReport
from annotate.services.importing import import_records, with_topic
from annotate.services.projects import create_project

NAMED_LINES = 20  # bad lines that an error names

# What the report calls one and several of each kind.
WORDS = {
    "prompts": ("prompt", "prompts"),
    "responses": ("response", "responses"),
    "demonstrations": ("demonstration", "demonstrations"),
    "annotators": ("annotator", "annotators"),
    "judged_tasks": ("judged task", "judged tasks"),
    "rankings": ("ranking", "rankings"),
}


class Command(JsonCommand):
    help = (
        "Import prompts, responses, demonstrations and people's judgements from a file, plain or "
        "gzip. Everything is stored or, where a line is bad, nothing. Importing a file again adds "
        "nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project")
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--format", choices=READABLE, metavar="NAME", help="told from the content by default"
        )
        parser.add_argument(
            "--skip-bad", action="store_true", help="leave bad lines out and keep the others"
        )
        parser.add_argument(
            "--criterion", default="", help="of ratings by several criteria, the one to read"
        )
        parser.add_argument("--topic", default="", help="for prompts without a topic of their own")
        parser.add_argument(
            "--create", action="store_true", help="make the project if it is not there"
        )
        parser.add_argument("--title", help="of the project that --create makes")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        if options["title"] and not options["create"]:
            raise CommandError("--title is for a project that --create makes")
        try:
            digest = digest_of(path)
            name = options["format"] or detect(path)
            with transaction.atomic():  # no project is made where the import comes to nothing
                project = self._project(options)
                found = read(path, name, criterion=options["criterion"])
                records = with_topic(found, options["topic"])
                shown = tqdm(records, unit=" records", delay=1, disable=None)
                report = import_records(
                    project, shown, batch=digest[:16], allow_bad=options["skip_bad"]
                )
                if not report.n_records:
                    raise CommandError(f"Nothing in {path} can be used:\n{named(report.bad)}")
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror or error}") from error
        except FileRefused as error:
            raise CommandError(show_hidden(f"{path} cannot be imported: {error}")) from error
        except ImportRefused as error:
            raise CommandError(
                show_hidden(
                    f"Nothing was imported, since {of(len(error.bad), 'line', 'lines')} of {path} "
                    f"cannot be used:\n{named(error.bad)}\n"
                    "Use --skip-bad to leave such lines out and import the others."
                )
            ) from error
        if report.bad:
            self.stderr.write(show_hidden(f"Left out:\n{named(report.bad)}"))
        bad = [{"line": line.number, "reason": line.reason} for line in report.bad]
        facts = {"project": project.slug, "file": str(path), "format": name}
        self.report(
            facts | {"batch": report.batch} | report.counts() | {"bad_lines": bad},
            in_words(project, path, name, report),
        )

    def _project(self, options: dict[str, Any]) -> Project:
        slug = options["project"]
        if project := Project.objects.filter(slug=slug).first():
            return project
        if not options["create"]:
            raise CommandError(f"There is no project {slug!r}; --create makes it")
        try:
            return create_project(slug, options["title"] or slug)
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error


def digest_of(path: Path) -> str:
    """SHA-256 of the file. Raises OSError where it cannot be read, or read again."""
    if path.exists() and not path.is_file():
        raise OSError("it is not a file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def named(bad: Sequence[BadLine]) -> str:
    lines = [f"  line {line.number}: {line.reason}" for line in bad[:NAMED_LINES]]
    if len(bad) > NAMED_LINES:
        lines.append(f"  … and {len(bad) - NAMED_LINES:,} more")
    return "\n".join(lines)


def of(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def in_words(project: Project, path: Path, format: str, report: ImportReport) -> Iterator[str]:
    """What was found, what came of it, and what to do next."""
    yield f"{path.name} ({format}): {of(report.n_records, 'record', 'records')}."
    counts = report.counts()
    for column, words in (("new", "New"), ("already_there", "Already there")):
        parts = [of(counts[kind][column], *WORDS[kind]) for kind in WORDS if counts[kind][column]]
        if parts:
            yield f"{words}: {', '.join(parts)}."
    if not report.adds:
        yield "Nothing is new."
    if report.n_opened_tasks:
        yield f"{of(report.n_opened_tasks, 'task waits', 'tasks wait')} for volunteers."
    if report.n_repeated:
        yield (
            f"{of(report.n_repeated, 'ranking is', 'rankings are')} of what the same annotator had "
            "judged before; both stand."
        )
    if report.n_compare_nothing:
        left_out = of(report.n_compare_nothing, "judgement compares", "judgements compare")
        yield f"{left_out} nothing (one response, or one rank) and stayed out."
    if report.bad:
        yield f"{of(len(report.bad), 'line', 'lines')} stayed out."
    yield next_step(project, report)


def next_step(project: Project, report: ImportReport) -> str:
    if report.rankings.met:
        return (
            f"Next: `manage.py agreement {project.slug}` says how far these people agree, "
            f"`manage.py snapshot {project.slug}` freezes what they said for training."
        )
    if report.n_opened_tasks:
        return f"Next: `manage.py invite {project.slug}` makes a link for volunteers."
    return f"Next: `manage.py sample {project.slug}` has a policy write responses to rank."
