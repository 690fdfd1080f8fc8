"""All that is stored of a person in one project, as one JSON text, to read or to take elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Prefetch, Q

from annotate.models import (
    Adjudication,
    Assignment,
    AuditEvent,
    Demonstration,
    Exclusion,
    Membership,
    ProjectText,
    Ranking,
    Response,
)

ROWS_AT_ONCE = 200


def own_data(member: Membership) -> Iterator[str]:
    """The JSON text in pieces, so that any number of rankings needs little memory.

    Responses go by their letters on the screen, and nothing tells which tasks examined the person:
    the work to come stays blind.
    """
    lists: dict[str, Iterable[dict[str, Any]]] = {
        "assignments": _assignments(member),
        "demonstrations": _demonstrations(member),
        "decisions_as_reviewer": _decisions(member),
        "left_out": _exclusions(member),
        "record": _record(member),
    }
    yield "{\n"
    for name, part in {"account": _account(member), "membership": _membership(member)}.items():
        yield f"{_json(name)}: {_json(part)},\n"
    for n, (name, rows) in enumerate(lists.items(), start=1):
        yield f"{_json(name)}: ["
        for place, row in enumerate(rows):
            yield f"{',' if place else ''}\n{_json(row)}"
        yield "]\n" if n == len(lists) else "],\n"
    yield "}\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, cls=DjangoJSONEncoder)


def _account(member: Membership) -> dict[str, Any]:
    user = member.user
    assert user is not None
    columns = ("username", "first_name", "last_name", "email", "date_joined", "last_login", "keys")
    return {name: getattr(user, name) for name in columns}


def _membership(member: Membership) -> dict[str, Any]:
    columns = (
        *("pseudonym", "role", "state", "cohort", "created_at", "languages", "category_opt_outs"),
        *("consent_version", "consented_at", "guidelines_version", "trained_at"),
        *("n_submitted", "last_day", "streak_days"),
        *("reliability", "reliability_se", "position_bias"),
    )
    agreed = member.project.texts.filter(
        kind=ProjectText.Kind.CONSENT, version=member.consent_version
    ).first()
    return {
        "project": member.project.title,
        **{name: getattr(member, name) for name in columns},
        "consent_text": agreed.text if agreed else "",
    }


def _assignments(member: Membership) -> Iterator[dict[str, Any]]:
    rankings = Prefetch("rankings", Ranking.objects.order_by("revision"))
    # Who was kept from a task never had it, unless he had begun it before.
    kept_from = Q(state=Assignment.State.BARRED, draft__isnull=True, first_interaction_at=None)
    mine = member.assignments.exclude(kept_from).order_by("pk").select_related("task__prompt")
    mine = mine.prefetch_related(rankings, "task__responses")
    for one in mine.iterator(chunk_size=ROWS_AT_ONCE):
        texts = {response.pk: response.text for response in one.task.responses.all()}
        letters = {str(pk): chr(ord("A") + n) for n, pk in enumerate(one.display_order)}
        yield {
            "prompt": one.task.prompt.messages,
            "responses": {letters[str(pk)]: texts.get(pk, "") for pk in one.display_order},
            "state": one.state,
            "opened_at": one.opened_at,
            "first_interaction_at": one.first_interaction_at,
            "submitted_at": one.submitted_at,
            "late": one.late,
            "skip_reason": one.skip_reason,
            "draft": one.draft,
            "browser": one.client,
            "rankings": [_ranking(ranking, letters) for ranking in one.rankings.all()],
        }


def _ranking(ranking: Ranking, letters: dict[str, str]) -> dict[str, Any]:
    def by_letter(stored: dict[str, Any]) -> dict[str, Any]:
        return {letters.get(key, key): value for key, value in stored.items()}

    columns = (
        *("strength", "confidence", "rationale", "dwell_ms", "n_changes"),
        *("guidelines_version", "consent_version", "revision", "is_current", "created_at"),
    )
    return {
        "ranks": by_letter(ranking.ranks),
        "unacceptable": sorted(letters.get(str(pk), "") for pk in ranking.unacceptable),
        "flags": by_letter(ranking.flags),
        "ratings": by_letter(ranking.criteria),
        **{name: getattr(ranking, name) for name in columns},
    }


def _demonstrations(member: Membership) -> Iterator[dict[str, Any]]:
    """What the person wrote: texts of his own, and improved ones."""
    written = Demonstration.objects.filter(author=member).select_related("prompt").order_by("pk")
    for one in written.iterator(chunk_size=ROWS_AT_ONCE):
        yield {
            "prompt": one.prompt.messages,
            "text": one.text,
            "is_edit": one.edited_from_id is not None,
            "created_at": one.created_at,
            "taken_back_at": one.retired_at,
        }
    responses = Response.objects.filter(author=member).select_related("prompt").order_by("pk")
    for response in responses.iterator(chunk_size=ROWS_AT_ONCE):
        yield {
            "prompt": response.prompt.messages,
            "text": response.text,
            "is_edit": False,
            "created_at": response.created_at,
            "taken_back_at": response.retired_at,
        }


def _decisions(member: Membership) -> Iterator[dict[str, Any]]:
    decisions = Adjudication.objects.filter(reviewer=member).select_related("task__prompt")
    for one in decisions.order_by("pk").iterator(chunk_size=ROWS_AT_ONCE):
        yield {
            "prompt": one.task.prompt.messages,
            "category": one.category,
            "note": one.note,
            "created_at": one.created_at,
        }


def _exclusions(member: Membership) -> Iterator[dict[str, Any]]:
    about = Q(membership=member) | Q(ranking__assignment__annotator=member)
    for one in Exclusion.objects.filter(about).order_by("pk").iterator(chunk_size=ROWS_AT_ONCE):
        yield {
            "what": "everything" if one.membership_id else "one ranking",
            "reason": one.reason,
            "created_at": one.created_at,
            "lifted_at": one.lifted_at,
        }


def _record(member: Membership) -> Iterator[dict[str, Any]]:
    """What the record of the project says: of the person, and of what he did as who runs it."""
    about = Q(object_type=Membership._meta.label, object_id=str(member.pk))
    events = AuditEvent.objects.filter(about | Q(actor=member.user), project=member.project)
    for one in events.order_by("pk").iterator(chunk_size=ROWS_AT_ONCE):
        mine = one.object_type == Membership._meta.label and one.object_id == str(member.pk)
        yield {
            "what": one.verb,
            "of": "me" if mine else f"{one.object_type} {one.object_id}",
            "by_me": one.actor_id == member.user_id,
            "at": one.created_at,
            "reason": one.detail.get("reason", ""),
        }
