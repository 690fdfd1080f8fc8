"""Rules of gate B beyond how accurate a reward model is: who taught it, and what its data rest on.

Each says "not judged" where there is too little to judge by: a small project passes on what can be
known of it, and its report says what could not be.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rewards.ml.rules import Interval, Rule, State, Verdict, measured, not_judged, points

CHANCE = 0.5
Z = 1.959964  # half of a 95 % interval, in standard errors
FEW_PROMPTS = 20  # with fewer an interval of prompts says little


@dataclass(frozen=True)
class Counted:
    """An Interval that tells on how many prompts it rests."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n_prompts: int = 0


@dataclass(frozen=True)
class Shares:
    """Which part of the training pairs, by weight, is of one person and of the busiest three."""

    n_people: int
    largest: float
    largest_three: float


@dataclass(frozen=True)
class Slice:
    """Alpha of a topic, drawn towards that of all, and the topic's share of the prompts."""

    topic: str
    share: float
    n_prompts: int
    value: float | None
    high: float | None


@dataclass(frozen=True)
class LeftOut:
    """Alpha without one annotator, and its one-sided 95 % bounds; None with too little left."""

    annotator: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TokenLift:
    """The audit for tokens that a model rewards by themselves; `tokens` are those beyond limits."""

    alarm: bool
    max_lift: float
    threshold: float
    tokens: Sequence[str] = ()


@dataclass(frozen=True)
class Evidence:
    """What gate B goes by beside the accuracy; None, or empty, where it was not measured.

    `left_out` has alpha without each annotator, `alpha_bounds` the one-sided 95 % bounds with all
    of them. `failing_gold` counts people who teach although they fail the tasks whose answer is
    known, among `judged_by_gold`.
    """

    one_annotator: bool = False
    unseen_annotators: Counted = field(default_factory=Counted)
    shorter_won: Counted = field(default_factory=Counted)
    gold_over_live: Counted = field(default_factory=Counted)
    alpha_bounds: tuple[float, float] | None = None
    left_out: Sequence[LeftOut] = ()
    shares: Shares | None = None
    drift: Counted = field(default_factory=Counted)
    slices: Sequence[Slice] = ()
    token_lift: TokenLift | None = None
    judged_by_gold: int = 0
    failing_gold: int = 0


@dataclass(frozen=True)
class EvidenceSettings:
    """Limits of these rules; shares and margins as parts of one, alpha as it is.

    The limits of shares hold for ten people or more. With fewer they widen, to one and a half and
    four times an equal share, because equal shares alone come near them; below `min_people` nothing
    is said.
    """

    gold_margin: float = 0.02
    min_gold_prompts: int = 30
    person_share: float = 0.15
    three_share: float = 0.40
    min_people: int = 7
    drift: float = 0.05
    slice_floor: float = 0.10
    slice_traffic: float = 0.10
    slice_prompts: int = 20


def standing(low: float | None, high: float | None, threshold: float) -> State:
    """What gate A says of an alpha by its one-sided bounds; None where it cannot be told."""
    if low is None or high is None:
        return "INSUFFICIENT"
    if low >= threshold:
        return "PASS"
    return "REVIEW" if high >= threshold else "BLOCK"


def unseen_rule(unseen: Counted, human: Interval | None, margin: float) -> Rule:
    name = "people it never saw"
    rule = f"accuracy on unseen annotators at most {points(margin)} below another annotator's"
    if unseen.value is None or unseen.n_prompts < FEW_PROMPTS:
        reason = "Too few held-out pairs are of people whose rankings it did not learn from."
        return not_judged(name, rule, reason)
    if human is None or human.value is None:
        return not_judged(name, rule, "No held-out pair was judged by two people.")
    limit = human.value - margin
    if unseen.value >= limit:
        return measured(name, rule, "ok", "It holds for people it never saw.", unseen)
    verdict: Verdict = "alarm" if (unseen.high or 0) >= limit else "failed"
    reason = "It knows the tastes of those it learned from better than those of others."
    return measured(name, rule, verdict, reason, unseen)


def shorter_rule(found: Counted) -> Rule:
    name = "where the shorter won"
    rule = "right on at least half of the pairs that the shorter response won, by a standard error"
    if found.value is None or found.low is None or found.n_prompts < FEW_PROMPTS:
        return not_judged(name, rule, "The shorter response won too few pairs.")
    standard_error = ((found.high or found.value) - found.low) / (2 * Z)
    if found.value >= CHANCE + standard_error:
        return measured(name, rule, "ok", "Length does not decide for it.", found)
    verdict: Verdict = "alarm" if (found.high or 0) >= CHANCE else "failed"
    return measured(name, rule, verdict, "It may take the longer response for the better.", found)


def gold_live_rule(found: Counted, settings: EvidenceSettings) -> Rule:
    name = "not worse on gold"
    rule = (
        "lower bound of what it gains on the live model, on tasks whose answer is known, at least "
        f"-{points(settings.gold_margin)}"
    )
    if found.value is None or found.low is None or found.n_prompts < settings.min_gold_prompts:
        reason = (
            f"It takes {settings.min_gold_prompts} gold tasks that neither model learned from, "
            "and a live model."
        )
        return not_judged(name, rule, reason)
    if found.low >= -settings.gold_margin:
        return measured(name, rule, "ok", "It is no worse where the answer is known.", found)
    verdict: Verdict = "alarm" if (found.high or 0) >= -settings.gold_margin else "failed"
    reason = "Where the answer is known the live model is, or may be, better."
    return measured(name, rule, verdict, reason, found)


def left_out_rule(
    left_out: Sequence[LeftOut], bounds: tuple[float, float] | None, threshold: float
) -> Rule:
    name = "no one person decides"
    rule = "leaving out any one annotator leaves the agreement gate where it stands"
    if bounds is None or not left_out:
        return not_judged(name, rule, "Agreement without one of the annotators cannot be told.")
    whole = standing(*bounds, threshold)
    changed = [one for one in left_out if standing(one.low, one.high, threshold) != whole]
    if not changed:
        one = min(left_out, key=lambda left: left.low or 0)
        return measured(name, rule, "ok", f"The least is without {one.annotator}.", one)
    untold = [one for one in changed if one.value is None]
    if untold:
        names = " or ".join(one.annotator for one in untold)
        return Rule(name, rule, "alarm", f"Without {names} agreement cannot be told.")
    one = max(changed, key=lambda left: abs((left.value or 0) - sum(bounds) / 2))
    state = standing(one.low, one.high, threshold)
    reason = f"Without {one.annotator} it would be at {state} instead of {whole}."
    return measured(name, rule, "alarm", reason, one)


def shares_rule(shares: Shares | None, settings: EvidenceSettings) -> Rule:
    name = "shares"
    n = shares.n_people if shares else 0
    person = max(settings.person_share, 1.5 / n) if n else settings.person_share
    three = max(settings.three_share, 4 / n) if n else settings.three_share
    rule = f"nobody supplies over {person:.0%} of the training pairs, no three over {three:.0%}"
    if shares is None:
        return not_judged(name, rule, "It was not measured who supplied how much.")
    if n < settings.min_people:
        reason = f"Too few people for that: {n} of at least {settings.min_people}."
        return not_judged(name, rule, reason)
    found = (
        f"The busiest supplies {shares.largest:.0%}, the busiest three {shares.largest_three:.0%}."
    )
    if shares.largest <= person and shares.largest_three <= three:
        return Rule(name, rule, "ok", found, shares.largest)
    return Rule(name, rule, "alarm", f"{found} Ask others more often.", shares.largest)


def drift_rule(found: Counted, settings: EvidenceSettings) -> Rule:
    name = "drift"
    rule = f"alpha has not fallen by more than {settings.drift:g}, by its upper 95 % bound"
    if found.value is None or found.high is None:
        return not_judged(name, rule, "There is no earlier period with enough overlap.")
    if found.high >= -settings.drift:
        return measured(name, rule, "ok", "Agreement is not shown to fall.", found)
    reason = (
        "People agree less than before. Closer responses, new people or new guidelines would all "
        "do that: look at the weeks before you release it."
    )
    return measured(name, rule, "alarm", reason, found)


def slices_rule(slices: Sequence[Slice], settings: EvidenceSettings) -> Rule:
    name = "topics"
    rule = (
        f"no topic with {settings.slice_traffic:.0%} of the prompts has an upper bound of alpha "
        f"below {settings.slice_floor:g}"
    )
    judged = [
        one
        for one in slices
        if one.share >= settings.slice_traffic
        and one.n_prompts >= settings.slice_prompts
        and one.value is not None
        and one.high is not None
    ]
    if not judged:
        reason = f"No topic is that large, with {settings.slice_prompts} prompts of two people."
        return not_judged(name, rule, reason)
    lowest = min(judged, key=lambda one: one.high or 0)
    below = [one.topic for one in judged if (one.high or 0) < settings.slice_floor]
    if not below:
        reason = f"The lowest is {lowest.topic}."
        return Rule(name, rule, "ok", reason, lowest.value, high=lowest.high)
    reason = f"People do not agree on {', '.join(below)}."
    return Rule(name, rule, "failed", reason, lowest.value, high=lowest.high)


def token_lift_rule(found: TokenLift | None) -> Rule:
    name = "token lift"
    rule = "no token that a few people always prefer buys reward"
    if found is None:
        return not_judged(name, rule, "The model was not searched for rewarded tokens.")
    if not found.alarm:
        return Rule(name, rule, "ok", "No such token was found.", found.max_lift)
    tokens = ", ".join(f"“{token}”" for token in found.tokens[:5])
    reason = (
        f"Inserting {tokens or 'a token'} raises the reward by up to {found.max_lift:.2f} of the "
        f"mean margin (threshold {found.threshold:g}): somebody may have planted it."
    )
    return Rule(name, rule, "alarm", reason, found.max_lift)


def gold_rule(judged: int, failing: int) -> Rule:
    name, rule = "gold", "nobody teaches who fails the tasks whose answer is known"
    if not judged:
        return not_judged(name, rule, "Nobody has ranked enough gold tasks.")
    if not failing:
        return Rule(name, rule, "ok", f"All {judged} people that gold can judge pass.", 0)
    reason = f"{failing} of {judged} people fail gold, and their rankings taught this model."
    return Rule(name, rule, "alarm", reason, failing)
