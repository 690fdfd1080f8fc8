"""Public judgements by real people, through the import and the agreement, beside known figures.

    python benchmarks/replay.py
    python benchmarks/replay.py judgements.jsonl ratings.csv --criterion quality

Each file is imported into a project of its own in a new database, and measured as the page does it.
Without files, those of the data folder (PREFLOOP_DATA, or shared/data beside the checkout) that
hold judgements by several people. A line with "known" below has what was measured independently of
this code on the same file, and a line that differs by more than rounding says so.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROUNDING = 0.0006
RESAMPLED = 0.006  # other resamples move the ends of an interval a little


@dataclass(frozen=True)
class Known:
    """Alpha with its 95 % interval, and agreement with ties counted and without."""

    alpha: float
    low: float
    high: float
    with_ties: float
    without_ties: float


@dataclass(frozen=True)
class Replay:
    file: str
    criterion: str = ""
    known: Known | None = None


REPLAYS = (
    Replay("pandalm/testset-v1.json.gz", known=Known(0.872, 0.850, 0.894, 0.920, 0.947)),
    Replay("lamp_ranking/rankings.jsonl.gz", known=Known(0.617, 0.562, 0.675, 0.809, 0.809)),
    Replay("lamp_ranking/wqrm_triplets.json.gz"),
    Replay("rankme/stp1_rankME.jsonl.gz", "informativeness"),
    Replay("rankme/stp1_rankME.jsonl.gz", "naturalness"),
    Replay("rankme/stp1_rankME.jsonl.gz", "quality"),
    Replay("rankme/stp2_rankME_inf.jsonl.gz", "inf"),
    Replay("rankme/stp2_rankME_nat.jsonl.gz", "naturalness"),
    Replay("rankme/stp2_rankME_qual.jsonl.gz", "quality"),
)
HEADER = (
    f"{'file':<34} {'people':>6} {'prompts':>7} {'rankings':>8} {'ties':>5} "
    f"{'alpha [95 %]':<21} {'ties =':>6} {'no ties':>7} {'without one':<13} {'seconds':>7}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--criterion", default="", help="of ratings by several criteria")
    options = parser.parse_args()
    folder = Path(os.environ.get("PREFLOOP_DATA", ROOT.parent / "shared" / "data"))
    replays = [Replay(str(path.resolve()), options.criterion) for path in options.files]
    with tempfile.TemporaryDirectory(prefix="prefloop-replay-") as home:
        os.environ |= {"PREFLOOP_HOME": home, "DATABASE_URL": "sqlite:///"}
        start_django()
        print(HEADER)
        for number, one in enumerate(replays or REPLAYS):
            if (path := folder / one.file).exists():
                show(one, replay(path, one.criterion, f"replay-{number}"))
            else:
                print(f"{one.file} is not there (set PREFLOOP_DATA)")


def start_django() -> None:
    """The project's tables in a new database."""
    sys.path.insert(0, str(ROOT))
    os.environ["DJANGO_SETTINGS_MODULE"] = "prefloop.settings"
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def replay(path: Path, criterion: str, slug: str) -> dict[str, Any]:
    """The figures of the file's judgements, and how long importing and measuring took."""
    from annotate.formats import read
    from annotate.services.importing import import_records
    from annotate.services.projects import create_project
    from rewards.services.agreement import measure

    began = time.perf_counter()
    project = create_project(slug, path.name)
    report = import_records(project, read(path, criterion=criterion), batch=slug, allow_bad=True)
    figures: dict[str, Any] = measure(project).figures
    counts = report.counts()
    return figures | {
        "n_rankings": counts["rankings"]["new"],
        "n_bad": len(report.bad),
        "seconds": time.perf_counter() - began,
    }


def show(one: Replay, found: dict[str, Any]) -> None:
    name = Path(one.file).name.split(".")[0] + (f" ({one.criterion})" if one.criterion else "")
    left_out = found["leave_one_out"]
    without = f"{left_out['low']:.3f}-{left_out['high']:.3f}" if left_out else "–"
    print(
        f"{name:<34} {found['n_annotators']:>6} {found['n_overlapped_prompts']:>7} "
        f"{found['n_rankings']:>8} {in_percent(found['tie_share'])} {interval(found['alpha'])} "
        f"{share(found['agreement_with_ties'])} {share(found['agreement_without_ties']):>7} "
        f"{without:<13} {found['seconds']:>7.1f}"
    )
    if found["n_bad"]:
        print(f"  {found['n_bad']} lines could not be used")
    if one.known:
        known = one.known
        text = f"{known.alpha:.3f} [{known.low:.3f} {known.high:.3f}]"
        print(
            f"{'  known':<34} {'':>30} {text:<21} {known.with_ties:>6.3f} "
            f"{known.without_ties:>7.3f} {'' if agrees(found, known) else 'DIFFERS'}"
        )


def agrees(found: dict[str, Any], known: Known) -> bool:
    """Whether the figures are the known ones but for rounding."""
    alpha = found["alpha"]
    exact = (
        (alpha["value"], known.alpha),
        (found["agreement_with_ties"]["value"], known.with_ties),
        (found["agreement_without_ties"]["value"], known.without_ties),
    )
    ends = ((alpha["low"], known.low), (alpha["high"], known.high))
    return all(abs(ours - theirs) <= ROUNDING for ours, theirs in exact) and all(
        abs(ours - theirs) <= RESAMPLED for ours, theirs in ends
    )


def interval(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return f"{estimate['state']:<21}"
    return f"{estimate['value']:.3f} [{estimate['low']:.3f} {estimate['high']:.3f}]".ljust(21)


def share(estimate: dict[str, Any]) -> str:
    return f"{'–':>6}" if estimate["value"] is None else f"{estimate['value']:>6.3f}"


def in_percent(value: float | None) -> str:
    return f"{'–':>5}" if value is None else f"{value:>5.2f}"


if __name__ == "__main__":
    main()
