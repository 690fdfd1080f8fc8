"""Public research sets in the shape they were published: PandaLM, LAMP, WQRM, qa-feedback."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations

from annotate.formats.lines import Row
from annotate.formats.records import (
    BadLine,
    BadRecord,
    Judgement,
    Record,
    ResponseText,
    in_neutral_order,
    list_field,
    optional_text,
    text_field,
    user_message,
)

# 0 no difference, 1 the first response, 2 the second: both PandaLM and qa-feedback.
PAIR_RANKS: dict[int, list[int | None]] = {0: [1, 1], 1: [1, 2], 2: [2, 1]}
ANNOTATORS = ("annotator1", "annotator2", "annotator3")
WQRM_VERSIONS = ("first_draft", "random_cot", "best_cot")
WQRM_PLACES: dict[str, int | None] = {
    "Most Preferred Writing Option": 1,
    "Second Favorite Writing Option": 2,
    "Least Preferred Writing Option": 3,
}
QA_RESPONSES = tuple(f"prediction {number}" for number in (1, 2, 3, 4))
QA_PAIRS = tuple(combinations(range(4), 2))


def is_pandalm(row: Row) -> bool:
    return {"cmp_key", "instruction", "response1", "response2", *ANNOTATORS} <= row.keys()


def read_pandalm(row: Row) -> Record:
    """A pair of the PandaLM test set: three annotators, ties, the order on screen not kept."""
    models = text_field(row, "cmp_key").split("_")
    if len(models) != 2:
        raise BadRecord("`cmp_key` does not name two models")
    given = optional_text(row, "input")
    return Record(
        messages=user_message(text_field(row, "instruction") + (f"\n\n{given}" if given else "")),
        # Six responses of the published file are the JSON value true instead of a text.
        responses=[
            ResponseText(str(row[name]), model)
            for name, model in zip(("response1", "response2"), models, strict=True)
        ],
        judgements=[Judgement(name, _pair_ranks(row[name])) for name in ANNOTATORS],
        external_id=optional_text(row, "idx"),
    )


def is_qa_feedback(row: Row) -> bool:
    return {"question", "preference", *QA_RESPONSES} <= row.keys()


def read_qa_feedback(row: Row) -> Record:
    """A question of Fine-Grained RLHF's qa-feedback: four responses, all six pairs judged by one
    unnamed person. The six are judgements of their own, since some make a circle."""
    said = list_field(row, "preference")
    if len(said) != len(QA_PAIRS):
        raise BadRecord("`preference` has not six entries")
    judgements = []
    for (a, b), value in zip(QA_PAIRS, said, strict=True):
        ranks: list[int | None] = [None] * 4
        ranks[a], ranks[b] = _pair_ranks(value)
        judgements.append(Judgement(None, ranks))
    return Record(
        messages=user_message(text_field(row, "question")),
        responses=[ResponseText(text_field(row, name), name) for name in QA_RESPONSES],
        judgements=judgements,
    )


def _pair_ranks(value: object) -> list[int | None]:
    if type(value) is not int or value not in PAIR_RANKS:
        raise BadRecord(f"unknown judgement {value!r}")
    return PAIR_RANKS[value]


def is_wqrm(row: Row) -> bool:
    return {"instruction", "annotations", *WQRM_VERSIONS} <= row.keys()


def read_wqrm(row: Row) -> Record:
    """A text of WQRM in three versions, ranked by two to four unnamed people."""
    asked = row["instruction"]
    if isinstance(asked, dict):
        asked = asked.get("plot")
    judgements = []
    for said in list_field(row, "annotations"):
        try:
            judgements.append(Judgement(None, [WQRM_PLACES[said[name]] for name in WQRM_VERSIONS]))
        except (KeyError, TypeError) as error:
            raise BadRecord(f"unknown judgement {said!r}") from error
    return Record(
        messages=user_message(text_field({"plot": asked}, "plot")),
        responses=[
            ResponseText(text_field(row[name], "candidate"), name) for name in WQRM_VERSIONS
        ],
        judgements=judgements,
        external_id=optional_text(row, "id"),
    )


def is_lamp(row: Row) -> bool:
    return {"item", "annotator", "instruction", "responses", "mapping", "order"} <= row.keys()


def read_lamp(lines: Iterable[tuple[int, Row] | BadLine]) -> Iterator[Record | BadLine]:
    """The rankings of LAMP, one person and one text a line, gathered to one record a text.

    Who looked at a text saw its three versions in an order of his own, which is kept. Versions are
    told apart by where they come from: in four texts the annotators' copies differ by a comma or
    a word, and the first copy stands.
    """
    items: dict[str, tuple[int, list[Row]]] = {}
    for line in lines:
        if isinstance(line, BadLine):
            yield line
            continue
        number, row = line
        try:
            shown, _ = _versions(row)
            _, gathered = items.setdefault(text_field(row, "item"), (number, []))
            if gathered and set(shown) != set(_versions(gathered[0])[0]):
                raise BadRecord("another line has other versions of the same text")
            gathered.append(row)
        except BadRecord as error:
            yield BadLine(number, str(error))
    for item, (number, gathered) in items.items():
        try:
            yield replace(_lamp_record(item, gathered), number=number)
        except BadRecord as error:
            yield BadLine(number, str(error))


def _versions(row: Row) -> tuple[list[str], dict[str, int]]:
    """Where each shown version comes from, in the order shown, and the rank of each."""
    mapping = row["mapping"]
    labels = [f"Response {number}" for number in range(1, len(list_field(row, "responses")) + 1)]
    if not isinstance(mapping, dict) or set(mapping) != set(labels):
        raise BadRecord("`mapping` does not name every response")
    if sorted(map(str, list_field(row, "order"))) != labels:
        raise BadRecord("`order` is not a ranking of the responses")
    shown = [text_field(mapping, label) for label in labels]
    if len(set(shown)) < len(shown):
        raise BadRecord("`mapping` names the same source twice")
    return shown, {mapping[label]: rank for rank, label in enumerate(row["order"], 1)}


def _lamp_record(item: str, rows: list[Row]) -> Record:
    first, _ = _versions(rows[0])
    responses = [
        ResponseText(text, source) for text, source in zip(rows[0]["responses"], first, strict=True)
    ]
    responses = [responses[index] for index in in_neutral_order(responses)]
    places = {response.source: index for index, response in enumerate(responses)}
    judgements = []
    for row in rows:
        shown, ranks = _versions(row)
        judgements.append(
            Judgement(
                annotator=text_field(row, "annotator"),
                ranks=[ranks.get(str(response.source)) for response in responses],
                display_order=[places[source] for source in shown],
            )
        )
    return Record(
        messages=user_message(text_field(rows[0], "instruction")),
        responses=responses,
        judgements=judgements,
        external_id=item,
    )
