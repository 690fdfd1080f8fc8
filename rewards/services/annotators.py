"""What the signs of rewards.ml.signals say of a project's annotators, from what they did.

Seven queries, whatever the number of people and rankings: some seven seconds at 100,000 rankings.
So the outcome is kept until people have ranked more, or somebody is excluded or taken in again.
What is excluded counts nowhere.

- agreement with peers, the matrix and the schools: prompts drawn at random for two people, and
  imported ones, as the agreement page has them;
- position and "always the same": tasks whose order on the screen was drawn;
- length and speed: all that was asked without an explanation, the hidden tasks too;
- gold and repeats: the tasks made for it; circles: pairs that were judged one by one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.cache import cache
from django.db.models import Count, Max
from django.db.models.functions import Length

from annotate.models import Membership, Project, Ranking, Response, Task, content_hash
from annotate.services.rankings import mean_agreement
from rewards.gold import gold_tasks
from rewards.ml.version import code_version
from rewards.models import RewardModelVersion, Snapshot
from rewards.pseudonyms import keyed_pseudonym
from rewards.services.agreement import items
from rewards.services.dataset import KINDS
from rewards.services.weights import all_tied, keeps_order

if TYPE_CHECKING:
    from rewards.ml.annotator_pairs import AgreementMatrix
    from rewards.ml.comparisons import Comparisons
    from rewards.ml.exclusion import ExclusionEffect
    from rewards.ml.signals import Assessment, Signal
    from rewards.ml.taste import Schools

KEPT_S = 24 * 3600
SEED = 0
T = TypeVar("T")

Ranks = Mapping[str, int | None]


@dataclass(frozen=True)
class PersonSigns:
    """One annotator: the signals by name, what they come to, and how fast he works.

    `pace_s` is his median of seconds for a hundred words, None where too little was timed.
    """

    member_id: int
    n_rankings: int
    signals: Mapping[str, Signal]
    assessment: Assessment
    pace_s: float | None


@dataclass(frozen=True)
class Standing:
    """What the person's judgements weigh in a snapshot, and their share of its training pairs."""

    snapshot: Snapshot
    model: RewardModelVersion | None
    weight: float
    share: float
    reasons: Sequence[str]
    caps_not_met: Mapping[str, float]


@dataclass(frozen=True)
class _Row:
    member: str
    task: int
    prompt: int
    kind: str
    ranks: Ranks
    order: Sequence[int]
    order_seed: int | None
    dwell_ms: int | None


def signs(project: Project) -> dict[int, PersonSigns]:
    """Everybody with a ranking that counts, by the id of the membership."""
    return _kept(project, "signs", lambda: _signs(project))


def matrix(project: Project) -> tuple[tuple[int, ...], AgreementMatrix]:
    """Every two annotators' agreement; the ids of the memberships in the matrix's numbering."""

    def measured() -> tuple[tuple[int, ...], AgreementMatrix]:
        from rewards.ml.annotator_pairs import agreement_matrix

        table, _ = _comparisons(project)
        return tuple(map(int, table.annotators)), agreement_matrix(table)

    return _kept(project, "matrix", measured)


def taste(project: Project) -> Schools:
    """Whether people fall into two schools; these name the ids of memberships, as text."""

    def looked() -> Schools:
        from rewards.ml.taste import schools

        return schools(*_comparisons(project), seed=SEED)

    return _kept(project, "taste", looked)


def effect_of_leaving_out(member: Membership) -> ExclusionEffect | None:
    """What alpha would be without the person; None where nothing of theirs counts for it."""

    def measured() -> ExclusionEffect | None:
        from rewards.ml.exclusion import exclusion_effect

        table, _ = _comparisons(member.project)
        name = str(member.pk)
        return exclusion_effect(table, name, SEED) if name in table.annotators else None

    return _kept(member.project, f"without {member.pk}", measured)


def standing(member: Membership) -> Standing | None:
    """In the newest accepted reward model's snapshot, or else the newest snapshot that there is."""
    project = member.project
    accepted = project.reward_models.filter(status=RewardModelVersion.Status.ACCEPTED)
    model = accepted.select_related("snapshot").first()
    snapshot = model.snapshot if model else project.snapshots.first()
    if snapshot is None:
        return None
    own = snapshot.weights.get("people", {}).get(keyed_pseudonym(project, member.pk))
    if own is None:
        return None
    return Standing(
        snapshot=snapshot,
        model=model,
        weight=own["weight"],
        share=own["share"],
        reasons=own["reasons"],
        caps_not_met=snapshot.weights["caps_not_met"],
    )


# ---- Kept until something changes ----------------------------------------------------------------


def _kept(project: Project, what: str, compute: Callable[[], T]) -> T:
    """From the cache where nothing has changed since."""
    key = f"annotators-{content_hash([project.pk, what, _state(project)])}"
    found = cache.get(key)
    if found is None:
        found = (compute(),)
        cache.set(key, found, KEPT_S)
    return found[0]  # type: ignore[no-any-return]


def _state(project: Project) -> list[Any]:
    """Changes whenever something changes that the signs rest on.

    Of many rankings one more changes next to nothing and reading them all takes seconds, so there
    it changes with every half percent of them; an exclusion tells at once.
    """
    rankings = Ranking.objects.in_project(project).aggregate(n=Count("pk"), newest=Max("pk"))
    n = rankings["n"]
    grown = int(200 * math.log(n)) if n > 400 else rankings["newest"]
    excluded = project.exclusions.aggregate(Count("pk"), Count("lifted_at"))
    return [grown, *excluded.values(), code_version()]


# ---- The columns ---------------------------------------------------------------------------------


def _comparisons(project: Project) -> tuple[Comparisons, list[str]]:
    """What people said of the prompts that count for agreement, and the prompts' topics."""
    from rewards.ml.comparisons import compare, tabulate

    found = list(items(project, named="pk"))
    return compare(tabulate(item.said for item in found)), [item.topic for item in found]


def _rows(project: Project) -> list[_Row]:
    """Everything that was asked without an explanation beside it."""
    standing = Ranking.objects.current().not_excluded().in_project(project)
    task = "assignment__task__"
    columns = standing.exclude(**{f"{task}kind": Task.Kind.TRAINING}).values_list(
        "assignment__annotator",
        "assignment__task",
        f"{task}prompt",
        f"{task}kind",
        "ranks",
        "assignment__display_order",
        "assignment__order_seed",
        "dwell_ms",
    )
    return [_Row(str(member), *others) for member, *others in columns.iterator(chunk_size=5000)]


def _signs(project: Project) -> dict[int, PersonSigns]:
    from rewards.ml import signals as ml

    rows = _rows(project)
    lengths = _lengths(project)
    timed = _timed(rows, lengths)
    table, _ = _comparisons(project)
    by_sign = {
        ml.GOLD: _gold(project),
        ml.PEERS: ml.agreement_with_peers(table),
        ml.SAME: _same(rows),
        ml.SELF: _repeats(project, rows),
        ml.POSITION: _position(rows),
        ml.LENGTH: _length(rows, lengths),
        ml.CIRCLES: _circles(rows),
        ml.SPEED: ml.speed(*timed),
    }
    pace = ml.median_pace(*timed)
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row.member] += 1
    found = {}
    for member, n in counts.items():
        own = {name: people.get(member, ml.NOTHING[name]) for name, people in by_sign.items()}
        enough = own[ml.SPEED].state == "ok"
        found[int(member)] = PersonSigns(
            member_id=int(member),
            n_rankings=n,
            signals=own,
            assessment=ml.assess(own),
            pace_s=pace.get(member) if enough else None,
        )
    return found


def _lengths(project: Project) -> dict[str, int]:
    """Characters of every response, by its id as rankings have it."""
    found = Response.objects.filter(prompt__project=project).annotate(n=Length("text"))
    return {str(pk): n for pk, n in found.values_list("pk", "n").iterator(chunk_size=10_000)}


def _gold(project: Project) -> dict[str, Signal]:
    import numpy as np

    from rewards.ml.defence import gold_results
    from rewards.ml.signals import gold

    names, right, pairs = [], [], []
    for _, task in gold_tasks(project):
        for name, result in gold_results([task]).items():
            names.append(name)
            right.append(result.right)
            pairs.append(result.pairs)
    return gold(names, np.array(right, dtype=np.float64), np.array(pairs, dtype=np.int64))


def _repeats(project: Project, rows: Sequence[_Row]) -> dict[str, Signal]:
    import numpy as np

    from rewards.ml.signals import self_agreement

    mirrored = project.tasks.filter(kind=Task.Kind.REPEAT, mirror_of__isnull=False)
    first = {pk: task or 0 for pk, task in mirrored.values_list("pk", "mirror_of")}
    said = {(row.member, row.task): row.ranks for row in rows}
    names, shares = [], []
    for row in rows:
        earlier = said.get((row.member, first.get(row.task, 0)))
        share = mean_agreement([earlier, row.ranks]) if earlier else None
        if share is not None:
            names.append(row.member)
            shares.append(share)
    return self_agreement(names, np.array(shares, dtype=np.float64))


def _same(rows: Sequence[_Row]) -> dict[str, Signal]:
    import numpy as np

    from rewards.ml.signals import says_the_same

    trained = [row for row in rows if row.kind in KINDS]  # as the weights in snapshots have it
    return says_the_same(
        [row.member for row in trained],
        np.array([all_tied(row.ranks) for row in trained], dtype=bool),
        np.array(
            [keeps_order(row.ranks, row.order, row.order_seed) for row in trained], dtype=bool
        ),
    )


def _position(rows: Sequence[_Row]) -> dict[str, Signal]:
    """A first choice counts where one response alone is best, of those that were ranked."""
    import numpy as np

    from rewards.ml.signals import position_bias

    names, first, shown = [], [], []
    for row in rows:
        best = [response for response, rank in row.ranks.items() if rank == 1]
        if row.order_seed is not None and len(best) == 1 and len(row.order) > 1:
            names.append(row.member)
            first.append(str(row.order[0]) == best[0])
            shown.append(len(row.order))
    return position_bias(names, np.array(first, dtype=bool), np.array(shown, dtype=np.int64))


def _length(rows: Sequence[_Row], lengths: Mapping[str, int]) -> dict[str, Signal]:
    import numpy as np

    from rewards.ml.signals import length_bias

    names, shares = [], []
    for row in rows:
        longer = [
            (a < b) == (lengths[one] > lengths[two])
            for (one, a), (two, b) in combinations(row.ranks.items(), 2)
            if a is not None and b is not None and a != b and lengths[one] != lengths[two]
        ]
        if longer:
            names.append(row.member)
            shares.append(sum(longer) / len(longer))
    return length_bias(names, np.array(shares, dtype=np.float64))


def _timed(rows: Sequence[_Row], lengths: Mapping[str, int]) -> tuple[list[str], Any, Any]:
    """Names, seconds and characters of the rankings whose time is known."""
    import numpy as np

    known = [row for row in rows if row.dwell_ms is not None]
    characters = [sum(lengths[str(response)] for response in row.order) for row in known]
    seconds = [(row.dwell_ms or 0) / 1000 for row in known]
    return [row.member for row in known], np.array(seconds), np.array(characters, dtype=np.float64)


def _circles(rows: Sequence[_Row]) -> dict[str, Signal]:
    """Three responses of a prompt, every two of them in a task of their own."""
    import numpy as np

    from rewards.ml.signals import intransitivity

    better: dict[tuple[str, int], dict[tuple[str, str], int]] = defaultdict(dict)
    for row in rows:
        if len(row.order) == 2:
            for one, two in _both_ways(row.ranks):
                better[row.member, row.prompt][one, two] = _sign(row.ranks[one], row.ranks[two])
    names, circular, triads = [], [], []
    for (member, _), said in better.items():
        responses = sorted({one for one, _ in said})
        turns = [
            (said[a, b], said[b, c], said[c, a])
            for a, b, c in combinations(responses, 3)
            if (a, b) in said and (b, c) in said and (c, a) in said
        ]
        decided = [turn for turn in turns if 0 not in turn]
        if decided:
            names.append(member)
            triads.append(len(decided))
            circular.append(sum(abs(sum(turn)) == 3 for turn in decided))
    return intransitivity(names, np.array(circular), np.array(triads))


def _both_ways(ranks: Ranks) -> Iterator[tuple[str, str]]:
    given = [response for response, rank in ranks.items() if rank is not None]
    if len(given) == 2:
        yield given[0], given[1]
        yield given[1], given[0]


def _sign(one: int | None, two: int | None) -> int:
    assert one is not None and two is not None
    return (one < two) - (one > two)
