"""Public judgements through the import and the agreement, beside figures from elsewhere."""

import json
from collections.abc import Iterator
from gzip import open as unpack
from statistics import fmean
from typing import Any

import krippendorff
import pytest

from benchmarks.replay import REPLAYS, Replay, agrees, replay
from rewards.ml.comparisons import PromptRankings
from tests.data import data_file
from tests.rewards.test_agreement import half_steps, mirrored_table

KNOWN = [one for one in REPLAYS if one.known]
RATED = [one for one in REPLAYS if one.criterion]


@pytest.mark.parametrize("one", KNOWN, ids=lambda one: one.file)
def test_the_figures_are_those_that_are_known(db: None, one: Replay) -> None:
    assert one.known
    assert agrees(replay(data_file(one.file), one.criterion, "real"), one.known)


def test_figures_that_differ_are_told(db: None) -> None:
    one = next(one for one in KNOWN if "lamp" in one.file)
    found = replay(data_file(one.file), "", "real")
    found["alpha"] = found["alpha"] | {"value": found["alpha"]["value"] + 0.002}
    assert one.known and not agrees(found, one.known)


@pytest.mark.parametrize("one", RATED, ids=lambda one: f"{one.file} {one.criterion}")
def test_alpha_of_rankme_is_krippendorffs(db: None, one: Replay) -> None:
    """On the pairs of outputs that differ, each both ways round, straight from the file."""
    prompts = list(ranked(one))
    table = mirrored_table(prompts)
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement=half_steps)
    n = int((table == table).sum()) // 2
    found = replay(data_file(one.file), one.criterion, "real")
    assert found["n_rankings"] == len([said for prompt in prompts for said in prompt])
    corrected = 1 - (1 - found["alpha"]["value"]) * (2 * n - 1) / (2 * n)
    assert corrected == pytest.approx(expected, abs=1e-9)


def ranked(one: Replay) -> Iterator[PromptRankings]:
    """What people said of each meaning, by worker and text; equal texts have their mean score."""
    meanings: dict[str, dict[str, Any]] = {}
    with unpack(data_file(one.file), "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            scores: dict[str, list[float]] = {}
            for n in (1, 2, 3):
                scores.setdefault(row[f"ref{n}"], []).append(float(row[f"{one.criterion}{n}"]))
            mean = {text: fmean(several) for text, several in scores.items()}
            ranks = {text: 1 + sum(v > mean[text] for v in mean.values()) for text in mean}
            if len(ranks) > 1:
                meanings.setdefault(row["mr"], {})[row["worker"]] = ranks
    yield from meanings.values()
