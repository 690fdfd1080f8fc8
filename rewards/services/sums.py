"""The sums that agreement is made of, kept up to date prompt by prompt, and the figures from them.

What a volunteer submits costs nothing here: the clock looks each minute which prompts have changed
since, and sums these anew. A change is a ranking with a new id (a revision and an import have one
too), or an exclusion that came or went; then the figures are made of the sums, for pages to read.
Each week, and by `agreement_sums` at any time, everything is computed anew and compared.

On PostgreSQL a ranking may become visible after one with a higher id. So ids count as settled only
when they are SETTLED old; of the later ones each is remembered.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
from django.db import transaction
from django.db.models import F, Max, Min, Q
from django.utils import timezone

from annotate.models import (
    AuditEvent,
    Exclusion,
    Membership,
    Project,
    ProjectText,
    Ranking,
    Task,
)
from annotate.services.audit_sample import BATCH
from annotate.services.rankings import RATINGS
from rewards.ml.agreement import report, report_of_sums
from rewards.ml.alpha import AlphaSums, alpha_sums
from rewards.ml.comparisons import compare, tabulate
from rewards.ml.criteria import criterion_agreement
from rewards.ml.drift import change, windows
from rewards.ml.prompt_sums import PersonSums as PersonColumns
from rewards.ml.prompt_sums import Sums, sums_of
from rewards.models import LiveAgreement, PersonSums, PromptSums
from rewards.services.agreement import (
    COUNTING,
    SEED,
    Item,
    counting,
    items,
    named_slices,
    newer_rankings,
    newest_report,
)
from rewards.services.agreement import exclusions_changed as exclusions_changed_since

PROMPTS_AT_ONCE = 200  # in a transaction, so that nobody who submits waits long
SETTLED = timedelta(hours=1)  # longer than any transaction takes
CHECKED_EVERY = timedelta(days=7)
SETTLED_STEP = 10_000  # ids; moving on for fewer is not worth a write where nothing else is new
FEW = 5_000  # rankings that are looked up by their ids
ALPHA = ("ratings", "disagreement", "ties")
PERSON = ("comparisons", *ALPHA)
RELEVANT = (*COUNTING, Task.Kind.REPEAT)

Key = tuple[int, str]  # a prompt, and the imported item of it or ""
Row = dict[str, Any]


def refresh(project: Project) -> int:
    """Take in what has changed since the last time; returns how many prompts that touched.

    Safe at any time, also twice at once: who comes second finds less to do, or does the same again.
    """
    live, _ = LiveAgreement.objects.get_or_create(project=project)
    known = {*live.recent_rankings}
    later = _later(project, live.settled_ranking)
    new = {pk for pk, kind in later.items() if kind in RELEVANT} - known
    in_force = sorted(project.exclusions.filter(lifted_at=None).values_list("pk", flat=True))
    changed = {*in_force} ^ {*live.exclusions}
    old = Ranking.objects.filter(
        pk__gt=live.settled_ranking, created_at__lt=timezone.now() - SETTLED
    )
    settled = old.aggregate(newest=Max("pk", default=live.settled_ranking))["newest"]
    first = live.counted_at is None
    if not (first or new or changed):
        if settled > live.settled_ranking + SETTLED_STEP:  # other projects' rankings
            LiveAgreement.objects.filter(pk=live.pk, version=live.version).update(
                settled_ranking=settled
            )
        return 0
    touched = all_prompts(project) if first else _judged_in(new) | _touched_by(project, changed)
    resum(project, touched)
    _keep(
        live,
        settled_ranking=settled,
        recent_rankings=sorted(pk for pk in new | known if pk > settled),
        exclusions=in_force,
        checked_at=timezone.now() if first else live.checked_at,
    )
    return len(touched)


def look_after(project: Project) -> None:
    """What the clock does each minute: take in what is new, and check everything once a week."""
    refresh(project)
    live = LiveAgreement.objects.get(project=project)
    if live.checked_at is None or live.checked_at < timezone.now() - CHECKED_EVERY:
        check(project)


def recount(project: Project, prompts: Iterable[int]) -> None:
    """Take in that other judgements of these prompts count now, as when they become audited."""
    live, _ = LiveAgreement.objects.get_or_create(project=project)
    if live.counted_at is not None:  # else all is summed when it is first counted
        resum(project, {*prompts})
        while not _keep(live):  # nothing else would make the figures anew
            live.refresh_from_db()


def check(project: Project) -> int:
    """Compute everything anew; returns how many prompts had other sums than they should.

    They are corrected, and the project's log says so.
    """
    refresh(project)
    corrected = resum(project, all_prompts(project))
    live = LiveAgreement.objects.get(project=project)
    _keep(live, checked_at=timezone.now(), n_corrected=corrected)
    if corrected:
        AuditEvent.record("correct sums", project, project=project, actor=None, n=corrected)
    return corrected


def resum(project: Project, prompts: Iterable[int]) -> int:
    """Sum these prompts anew from their rankings; returns of how many the sums were others."""
    ordered = sorted(prompts)
    changed = 0
    for start in range(0, len(ordered), PROMPTS_AT_ONCE):
        some = ordered[start : start + PROMPTS_AT_ONCE]
        with transaction.atomic():
            # One at a time, so that nobody stores sums that are older than those that are there.
            LiveAgreement.objects.select_for_update().get(project=project)
            changed += _resum(project, some)
    return changed


def behind(project: Project) -> int:
    """How many rankings that may count are not in the figures yet."""
    live = LiveAgreement.objects.filter(project=project).first()
    if live is None:
        return counting(project).count()
    newest = max([live.settled_ranking, *live.recent_rankings])
    return sum(kind in COUNTING for kind in _later(project, newest).values())


def exclusions_changed(live: LiveAgreement) -> bool:
    """Whether something was excluded, or taken in again, since the figures were made."""
    in_force = live.project.exclusions.filter(lifted_at=None).order_by("pk")
    return list(in_force.values_list("pk", flat=True)) != list(live.exclusions)


@dataclass(frozen=True)
class Now:
    """The agreement as pages show it: live, or as last measured where nothing was summed yet."""

    figures: dict[str, Any]
    at: datetime
    newer: int  # rankings that may count and are not in the figures
    exclusions_changed: bool
    checked_at: datetime | None
    two_way: dict[str, float] | None  # as last measured


def agreement_now(project: Project) -> Now | None:
    live = LiveAgreement.objects.filter(project=project, counted_at__isnull=False).first()
    report = newest_report(project)
    two_way = report.figures.get("two_way") if report else None
    if live and live.counted_at:
        changed = exclusions_changed(live)
        newer, at = behind(project), live.counted_at
        return Now(live.figures, at, newer, changed, live.checked_at, two_way)
    if report:
        since = (newer_rankings(report), exclusions_changed_since(report))
        return Now(report.figures, report.created_at, *since, None, two_way)
    return None


def all_prompts(project: Project) -> set[int]:
    """The prompts that have sums, or judgements that may count."""
    judged = counting(project).values_list("assignment__task__prompt", flat=True).order_by()
    return {*judged.distinct(), *project.prompt_sums.values_list("prompt", flat=True)}


def _later(project: Project, after: int) -> dict[int, str]:
    """The rankings of the project with an id beyond that one that stand: each one's kind of task.

    Chosen here and not by the database, which would go through all tasks of the project.
    """
    rows = Ranking.objects.filter(pk__gt=after).values_list(
        "pk", "is_current", "assignment__task__project", "assignment__task__kind"
    )
    return {pk: kind for pk, stands, own, kind in rows if stands and own == project.pk}


def _judged_in(rankings: set[int]) -> set[int]:
    found: set[int] = set()
    ordered = sorted(rankings)
    for start in range(0, len(ordered), FEW):
        some = Ranking.objects.filter(pk__in=ordered[start : start + FEW])
        found |= {*some.values_list("assignment__task__prompt", flat=True)}
    return found


def _touched_by(project: Project, exclusions: set[int]) -> set[int]:
    """The prompts whose sums these exclusions change, in force or lifted."""
    rows = Exclusion.objects.filter(pk__in=exclusions)
    if len(rows) < len(exclusions):  # somebody deleted one, and nobody knows what it named
        return all_prompts(project)
    named = (
        Q(assignment__annotator__in=[row.membership_id for row in rows if row.membership_id])
        | Q(pk__in=[row.ranking_id for row in rows if row.ranking_id])
        | Q(assignment__task__in=[row.task_id for row in rows if row.task_id])
    )
    judged = Ranking.objects.filter(named, assignment__task__kind__in=COUNTING)
    return {*judged.values_list("assignment__task__prompt", flat=True)}


def _keep(live: LiveAgreement, **taken_in: Any) -> bool:
    """Make the figures and store them; False where somebody else has stored some meanwhile."""
    facts = {"figures": figures_of(live.project), "counted_at": timezone.now(), **taken_in}
    mine = LiveAgreement.objects.filter(pk=live.pk, version=live.version)
    return bool(mine.update(version=F("version") + 1, **facts))


# ---- Sums of prompts -----------------------------------------------------------------------------


def _resum(project: Project, prompts: Sequence[int]) -> int:
    wanted = _summed(list(items(project, prompts, named="pk")))
    stored = {
        (row.prompt_id, row.item): row
        for row in PromptSums.objects.filter(prompt__in=prompts).prefetch_related("people")
    }
    wrong = {
        key
        for key in {*wanted, *stored}
        if key not in wanted or key not in stored or wanted[key] != _columns_of(stored[key])
    }
    PromptSums.objects.filter(pk__in=[stored[key].pk for key in wrong & {*stored}]).delete()
    anew = [key for key in wanted if key in wrong]
    made = PromptSums.objects.bulk_create(
        PromptSums(project=project, prompt_id=prompt, item=item, **wanted[prompt, item][0])
        for prompt, item in anew
    )
    PersonSums.objects.bulk_create(
        PersonSums(sums=sums, annotator_id=annotator, **columns)
        for sums, key in zip(made, anew, strict=True)
        for annotator, columns in wanted[key][1].items()
    )
    return len({prompt for prompt, _ in wrong})


def _summed(found: Sequence[Item]) -> dict[Key, tuple[Row, dict[int, Row]]]:
    """Columns of PromptSums, and of PersonSums by annotator, of what people said."""
    table = tabulate(item.said for item in found)
    comparisons = compare(table)
    sums = sums_of(table, comparisons, alpha_sums(comparisons))
    columns = {name: column.tolist() for name, column in sums.prompts.items()}
    rows: dict[Key, tuple[Row, dict[int, Row]]] = {}
    for place, item in enumerate(found):
        row = {name: column[place] for name, column in columns.items()}
        own = {name: row.pop(name) for name in ALPHA}
        about = {"batch": item.batch, "judged_at": item.judged_at, "criteria": _rated(item)}
        rows[item.prompt_id, item.item] = (own | about | {"further": row}, {})
    people = sums.people
    for place, person, share, *values in zip(
        people.prompt.tolist(),
        people.annotator.tolist(),
        people.share.tolist(),
        *(getattr(people, name).tolist() for name in PERSON),
        strict=True,
    ):
        item, name = found[place], people.names[person]
        rows[item.prompt_id, item.item][1][int(name)] = {
            "judged_at": item.first_judged[name],
            "share": None if np.isnan(share) else share,
            **dict(zip(PERSON, values, strict=True)),
        }
    return rows


def _rated(item: Item) -> dict[str, list[list[int]]]:
    """Criterion → for each response that was rated, how often 1 to 5; each annotator once."""
    ratings: dict[tuple[str, str, str], int] = {}
    for person, several in item.criteria.items():
        for rated in several:
            for response, by_criterion in rated.items():
                for criterion, rating in by_criterion.items():
                    ratings.setdefault((criterion, response, person), rating)
    counted: dict[str, dict[str, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    for (criterion, response, _), rating in sorted(ratings.items()):
        counted[criterion][response][rating] += 1
    return {
        criterion: [[count[step] for step in RATINGS] for count in by_response.values()]
        for criterion, by_response in counted.items()
    }


def _columns_of(row: PromptSums) -> tuple[Row, dict[int, Row]]:
    """A stored row as `_summed` has it."""
    own = (*ALPHA, "batch", "judged_at", "criteria", "further")
    of_person = ("judged_at", "share", *PERSON)
    return (
        {name: getattr(row, name) for name in own},
        {
            person.annotator_id: {name: getattr(person, name) for name in of_person}
            for person in row.people.all()
        },
    )


# ---- Figures -------------------------------------------------------------------------------------


def figures_of(project: Project) -> dict[str, Any]:
    """What pages show, from the sums alone: the fields of rewards.ml.agreement.Report, and

    `topics` and `languages`, as `named_slices` gives them; `criteria`, a list of {"name", "label"}
    and the fields of rewards.ml.criteria.CriterionAgreement; `windows`, a list of those of
    rewards.ml.drift.Window, in seconds, and `change`, the last against those before; `repeats`, how
    far people agree with themselves, as fields of Report.
    """
    rows = list(
        project.prompt_sums.order_by("pk").values_list(
            "pk", *ALPHA, "further", "judged_at", "prompt__topic", "prompt__language"
        )
    )
    sums = _columns(project, rows)
    alpha = AlphaSums(*(sums.prompts[name] for name in ALPHA))
    when = np.array([row[5].timestamp() for row in rows])
    moved = change(alpha, when, SEED)
    return {
        **report_of_sums(sums, SEED).as_dict(),
        "topics": named_slices("topic", [row[6] for row in rows], alpha),
        "languages": named_slices("language", [row[7] for row in rows], alpha),
        "criteria": _criteria(project),
        "windows": [asdict(window) for window in windows(alpha, when, SEED)],
        "change": asdict(moved) if moved else None,
        "repeats": _repeats(project),
    }


def _columns(project: Project, rows: Sequence[tuple[Any, ...]]) -> Sums:
    """The sums as columns, of the rows of `figures_of`."""
    columns = {name: [row[1 + place] for row in rows] for place, name in enumerate(ALPHA)}
    for name in _FURTHER:
        columns[name] = [row[4][name] for row in rows]
    places = {row[0]: place for place, row in enumerate(rows)}
    people = PersonSums.objects.filter(sums__project=project).order_by("pk")
    read = people.values_list("sums", "annotator", "share", *PERSON)
    # Others may have come since the rows were read; whoever made them makes the figures again.
    entries = [entry for entry in read if entry[0] in places]
    annotators = sorted({entry[1] for entry in entries})
    who = {annotator: place for place, annotator in enumerate(annotators)}
    names = dict(Membership.objects.filter(pk__in=annotators).values_list("pk", "pseudonym"))
    values = np.array([[np.nan if x is None else x for x in entry[2:]] for entry in entries])
    share, *others = values.reshape(-1, 1 + len(PERSON)).T
    return Sums(
        {name: np.array(column, dtype=np.float64) for name, column in columns.items()},
        PersonColumns(
            tuple(names[annotator] for annotator in annotators),
            np.array([places[entry[0]] for entry in entries], dtype=np.int64),
            np.array([who[entry[1]] for entry in entries], dtype=np.int64),
            share=share,
            **dict(zip(PERSON, others, strict=True)),
        ),
    )


def _further() -> list[str]:
    """The names of the columns that are stored as `further`, from those of no prompt."""
    table = tabulate([])
    comparisons = compare(table)
    names = sums_of(table, comparisons, alpha_sums(comparisons)).prompts
    return [name for name in names if name not in ALPHA]


_FURTHER = _further()


def _criteria(project: Project) -> list[dict[str, Any]]:
    """Of each criterion that the project asks for; empty where it asks for none."""
    if not project.criteria:
        return []
    rated = list(project.prompt_sums.exclude(criteria={}).values_list("prompt", "criteria"))
    found = []
    for criterion in project.criteria:
        counts, prompts = [], []
        for prompt, by_criterion in rated:
            own = by_criterion.get(criterion["name"], [])
            counts += own
            prompts += [prompt] * len(own)
        table = np.array(counts, dtype=np.int64).reshape(-1, len(RATINGS))
        agreement = criterion_agreement(table, np.array(prompts, dtype=np.int64), SEED)
        label = criterion.get("label", criterion["name"])
        found.append({"name": criterion["name"], "label": label, **asdict(agreement)})
    return found


def _repeats(project: Project) -> dict[str, Any]:
    """How far people say again what they said, when a task comes hidden a second time."""
    standing = Ranking.objects.current().not_excluded().in_project(project)
    repeats = standing.filter(
        assignment__task__kind=Task.Kind.REPEAT, assignment__task__mirror_of__isnull=False
    )
    again = repeats.values_list("assignment__task__mirror_of", "assignment__annotator", "ranks")
    mirrored = repeats.order_by().values("assignment__task__mirror_of")
    first = {
        (task, annotator): ranks
        for task, annotator, ranks in standing.filter(assignment__task__in=mirrored).values_list(
            "assignment__task", "assignment__annotator", "ranks"
        )
    }
    pairs = [
        {"first": first[task, annotator], "again": ranks}
        for task, annotator, ranks in again.order_by("pk")
        if task and (task, annotator) in first
    ]
    found = report(pairs, SEED).as_dict()
    wanted = ("state", "alpha", "agreement_with_ties", "n_overlapped_prompts")
    return {name: found[name] for name in wanted}


# ---- What changed meanwhile ----------------------------------------------------------------------


@dataclass(frozen=True)
class Happening:
    """Something that may move agreement: new guidelines, people or responses."""

    kind: Literal["guidelines", "people", "responses"]
    at: datetime
    name: str  # the guidelines' version, the pseudonym, or what the responses were made for


def happenings(project: Project, since: datetime) -> list[Happening]:
    """What happened after that, in its order; people and responses by their first judgement."""
    texts = project.texts.filter(kind=ProjectText.Kind.GUIDELINES, created_at__gt=since)
    people = PersonSums.objects.filter(sums__project=project).values_list("annotator__pseudonym")
    own = project.prompt_sums.filter(item="").exclude(Q(batch="") | Q(batch__startswith=BATCH))
    first = Min("judged_at")
    joined = people.annotate(first=first).filter(first__gt=since)
    arrived = own.values_list("batch").annotate(first=first).filter(first__gt=since)
    found = [
        *(Happening("guidelines", text.created_at, str(text.version)) for text in texts),
        *(Happening("people", at, name) for name, at in joined),
        *(Happening("responses", at, name) for name, at in arrived),
    ]
    return sorted(found, key=lambda one: (one.at, one.name))
