"""Judgements as studies publish them: numbered columns or lists, one person a line."""

import json
from pathlib import Path
from typing import Any

import pytest

from annotate.formats import BadLine, FileRefused, Record, detect, read
from tests.commands import ask
from tests.data import data_file

RANKME = {
    "mr_id": "1", "mr": "name[Blue Spice]", "worker": "w1",
    "ref1": "A pub.", "team1": "x", "quality1": "100",
    "ref2": "A café.", "team2": "y", "quality2": "50",
    "ref3": "A pub.", "team3": "z", "quality3": "90",
}  # fmt: skip
LISTED = {
    "item": 7, "annotator": "ada", "dimension": "quality", "prompt": "Why?",
    "outputs": [{"key": "x", "text": "Air."}, {"key": "y", "text": "Sea."}], "ranks": [1, 2],
}  # fmt: skip


def save(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def said(record: Record | BadLine) -> dict[str, dict[str, int | None]]:
    """By annotator, the rank of each text."""
    assert isinstance(record, Record), record
    texts = [response.text for response in record.responses]
    return {
        str(one.annotator): dict(zip(texts, one.ranks, strict=True)) for one in record.judgements
    }


def test_numbered_columns_of_two_people_are_one_record(tmp_path: Path) -> None:
    other = RANKME | {"worker": "w2", "quality1": "10", "quality3": "20"}
    path = save(tmp_path / "rankme.jsonl", RANKME, other)
    assert detect(path) == "ratings"
    (record,) = read(path)
    # What reads alike is one response, with the mean of its ratings.
    assert said(record) == {"w1": {"A pub.": 1, "A café.": 2}, "w2": {"A pub.": 2, "A café.": 1}}
    assert record.external_id == "1" and record.messages[0]["content"] == "name[Blue Spice]"
    assert {one.text: one.source for one in record.responses} == {"A pub.": "x", "A café.": "y"}


def test_a_listed_judgement_is_read_by_ranks_and_by_scores(tmp_path: Path) -> None:
    scored = {name: value for name, value in LISTED.items() if name != "ranks"}
    scored |= {"annotator": "bob", "scores": [3, 3]}
    unranked = LISTED | {"annotator": "eve", "ranks": [None, 1]}
    path = save(tmp_path / "listed.jsonl", LISTED, scored, unranked)
    assert detect(path) == "ratings"
    (record,) = read(path)
    assert said(record) == {
        "ada": {"Air.": 1, "Sea.": 2},
        "bob": {"Air.": 1, "Sea.": 1},
        "eve": {"Air.": None, "Sea.": 1},
    }


def test_a_rank_is_best_at_one_and_a_score_at_the_highest(tmp_path: Path) -> None:
    row = {"prompt": "Why?", "output_1": "Air.", "output_2": "Sea."}
    (ranked,) = read(save(tmp_path / "a.jsonl", row | {"rank_1": 1, "rank_2": 2}), "ratings")
    (scored,) = read(save(tmp_path / "b.jsonl", row | {"score_1": 1, "score_2": 2}), "ratings")
    assert said(ranked) == {"None": {"Air.": 1, "Sea.": 2}}
    assert said(scored) == {"None": {"Air.": 2, "Sea.": 1}}


def test_of_several_criteria_one_is_read(tmp_path: Path) -> None:
    ratings = {"nat1": 1, "nat2": 2, "nat3": 3, "inf1": 3, "inf2": 2, "inf3": 1}
    row = {name: value for name, value in RANKME.items() if not name.startswith("quality")}
    path = save(tmp_path / "several.jsonl", row | ratings | {"ref3": "A bar."})
    with pytest.raises(FileRefused, match="--criterion"):
        list(read(path))
    (record,) = read(path, criterion="nat")
    assert said(record) == {"w1": {"A pub.": 3, "A café.": 2, "A bar.": 1}}
    assert record.external_id == "1 nat"
    with pytest.raises(FileRefused, match="'fluency'"):
        list(read(path, criterion="fluency"))
    listed = save(tmp_path / "listed.jsonl", LISTED, LISTED | {"dimension": "overall"})
    (record,) = read(listed, criterion="overall")
    assert len(record.judgements) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ranks": [1]}, "1 judgements of 2 outputs"),
        ({"ranks": [1, "first"]}, "'first' is not a number"),
        ({"outputs": [{"text": "Air."}, "Sea."]}, "not objects"),
        ({"prompt": ""}, "none of prompt"),
        ({"ranks": [True, 2]}, "True is not a number"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    good, bad = read(save(tmp_path / "f.jsonl", LISTED, LISTED | change), "ratings"), None
    lines = sorted(good, key=lambda line: line.number)
    (bad,) = (line for line in lines if isinstance(line, BadLine))
    assert bad.number == 2 and reason in bad.reason


def test_criteria_are_chosen_by_the_command(db: None, tmp_path: Path) -> None:
    path = save(tmp_path / "rankme.jsonl", RANKME, RANKME | {"worker": "w2"})
    found = ask("import", "study", str(path), "--create", "--criterion", "quality")
    assert (found["format"], found["rankings"]["new"]) == ("ratings", 2)
    again = ask("import", "study", str(path), "--criterion", "quality")
    assert again["rankings"] == {"new": 0, "already_there": 2}


def test_a_published_file_of_unnamed_people_is_read_whole() -> None:
    """WQRM: three versions of a text, ranked by two to four people."""
    records = [*read(data_file("lamp_ranking/wqrm_triplets.json.gz"))]
    assert len(records) == 101
    said = [one for record in records for one in record.judgements]
    assert len(said) == 280
    assert all(sorted(one.ranks) == [1, 2, 3] and one.annotator is None for one in said)
