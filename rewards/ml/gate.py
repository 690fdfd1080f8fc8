"""The gates of a weekly cycle: each a list of rules with a verdict.

Gate A asks whether annotators agree enough to train on; gate B whether a reward model is worth
following; gate C whether a policy is better than the one it would replace. Every rule is a line
with its value, its interval and a reason in plain words.

The thresholds are settings with a history, kept in the report: 0.20 of alpha is 60 % pairwise
agreement, below every published project whose reward model was shown to work.
"""

import math
from dataclasses import asdict, dataclass

from rewards.ml.agreement import Report
from rewards.ml.model_rules import (
    CHANCE,
    Evidence,
    EvidenceSettings,
    drift_rule,
    gold_live_rule,
    gold_rule,
    left_out_rule,
    shares_rule,
    shorter_rule,
    slices_rule,
    standing,
    token_lift_rule,
    unseen_rule,
)
from rewards.ml.rules import (
    GateReport,
    Interval,
    Measured,
    Rule,
    State,
    Verdict,
    measured,
    not_judged,
    points,
    state_of,
)


@dataclass(frozen=True)
class GateSettings:
    """Gate A. Half-width of the 95 % interval of alpha; rankings are overlapped ones.

    `one_annotator` lets models follow what a single person says, whose agreement with others nobody
    can measure.
    """

    threshold: float = 0.20
    half_width: float = 0.125
    min_prompts: int = 50
    min_annotators: int = 5
    min_rankings: int = 10
    one_annotator: bool = False


@dataclass(frozen=True)
class RewardModelGateSettings(EvidenceSettings):
    """Gate B. Margins are shares: 0.05 is five points of accuracy."""

    human_margin: float = 0.05
    live_margin: float = 0.02


@dataclass(frozen=True)
class PolicyGateSettings:
    """Gate C. `kl_budget` in nats a response, `length_change` as a share of the old length."""

    kl_budget: float
    length_change: float = 0.20
    min_eos_rate: float = 0.95


def agreement_gate(report: Report, settings: GateSettings | None = None) -> GateReport:
    """Gate A, on the agreement of prompts that were drawn at random.

    INSUFFICIENT and REVIEW train in shadow; BLOCK trains nothing. With a single annotator nothing
    can be measured: that is INSUFFICIENT unless the settings allow it.
    """
    settings = settings or GateSettings()
    if settings.one_annotator and report.state == "one annotator":
        return GateReport("agreement", "PASS", (_one_annotator_rule(),), asdict(settings))
    rules = (
        _prompts_rule(report, settings),
        _annotators_rule(report, settings),
        _width_rule(report, settings),
        _threshold_rule(report, settings),
    )
    # An alpha too wide to judge is INSUFFICIENT even where it looks low.
    insufficient = any(rule.verdict == "missing" for rule in rules)
    state: State = "INSUFFICIENT" if insufficient else state_of(rules)
    return GateReport("agreement", state, rules, asdict(settings))


def reward_model_gate(
    agreement: State,
    accuracy: Interval,
    over_longest: Interval | None = None,
    human_accuracy: Interval | None = None,
    against_live: Interval | None = None,
    *,
    evidence: Evidence | None = None,
    released: bool = False,
    threshold: float = GateSettings.threshold,
    settings: RewardModelGateSettings | None = None,
) -> GateReport:
    """Gate B, on held-out prompts and on what else is known of the judgements behind a model.

    `over_longest` is accuracy less that of preferring the longer response and `against_live` less
    that of the live reward model, both paired by prompt; `human_accuracy` is how often another
    annotator prefers the same response. `released` tells that an admin released a REVIEW, and
    `threshold` is that of gate A.
    """
    settings = settings or RewardModelGateSettings()
    more = evidence or Evidence()
    rules = (
        _agreement_rule(agreement, released, more.one_annotator),
        _chance_rule(accuracy),
        _length_rule(over_longest),
        _human_rule(accuracy, human_accuracy, settings.human_margin),
        unseen_rule(more.unseen_annotators, human_accuracy, settings.human_margin),
        _leak_rule(accuracy, human_accuracy, settings.human_margin),
        _live_rule(against_live, settings.live_margin),
        gold_live_rule(more.gold_over_live, settings),
        shorter_rule(more.shorter_won),
        left_out_rule(more.left_out, more.alpha_bounds, threshold),
        shares_rule(more.shares, settings),
        drift_rule(more.drift, settings),
        slices_rule(more.slices, settings),
        token_lift_rule(more.token_lift),
        gold_rule(more.judged_by_gold, more.failing_gold),
    )
    return GateReport("reward model", state_of(rules), rules, asdict(settings))


def policy_gate(
    completed: bool,
    win_rate: Interval,
    kl: float | None,
    length_change: float | None,
    eos_rate: float | None,
    settings: PolicyGateSettings,
    length_controlled_win_rate: Interval | None = None,
    blind_win_rate: Interval | None = None,
) -> GateReport:
    """Gate C, new policy against old on held-out prompts.

    `win_rate` is by the reward model, `blind_win_rate` by people who did not know which was which;
    None where nobody was asked.

    `kl` to the supervised model in nats a response, `length_change` as a share of the old length
    (0.1 is a tenth longer), `eos_rate` the share of responses that end by themselves.
    """
    rules = (
        _completed_rule(completed),
        _win_rule(win_rate),
        _kl_rule(kl, settings.kl_budget),
        _response_length_rule(length_change, length_controlled_win_rate, settings.length_change),
        _eos_rule(eos_rate, settings.min_eos_rate),
        _blind_rule(blind_win_rate),
    )
    return GateReport("policy", state_of(rules), rules, asdict(settings))


# Gate A


def _one_annotator_rule() -> Rule:
    reason = "One person judged, and the project's settings allow training on that."
    return not_judged("agreement", "two people judge the same prompts", reason)


def _prompts_rule(report: Report, settings: GateSettings) -> Rule:
    found, wanted = report.n_overlapped_prompts, settings.min_prompts
    missing = max(0, wanted - found)
    return Rule(
        "overlapped prompts",
        f"at least {wanted} prompts judged by two people",
        "ok" if not missing else "missing",
        f"{found} prompts were judged by two people or more"
        + (f"; {missing} more are needed." if missing else "."),
        value=found,
        missing_low=missing,
        missing_high=missing,
    )


def _annotators_rule(report: Report, settings: GateSettings) -> Rule:
    found = sum(a.agreement.n >= settings.min_rankings for a in report.annotators)
    missing = max(0, settings.min_annotators - found)
    return Rule(
        "annotators",
        f"at least {settings.min_annotators} people with {settings.min_rankings} "
        "overlapped rankings each",
        "ok" if not missing else "missing",
        f"{found} people have {settings.min_rankings} rankings of prompts that someone else "
        "judged too" + (f"; {missing} more people are needed." if missing else "."),
        value=found,
    )


def _width_rule(report: Report, settings: GateSettings) -> Rule:
    name = "width of the interval"
    rule = f"95 % half-width of alpha at most {settings.half_width:g}"
    alpha = report.alpha
    if alpha.low is None or alpha.high is None or report.forecast is None:
        return Rule(name, rule, "missing", f"Alpha has no interval: {report.state}.")
    half_width = (alpha.high - alpha.low) / 2
    if half_width <= settings.half_width:
        return Rule(name, rule, "ok", f"Alpha is known to within {half_width:.3g}.", half_width)
    # The forecast is for another width; the number of prompts goes with its inverse square.
    scale = (report.forecast.half_width / settings.half_width) ** 2
    n = report.n_overlapped_prompts
    low, high = (
        max(1, math.ceil((n + more) * scale - n))
        for more in (report.forecast.low, report.forecast.high)
    )
    return Rule(
        name,
        rule,
        "missing",
        f"Alpha is known only to within {half_width:.3g}; about {low} to {high} more prompts "
        "judged by two people would do.",
        half_width,
        missing_low=low,
        missing_high=high,
    )


def _threshold_rule(report: Report, settings: GateSettings) -> Rule:
    name, threshold = "agreement", settings.threshold
    rule = f"one-sided 95 % lower bound of alpha at least {threshold:g}"
    low, high = report.alpha_lower_bound, report.alpha_upper_bound
    if low is None or high is None:
        return Rule(name, rule, "missing", f"Alpha cannot be told: {report.state}.")
    found: dict[State, tuple[Verdict, str]] = {
        "PASS": ("ok", "People agree far enough to train on what they say."),
        "REVIEW": ("alarm", "Agreement may be too low to train on; these data cannot tell."),
        "BLOCK": ("failed", "People agree too little: a reward model would mostly learn noise."),
    }
    verdict, reason = found[standing(low, high, threshold)]
    return Rule(name, rule, verdict, reason, report.alpha.value, low, high)


# Gate B


def _agreement_rule(agreement: State, released: bool, one_annotator: bool) -> Rule:
    name, rule = "agreement gate", "PASS, or a REVIEW that an admin released"
    if agreement == "PASS" and one_annotator:
        reason = "Agreement is not measurable: one person judged, as the settings allow."
        return not_judged(name, rule, reason)
    if agreement == "PASS":
        return Rule(name, rule, "ok", "The judgements behind this model passed.")
    if agreement == "REVIEW" and released:
        return Rule(name, rule, "ok", "The judgements are under review and were released.")
    verdict: Verdict = "missing" if agreement == "INSUFFICIENT" else "failed"
    return Rule(name, rule, verdict, f"The judgements behind this model are at {agreement}.")


def _chance_rule(accuracy: Interval) -> Rule:
    name, rule = "better than chance", "lower bound of held-out accuracy above 50 %"
    if accuracy.value is None or accuracy.low is None:
        return Rule(name, rule, "missing", "There are too few held-out pairs.", accuracy.value)
    if accuracy.low > CHANCE:
        return measured(name, rule, "ok", "It predicts unseen judgements.", accuracy)
    reason = "It is not shown to predict unseen judgements better than a coin."
    return measured(name, rule, "failed", reason, accuracy)


def _length_rule(over_longest: Interval | None) -> Rule:
    name, rule = "better than length", "more accurate than preferring the longer response"
    if over_longest is None or over_longest.value is None or over_longest.low is None:
        return not_judged(name, rule, "There are too few pairs to compare the two.")
    if over_longest.low > 0:
        return measured(name, rule, "ok", "It knows more than length.", over_longest)
    if over_longest.value > 0:
        reason = "It is ahead of the longer response, but by less than chance may do."
        return measured(name, rule, "alarm", reason, over_longest)
    reason = "Preferring the longer response does as well."
    return measured(name, rule, "failed", reason, over_longest)


def _human_rule(accuracy: Interval, human: Interval | None, margin: float) -> Rule:
    name = "close to people"
    rule = f"accuracy at most {points(margin)} below another annotator's"
    if human is None or human.value is None or accuracy.value is None:
        return not_judged(name, rule, "No held-out pair was judged by two people.")
    difference = Measured(accuracy.value - human.value)
    if accuracy.value >= human.value - margin:
        return measured(name, rule, "ok", "It is about as good as another person.", difference)
    reachable = accuracy.high is not None and accuracy.high >= human.value - margin
    verdict: Verdict = "alarm" if reachable else "failed"
    reason = f"Another person prefers the same response in {human.value:.0%} of pairs."
    return measured(name, rule, verdict, reason, difference)


def _leak_rule(accuracy: Interval, human: Interval | None, margin: float) -> Rule:
    name = "no leak"
    rule = f"accuracy not beyond what people's agreement allows, nor {points(margin)} above it"
    if human is None or human.value is None or accuracy.low is None:
        return not_judged(name, rule, "No held-out pair was judged by two people.")
    limit = max(human.value + margin, label_accuracy(human.value))
    if accuracy.low <= limit:
        return measured(name, rule, "ok", f"The limit is {limit:.0%}.", accuracy)
    reason = (
        f"More than {limit:.0%} is better than the labels themselves can be: held-out judgements "
        "have probably been seen in training."
    )
    return measured(name, rule, "alarm", reason, accuracy)


def label_accuracy(agreement: float) -> float:
    """How often a single label is right, when two labels agree that often; at least 0.5.

    With symmetric noise two labels agree with probability a = q^2 + (1 - q)^2, q the accuracy of
    one. q is also the best accuracy that any model can reach on single labels.
    """
    return (1 + math.sqrt(max(0.0, 2 * agreement - 1))) / 2


def _live_rule(against_live: Interval | None, margin: float) -> Rule:
    name = "not worse than the live model"
    rule = f"at most {points(margin)} less accurate than the live reward model"
    if against_live is None or against_live.value is None:
        return not_judged(name, rule, "There is no live reward model to compare with.")
    if against_live.value >= -margin:
        return measured(name, rule, "ok", "It is at least about as good.", against_live)
    reachable = against_live.high is not None and against_live.high >= -margin
    verdict: Verdict = "alarm" if reachable else "failed"
    reason = "The live reward model predicts the same judgements better."
    return measured(name, rule, verdict, reason, against_live)


# Gate C


def _completed_rule(completed: bool) -> Rule:
    name, rule = "run completed", "the run ended by itself, without an alarm"
    if completed:
        return Rule(name, rule, "ok", "The run went through.")
    return Rule(name, rule, "failed", "The run stopped before its end.")


def _win_rule(win_rate: Interval) -> Rule:
    name, rule = "wins", "lower bound of the held-out win rate above 50 %"
    if win_rate.value is None or win_rate.low is None:
        return Rule(name, rule, "missing", "Too few held-out prompts were compared.")
    if win_rate.low > CHANCE:
        return measured(name, rule, "ok", "Its responses are better.", win_rate)
    if win_rate.value > CHANCE:
        reason = "Its responses may be better, but by less than chance may do."
        return measured(name, rule, "alarm", reason, win_rate)
    return measured(name, rule, "failed", "Its responses are no better.", win_rate)


def _kl_rule(kl: float | None, budget: float) -> Rule:
    name, rule = "distance", f"at most {budget:g} nats a response from the supervised model"
    if kl is None:
        return Rule(name, rule, "missing", "The distance was not measured.")
    if kl <= budget:
        return Rule(name, rule, "ok", "It has stayed close to where it began.", kl)
    reason = "It has moved too far; beyond the budget scores mean little."
    return Rule(name, rule, "failed", reason, kl)


def _response_length_rule(change: float | None, controlled: Interval | None, limit: float) -> Rule:
    name = "length"
    rule = f"length changed by at most {limit:.0%}, or ahead at equal length too"
    if change is None:
        return Rule(name, rule, "missing", "The length of the responses was not measured.")
    if abs(change) <= limit:
        return Rule(name, rule, "ok", f"Responses changed by {change:+.0%} in length.", change)
    if controlled is not None and controlled.low is not None and controlled.low > CHANCE:
        reason = f"Responses changed by {change:+.0%} in length, which does not explain the wins."
        return Rule(name, rule, "ok", reason, change)
    reason = f"Responses changed by {change:+.0%} in length, which may explain the wins."
    return Rule(name, rule, "failed", reason, change)


def _eos_rule(eos_rate: float | None, minimum: float) -> Rule:
    name, rule = "endings", f"at least {minimum:.0%} of the responses end by themselves"
    if eos_rate is None:
        return Rule(name, rule, "missing", "It was not measured how many responses end.")
    if eos_rate >= minimum:
        return Rule(name, rule, "ok", "Responses end by themselves.", eos_rate)
    return Rule(name, rule, "failed", "Too many responses run into the length limit.", eos_rate)


def _blind_rule(win_rate: Interval | None) -> Rule:
    name, rule = "blind comparison", "lower bound of the win rate before people above 50 %"
    if win_rate is None:
        return not_judged(name, rule, "No blind comparison was asked for.")
    if win_rate.value is None or win_rate.low is None or win_rate.high is None:
        return Rule(name, rule, "missing", "Nobody has compared the two policies yet.")
    if win_rate.low > CHANCE:
        return measured(name, rule, "ok", "People prefer its responses.", win_rate)
    if win_rate.high >= CHANCE:
        reason = "People have not shown that they prefer either policy."
        return measured(name, rule, "alarm", reason, win_rate)
    return measured(name, rule, "failed", "People prefer the old policy's responses.", win_rate)
