"""What commands about policies say, in words and as JSON."""

from typing import Any

from django.core.management.base import CommandError

from annotate.models import Project
from training.lifecycle import failing_rules
from training.models import PolicyVersion


def policy_from(project: Project, number: int | None) -> PolicyVersion:
    """The project's policy of that number, the live one without; CommandError where none is."""
    policies = project.policies.filter(number=number) if number else project.policies.live()
    policy = policies.first()
    if policy is None:
        which = f"policy {number}" if number else "live policy"
        raise CommandError(f"{project.slug} has no {which}")
    return policy


def policy_facts(policy: PolicyVersion) -> dict[str, Any]:
    return {
        "policy": policy.number,
        "status": policy.status,
        "base": policy.base,
        "parent": policy.parent.number if policy.parent else None,
        "digest": policy.digest,
        "metrics": policy.metrics,
        "evaluation": {k: v for k, v in policy.evaluation.items() if k != "pairs"},
        "gate": policy.gate.report if policy.gate else None,
        "taint": policy.taint,
    }


def policy_lines(policy: PolicyVersion) -> list[str]:
    lines = [f"{policy} of {policy.project.slug}: {policy.get_status_display()}"]
    if found := policy.evaluation:
        wins = found["win_rate"]
        lines.append(
            f"held-out win rate against policy {found['against_number']}: "
            f"{_interval(wins)} of {wins['n']} prompts; KL {found['kl']:.2f} nats a response; "
            f"length {found['length_change']:+.0%}"
        )
        if blind := found.get("blind"):
            lines.append(f"blind comparison: {_interval(blind['win_rate'])} of {blind['n']} votes")
    if policy.gate:
        lines.append(f"promotion gate: {policy.gate.state}")
        if not policy.gate.opens:
            lines.append(failing_rules(policy.gate))
    if policy.taint:
        lines.append(f"tainted: {policy.taint}")
    return lines


def _interval(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return "not measured"
    if found["low"] is None:
        return f"{found['value']:.1%}"
    return f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"
