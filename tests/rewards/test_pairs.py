"""What training makes of a snapshot: the better response first, ties kept as asked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rewards.ml.pairs import (
    Pair,
    SnapshotJudgement,
    SnapshotPrompt,
    SnapshotResponse,
    judgement_pairs,
    read_prompts,
    read_snapshot,
    write_prompts,
)


def snapshot_prompt(
    judgements: tuple[SnapshotJudgement, ...] = (), split: str = "train", k: int = 3
) -> SnapshotPrompt:
    return SnapshotPrompt(
        prompt_id="p1",
        messages=({"role": "user", "content": "Why is the sky blue?\n«línea» \u2028"},),
        topic="sky",
        language="en",
        split=split,
        responses=tuple(SnapshotResponse(f"id{i}", f"response {i}") for i in range(k)),
        judgements=judgements,
    )


def judgement(ranks: tuple[int | None, ...], **options: float) -> SnapshotJudgement:
    return SnapshotJudgement("ada", ranks, (False,) * len(ranks), **options)


def test_every_pair_of_a_ranking_names_the_better_response_first() -> None:
    pairs = judgement_pairs([2, 3, 1], "ada")
    assert {(pair.i, pair.j) for pair in pairs} == {(2, 0), (2, 1), (0, 1)}
    assert all(pair == Pair(pair.i, pair.j, 1.0, 1.0, "ada") for pair in pairs)


def test_responses_that_were_not_ranked_have_no_pairs() -> None:
    assert judgement_pairs([None, 2, None, 1], "ada") == [Pair(3, 1, 1.0, 1.0, "ada")]
    assert judgement_pairs([None, 1, None], "ada") == []


@pytest.mark.parametrize(("ties", "weights"), [("keep", [2.0]), ("half", [1.0]), ("drop", [])])
def test_ties_are_soft_pairs_kept_halved_or_dropped(ties: str, weights: list[float]) -> None:
    pairs = judgement_pairs([1, 1, 2], "ada", weight=2.0, ties=ties)
    assert [pair.weight for pair in pairs if pair.p == 0.5] == weights
    assert [(p.i, p.j, p.weight) for p in pairs if p.p == 1.0] == [(0, 2, 2.0), (1, 2, 2.0)]


def test_a_judgement_of_weight_zero_trains_nothing() -> None:
    assert judgement_pairs([1, 2], "ada", weight=0.0) == []


def test_a_snapshot_comes_back_as_it_was_written(tmp_path: Path) -> None:
    prompts = [snapshot_prompt((judgement((1, 2, 2), weight=0.5), judgement((None, 1, 2))))]
    assert write_prompts(tmp_path / "prompts.jsonl", prompts) == 1
    assert list(read_prompts(tmp_path / "prompts.jsonl")) == prompts
    (element,) = read_snapshot(tmp_path)
    assert element.responses == ("response 0", "response 1", "response 2")
    assert element.messages == prompts[0].messages
    assert (element.topic, element.split, element.language) == ("sky", "train", "en")
    assert {(p.i, p.j, p.p, p.weight) for p in element.pairs} == {
        (0, 1, 1.0, 0.5),
        (0, 2, 1.0, 0.5),
        (1, 2, 0.5, 0.5),
        (1, 2, 1.0, 1.0),
    }


def test_the_same_prompts_give_the_same_bytes_one_line_each(tmp_path: Path) -> None:
    prompts = [snapshot_prompt((judgement((1, 2, 3)),)), snapshot_prompt()]
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    write_prompts(one, prompts)
    write_prompts(two, prompts)
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes().count(b"\n") == 2


def test_prompts_that_nobody_compared_are_left_out_of_training(tmp_path: Path) -> None:
    write_prompts(
        tmp_path / "prompts.jsonl", [snapshot_prompt(), snapshot_prompt((judgement((1, 1, 1)),))]
    )
    assert len(read_snapshot(tmp_path)) == 1
    assert read_snapshot(tmp_path, ties="drop") == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"split": "dev"}, "split"),
        (
            {
                "judgements": [
                    {"annotator": "a", "ranks": [1], "unacceptable": [False], "weight": 1}
                ]
            },
            "3",
        ),
        ({"topic": None, "responses": "text"}, "TypeError"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, change: dict[str, object], what: str) -> None:
    path = tmp_path / "prompts.jsonl"
    write_prompts(path, [snapshot_prompt()])
    bad = json.loads(path.read_text(encoding="utf-8")) | change
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(bad) + "\n")
    with pytest.raises(ValueError, match=f"prompts.jsonl line 2.*{what}"):
        list(read_prompts(path))


def test_reading_a_snapshot_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, rewards.ml.pairs, rewards.ml.gate, rewards.ml.reliability;"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
