"""Files that people bring: every format read, bad lines named, nothing unsafe let through."""

import csv
import gzip
import io
import json
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from annotate.formats import (
    READABLE,
    BadLine,
    BadRecord,
    FileRefused,
    Judgement,
    Limits,
    Record,
    ResponseText,
    detect,
    read,
    write,
)
from tests.data import data_file

SKY = [{"role": "user", "content": "Why is the sky blue?"}]


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def save(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def only(path: Path, format: str | None = None) -> Record:
    (record,) = read(path, format)
    assert isinstance(record, Record), record
    return record


def by_text(record: Record) -> list[dict[str, int | None]]:
    """The ranks of each judgement by the text of the response."""
    texts = [response.text for response in record.responses]
    return [dict(zip(texts, said.ranks, strict=True)) for said in record.judgements]


PREFERENCES = {
    "explicit standard": {"prompt": "Why is the sky blue?", "chosen": "Air.", "rejected": "Sea."},
    "explicit conversational": {
        "prompt": SKY,
        "chosen": [answer("Air.")],
        "rejected": [answer("Sea.")],
    },
    "implicit conversational": {
        "chosen": [*SKY, answer("Air.")],
        "rejected": [*SKY, answer("Sea.")],
    },
    "implicit standard": {
        "chosen": "Why is the sky blue? Air.",
        "rejected": "Why is the sky blue? Sea.",
    },
    "prompt given twice": {
        "prompt": "Why is the sky blue?",
        "chosen": [*SKY, answer("Air.")],
        "rejected": [*SKY, answer("Sea.")],
    },
    "hh-rlhf": {
        "chosen": "\n\nHuman: Why is the sky blue?\n\nAssistant: Air.",
        "rejected": "\n\nHuman: Why is the sky blue?\n\nAssistant: Sea.",
    },
}


@pytest.mark.parametrize("shape", PREFERENCES)
def test_a_preference_is_read_in_every_shape(tmp_path: Path, shape: str) -> None:
    path = save(tmp_path / "data.jsonl", PREFERENCES[shape])
    assert detect(path) == ("hh-rlhf" if shape == "hh-rlhf" else "trl-preference")
    record = only(path)
    assert record.messages == SKY
    (said,) = by_text(record)
    assert {text.strip(): rank for text, rank in said.items()} == {"Air.": 1, "Sea.": 2}


def test_the_order_of_responses_does_not_tell_which_was_chosen(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(200)]
    first = Counter(record.judgements[0].ranks[0] for record in read(save(tmp_path / "d", *rows)))
    assert 70 < first[1] < 130


def test_a_dialogue_keeps_its_earlier_turns(tmp_path: Path) -> None:
    start = "\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: Why?\n\nAssistant:"
    record = only(save(tmp_path / "d", {"chosen": start + " Yes.", "rejected": start + " No."}))
    assert [m["role"] for m in record.messages] == ["user", "assistant", "user"]
    assert by_text(record) == [{"Yes.": 1, "No.": 2}]


def test_unpaired_prompt_only_and_demonstrations(tmp_path: Path) -> None:
    unpaired = only(save(tmp_path / "a", {"prompt": SKY, "completion": "Sea.", "label": False}))
    assert unpaired.judgements == [Judgement(None, [None], unacceptable=[True])]
    written = only(save(tmp_path / "b", {"prompt": "Why?", "completion": [answer("So.")]}))
    assert (written.demonstration, written.responses) == ("So.", [])
    alone = only(save(tmp_path / "c", {"prompt": SKY}))
    assert alone == Record(messages=SKY)


@pytest.mark.parametrize(
    ("winner", "ranks", "unacceptable"),
    [
        ("model_a", [1, 2], None),
        ("model_b", [2, 1], None),
        ("tie", [1, 1], None),
        ("tie (bothbad)", [1, 1], [True, True]),
    ],
)
def test_arena_battles(
    tmp_path: Path, winner: str, ranks: list[int], unacceptable: list[bool] | None
) -> None:
    battle = {
        "question_id": "q1",
        "model_a": "vicuna",
        "model_b": "koala",
        "winner": winner,
        "judge": "arena_user_7",
        "conversation_a": [*SKY, answer("Air.")],
        "conversation_b": [*SKY, answer("Sea.")],
        "turn": 1,
        "language": "English",
        "tstamp": 1682351591.1,
    }
    record = only(save(tmp_path / "d", battle))
    assert record.responses == [ResponseText("Air.", "vicuna"), ResponseText("Sea.", "koala")]
    (said,) = record.judgements
    assert (said.ranks, said.unacceptable) == (ranks, unacceptable)
    assert (said.annotator, said.display_order) == ("arena_user_7", [0, 1])
    assert said.created_at == datetime(2023, 4, 24, 15, 53, 11, 100000, UTC)
    assert record.external_id == "q1"


def test_the_arena_table_comes_as_csv_too(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text(
        "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
        '3,gpt,llama,"[""Why?""]","[""Air, so.""]","[""Sea.""]",0,1,0\n'
        '4,gpt,llama,"[""Why?"",""And?""]","[""A"",""B""]","[""C"",""D""]",0,0,1\n',
        encoding="utf-8",
    )
    record, bad = read(path)
    assert by_text(record) == [{"Air, so.": 2, "Sea.": 1}]
    assert bad == BadLine(3, "`prompt` is not a single turn")


def test_argilla_rankings_of_both_versions(tmp_path: Path) -> None:
    fields = {"prompt": "Why?", "response-1": "Air.", "response-2": "Sea.", "response-3": "So."}
    ranking = [
        {"value": "response-1", "rank": 2},
        {"value": "response-2", "rank": 1},
        {"value": "response-3", "rank": 2},
    ]
    one = {
        "fields": fields,
        "external_id": "x1",
        "responses": [
            {"user_id": "u1", "status": "submitted", "values": {"best": {"value": ranking}}},
            {"user_id": "u2", "status": "draft", "values": {"best": {"value": ranking}}},
        ],
    }
    two = {
        "id": "x1",
        "fields": fields,
        "responses": {
            "best": [{"user_id": "u1", "value": ["response-2", "response-1", "response-3"]}]
        },
    }
    first, second = (only(save(tmp_path / "d", row)) for row in (one, two))
    assert by_text(first) == [{"Air.": 2, "Sea.": 1, "So.": 2}]
    assert by_text(second) == [{"Air.": 2, "Sea.": 1, "So.": 3}]
    assert first.judgements[0].annotator == "u1" and first.external_id == "x1"
    assert first.messages == [{"role": "user", "content": "Why?"}]


@pytest.mark.parametrize("names", [("answer1", "answer2"), ("txt-1", "txt-2")])
def test_label_studio_pairwise_in_an_indented_array(tmp_path: Path, names: tuple[str, str]) -> None:
    task = {
        "id": 12,
        "data": {"prompt": "Why?", "answer1": "Air.", "answer2": "Sea."},
        "annotations": [
            {
                "completed_by": {"id": 7, "email": "ada@example.org"},
                "created_at": "2024-03-09T22:16:08.728353Z",
                "result": [
                    {
                        "type": "pairwise",
                        "to_name": ",".join(names),
                        "value": {"selected": "right"},
                    },
                    {"type": "textarea", "value": {"text": ["It is wet."]}},
                ],
            },
            {"completed_by": 8, "was_cancelled": True, "result": []},
        ],
    }
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task, task], indent=2), encoding="utf-8")
    record, again = read(path)
    assert record == again
    assert by_text(record) == [{"Air.": 2, "Sea.": 1}]
    (said,) = record.judgements
    assert (said.annotator, said.rationale) == ("7", "It is wet.")
    assert said.created_at == datetime(2024, 3, 9, 22, 16, 8, 728353, UTC)


@pytest.mark.parametrize(
    "order", [["wiki", "mdn"], {"rank": ["wiki", "mdn"]}, {"best": ["wiki", "mdn"], "_": ["blog"]}]
)
def test_label_studio_ranker(tmp_path: Path, order: Any) -> None:
    items = [{"id": name, "title": "T", "body": f"{name}!"} for name in ("blog", "mdn", "wiki")]
    task = {
        "data": {"prompt": "Arrow functions?", "items": items},
        "annotations": [{"result": [{"type": "ranker", "value": {"ranker": order}}]}],
    }
    record = only(save(tmp_path / "d", task))
    assert by_text(record) == [{"blog!": None, "mdn!": 2, "wiki!": 1}]


def test_buckets_without_an_order_are_refused(tmp_path: Path) -> None:
    items = [{"id": name, "body": name} for name in "ab"]
    value = {"ranker": {"good": ["a"], "bad": ["b"]}}
    task = {
        "data": {"prompt": "p", "items": items},
        "annotations": [{"result": [{"type": "ranker", "value": value}]}],
    }
    (bad,) = read(save(tmp_path / "d", task))
    assert isinstance(bad, BadLine) and "order" in bad.reason


def test_pandalm_has_three_judgements_of_999_pairs() -> None:
    records = list(read(data_file("pandalm/testset-v1.json.gz")))
    assert len(records) == 999
    said = [judgement for record in records for judgement in record.judgements]
    assert Counter(j.annotator for j in said) == dict.fromkeys(
        ("annotator1", "annotator2", "annotator3"), 999
    )
    majority = Counter()
    for record in records:
        votes = Counter(tuple(j.ranks) for j in record.judgements).most_common()
        majority[votes[0][0] if votes[0][1] > 1 else None] += 1
    assert (majority[(1, 2)], majority[(2, 1)]) == (422, 472)  # the source's own count
    assert len({json.dumps(record.messages) for record in records}) == 170


def test_lamp_has_one_record_a_text_and_keeps_who_saw_what_where() -> None:
    path = data_file("lamp_ranking/rankings.jsonl.gz")
    records = {record.external_id: record for record in read(path)}
    assert len(records) == 201
    assert all(len(record.judgements) == 3 for record in records.values())
    first_shown = Counter()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            record = records[row["item"]]
            (said,) = (j for j in record.judgements if j.annotator == row["annotator"])
            shown = [record.responses[index].source for index in said.display_order]
            assert shown == list(row["mapping"].values())
            best = row["mapping"][row["order"][0]]
            assert record.responses[said.ranks.index(1)].source == best
            first_shown[said.ranks[said.display_order[0]]] += 1
    # The source's README: first places by position are 178, 196, 229.
    assert first_shown[1] == 178


def test_lamp_orders_responses_whoever_comes_first(tmp_path: Path) -> None:
    with gzip.open(data_file("lamp_ranking/rankings.jsonl.gz"), "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    random.Random(0).shuffle(lines)
    shuffled = {record.external_id: record for record in read(save(tmp_path / "d", *lines))}
    changed = sum(
        [r.source for r in record.responses]
        != [r.source for r in shuffled[record.external_id].responses]
        for record in read(data_file("lamp_ranking/rankings.jsonl.gz"))
    )
    assert changed <= 4  # texts of which the annotators' copies differ


def test_qa_feedback_has_six_pairs_of_each_question() -> None:
    records = list(read(data_file("finegrained_qa/dev_feedback.json.gz")))
    assert len(records) == 500
    outcomes = Counter()
    for record in records:
        assert len(record.responses) == 4 and len(record.judgements) == 6
        judged = {tuple(i for i, r in enumerate(j.ranks) if r) for j in record.judgements}
        assert len(judged) == 6 and all(len(pair) == 2 for pair in judged)
        outcomes.update(tuple(r for r in j.ranks if r) for j in record.judgements)
    assert outcomes == {(1, 2): 1577, (2, 1): 1039, (1, 1): 384}


def rich_records() -> list[Record]:
    said = Judgement(
        annotator="p7f3",
        ranks=[2, 1, None],
        display_order=[2, 0, 1],
        unacceptable=[False, False, True],
        rationale="=cmd|' /C calc'!A0",
        created_at=datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC),
    )
    tied = Judgement(annotator=None, ranks=[1, 1, 2])
    responses = [ResponseText("-1 °C\r\n«so»", "policy 3"), ResponseText("'=1"), ResponseText("c")]
    dialogue = [{"role": "system", "content": "Be brief."}, *SKY]
    return [
        Record(
            messages=SKY,
            responses=responses,
            judgements=[said, tied],
            topic="sky",
            language="en",
            external_id="s1",
            split="train",
        ),
        Record(messages=dialogue, responses=responses[:2], demonstration="@home"),
        Record(messages=[{"role": "user", "content": "Only a prompt\u2028"}]),
        Record(
            messages=SKY,
            responses=responses[:1],
            judgements=[Judgement("b", [None], unacceptable=[False])],
        ),
    ]


@pytest.mark.parametrize("format", ["prefloop", "csv"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_is_written_is_read_back_the_same(tmp_path: Path, format: str, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(rich_records(), path, format)
    assert detect(path) == format
    assert list(read(path)) == rich_records()


def test_the_same_records_give_the_same_packed_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one.gz", tmp_path / "two.gz"
    write(rich_records(), one, "prefloop")
    write(rich_records(), two, "prefloop")
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes()[4:8] == bytes(4)  # gzip's time of writing


def test_a_spreadsheet_meets_no_formula(tmp_path: Path) -> None:
    stream = io.StringIO(newline="")
    write(rich_records(), stream, "csv")
    cells = [cell for row in csv.reader(io.StringIO(stream.getvalue(), newline="")) for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]
    assert any(cell.startswith("'=cmd") for cell in cells)


def tied_record() -> Record:
    responses = [ResponseText("a"), ResponseText("b"), ResponseText("c")]
    return Record(SKY, responses, [Judgement("x", [1, 1, 2]), Judgement("y", [None, 2, 1])])


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ("drop", [("a", "c", None), ("b", "c", None), ("c", "b", None)]),
        (
            "both",
            [
                ("a", "b", None),
                ("b", "a", None),
                ("a", "c", None),
                ("b", "c", None),
                ("c", "b", None),
            ],
        ),
        (
            "half",
            [("a", "b", 0.5), ("b", "a", 0.5), ("a", "c", 1.0), ("b", "c", 1.0), ("c", "b", 1.0)],
        ),
    ],
)
def test_preference_pairs_treat_ties_as_asked(
    ties: Any, expected: list[tuple[str, str, float | None]]
) -> None:
    stream = io.StringIO()
    assert write([tied_record()], stream, "trl-preference-standard", ties) == len(expected)
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(r["chosen"], r["rejected"], r.get("weight")) for r in rows] == expected
    assert {r["prompt"] for r in rows} == {"Why is the sky blue?"}


def test_written_preferences_are_trls_conversational_form(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    write([tied_record()], path, "trl-preference")
    row = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert row == {"prompt": SKY, "chosen": [answer("a")], "rejected": [answer("c")]}
    assert [by_text(record)[0] for record in read(path)] == [
        {"a": 1, "c": 2},
        {"b": 1, "c": 2},
        {"c": 1, "b": 2},
    ]


def test_unacceptable_marks_become_unpaired_negatives(tmp_path: Path) -> None:
    path = tmp_path / "unpaired.jsonl"
    write(rich_records(), path, "trl-unpaired")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(row["completion"][0]["content"], row["label"]) for row in rows] == [
        ("'=1", True),
        ("c", False),
        ("-1 °C\r\n«so»", True),
    ]
    assert detect(path) == "trl-unpaired"


def test_prompts_alone_are_written_for_ppo(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    assert write(rich_records(), path, "trl-prompt-only") == 4
    assert detect(path) == "trl-prompt-only"
    assert [r.messages for r in read(path)] == [r.messages for r in rich_records()]


def test_a_dialogue_has_no_standard_form() -> None:
    record = Record(
        [*SKY, answer("Air."), *SKY],
        [ResponseText("a"), ResponseText("b")],
        [Judgement("x", [1, 2])],
    )
    with pytest.raises(BadRecord, match="several messages"):
        write([record], io.StringIO(), "trl-preference-standard")


GOOD = b'{"prompt": "Why?", "chosen": "a", "rejected": "b"}\n'
BAD_LINES = {
    b'{"prompt": "Why?", "chosen": "a", "chosen": "b"}': "the key 'chosen' is there twice",
    b'{"prompt": "Why?", "chosen": "a\\u0000", "rejected": "b"}': "NUL",
    b'{"prompt": "Why?", "chosen": "\\ud83d", "rejected": "b"}': "surrogate",
    b'{"prompt": "Why?", "chosen": "a", "rejected": "b", "s": NaN}': "NaN is not a number",
    b'{"prompt": "Why?", "chosen": "a", "rejected": "b", "s": 1e999}': "infinite",
    b'{"prompt": "Why?", "chosen": "\xff", "rejected": "b"}': "not UTF-8",
    b'{"prompt": "Why?", "x": ' + b"[" * 30 + b"]" * 30 + b"}": "nested too deeply",
    b'{"prompt": "Why?", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "nested",
    b'{"prompt": "Why?", "x": ' + b"9" * 5000 + b"}": "a number is too long",
    b'{"prompt": "Why?", "chosen": "'
    + b"a" * 2**20
    + b'", "rejected": "b"}': "longer than 1048576",
    b'{"prompt": "Why?", "chosen"': "not JSON",
    b'["Why?"]': "not a JSON object",
    b'{"prompt": "Why?", "chosen": "a"}': "'rejected' is missing",
    b'{"prompt": "Why?", "chosen": 1, "rejected": "b"}': "`chosen` is not a list of messages",
    b'{"prompt": " ", "chosen": "a", "rejected": "b"}': "empty",
    b'{"prompt": "Why?", "chosen": "a", "rejected": "a"}': "the same text",
    b'{"prompt": [{"role": "me", "content": "x"}], "chosen": "a", "rejected": "b"}': "role 'me'",
}


@pytest.mark.parametrize("bad", BAD_LINES, ids=BAD_LINES.values())
def test_a_bad_line_is_named_and_the_others_are_read(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + b"\n" + bad + b"\n" + GOOD)
    first, named, last = read(path)
    assert isinstance(first, Record) and first == last
    assert named.number == 3 and BAD_LINES[bad] in named.reason


def test_a_bad_item_of_an_array_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(b"[" + GOOD + b', {"prompt": "p", "prompt": "q"} ,' + GOOD + b', {"prompt"')
    first, second, third, fourth = read(path)
    assert first == third
    assert second == BadLine(2, "the key 'prompt' is there twice")
    assert fourth.number == 4 and "nothing from here on" in fourth.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"ranks": [1, 2]}, "2 ranks for 3 responses"),
        ({"ranks": [0, 1, 2]}, "rank 0"),
        ({"ranks": [1.5, 1, 2]}, "rank 1.5"),
        ({"ranks": [True, 1, 2]}, "rank True"),
        ({"ranks": [1, 2, 3], "display_order": [0, 0, 1]}, "display order"),
        ({"ranks": [1, 2, 3], "display_order": [0, 3]}, "display order"),
        ({"ranks": [1, 2, 3], "unacceptable": [True]}, "unacceptable"),
        ({"ranks": [1, 2, 3], "created_at": "yesterday"}, "ISO 8601"),
    ],
)
def test_judgements_that_do_not_fit_are_named(
    tmp_path: Path, line: dict[str, Any], reason: str
) -> None:
    row = {"messages": SKY, "responses": [{"text": t} for t in "abc"], "judgements": [line]}
    (bad,) = read(save(tmp_path / "d", row))
    assert isinstance(bad, BadLine) and reason in bad.reason


def test_rows_of_the_same_responses_are_one_record_and_bad_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(
        "\ufeffprompt,response_1,response_2,rank_1,rank_2,annotator\r\n"
        'Why?,"a\nb",c,1,2,ann\r\n'
        'Why?,"a\nb",c,2,1,bob\r\n'
        "Why?,d,e,first,2,bob\r\n"
        "Why?,d,e,1,,bob,too,many\r\n"
        "Why?,d,e,1,,bob\r\n",
        encoding="utf-8",
    )
    bad, many, record, other = sorted(read(path), key=lambda found: isinstance(found, Record))
    assert (bad.number, bad.reason) == (6, "the rank 'first' is not a whole number")
    assert (many.number, many.reason) == (7, "8 columns where the header has 6")
    assert by_text(record) == [{"a\nb": 1, "c": 2}, {"a\nb": 2, "c": 1}]
    assert [said.annotator for said in record.judgements] == ["ann", "bob"]
    assert by_text(other) == [{"d": 1, "e": None}]


def test_a_quote_that_never_closes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('prompt,response_1\np,a\n"q,b\n' + "x\n" * 50, encoding="utf-8")
    record, bad = sorted(read(path), key=lambda found: isinstance(found, BadLine))
    assert isinstance(record, Record)
    assert bad.number == 3 and "not CSV" in bad.reason


def gzipped(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data))
    return path


REFUSALS = {
    "larger than 0 MiB": (GOOD, Limits(packed_bytes=20)),
    "more than 2 lines": (GOOD * 3, Limits(lines=2)),
    "when unpacked": (GOOD * 50, Limits(unpacked_bytes=1000)),
    "a JSON array may have": (b"[" + GOOD + b"]", Limits(array_bytes=30)),
    "more than 1 items": (b"[" + GOOD + b"," + GOOD + b"]", Limits(lines=1)),
    "is empty": (b"\n\n", Limits()),
    "no known format has the fields a, b": (b'{"a": 1, "b": 2}\n', Limits()),
    "none of the first 1 lines": (b"{nothing}\n", Limits()),
}


@pytest.mark.parametrize("reason", REFUSALS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_beyond_its_limits_is_refused(tmp_path: Path, reason: str, packed: bool) -> None:
    data, limits = REFUSALS[reason]
    path = tmp_path / "data"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(FileRefused, match=reason):
        list(read(path, limits=limits))


def test_a_gzip_bomb_is_refused_while_it_unpacks(tmp_path: Path) -> None:
    path = gzipped(tmp_path / "bomb.jsonl.gz", GOOD + b"0" * 20_000_000)
    assert path.stat().st_size < 40_000
    with pytest.raises(FileRefused, match="when unpacked"):
        list(read(path, limits=Limits(unpacked_bytes=5_000_000)))


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    path = gzipped(tmp_path / "data.gz", GOOD * 1000)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileRefused, match="damaged"):
        list(read(path))


def test_an_unknown_format_is_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "d", {"prompt": "p"})
    with pytest.raises(FileRefused, match="'parquet'"):
        read(path, "parquet")
    with pytest.raises(ValueError, match="'parquet'"):
        write([], io.StringIO(), "parquet")


def test_a_snapshot_line_can_be_read(tmp_path: Path) -> None:
    row = {
        "prompt_id": "h1",
        "messages": SKY,
        "topic": "sky",
        "language": "en",
        "split": "test",
        "responses": [{"id": "r1", "text": "a"}, {"id": "r2", "text": "b"}],
        "judgements": [
            {"annotator": "k", "ranks": [2, 1], "unacceptable": [False, False], "weight": 1.0}
        ],
    }
    record = only(save(tmp_path / "d", row))
    assert (record.split, by_text(record)) == ("test", [{"a": 2, "b": 1}])


def test_every_readable_format_is_tried_by_its_content(tmp_path: Path) -> None:
    """No format hides another: each is told from an object that only it should claim."""
    samples = {
        "prefloop": {"messages": SKY, "responses": []},
        "pandalm": dict.fromkeys(
            ["cmp_key", "instruction", "response1", "response2", "annotator1", "annotator2"], "x"
        )
        | {"annotator3": 0},
        "lamp": dict.fromkeys(
            ["item", "annotator", "instruction", "responses", "mapping", "order"], "x"
        ),
        "wqrm": dict.fromkeys(
            ["instruction", "annotations", "first_draft", "random_cot", "best_cot"], {}
        ),
        "ratings": {"mr": "m", "ref1": "r", "ref2": "s", "quality1": "10", "quality2": "20"},
        "qa-feedback": {"question": "q", "preference": []}
        | {f"prediction {n}": "p" for n in (1, 2, 3, 4)},
        "arena": {"conversation_a": [], "conversation_b": [], "winner": "tie"},
        "label-studio": {"data": {}, "annotations": []},
        "argilla": {"fields": {}, "responses": []},
        "hh-rlhf": PREFERENCES["hh-rlhf"],
        "trl-preference": PREFERENCES["explicit standard"],
        "trl-unpaired": {"prompt": "p", "completion": "c", "label": True},
        "prompt-completion": {"prompt": "p", "completion": "c"},
        "trl-prompt-only": {"prompt": "p"},
    }
    assert {*samples, "csv"} == set(READABLE)
    for name, row in samples.items():
        assert detect(save(tmp_path / "d", row)) == name


@pytest.mark.parametrize("format", ["prefloop", "csv"])
def test_content_categories_come_back_as_they_were_written(tmp_path: Path, format: str) -> None:
    record = Record(SKY, [ResponseText("Air.")], content_categories=["war", "ill health"])
    path = tmp_path / "file"
    write([record], path, format)
    assert only(path) == record


def test_content_categories_are_texts(tmp_path: Path) -> None:
    row = {"messages": SKY, "responses": [{"text": "Air."}], "content_categories": ["war", 3]}
    (found,) = read(save(tmp_path / "file", row))
    assert found == BadLine(1, "`content_categories` is not a list of texts")
