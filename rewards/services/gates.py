"""What the gates say of agreement and of a reward model, and releasing one that wants a person."""

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from django.db import transaction
from django.utils import timezone

from annotate.models import AuditEvent, Project, User, content_hash
from rewards.ml import gate as gates
from rewards.ml.rules import GateReport as Verdict
from rewards.ml.rules import Measured, State
from rewards.models import GateReport, RewardModelVersion
from rewards.services.agreement import report_of

Status = RewardModelVersion.Status
# The gates whose thresholds a project sets; that of promotion goes by the cycle's configuration.
SETTINGS: Mapping[str, Callable[[], object]] = {
    GateReport.Gate.AGREEMENT: gates.GateSettings,
    GateReport.Gate.REWARD_MODEL: gates.RewardModelGateSettings,
}
JUDGED = (Status.CANDIDATE, Status.ACCEPTED, Status.SHADOW, Status.REJECTED)


class NotReleasable(Exception):
    """The gate cannot be released; the message says why."""


class NotTrained(Exception):
    """There is no model yet that a gate could judge."""


def check_thresholds(values: Any) -> None:
    """Raises ValueError unless these could be the values of a GateSetting."""
    if not isinstance(values, dict) or not all(isinstance(one, dict) for one in values.values()):
        raise ValueError('expected such as {"agreement": {"threshold": 0.2}}')
    for gate, fields in values.items():
        if gate not in SETTINGS:
            raise ValueError(f"{gate!r} is none of {', '.join(SETTINGS)}")
        known = vars(SETTINGS[gate]())
        for name, value in fields.items():
            if name not in known:
                raise ValueError(f"{name!r} is none of {', '.join(known)}")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise ValueError(f"{name} {value!r} is not a number")


def thresholds(project: Project, gate: str) -> dict[str, Any]:
    """What the newest settings say of a gate; rewards.ml.gate has the defaults for the rest.

    `GateSetting.values` maps a gate's name to the fields of its settings there.
    """
    newest = project.gate_settings.order_by("-pk").first()
    return newest.values.get(gate, {}) if newest else {}


def judge_agreement(project: Project, figures: Mapping[str, Any]) -> GateReport:
    """Judge the figures of an agreement report; the verdict that exists where they were judged.

    A verdict that exists keeps the release that it may have.
    """
    return _kept(agreement_verdict(project, figures))


def agreement_verdict(project: Project, figures: Mapping[str, Any]) -> GateReport:
    """What `judge_agreement` says of the figures: the row that it kept, or else an unsaved one."""
    settings = gates.GateSettings(**thresholds(project, GateReport.Gate.AGREEMENT))
    verdict = gates.agreement_gate(report_of(figures), settings)
    return _row(project, GateReport.Gate.AGREEMENT, verdict)


@transaction.atomic
def judge_reward_model(version: RewardModelVersion) -> GateReport:
    """Judge a trained reward model by its metrics and by the agreement of its snapshot.

    The model's status follows the verdict. Raises NotTrained while there are no metrics.
    """
    version = RewardModelVersion.objects.select_for_update().get(pk=version.pk)
    if version.status not in JUDGED:
        raise NotTrained(f"{version} is {version.status}")
    agreement = judge_agreement(version.project, version.snapshot.agreement)
    settings = thresholds(version.project, GateReport.Gate.REWARD_MODEL)
    verdict = gates.reward_model_gate(
        agreement=cast(State, agreement.state),
        accuracy=_measured(version, "accuracy"),
        over_longest=_measured(version, "accuracy_over_longest"),
        human_accuracy=_measured(version, "human_accuracy"),
        against_live=_measured(version, "accuracy_over_former"),
        released=agreement.opens,
        settings=gates.RewardModelGateSettings(**settings),
    )
    # Two models with equal figures are still two: a release is of one of them.
    row = _row(version.project, GateReport.Gate.REWARD_MODEL, verdict, model=version.number)
    report = _kept(row)
    version.gate = report
    version.status = _status(report, agreement)
    version.save(update_fields=["gate", "status"])
    return report


@transaction.atomic
def release(report: GateReport, by: User | None, reason: str) -> GateReport:
    """Open a gate that stands at REVIEW, once, for the reason given.

    A reward model behind it is accepted; models that waited for the agreement are judged again.
    Raises NotReleasable without a reason, at any other state, and the second time.
    """
    reason = reason.strip()
    if not reason:
        raise NotReleasable("A release needs a written reason")
    unreleased = GateReport.objects.filter(pk=report.pk, state="REVIEW", released_at=None)
    released = unreleased.update(released_by=by, release_reason=reason, released_at=timezone.now())
    report.refresh_from_db()
    if not released:
        state = "was released before" if report.released_at else f"stands at {report.state}"
        raise NotReleasable(f"A gate can be released at REVIEW, and once; this one {state}")
    AuditEvent.record(
        "release gate", report, project=report.project, actor=by, gate=report.gate, reason=reason
    )
    if report.gate == GateReport.Gate.REWARD_MODEL:
        report.rewardmodelversion_set.update(status=Status.ACCEPTED)
    if report.gate == GateReport.Gate.AGREEMENT:
        for version in report.project.reward_models.filter(status=Status.SHADOW):
            judge_reward_model(version)
    return report


def _status(report: GateReport, agreement: GateReport) -> str:
    """A model that is not good enough is rejected; one that waits for anything stays in shadow."""
    if report.opens:
        return Status.ACCEPTED
    waits = agreement.state == "REVIEW" and not agreement.opens
    return Status.REJECTED if report.state == "BLOCK" and not waits else Status.SHADOW


def _row(project: Project, gate: str, verdict: Verdict, **facts: Any) -> GateReport:
    """The row of this verdict; an unsaved one unless it exists."""
    report = verdict.as_dict() | facts
    digest = content_hash(report)
    there = project.gate_reports.filter(gate=gate, digest=digest).order_by("-pk").first()
    return there or GateReport(
        project=project, gate=gate, state=verdict.state, report=report, digest=digest
    )


def _kept(row: GateReport) -> GateReport:
    if row.pk is None:
        row.save()
    return row


def _measured(version: RewardModelVersion, name: str) -> Measured:
    found = version.metrics.get(name, {})
    return Measured(found.get("value"), found.get("low"), found.get("high"))
