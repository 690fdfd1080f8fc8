"""One prompt of the project, with every pair of its responses counted as the headline counts it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from django.db.models import Count, Sum

from annotate.models import Project, Prompt, Response
from rewards.models import PromptSums
from rewards.services.agreement import items

MOST_RESPONSES = 5  # an example with more would be a long table
LOOKED_AT = 30  # of the newest prompts


@dataclass(frozen=True)
class Pair:
    """Two responses by their letters, and what each person says: ">", "=", "<" or "" for nothing.

    Without two who say something the pair is not counted, and the numbers are None.
    """

    first: str
    second: str
    said: list[str]
    ratings: int | None
    ties: int | None
    disagreement: float | None


@dataclass(frozen=True)
class Example:
    prompt: Prompt
    responses: list[tuple[str, Response, list[int | None]]]  # letter, response, rank by person
    people: range  # 1 for the first
    pairs: list[Pair]
    ratings: float  # n, D and T as they are stored
    disagreement: float
    ties: float


def worked_example(project: Project) -> Example | None:
    """The newest prompt that shows most: a tie, and a response that somebody skipped.

    None where two people have not judged the same prompt yet, or only prompts with many responses.
    """
    rows = {(row.prompt_id, row.item): row for row in _newest(project)}
    candidates: list[tuple[int, PromptSums, dict[str, dict[str, int | None]]]] = []
    for found in items(project, {prompt for prompt, _ in rows}):
        row = rows.get((found.prompt_id, found.item))
        said = {person: rankings[0] for person, rankings in found.said.items()}
        single = all(len(rankings) == 1 for rankings in found.said.values())
        shown = {response for ranks in said.values() for response in ranks}
        if row and single and len(shown) <= MOST_RESPONSES:
            skipped = any(rank is None for ranks in said.values() for rank in ranks.values())
            candidates.append((int(skipped) + int(row.ties > 0), row, said))
    if not candidates:
        return None
    _, row, said = max(candidates, key=lambda one: one[0])
    return _example(row, said)


def _newest(project: Project) -> list[PromptSums]:
    """Overlapped prompts, as many with ties as without where there are."""
    rows = project.prompt_sums.filter(ratings__gt=0).select_related("prompt").order_by("-pk")
    half = LOOKED_AT // 2
    return [*rows.filter(ties__gt=0)[:half], *rows.filter(ties=0)[:half]]


def _example(row: PromptSums, said: Mapping[str, Mapping[str, int | None]]) -> Example:
    shown = sorted({int(response) for ranks in said.values() for response in ranks})
    responses = [
        (chr(ord("A") + place), response, [ranks.get(str(response.pk)) for ranks in said.values()])
        for place, response in enumerate(Response.objects.filter(pk__in=shown).order_by("pk"))
    ]
    pairs = combinations(responses, 2)
    return Example(
        prompt=row.prompt,
        responses=responses,
        people=range(1, len(said) + 1),
        pairs=[_pair(a[0], b[0], zip(a[2], b[2], strict=True)) for a, b in pairs],
        ratings=row.ratings,
        disagreement=row.disagreement,
        ties=row.ties,
    )


def _pair(first: str, second: str, ranks: Iterable[tuple[int | None, int | None]]) -> Pair:
    said = [
        "" if a is None or b is None else ">" if a < b else "<" if a > b else "=" for a, b in ranks
    ]
    better, worse, tie = (said.count(sign) for sign in "><=")
    m = better + worse + tie
    if m < 2:
        return Pair(first, second, said, None, None, None)
    disagreement = (2 * better * worse + tie * (better + worse)) / (m - 1)
    return Pair(first, second, said, m, tie, disagreement)


@dataclass(frozen=True)
class Totals:
    """The sums over all prompts and what alpha is made of."""

    n_prompts: int
    ratings: float
    disagreement: float
    ties: float
    observed: float
    expected: float
    alpha: float


def totals(project: Project) -> Totals | None:
    """None where alpha is not defined."""
    overlapped = project.prompt_sums.filter(ratings__gt=0)
    found = overlapped.aggregate(
        n=Count("pk"), ratings=Sum("ratings"), disagreement=Sum("disagreement"), ties=Sum("ties")
    )
    if not found["n"] or found["ties"] == found["ratings"]:
        return None
    observed = found["disagreement"] / found["ratings"]
    expected = (1 - (found["ties"] / found["ratings"]) ** 2) / 2
    return Totals(
        n_prompts=found["n"],
        ratings=found["ratings"],
        disagreement=found["disagreement"],
        ties=found["ties"],
        observed=observed,
        expected=expected,
        alpha=1 - observed / expected,
    )
