"""What everyone's judgements weigh in a snapshot, and why.

Where a project has gold tasks, by reliabilities that are estimated together with a linear reward,
gold observed (rewards.ml.defence). Where it has none, nothing tells who is right from who agrees,
and all weigh the same. Either way whoever always says the same weighs nothing, and nobody, nor any
three people, more than their share.

The same rankings and gold tasks give the same weights. The report is part of the manifest:

    {"method": "joint with gold" | "equal", "caps_not_met": {"1": 0.31}, "people":
     {"<keyed pseudonym>": {"weight": 0.5, "reliability": 0.81, "rankings": 120, "share": 0.1,
      "gold_rankings": 4, "gold_right": 0.92, "reasons": ["newcomer"]}}}

`share` is of the weights times rankings of training prompts. `reasons` say why a weight is not what
reliability alone would give: "failed gold", "says the same", "newcomer", "share capped".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from annotate.models import Project, Response, content_hash
from rewards.gold import gold_rankings, gold_tasks
from rewards.pseudonyms import keyed_pseudonym
from rewards.services.dataset import trainable

if TYPE_CHECKING:
    from rewards.ml.comparisons import Ranking as Ranks
    from rewards.ml.defence import Defence

EQUAL, JOINT = "equal", "joint with gold"
FAILED, SAME, NEWCOMER, CAPPED = "failed gold", "says the same", "newcomer", "share capped"
# Of these reliabilities are estimated; their hashes decide, as good as chance. More would make
# nobody's reliability much surer, and take minutes.
MOST_PROMPTS = 1500
DECIMALS = 3  # more would depend on the machine
SEED = 0

Said = dict[str, list["Ranks"]]


@dataclass(frozen=True)
class Weights:
    """`by_member` has everybody whose weight is not 1; `report` is described above."""

    by_member: Mapping[int, float]
    report: Mapping[str, Any]

    def of(self, member_id: int) -> float:
        return self.by_member.get(member_id, 1.0)


@dataclass(frozen=True)
class _Row:
    member: int
    prompt: int
    prompt_hash: str
    split: str
    ranks: Ranks
    as_shown: bool


def gold_state(project: Project) -> str:
    """Changes whenever there are other answers to gold tasks than before; "" without any."""
    ids = list(gold_rankings(project).order_by("pk").values_list("pk", flat=True))
    return content_hash(ids) if ids else ""


def weigh(project: Project, ids: Collection[int]) -> Weights:
    """Weights of the people whose rankings these are."""
    from rewards.ml.defence import capped

    rows = [row for pk, row in _trained_on(project) if pk in ids]
    counts: dict[str, int] = defaultdict(int)  # of all, also where none of them trains
    for row in rows:
        counts[str(row.member)] += row.split == "train"
    same = _says_the_same(rows)
    told = [row for row in rows if str(row.member) not in same]
    defence = _defence(project, told)
    weighed = {name: n for name, n in counts.items() if name not in same}
    if defence is None:
        uncapped: Mapping[str, float] = dict.fromkeys(weighed, 1.0)
    else:
        uncapped = {name: _uncapped(name, defence) for name in weighed}
    final = capped(uncapped, weighed) | dict.fromkeys(same, 0.0)
    rounded = {name: round(weight, DECIMALS) for name, weight in final.items()}
    reasons = {name: _reasons(name, uncapped, final, same, defence) for name in counts}
    return Weights(
        by_member={int(name): weight for name, weight in rounded.items() if weight != 1},
        report=_report(project, rounded, counts, reasons, defence),
    )


def _trained_on(project: Project) -> list[tuple[int, _Row]]:
    """Every ranking that may be learned from, the oldest first; one query."""
    task = "assignment__task__"
    rows = (
        trainable(project)
        .order_by("pk")
        .values_list(
            "pk",
            "assignment__annotator",
            f"{task}prompt",
            f"{task}prompt__content_hash",
            f"{task}prompt__split",
            "ranks",
            "assignment__display_order",
            "assignment__order_seed",
        )
    )
    return [
        (pk, _Row(member, prompt, digest, split, ranks, keeps_order(ranks, order, seed)))
        for pk, member, prompt, digest, split, ranks, order, seed in rows
    ]


def keeps_order(ranks: Ranks, order: Sequence[int], order_seed: int | None) -> bool:
    """Whether the ranking says no more than the screen did: the first is best, and so on.

    Where no order was drawn, as of imported judgements, it may be that the best was put first.
    """
    if order_seed is None:
        return False
    given = [ranks.get(str(response)) for response in order]
    return given == list(range(1, len(given) + 1))


def all_tied(ranks: Ranks) -> bool:
    given = [rank for rank in ranks.values() if rank is not None]
    return len(given) > 1 and len(set(given)) == 1


def _says_the_same(rows: Sequence[_Row]) -> set[str]:
    import numpy as np

    from rewards.ml.signals import says_the_same

    found = says_the_same(
        [str(row.member) for row in rows],
        np.array([all_tied(row.ranks) for row in rows], dtype=bool),
        np.array([row.as_shown for row in rows], dtype=bool),
    )
    return {name for name, signal in found.items() if signal.verdict == "flag"}


def _defence(project: Project, rows: Sequence[_Row]) -> Defence | None:
    """Reliabilities and weights by gold; None where there is none."""
    from rewards.ml.defence import defend

    gold = [task for _, task in gold_tasks(project)]
    if not gold:
        return None
    chosen = sorted({(row.prompt_hash, row.prompt) for row in rows})[:MOST_PROMPTS]
    said: dict[int, Said] = {prompt: defaultdict(list) for _, prompt in chosen}
    for row in sorted(rows, key=lambda row: row.member):
        if row.prompt in said:
            said[row.prompt][str(row.member)].append(row.ranks)
    prompts = list(said.values())
    # Of a gold task what people said: its key may leave a response out.
    every: list[Any] = [*prompts, *(task.said for task in gold)]
    named = [{name for own in one.values() for ranks in own for name in ranks} for one in every]
    shown = [(place, name) for place, names in enumerate(named) for name in sorted(names, key=int)]
    rows_of = _features([int(name) for _, name in shown])
    features = dict(zip(shown, rows_of, strict=True))
    return defend(prompts, gold, features)


def _uncapped(name: str, defence: Defence) -> float:
    """Who judged none of the prompts that reliabilities rest on counts as a newcomer."""
    from rewards.ml.defence import NEWCOMER_WEIGHT

    return 0.0 if name in defence.failed else defence.uncapped.get(name, NEWCOMER_WEIGHT)


def _features(ids: Sequence[int]) -> Any:
    """(N, D) what words these responses have and how long they are, standardised."""
    from rewards.ml.features import text_features

    unique = sorted(set(ids))
    texts = dict(Response.objects.filter(pk__in=unique).values_list("pk", "text"))
    rows = text_features([texts[pk] for pk in unique], SEED)
    place = {pk: number for number, pk in enumerate(unique)}
    return rows[[place[pk] for pk in ids]]


def _reasons(
    name: str,
    uncapped: Mapping[str, float],
    final: Mapping[str, float],
    same: Collection[str],
    defence: Defence | None,
) -> list[str]:
    from rewards.ml.defence import NEWCOMER_GOLD

    if name in same:
        return [SAME]
    if defence and name in defence.failed:
        return [FAILED]
    done = defence.gold[name].rankings if defence and name in defence.gold else 0
    found = [NEWCOMER] if defence and done < NEWCOMER_GOLD else []
    if final[name] < uncapped[name] - 1e-9:
        found.append(CAPPED)
    return found


def _report(
    project: Project,
    weights: Mapping[str, float],
    counts: Mapping[str, int],
    reasons: Mapping[str, Sequence[str]],
    defence: Defence | None,
) -> dict[str, Any]:
    from rewards.ml.defence import unmet_caps

    total = sum(weights[name] * n for name, n in counts.items())
    reliability = {one.annotator: one.value for one in defence.joint.annotators} if defence else {}
    people = {}
    for name, n in counts.items():
        known = reliability.get(name)
        gold = defence.gold.get(name) if defence else None
        people[keyed_pseudonym(project, int(name))] = {
            "weight": weights[name],
            "reliability": None if known is None else round(known, DECIMALS),
            "rankings": n,
            "share": round(weights[name] * n / total, DECIMALS) if total else 0.0,
            "gold_rankings": gold.rankings if gold else 0,
            "gold_right": round(gold.right / gold.pairs, DECIMALS) if gold and gold.pairs else None,
            "reasons": [*reasons[name]],
        }
    unmet = unmet_caps(weights, counts)
    return {
        "method": JOINT if defence else EQUAL,
        "caps_not_met": {str(n): round(share, DECIMALS) for n, share in unmet.items()},
        "people": dict(sorted(people.items())),
    }
