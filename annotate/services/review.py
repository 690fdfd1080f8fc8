"""A reviewer settles what is to be learned from a task on which people disagree.

A decision never touches what people said: it is a row beside it, which a further decision replaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, product
from string import ascii_uppercase
from typing import Any

from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext

from annotate.models import (
    Adjudication,
    AuditEvent,
    Membership,
    Ranking,
    RankingQuerySet,
    Response,
    Task,
    User,
)
from annotate.services.assignments import Conflict
from annotate.services.rankings import checked_ranks
from annotate.services.tasks import ask_second_opinion, bar


class InvalidDecision(ValueError):
    """The decision cannot be stored; the message says why."""


def letters_of(task: Task) -> dict[str, Response]:
    """The task's responses by the letter that all who talk about the task know them by.

    On the ranking page everybody sees an order of his own. The letters are in the order of the
    content's hashes, so they tell neither which response is newer nor who was shown what first.
    """
    names = chain(product(ascii_uppercase), product(ascii_uppercase, repeat=2))
    responses = task.responses.order_by("content_hash")
    return {"".join(name): response for name, response in zip(names, responses, strict=False)}


def standing_rankings(task: Task) -> RankingQuerySet:
    """What people say of the task now, by pseudonym; `excluded` marks what is left out."""
    rankings = Ranking.objects.current().filter(assignment__task=task)
    counts = Ranking.objects.not_excluded().filter(pk=models.OuterRef("pk"))
    return (
        rankings.annotate(excluded=~models.Exists(counts))
        .select_related("assignment__annotator__user")
        .order_by("assignment__annotator__pseudonym")
    )


def standing_decision(task: Task) -> Adjudication | None:
    rows = task.adjudications.current().select_related("reviewer", "adopted__assignment__annotator")
    return rows.first()


@transaction.atomic
def adjudicate(
    task: Task,
    reviewer: Membership,
    category: str,
    *,
    adopted: Ranking | None = None,
    ranks: Mapping[int, int | None] | None = None,
    unacceptable: Sequence[int] = (),
    note: str = "",
    replaces: int | None,
) -> Adjudication:
    """Store what the reviewer decided, in the place of the decision that stands.

    `adopted` is a ranking of the task that stands; otherwise `ranks` and `unacceptable` are the
    reviewer's own, as for `submit_ranking`; with neither the rankings stay as they are. `replaces`
    is the id of the decision that the reviewer knew of, None where there was none. Deciding the
    same again gives the decision that stands.

    Nobody makes his own ranking the one that counts, neither by adopting it nor by giving it anew:
    whoever judged a task is a party to the disagreement, and would outvote the others by a click.
    He may decide otherwise, though.

    Raises InvalidDecision, InvalidRanking, and Conflict where somebody decided meanwhile or the
    reviewer left.
    """
    Task.objects.select_for_update().get(pk=task.pk)
    if not reviewer.still_takes_part():
        raise Conflict(gettext("You do not take part in this project any more."))
    said: dict[str, Any] = {"ranks": None, "unacceptable": []}
    if adopted:
        said = _adopted(task, reviewer, adopted)
    elif ranks is not None:
        said = _given_anew(task, reviewer, ranks, unacceptable)
    wanted = said | {
        "adopted": adopted,
        "category": Adjudication.Category(category),
        "note": note.strip(),
        "reviewer": reviewer,
    }
    standing = standing_decision(task)
    if standing and all(getattr(standing, name) == value for name, value in wanted.items()):
        return standing
    if (standing.pk if standing else None) != replaces:
        raise Conflict(gettext("Somebody else has decided about this task meanwhile."))
    task.adjudications.current().update(is_current=False)
    decision = Adjudication.objects.create(task=task, **wanted)
    AuditEvent.record(
        "adjudicate",
        task,
        project=task.project,
        actor=reviewer.user,
        decision="adopted" if adopted else "ranked anew" if said["ranks"] else "left as it is",
        category=decision.category,
    )
    return decision


@transaction.atomic
def ask_one_more(task: Task, *, by: User) -> bool:
    """Have one more person asked about a task, as `ask_second_opinion`.

    Not who asks, nor who decided about it before: a reviewer has read what others said.
    """
    if not ask_second_opinion(task, by=by):
        return False
    knowing = Membership.objects.filter(Q(user=by) | Q(adjudications__task=task))
    bar(task, knowing.filter(project=task.project_id).values_list("pk", flat=True))
    return True


def _adopted(task: Task, reviewer: Membership, ranking: Ranking) -> dict[str, Any]:
    stands = standing_rankings(task).filter(pk=ranking.pk).first()
    if stands is None or stands.excluded:  # type: ignore[attr-defined]
        raise InvalidDecision(gettext("This ranking was changed or left out meanwhile."))
    if stands.assignment.annotator == reviewer:
        raise InvalidDecision(gettext("You cannot adopt your own ranking."))
    return {"ranks": stands.ranks, "unacceptable": stands.unacceptable}


def _given_anew(
    task: Task,
    reviewer: Membership,
    ranks: Mapping[int, int | None],
    unacceptable: Sequence[int],
) -> dict[str, Any]:
    shown = list(task.responses.values_list("pk", flat=True))
    said = {
        # As in imports: a tie may be the truth even where the page allows none.
        "ranks": checked_ranks(shown, ranks, unacceptable, allow_ties=True),
        "unacceptable": sorted(set(unacceptable)),
    }
    own = standing_rankings(task).filter(assignment__annotator=reviewer).first()
    if own and {"ranks": own.ranks, "unacceptable": own.unacceptable} == said:
        raise InvalidDecision(gettext("You cannot adopt your own ranking."))
    return said
