"""Policies and the weekly cycle that makes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from annotate.models import Project, User
from rewards.models import GateReport, RewardModelVersion, Run, Snapshot


class PolicyQuerySet(models.QuerySet["PolicyVersion"]):
    def live(self) -> PolicyQuerySet:
        return self.filter(status=PolicyVersion.Status.LIVE)

    def former(self) -> PolicyVersion | None:
        """The policy that was live before the one that is: what rolling back returns to."""
        retired = self.filter(status=PolicyVersion.Status.RETIRED)
        return retired.order_by("-retired_at").first()

    def next_number(self) -> int:
        """The number of the policy to be made next; the project's row must be locked."""
        return (self.aggregate(last=models.Max("number"))["last"] or 0) + 1

    def settle(self) -> int:
        """Mark the policies whose run has ended without them."""
        ended = [Run.State.FAILED, Run.State.CANCELLED]
        training = self.filter(status=PolicyVersion.Status.TRAINING, run__state__in=ended)
        return training.update(status=PolicyVersion.Status.FAILED)


class PolicyVersion(models.Model):
    """A base model with, from the second version on, a LoRA adapter. One is live in a project."""

    class Status(models.TextChoices):
        TRAINING = "training", pgettext_lazy("state of a model", "Training")
        CANDIDATE = "candidate", _("candidate (waits for its gate)")
        LIVE = "live", _("Live")
        RETIRED = "retired", _("Retired")
        REJECTED = "rejected", _("Rejected")
        FAILED = "failed", _("Failed")

    project = models.ForeignKey(Project, models.CASCADE, related_name="policies")
    number = models.PositiveIntegerField()
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True)
    base = models.CharField(max_length=300, help_text="Folder below the artefact folder, or hub id")
    reward_model = models.ForeignKey(RewardModelVersion, models.PROTECT, null=True, blank=True)
    run = models.OneToOneField(Run, models.PROTECT, null=True, blank=True, related_name="policy")
    config = models.JSONField(default=dict)
    status = models.CharField(max_length=10, choices=Status, default=Status.TRAINING)
    folder = models.CharField(
        max_length=300, blank=True, help_text="The adapter, below the artefact folder"
    )
    digest = models.CharField(max_length=64, blank=True)
    metrics = models.JSONField(default=dict)
    evaluation = models.JSONField(default=dict)
    gate = models.ForeignKey(GateReport, models.PROTECT, null=True, blank=True)
    promoted_at = models.DateTimeField(null=True, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PolicyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="policy_number"),
            models.UniqueConstraint(
                fields=["project"], condition=Q(status="live"), name="one_live_policy"
            ),
        ]
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"policy {self.number}"

    @property
    def base_source(self) -> str:
        """Where the base is loaded from: a folder, or a hub id where there is no such folder."""
        folder = Path(settings.ARTEFACT_ROOT) / self.base
        return str(folder) if folder.is_dir() else self.base

    @property
    def adapter_path(self) -> Path | None:
        return Path(settings.ARTEFACT_ROOT) / self.folder if self.folder else None

    @property
    def sampling(self) -> dict[str, Any]:
        """How its responses are drawn, the same in training, evaluation and use."""
        return {"temperature": 1.0, "max_new_tokens": 256, **self.config.get("sampling", {})}

    @property
    def blind_batch(self) -> str:
        """The batch of tasks that compare it, blind, with the policy it would replace."""
        return f"blind comparison of policy {self.number}"

    def lineage(self) -> Iterator[PolicyVersion]:
        """This policy, its parent, and so on to the supervised model."""
        policy: PolicyVersion | None = self
        while policy:
            yield policy
            policy = policy.parent

    @property
    def taint(self) -> str:
        """Why this policy rests on judgements that were excluded later; empty when it does not."""
        for policy in self.lineage():
            if (model := policy.reward_model) and (model.tainted_at or model.snapshot.tainted_at):
                reason = model.snapshot.taint_reason
                return f"{policy} learned from {model}, {model.snapshot}: {reason}".strip(": ")
        return ""

    def reject(self) -> None:
        """Put a candidate aside."""
        candidate = PolicyVersion.objects.filter(pk=self.pk, status=self.Status.CANDIDATE)
        candidate.update(status=self.Status.REJECTED)
        self.refresh_from_db()

    @transaction.atomic
    def go_live(self) -> PolicyVersion | None:
        """Take the place of the live policy, which is returned; one of two racers fails."""
        now = timezone.now()
        policies = PolicyVersion.objects.filter(project=self.project)
        former = policies.select_for_update().filter(status=self.Status.LIVE).first()
        if former:
            policies.filter(pk=former.pk).update(status=self.Status.RETIRED, retired_at=now)
        policies.filter(pk=self.pk).update(
            status=self.Status.LIVE, promoted_at=now, retired_at=None
        )
        self.refresh_from_db()
        return former


class Cycle(models.Model):
    """One week's turn of the loop in a project: a row first, and resumable at every step."""

    class Step(models.TextChoices):
        FREEZE = "freeze"
        AGREEMENT_GATE = "agreement gate"
        REWARD_MODEL = "reward model"
        REWARD_GATE = "reward gate"
        PPO = "ppo"
        EVALUATE = "evaluate"
        BLIND_COMPARISON = "blind comparison"
        PROMOTION_GATE = "promotion gate"
        SAMPLE = "sample"
        END = "end"

    class State(models.TextChoices):
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        STOPPED = "stopped", _("Stopped")  # by a gate, for want of rankings, or by a rollback
        FAILED = "failed", _("Failed")

    project = models.ForeignKey(Project, models.CASCADE, related_name="cycles")
    iso_week = models.CharField(max_length=8, help_text="Such as 2026-W47")
    step = models.CharField(max_length=20, choices=Step, default=Step.FREEZE)
    state = models.CharField(max_length=8, choices=State, default=State.RUNNING)
    reason = models.TextField(blank=True)
    snapshot = models.ForeignKey(Snapshot, models.PROTECT, null=True, blank=True)
    agreement_gate = models.ForeignKey(
        GateReport, models.PROTECT, null=True, blank=True, related_name="+"
    )
    reward_model = models.ForeignKey(RewardModelVersion, models.PROTECT, null=True, blank=True)
    policy = models.ForeignKey(PolicyVersion, models.PROTECT, null=True, blank=True)
    run = models.ForeignKey(
        Run,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="What the current step waits for",
    )
    log = models.JSONField(default=list, help_text="When each step ended, and what came of it")
    config = models.JSONField(default=dict)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "iso_week"], name="one_cycle_a_week"),
        ]
        ordering = ["-iso_week"]

    def __str__(self) -> str:
        return f"{self.project} {self.iso_week}"

    def move(self, step: str, outcome: str, **fields: Any) -> bool:
        """Go on to `step`; False when another process has moved this cycle meanwhile."""
        log = [*self.log, {"step": self.step, "at": timezone.now().isoformat(), "what": outcome}]
        moved = Cycle.objects.filter(pk=self.pk, step=self.step, state=self.State.RUNNING).update(
            **{"step": step, "log": log, "run": None} | fields
        )
        self.refresh_from_db()
        return bool(moved)

    def close(self, state: str, reason: str) -> bool:
        """End the cycle; it keeps the run that it ended with."""
        return self.move(
            self.Step.END,
            reason,
            state=state,
            reason=reason,
            run=self.run,
            finished_at=timezone.now(),
        )

    def reopen(self, step: str, outcome: str) -> bool:
        """Go on at `step` after the cycle stopped or failed; False when it did neither."""
        log = [*self.log, {"step": self.step, "at": timezone.now().isoformat(), "what": outcome}]
        ended = Cycle.objects.filter(pk=self.pk, state__in=[self.State.STOPPED, self.State.FAILED])
        reopened = ended.update(
            step=step, log=log, state=self.State.RUNNING, reason="", finished_at=None
        )
        self.refresh_from_db()
        return bool(reopened)


class LoopPause(models.Model):
    """While it is there, the schedule begins no cycle in the project; people still may."""

    project = models.OneToOneField(Project, models.CASCADE, related_name="loop_pause")
    reason = models.TextField()
    paused_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    paused_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.project}: {self.reason}"
