"""What the gates say of agreement and of a reward model, and releasing one that wants a person."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from django.db import transaction
from django.utils import timezone

from annotate.models import AuditEvent, Project, User, content_hash
from rewards.ml import gate as gates
from rewards.ml.model_rules import Counted, Evidence, LeftOut, Shares, Slice, TokenLift
from rewards.ml.rules import GateReport as Verdict
from rewards.ml.rules import Measured, State
from rewards.ml.version import code_version
from rewards.models import GateReport, GateSetting, RewardModelVersion
from rewards.services.agreement import newest_report, report_of
from rewards.services.dataset import trainable

Status = RewardModelVersion.Status
# The gates whose thresholds a project sets; that of promotion goes by the cycle's configuration.
SETTINGS: Mapping[str, Callable[..., object]] = {
    GateReport.Gate.AGREEMENT: gates.GateSettings,
    GateReport.Gate.REWARD_MODEL: gates.RewardModelGateSettings,
}
# Of so many of the newest agreement reports, the one that was judged is looked for.
REPORTS_SEARCHED = 20
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
            if isinstance(known[name], bool):
                if not isinstance(value, bool):
                    raise ValueError(f"{name} {value!r} is neither true nor false")
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise ValueError(f"{name} {value!r} is not a number")


def thresholds(project: Project, gate: str) -> dict[str, Any]:
    """What the newest settings say of a gate; rewards.ml.gate has the defaults for the rest.

    `GateSetting.values` maps a gate's name to the fields of its settings there.
    """
    newest = project.gate_settings.order_by("-pk").first()
    return newest.values.get(gate, {}) if newest else {}


def settings_in_force(project: Project) -> dict[str, dict[str, Any]]:
    """Every threshold of every gate that a project sets, by the gate's name."""
    return {gate: vars(made(**thresholds(project, gate))) for gate, made in SETTINGS.items()}


@transaction.atomic
def set_thresholds(
    project: Project, values: Mapping[str, Any], reason: str, by: User | None
) -> GateSetting:
    """Put thresholds in force from now on, as a further row; the reason is kept for good.

    All of them are written down, so that no later default changes them. The agreement is judged
    anew; what was judged before stays as it was. Raises ValueError for values that are none, and
    without a reason.
    """
    if not reason.strip():
        raise ValueError("A change of thresholds needs a written reason")
    check_thresholds(dict(values))
    before = settings_in_force(project)
    complete = {gate: fields | dict(values.get(gate, {})) for gate, fields in before.items()}
    setting = project.gate_settings.create(values=complete, reason=reason.strip(), created_by=by)
    AuditEvent.record(
        "set gate thresholds",
        setting,
        project=project,
        actor=by,
        reason=reason.strip(),
        changes=changes(before, complete),
    )
    if report := newest_report(project):
        judge_agreement(project, report.figures)
    return setting


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Which thresholds differ: {"gate", "name", "before", "after"} each."""
    return [
        {"gate": gate, "name": name, "before": before[gate][name], "after": value}
        for gate, fields in after.items()
        for name, value in fields.items()
        if before[gate][name] != value
    ]


def judge_agreement(project: Project, figures: Mapping[str, Any]) -> GateReport:
    """Judge the figures of an agreement report; the verdict that exists where they were judged.

    A verdict that exists keeps the release that it may have.
    """
    return _kept(agreement_verdict(project, figures))


def agreement_verdict(project: Project, figures: Mapping[str, Any]) -> GateReport:
    """What `judge_agreement` says of the figures: the row that it kept, or else an unsaved one."""
    settings = gates.GateSettings(**thresholds(project, GateReport.Gate.AGREEMENT))
    if settings.one_annotator and _several_taught(project):
        settings = replace(settings, one_annotator=False)  # others' agreement can be measured
    verdict = gates.agreement_gate(report_of(figures), settings)
    row = _row(project, GateReport.Gate.AGREEMENT, verdict)
    if row.pk is None:
        row.provenance = _measured_from(project, figures)
    return row


def _several_taught(project: Project) -> bool:
    """Whether models learn from several people, though perhaps only one judged audited prompts."""
    people = trainable(project).order_by().values("assignment__annotator").distinct()
    return people[:2].count() > 1


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
    threshold = agreement.report["settings"]["threshold"]
    verdict = gates.reward_model_gate(
        agreement=cast(State, agreement.state),
        accuracy=_measured(version, "accuracy"),
        over_longest=_measured(version, "accuracy_over_longest"),
        human_accuracy=_measured(version, "human_accuracy"),
        against_live=_measured(version, "accuracy_over_former"),
        evidence=evidence_of(version),
        released=agreement.opens,
        threshold=threshold,
        settings=gates.RewardModelGateSettings(**settings),
    )
    # Two models with equal figures are still two: a release is of one of them.
    row = _row(version.project, GateReport.Gate.REWARD_MODEL, verdict, model=version.number)
    if row.pk is None:
        row.provenance = _trained_from(version, agreement)
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


def _measured_from(project: Project, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Where the figures come from, so that they can be computed again."""
    found = {"figures_sha256": content_hash(figures), "code_version": code_version()}
    for report in project.agreement_reports.order_by("-pk")[:REPORTS_SEARCHED]:
        if report.figures == figures:
            return found | {
                "data_sha256": report.data_hash,
                "seed": report.seed,
                "measured_at": report.created_at.isoformat(),
            }
    return found


def _trained_from(version: RewardModelVersion, agreement: GateReport) -> dict[str, Any]:
    return {
        "code_version": code_version(),
        "reward_model": version.number,
        "reward_model_sha256": version.digest,
        "base": version.base,
        "config": version.config,
        "snapshot": version.snapshot.number,
        "snapshot_sha256": version.snapshot.digest,
        "metrics_sha256": content_hash(version.metrics),
        "agreement_gate": agreement.pk,
        "agreement_gate_digest": agreement.digest,
    }


def evidence_of(version: RewardModelVersion) -> Evidence:
    """What gate B goes by beside the accuracy, from the model's metrics and its snapshot."""
    metrics, agreement = version.metrics, version.snapshot.agreement
    low, high = agreement.get("alpha_lower_bound"), agreement.get("alpha_upper_bound")
    shares, gold = metrics.get("shares"), metrics.get("gold", {})
    return Evidence(
        one_annotator=agreement.get("state") == "one annotator",
        unseen_annotators=_counted(version, "accuracy_unseen_annotators"),
        shorter_won=_counted(version, "accuracy_where_shorter_won"),
        gold_over_live=_counted(version, "gold_over_former"),
        alpha_bounds=None if low is None or high is None else (low, high),
        left_out=[
            LeftOut(**{name: one[name] for name in ("annotator", "value", "low", "high")})
            for one in metrics.get("left_out", [])
        ],
        shares=Shares(**shares) if shares else None,
        drift=_counted(version, "drift"),
        slices=slices_of(agreement),
        token_lift=_token_lift(metrics.get("token_lift")),
        judged_by_gold=gold.get("judged", 0),
        failing_gold=gold.get("failing", 0),
    )


def slices_of(figures: Mapping[str, Any]) -> list[Slice]:
    """The topics of an agreement report, drawn towards what is common to them.

    Reports of before there was pooling have the topics alone.
    """
    topics = figures.get("topics", [])
    total = sum(topic["n_prompts"] for topic in topics)
    found = []
    for topic in topics:
        estimate = topic.get("pooled") or topic["alpha"]
        found.append(
            Slice(
                topic=topic["topic"],
                share=topic.get("share", topic["n_prompts"] / total),
                n_prompts=topic["alpha"]["n"],
                value=estimate["value"],
                high=estimate["high"],
            )
        )
    return found


def _token_lift(found: Mapping[str, Any] | None) -> TokenLift | None:
    """Of the audit's metric; None where it did not come to a figure."""
    if not found or found.get("max_lift") is None:
        return None
    return TokenLift(
        alarm=found["state"] == "alarm",
        max_lift=found["max_lift"],
        threshold=found["threshold"],
        tokens=[one["token"] for one in found["tokens"] if one.get("verdict", "alarm") == "alarm"],
    )


def _measured(version: RewardModelVersion, name: str) -> Measured:
    found = version.metrics.get(name, {})
    return Measured(found.get("value"), found.get("low"), found.get("high"))


def _counted(version: RewardModelVersion, name: str) -> Counted:
    found = version.metrics.get(name) or {}
    n = found.get("n_prompts", found.get("n_after", 0))
    return Counted(found.get("value"), found.get("low"), found.get("high"), n)
