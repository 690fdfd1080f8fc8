"""The parts of a gate: a measured figure, a rule with its verdict, a report of rules.

A rule without data is "not judged" and says so: it neither passes nor blocks. Data that a gate
cannot do without is "missing" instead.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

State = Literal["PASS", "REVIEW", "BLOCK", "INSUFFICIENT"]
Verdict = Literal["ok", "alarm", "failed", "missing", "not judged"]


class Interval(Protocol):
    """A figure with its 95 % interval; None where there is too little data for it."""

    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


@dataclass(frozen=True)
class Measured:
    """An Interval for figures that come from stored metrics."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Rule:
    """One line of a gate: what was asked, what was found, and what that means.

    "alarm" wants a person's eye; "missing" is data that the gate cannot do without, of which
    `missing_low` to `missing_high` more would do, where that can be estimated.
    """

    name: str
    rule: str
    verdict: Verdict
    reason: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    missing_low: int | None = None
    missing_high: int | None = None

    @property
    def ok(self) -> bool:
        return self.verdict in ("ok", "not judged")


@dataclass(frozen=True)
class GateReport:
    """A gate's verdict with its lines and the settings it was judged by; `as_dict` is JSON."""

    gate: Literal["agreement", "reward model", "policy"]
    state: State
    rules: tuple[Rule, ...]
    settings: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        found = asdict(self)
        for line, rule in zip(found["rules"], self.rules, strict=True):
            line["ok"] = rule.ok
        return found


def state_of(rules: Sequence[Rule]) -> State:
    """The verdict of a gate whose rules must all hold."""
    verdicts = {rule.verdict for rule in rules}
    if "failed" in verdicts:
        return "BLOCK"
    if "missing" in verdicts:
        return "INSUFFICIENT"
    return "REVIEW" if "alarm" in verdicts else "PASS"


def measured(name: str, rule: str, verdict: Verdict, reason: str, found: Interval) -> Rule:
    return Rule(name, rule, verdict, reason, found.value, found.low, found.high)


def not_judged(name: str, rule: str, reason: str) -> Rule:
    return Rule(name, rule, "not judged", f"Not judged. {reason}")


def points(share: float) -> str:
    return f"{share * 100:g} points"
