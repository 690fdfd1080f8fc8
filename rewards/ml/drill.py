"""What would have happened had some of a project's volunteers been hostile.

A drill takes a copy of what people said, has some of them say what a hostile person would have said
of the same tasks, gold among them, and lets the defences see only that. Nothing is added: the
judgements are as many as they were, and a part of them is bad.

Accuracy is that of a linear model of words, on held-out judgements as people really gave them, or
on gold where there is enough of it: a share of volunteers' labels that is wrong hides what is lost.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rewards.ml.agreement import report
from rewards.ml.baselines import credit
from rewards.ml.comparisons import Floats, PromptRankings
from rewards.ml.defence import GoldTask, Item, capped, defend
from rewards.ml.features import features_by_prompt
from rewards.ml.gate import GateSettings, agreement_gate
from rewards.ml.hostile import ATTACKS, Attack, Shown, recruit
from rewards.ml.linear import fit_linear, pair_table
from rewards.ml.pairs import RankedPrompt, judgement_pairs
from rewards.ml.rules import State

FLAGGED_WEIGHT = 0.1
MIN_GOLD = 20  # tasks, to examine a model by
MIN_TRAIN, MIN_TEST = 50, 20  # prompts
RESAMPLES = 500

Ranks = Mapping[str, int | None]


@dataclass(frozen=True)
class Judged:
    """One prompt: its responses' texts by name, and each person's ranks of them.

    `audit` tells that it was drawn at random for two people; `key` has a gold task's right ranks.
    """

    texts: Mapping[str, str]
    said: Mapping[str, Ranks]
    split: str = "train"
    audit: bool = False
    key: Mapping[str, int] | None = None


@dataclass(frozen=True)
class DrillOutcome:
    """One attack. Accuracies are None with too little to learn from or to examine by.

    `caught` of the `hostile` people would weigh next to nothing, and so would `suspended` others,
    who may be hostile in truth. `state` and `alpha` are what gate A would say.
    """

    attack: str
    share: float
    n_people: int
    hostile: int
    caught: int
    suspended: int
    state: State
    alpha: float | None
    without: float | None
    defended: float | None


class Drill:
    """A project's judgements, read once for several attacks.

    `examined_by` is "gold", "held-out", or "" where there is too little of both.
    """

    def __init__(
        self, prompts: Sequence[Judged], gold: Sequence[Judged], settings: GateSettings, seed: int
    ) -> None:
        self.prompts, self.gold, self.settings, self.seed = prompts, gold, settings, seed
        self.rows = features_by_prompt([[*one.texts.values()] for one in (*prompts, *gold)], seed)
        train = sum(one.split == "train" for one in prompts)
        held_out = [place for place, one in enumerate(prompts) if one.split == "test" and one.said]
        self.examined_by = ""
        self._examined: list[tuple[RankedPrompt, Floats]] = []
        if train >= MIN_TRAIN and len(gold) >= MIN_GOLD:
            self.examined_by = "gold"
            self._examined = [
                (
                    _ranked(replace(one, said={"key": one.key or {}}), {}),
                    self.rows[len(prompts) + i],
                )
                for i, one in enumerate(gold)
            ]
        elif train >= MIN_TRAIN and len(held_out) >= MIN_TEST:
            self.examined_by = "held-out"
            self._examined = [(_ranked(prompts[i], {}), self.rows[i]) for i in held_out]

    def attacked(self, attack: str, share: float) -> DrillOutcome:
        """`attack` is a key of rewards.ml.hostile.ATTACKS; with a share of 0 nobody is hostile."""
        rng = np.random.default_rng([self.seed, round(100 * share)])
        hostile = self._recruits(share, rng)
        prompts = [_poisoned(one, hostile, ATTACKS[attack], rng) for one in self.prompts]
        gold = [_poisoned(one, hostile, ATTACKS[attack], rng) for one in self.gold]
        agreement = report(
            [_rankings(one) for one in prompts if one.audit], self.seed, resamples=RESAMPLES
        )
        weights = self._weights(prompts, gold)
        nothing = {name for name, weight in weights.items() if weight <= FLAGGED_WEIGHT}
        return DrillOutcome(
            attack=attack,
            share=share,
            n_people=len(self.people),
            hostile=len(hostile),
            caught=len(nothing & hostile),
            suspended=len(nothing - hostile),
            state=agreement_gate(agreement, self.settings).state,
            alpha=agreement.alpha.value,
            without=self._accuracy(prompts, {}),
            defended=self._accuracy(prompts, weights),
        )

    @property
    def people(self) -> list[str]:
        return sorted({name for one in self.prompts for name in one.said})

    def _recruits(self, share: float, rng: np.random.Generator) -> set[str]:
        people = self.people
        place = {name: number for number, name in enumerate(people)}
        judged = np.zeros(len(people), dtype=np.int64)
        for one in self.prompts:
            judged[[place[name] for name in one.said]] += 1
        return {people[number] for number in np.flatnonzero(recruit(judged, share, rng))}

    def _weights(self, prompts: Sequence[Judged], gold: Sequence[Judged]) -> Mapping[str, float]:
        """As a snapshot would have them: without gold all alike, but for the caps."""
        if not gold:
            rankings = Counter(name for one in prompts for name in one.said)
            return capped(dict.fromkeys(rankings, 1.0), rankings)
        features: dict[Item, Sequence[float]] = {
            (place, name): row  # type: ignore[misc]
            for place, one in enumerate([*self.prompts, *self.gold])
            for name, row in zip(one.texts, self.rows[place], strict=True)
        }
        tasks = [GoldTask(_rankings(one), one.key or {}) for one in gold]
        return defend([_rankings(one) for one in prompts], tasks, features).weights

    def _accuracy(self, prompts: Sequence[Judged], weights: Mapping[str, float]) -> float | None:
        taught = [
            (prompt, rows)
            for one, rows in zip(prompts, self.rows, strict=False)
            if one.split == "train" and (prompt := _ranked(one, weights)).pairs
        ]
        if not self.examined_by or not taught:
            return None
        table = pair_table([prompt for prompt, _ in taught], [rows for _, rows in taught])
        coefficients = fit_linear(table).coefficients
        found = [credit(prompt, rows @ coefficients) for prompt, rows in self._examined]
        shares = [one.share for one in found if one]
        return float(np.mean(shares)) if shares else None


def _poisoned(one: Judged, hostile: set[str], attack: Attack, rng: np.random.Generator) -> Judged:
    """The same with what hostile people would have said of the responses that they ranked."""
    said = dict(one.said)
    for name in sorted(hostile & said.keys()):
        ranked = {response: rank for response, rank in said[name].items() if rank is not None}
        shown = Shown(
            honest=list(ranked.values()),
            lengths=[len(one.texts[response]) for response in ranked],
            slots=rng.permutation(len(ranked)).tolist(),
            triggered=[False] * len(ranked),
        )
        said[name] = dict(zip(ranked, attack(shown, rng), strict=True))
    return replace(one, said=said)


def _rankings(one: Judged) -> PromptRankings:
    return {name: dict(ranks) for name, ranks in one.said.items()}


def _ranked(one: Judged, weights: Mapping[str, float]) -> RankedPrompt:
    """As an element to train on; who is not in `weights` weighs 1."""
    pairs = [
        pair
        for name, ranks in one.said.items()
        for pair in judgement_pairs(
            [ranks.get(response) for response in one.texts], name, weights.get(name, 1.0)
        )
    ]
    return RankedPrompt("", (), "", one.split, tuple(one.texts.values()), tuple(pairs))
