"""Exports of other annotation platforms: Argilla's rankings, Label Studio's Pairwise and Ranker.

Neither says in which order responses were shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from annotate.formats.lines import Row
from annotate.formats.records import (
    BadRecord,
    Judgement,
    Record,
    ResponseText,
    list_field,
    optional_text,
    text_field,
    time_field,
    user_message,
)

PROMPT_FIELDS = ("prompt", "instruction", "question", "input", "text")
PAIR_FIELDS = ("answer", "response", "text", "option", "txt")


def is_argilla(row: Row) -> bool:
    return isinstance(row.get("fields"), dict) and isinstance(row.get("responses"), list | dict)


def read_argilla(row: Row) -> Record:
    """A record of Argilla 1 or 2 with one ranking question whose options name fields.

        {"fields": {"prompt": "…", "response-1": "…", "response-2": "…"}, "responses": [
            {"user_id": "…", "status": "submitted", "values": {"ranking": {"value":
                [{"value": "response-1", "rank": 1}, {"value": "response-2", "rank": 1}]}}}]}

    Argilla 2 has `"responses": {"ranking": [{"user_id": "…", "value": [...]}]}`; its values may be
    the options' names from best to worst.
    """
    fields = row["fields"]
    said = [
        (annotator, _option_ranks(value)) for annotator, value in _argilla_values(row["responses"])
    ]
    chosen = {option for _, ranks in said for option in ranks}
    if missing := chosen - fields.keys():
        raise BadRecord(f"option {min(missing)!r} names no field")
    options = [name for name in fields if name in chosen]
    return Record(
        messages=user_message(_prompt_field(fields, options)),
        responses=[ResponseText(text_field(fields, name)) for name in options],
        judgements=[
            Judgement(annotator=annotator, ranks=[ranks.get(name) for name in options])
            for annotator, ranks in said
        ],
        external_id=optional_text(row, "external_id") or optional_text(row, "id"),
    )


def _argilla_values(responses: Any) -> list[tuple[str | None, Any]]:
    """Annotator and value of every submitted answer to the ranking question."""
    found: list[tuple[str | None, str, Any]] = []
    if isinstance(responses, dict):
        for question, answers in responses.items():
            for answer in answers if isinstance(answers, list) else []:
                if not isinstance(answer, dict):
                    raise BadRecord("an answer is not an object")
                found.append((optional_text(answer, "user_id"), question, answer.get("value")))
    else:
        for answer in responses:
            if not isinstance(answer, dict) or not isinstance(answer.get("values"), dict):
                raise BadRecord("an answer has no `values`")
            if answer.get("status", "submitted") == "submitted":
                for question, said in answer["values"].items():
                    value = said.get("value") if isinstance(said, dict) else None
                    found.append((optional_text(answer, "user_id"), question, value))
    rankings = [answer for answer in found if isinstance(answer[2], list)]
    if len({question for _, question, _ in rankings}) > 1:
        raise BadRecord("there is more than one ranking question")
    return [(annotator, value) for annotator, _, value in rankings]


def _option_ranks(value: Sequence[Any]) -> dict[str, int]:
    if all(isinstance(option, str) for option in value):
        return {option: rank for rank, option in enumerate(value, 1)}
    ranks = {}
    for option in value:
        if not isinstance(option, dict):
            raise BadRecord("a ranking is not a list of options with ranks")
        ranks[text_field(option, "value")] = option.get("rank")
    return {option: rank for option, rank in ranks.items() if rank is not None}


def is_label_studio(row: Row) -> bool:
    return isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list)


def read_label_studio(row: Row) -> Record:
    """A task with the annotations of a Pairwise or a Ranker tag.

        {"data": {"prompt": "…", "answer1": "…", "answer2": "…"}, "annotations": [
            {"completed_by": 7, "result": [{"type": "pairwise", "to_name": "answer1,answer2",
                                            "value": {"selected": "left"}}]}]}
        {"data": {"prompt": "…", "items": [{"id": "mdn", "body": "…"}, …]}, "annotations": [
            {"result": [{"type": "ranker", "value": {"ranker": {"rank": ["mdn", "wiki"]}}}]}]}

    What was written into a text area becomes the rationale. Cancelled annotations are left out.
    """
    data = row["data"]
    done = [a for a in row["annotations"] if isinstance(a, dict) and not a.get("was_cancelled")]
    results = [(a, r) for a in done for r in list_field(a, "result") if isinstance(r, dict)]
    kinds = {r.get("type") for _, r in results} & {"pairwise", "ranker"}
    if len(kinds) != 1:
        raise BadRecord("there is not one pairwise or ranker tag")
    if kinds == {"pairwise"}:
        names = _pair_names(data, [r for _, r in results if r.get("type") == "pairwise"])
        texts = {name: text_field(data, name) for name in names}
    else:
        names, texts = _items(data)
    judgements = [
        Judgement(
            annotator=_person(annotation.get("completed_by")),
            ranks=_pair_ranks(result) if kinds == {"pairwise"} else _item_ranks(result, names),
            rationale=_rationale(annotation),
            created_at=time_field(annotation.get("created_at")),
        )
        for annotation, result in results
        if result.get("type") in kinds
    ]
    pair = names if kinds == {"pairwise"} else []
    return Record(
        messages=user_message(_prompt_field(data, pair)),
        responses=[ResponseText(texts[name]) for name in names],
        judgements=judgements,
        external_id=optional_text(row, "id"),
    )


def _pair_names(data: Mapping[str, Any], results: Sequence[Row]) -> list[str]:
    """The fields of the task that were shown left and right."""
    shown = results[0].get("to_name")
    names = shown.split(",") if isinstance(shown, str) else shown
    if isinstance(names, list) and len(names) == 2 and set(names) <= data.keys():
        return names
    for field in PAIR_FIELDS:  # tags may have names of their own
        if {f"{field}1", f"{field}2"} <= data.keys():
            return [f"{field}1", f"{field}2"]
    raise BadRecord("the task does not say which two fields were compared")


def _pair_ranks(result: Row) -> list[int | None]:
    value = result.get("value")
    selected = value.get("selected") if isinstance(value, dict) else None
    if selected not in ("left", "right"):
        raise BadRecord(f"unknown choice {selected!r}")
    return [1, 2] if selected == "left" else [2, 1]


def _items(data: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Ids and texts of the task's list of items."""
    lists = [
        value
        for value in data.values()
        if isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
    ]
    if len(lists) != 1:
        raise BadRecord("the task has not one list of items")
    texts = {}
    for item in lists[0]:
        name = optional_text(item, "id")
        text = next((item[key] for key in ("body", "html", "title") if item.get(key)), None)
        if name is None or not isinstance(text, str):
            raise BadRecord("an item has no id or no text")
        texts[name] = text
    return list(texts), texts


def _item_ranks(result: Row, names: Sequence[str]) -> list[int | None]:
    value = result.get("value")
    order = value.get("ranker") if isinstance(value, dict) else None
    if isinstance(order, dict):
        # "_" holds what was left in the list; several buckets have no order among themselves.
        buckets = [ids for bucket, ids in order.items() if bucket != "_"]
        order = buckets[0] if len(buckets) == 1 else None
    if not isinstance(order, list):
        raise BadRecord("the ranker has not one list of items in order")
    if len(set(map(str, order))) < len(order) or not set(map(str, order)) <= set(names):
        raise BadRecord("the ranker names an item twice or one that is not in the task")
    places = {str(name): rank for rank, name in enumerate(order, 1)}
    return [places.get(name) for name in names]


def _person(completed_by: Any) -> str | None:
    if isinstance(completed_by, dict):
        return optional_text(completed_by, "id")
    return None if completed_by is None else str(completed_by)


def _rationale(annotation: Row) -> str:
    written: list[Any] = []
    for result in annotation["result"]:
        value = result.get("value") if isinstance(result, dict) else None
        text = value.get("text") if isinstance(value, dict) else None
        written += [text] if isinstance(text, str) else text if isinstance(text, list) else []
    return "\n\n".join(part for part in written if isinstance(part, str))


def _prompt_field(fields: Mapping[str, Any], options: Sequence[str]) -> str:
    """The prompt: a field that is called so, or the only one that is no response."""
    others = {
        name: text for name, text in fields.items() if name not in options and isinstance(text, str)
    }
    for name in (*PROMPT_FIELDS, *others):
        if name in others and (name in PROMPT_FIELDS or len(others) == 1):
            return others[name]
    raise BadRecord(f"none of the fields is called {', '.join(PROMPT_FIELDS)}")
