"""How well each annotator judges, how they agree two by two, and whether there are two tastes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from annotate.forms.people import MemberStateForm
from annotate.models import Exclusion, Membership, Project
from annotate.requests import SignedInRequest, administered, page_of
from annotate.views.audit import entries, events_about
from annotate.views.people import actions_for
from rewards.annotator_words import ASSESSMENTS, REASONS, SIGNS, AssessmentWords, Sign, sign
from rewards.services import annotators as service
from rewards.services.annotators import PersonSigns
from rewards.services.influence import influence_of

if TYPE_CHECKING:
    from rewards.ml.annotator_pairs import AgreementMatrix

COLUMNS = ("peers", "gold", "self", "position", "length")
MOST_IN_MATRIX = 30
EVENTS_SHOWN = 15
# The more there is to look at, the further up.
URGENCY = (
    "failed gold",
    "says the same",
    "careless",
    "different taste",
    "one sign",
    "nothing to see",
    "too little data",
)


@dataclass(frozen=True)
class Line:
    """One annotator in the list."""

    member: Membership
    signs: PersonSigns
    words: AssessmentWords
    cells: list[Sign]


@dataclass(frozen=True)
class Column:
    """A heading that is a link to the list in that order."""

    key: str
    label: Any
    number: bool = False


@require_GET
def annotators(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    found = service.signs(project)
    members = project.memberships.filter(pk__in=found)
    lines = [_line(member, found[member.pk]) for member in members]
    sort = request.GET.get("sort", "look")
    orders = _orders()
    sort = sort if sort in orders else "look"
    lines.sort(key=lambda line: (orders[sort](line), line.member.pseudonym))
    context = {
        "project": project,
        "lines": page_of(request, lines, 50),
        "n_flagged": sum(bool(line.signs.assessment.flagged) for line in lines),
        "sort": sort,
        "columns": [
            Column("name", _("Annotator")),
            Column("look", _("What it comes to")),
            Column("n", _("Rankings"), number=True),
            *(Column(name, SIGNS[name].short, number=True) for name in COLUMNS),
        ],
        "left_out": project.memberships.filter(state=Membership.State.EXCLUDED),
    }
    return render(request, "rewards/annotators.html", context)


def _line(member: Membership, found: PersonSigns) -> Line:
    return Line(
        member=member,
        signs=found,
        words=ASSESSMENTS[found.assessment.kind],
        cells=[sign(name, found.signals[name], member.pseudonym) for name in COLUMNS],
    )


def _orders() -> dict[str, Callable[[Line], Any]]:
    """How to sort the list, by the name in its address; what is missing comes last."""

    def lowest(name: str) -> Callable[[Line], Any]:
        return lambda line: _or_last(line.signs.signals[name].value)

    def furthest(name: str) -> Callable[[Line], Any]:
        def distance(line: Line) -> Any:
            signal = line.signs.signals[name]
            known = signal.value is not None and signal.usual is not None
            return _or_last(-abs(signal.value - signal.usual) if known else None)  # type: ignore[operator]

        return distance

    return {
        "look": lambda line: (
            URGENCY.index(line.signs.assessment.kind),
            -len(line.signs.assessment.flagged),
        ),
        "name": lambda line: line.member.pseudonym.casefold(),
        "n": lambda line: -line.signs.n_rankings,
        **{name: lowest(name) for name in ("peers", "gold", "self")},
        **{name: furthest(name) for name in ("position", "length")},
    }


def _or_last(value: float | None) -> tuple[bool, float]:
    return (value is None, value or 0.0)


@require_GET
def annotator(request: SignedInRequest, slug: str, member_id: int) -> HttpResponse:
    project = administered(request, slug)
    members = project.memberships.select_related("project", "user")
    member = get_object_or_404(members, pk=member_id)
    found = service.signs(project).get(member.pk)
    standing = service.standing(member)
    context: dict[str, Any] = {
        "project": project,
        "person": member,
        "found": found,
        "standing": standing,
        "reasons": [REASONS[reason] for reason in standing.reasons] if standing else [],
        "influence": influence_of(member),
        "exclusions": Exclusion.objects.filter(membership=member)
        .select_related("created_by", "lifted_by")
        .order_by("-created_at"),
        "entries": entries(project, events_about(member)[:EVENTS_SHOWN]),
        "form": MemberStateForm(None, actions=actions_for(member)),
    }
    if found:
        shown = [sign(name, signal, member.pseudonym) for name, signal in found.signals.items()]
        context |= {
            "words": ASSESSMENTS[found.assessment.kind],
            "signs": sorted((one for one in shown if one.chart), key=lambda one: not one.flagged),
            "missing": [one for one in shown if not one.chart],
        }
        if effect := service.effect_of_leaving_out(member):
            context |= {"effect": effect, "change": asdict(effect.change)}
    return render(request, "rewards/annotator.html", context)


@dataclass(frozen=True)
class Cell:
    """What two people agree: `shade` from 0, below chance, to 5; None on the diagonal."""

    alpha: float | None = None
    n: int = 0
    shade: int = 0


@dataclass(frozen=True)
class MatrixRow:
    number: int
    member: Membership | None
    cells: list[Cell | None]


@require_GET
def annotator_matrix(request: SignedInRequest, slug: str) -> HttpResponse:
    """Every two annotators, those who agree side by side, thirty to a page."""
    from rewards.ml.annotator_pairs import LEAST_SHARED

    project = administered(request, slug)
    ids, matrix = service.matrix(project)
    known = [int(a) for a in matrix.order if (matrix.n_prompts[a] > 0).any()]
    page = page_of(request, known, MOST_IN_MATRIX)
    context = {
        "project": project,
        "rows": _matrix_rows(project, ids, matrix, list(page), page.start_index()),
        "page": page,
        "least": LEAST_SHARED,
    }
    return render(request, "rewards/annotator_matrix.html", context)


def _matrix_rows(
    project: Project,
    ids: Sequence[int],
    matrix: AgreementMatrix,
    shown: Sequence[int],
    first: int,
) -> list[MatrixRow]:
    members = project.memberships.in_bulk([ids[a] for a in shown])
    return [
        MatrixRow(
            number,
            members.get(ids[a]),
            [_cell(matrix, a, b) if a != b else None for b in shown],
        )
        for number, a in enumerate(shown, first)
    ]


def _cell(matrix: AgreementMatrix, a: int, b: int) -> Cell:
    alpha, n = float(matrix.alpha[a, b]), int(matrix.n_prompts[a, b])
    if alpha != alpha:  # NaN: too few prompts, or nothing but ties
        return Cell(n=n)
    return Cell(alpha, n, min(5, max(0, 1 + int(alpha * 5))) if alpha >= 0 else 0)


@require_GET
def annotator_taste(request: SignedInRequest, slug: str) -> HttpResponse:
    project = administered(request, slug)
    found = service.taste(project)
    members = project.memberships.in_bulk([int(name) for part in found.members for name in part])
    parts = [
        sorted((members[int(name)] for name in part if int(name) in members), key=str)
        for part in found.members
    ]
    context = {"project": project, "found": found, "parts": parts}
    return render(request, "rewards/annotator_taste.html", context)
