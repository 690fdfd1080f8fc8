"""Write judgements in the formats of training libraries."""

from pathlib import Path
from typing import Any, TextIO, cast, get_args

from django.core.management.base import CommandError, CommandParser

from annotate.formats import WRITABLE, write
from annotate.formats.trl import Ties
from annotate.management.output import JsonCommand, project_from
from annotate.models import SPLITS, Project
from rewards.ml.artefacts import ArtefactError
from rewards.models import Snapshot
from rewards.services.exports import records

CURRENT = "current"


class Command(JsonCommand):
    help = "Write a snapshot, or the rankings as they stand, as a dataset."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")
        parser.add_argument("--format", choices=WRITABLE, default="prefloop")
        parser.add_argument(
            "--output", required=True, help="a file, packed where it ends in .gz, or - for stdout"
        )
        parser.add_argument(
            "--snapshot",
            metavar="NUMBER",
            help=f'its number, or "{CURRENT}" for the rankings as they stand; the newest one',
        )
        parser.add_argument("--split", choices=SPLITS, default="", help="all of them")
        parser.add_argument(
            "--ties",
            choices=get_args(Ties),
            default="drop",
            help="leave tied pairs out, write both orders, or both at half the weight",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_from(options["project"])
        to_stdout = options["output"] == "-"
        if to_stdout and self.as_json:
            raise CommandError("--json and --output - would both write to standard output")
        source = _source(project, options["snapshot"])
        try:
            found = records(source, options["split"])
            if to_stdout:
                stream = cast(TextIO, self.stdout)  # Django's wrapper is one in all but name
                with self.answering():
                    write(found, stream, options["format"], options["ties"])
                return
            lines = _write(found, Path(options["output"]), options)
        except (ArtefactError, ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        facts = {
            "project": project.slug,
            "source": source.number if isinstance(source, Snapshot) else CURRENT,
            "format": options["format"],
            "file": options["output"],
            "lines": lines,
        }
        self.report(facts, [f"{lines} lines written to {options['output']}"])


def _source(project: Project, wanted: str | None) -> Snapshot | Project:
    if wanted == CURRENT:
        return project
    if wanted is not None and not wanted.isdecimal():
        raise CommandError(f'--snapshot {wanted} is neither a number nor "{CURRENT}"')
    snapshots = project.snapshots.filter(number=int(wanted)) if wanted else project.snapshots.all()
    snapshot = snapshots.first()
    if snapshot is None:
        which = (
            f"snapshot {wanted}" if wanted else f"snapshot yet; --snapshot {CURRENT} does without"
        )
        raise CommandError(f"{project.slug} has no {which}")
    return snapshot


def _write(found: Any, path: Path, options: dict[str, Any]) -> int:
    """Write beside the file and rename, so that a file that is there is whole."""
    part = path.with_name(f".part-{path.name}")
    try:
        lines = write(found, part, options["format"], options["ties"])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return lines
