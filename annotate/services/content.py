"""Prompts, responses and demonstrations come in: rendered once, and stored once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from django.db import IntegrityError
from django.db.models import CharField, Model

from annotate.models import (
    SPLITS,
    Assignment,
    Demonstration,
    Membership,
    Project,
    Prompt,
    Response,
    content_hash,
    split_of,
)
from annotate.rendering import render_markdown

ROLES = ("system", "user", "assistant")
MAX_JOINED_CATEGORIES = 300  # characters of a task's column for them


class InvalidContent(ValueError):
    """A prompt or response that cannot be stored; the message says what is wrong with it."""


def add_prompt(
    project: Project,
    messages: Sequence[Mapping[str, Any]],
    *,
    topic: str = "",
    language: str = "",
    external_id: str | None = None,
    split: str | None = None,
    content_categories: Sequence[str] = (),
) -> tuple[Prompt, bool]:
    """The project's prompt with these messages, and whether it is new.

    Adding the same messages again gives the prompt that is there, unchanged. Without `split` the
    prompt's hash decides whether it is for training, validation or test. `content_categories` are
    names of kinds of content that people may want to be warned of.
    Raises InvalidContent for messages that cannot be stored, for an unknown split, and for an
    external id that already names another prompt.
    """
    columns = prompt_columns(messages, topic, language, external_id, split, content_categories)
    try:
        return Prompt.objects.get_or_create(
            project=project,
            content_hash=columns["content_hash"],
            defaults=columns | {"html": lambda: render_messages(columns["messages"])},
        )
    except IntegrityError as error:
        raise InvalidContent(f"External id {external_id!r} names another prompt") from error


def add_response(
    prompt: Prompt,
    text: str,
    *,
    source: str,
    source_name: str = "",
    policy_ref: int | None = None,
    sampling: Mapping[str, Any] | None = None,
    author: Membership | None = None,
) -> tuple[Response, bool]:
    """The prompt's response with this text, and whether it is new.

    A text that is there already keeps the source it first came from. Raises InvalidContent.
    """
    columns = response_columns(text, source, source_name)
    origin = {"policy_ref": policy_ref, "sampling": dict(sampling or {}), "author": author}
    return Response.objects.get_or_create(
        prompt=prompt,
        content_hash=columns["content_hash"],
        defaults=columns | origin | {"html": lambda: render_markdown(text)},
    )


def add_demonstration(
    prompt: Prompt,
    text: str,
    *,
    author: Membership | None = None,
    edited_from: Response | None = None,
    assignment: Assignment | None = None,
) -> tuple[Demonstration, bool]:
    """The prompt's demonstration with this text, and whether it is new. Raises InvalidContent.

    One that its author had taken back is in force again.
    """
    columns = demonstration_columns(text)
    origin = {"author": author, "edited_from": edited_from, "assignment": assignment}
    demonstration, is_new = Demonstration.objects.get_or_create(
        prompt=prompt, content_hash=columns["content_hash"], defaults=columns | origin
    )
    if demonstration.retired_at:
        demonstration.retired_at = None
        demonstration.save(update_fields=["retired_at"])
    return demonstration, is_new


def prompt_columns(
    messages: Sequence[Mapping[str, Any]],
    topic: str,
    language: str,
    external_id: str | None,
    split: str | None,
    content_categories: Sequence[str] = (),
) -> dict[str, Any]:
    """What is stored of a prompt, but for the rendered text. Raises InvalidContent."""
    cleaned = clean_messages(messages)
    if split is not None and split not in SPLITS:
        raise InvalidContent(f"Split {split!r} is none of {', '.join(SPLITS)}")
    digest = content_hash(cleaned)
    return {
        "messages": cleaned,
        "topic": _short_text(topic, "The topic", Prompt, "topic"),
        "language": _short_text(language, "The language", Prompt, "language"),
        "external_id": external_id
        and _short_text(external_id, "The external id", Prompt, "external_id"),
        "split": split or split_of(digest),
        "content_categories": _category_names(content_categories),
        "content_hash": digest,
    }


def _category_names(names: Sequence[str]) -> list[str]:
    """The names as they are stored; a task holds them joined, see joined_categories in tasks."""
    cleaned = sorted({clean_text(name, "A content category").strip() for name in names})
    for name in cleaned:
        if not name or "|" in name or "," in name:
            raise InvalidContent(f"{name!r} is no name of a content category")
    if sum(len(name) + 1 for name in cleaned) >= MAX_JOINED_CATEGORIES:
        raise InvalidContent("The names of the content categories are too long together")
    return cleaned


def response_columns(text: str, source: str, source_name: str) -> dict[str, Any]:
    """What is stored of a response, but for the rendered text. Raises InvalidContent."""
    if source not in Response.Source.values:
        raise InvalidContent(f"Source {source!r} is none of {', '.join(Response.Source.values)}")
    return {
        "text": clean_text(text, "The response"),
        "source": source,
        "source_name": _short_text(source_name, "The source's name", Response, "source_name"),
        "content_hash": content_hash(text),
    }


def demonstration_columns(text: str) -> dict[str, Any]:
    """What is stored of a demonstration. Raises InvalidContent."""
    if not clean_text(text, "The demonstration").strip():
        raise InvalidContent("The demonstration is empty")
    return {"text": text, "content_hash": content_hash(text)}


def render_messages(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The column `html` of a prompt with these messages."""
    return [render_markdown(message["content"]) for message in messages]


def clean_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The messages as they are stored: role and content of each, nothing else."""
    if not messages:
        raise InvalidContent("The prompt has no message")
    cleaned = []
    for position, message in enumerate(messages, start=1):
        if message.get("role") not in ROLES:
            raise InvalidContent(
                f"Message {position} has the role {message.get('role')!r}, none of "
                + ", ".join(ROLES)
            )
        content = clean_text(message.get("content"), f"Message {position}")
        if not content.strip():
            raise InvalidContent(f"Message {position} is empty")
        cleaned.append({"role": message["role"], "content": content})
    return cleaned


def clean_text(text: Any, what: str) -> str:
    """The text itself; raises InvalidContent where one of the databases would refuse it."""
    if not isinstance(text, str):
        raise InvalidContent(f"{what} is not a text")
    if "\x00" in text:
        raise InvalidContent(f"{what} contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidContent(f"{what} contains half of a character pair (a surrogate)") from error
    return text


def _short_text(text: str, what: str, model: type[Model], column: str) -> str:
    """The text itself, checked and no longer than its column."""
    limit = cast(CharField, model._meta.get_field(column)).max_length
    if limit is not None and len(clean_text(text, what)) > limit:
        raise InvalidContent(f"{what} is longer than {limit} characters")
    return text
