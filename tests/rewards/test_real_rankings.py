"""Public judgements by real people, from the file to the figures that are known of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ask, say
from tests.data import data_file
from tests.tiny_models import make_base


def load(file: str) -> None:
    say("import", "real", str(data_file(file)), "--create")


# Computed independently of this code on the same files, the intervals with 600 resamples of items.
KNOWN: dict[str, dict[str, Any]] = {
    "pandalm/testset-v1.json.gz": {
        "people": 3,
        "items": 999,
        "alpha": (0.872, 0.850, 0.894),
        "with_ties": 0.920,
        "without_ties": 0.947,
        "without_one": (0.859, 0.889),
    },
    "lamp_ranking/rankings.jsonl.gz": {
        "people": 13,
        "items": 201,
        "alpha": (0.617, 0.562, 0.675),
        "with_ties": 0.809,
        "without_ties": 0.809,
        "without_one": (0.591, 0.646),
    },
}


@pytest.mark.parametrize("file", KNOWN)
def test_agreement_is_what_it_is_known_to_be(db: None, file: str) -> None:
    load(file)
    found, known = ask("agreement", "real"), KNOWN[file]
    alpha, low, high = known["alpha"]
    assert found["n_annotators"] == known["people"]
    assert found["alpha"]["n"] == known["items"]
    assert found["alpha"]["value"] == pytest.approx(alpha, abs=0.0006)
    # Another number of resamples moves the ends of an interval a little.
    assert found["alpha"]["low"] == pytest.approx(low, abs=0.006)
    assert found["alpha"]["high"] == pytest.approx(high, abs=0.006)
    for figure in ("with_ties", "without_ties"):
        agreement = found[f"agreement_{figure}"]["value"]
        assert agreement == pytest.approx(known[figure], abs=0.0006)
    without_one = (found["leave_one_out"]["low"], found["leave_one_out"]["high"])
    assert without_one == pytest.approx(known["without_one"], abs=0.0006)


@pytest.mark.django_db(transaction=True)
def test_a_reward_model_trains_on_pairwise_judgements(tmp_path: Path) -> None:
    """500 questions with four answers and six judged pairs each; the base is made on the spot, so
    small and untrained that the figure is known to be reported, not to be good."""
    load("finegrained_qa/dev_feedback.json.gz")
    counts = ask("snapshot", "real")["counts"]
    assert (counts["prompts"], counts["pairs"], counts["ties"]) == (500, 3000, 384)
    config = {"epochs": 1, "max_tokens": 48, "lora_r": 4, "device": "cpu", "dtype": "float32"}
    found = ask(
        *("train_reward_model", "real", "--base", make_base(tmp_path / "tiny")),
        *("--config", json.dumps(config)),
    )
    accuracy = found["metrics"]["accuracy"]
    held_out = counts["splits"]["test"]
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert 0.9 * held_out["prompts"] < accuracy["n_prompts"] <= held_out["prompts"]
    assert accuracy["n_pairs"] == held_out["pairs"] - found["metrics"]["n_ties"]["test"]
    assert found["metrics"]["human_accuracy"]["value"] is None  # one person a question
    assert found["gate"]["state"] in ("INSUFFICIENT", "BLOCK")
