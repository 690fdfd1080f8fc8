"""Frozen datasets, what the agreement was, the gates' verdicts, reward models, and background runs.

A run is a row before it is a process: whoever claims it holds a lease and a fencing token (the
attempt's number), and every later write carries the token, so that a worker that was given up
for lost can change nothing any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from annotate.models import Membership, Project, Prompt, Ranking, User
from rewards.signals import runs_ended


class RunLost(Exception):
    """This worker no longer owns the run: it was given up for lost, and may change nothing."""


class RunQuerySet(models.QuerySet["Run"]):
    def running(self) -> RunQuerySet:
        return self.filter(state=Run.State.RUNNING)

    def startable(self) -> RunQuerySet:
        """Queued runs of projects in which none is running, the oldest first."""
        running = Run.objects.running().filter(project=models.OuterRef("project"))
        return self.filter(~models.Exists(running), state=Run.State.QUEUED).order_by("pk")

    def overdue(self) -> RunQuerySet:
        """Runs whose worker has not been heard of for a whole lease."""
        return self.running().filter(lease_until__lt=timezone.now())

    @transaction.atomic
    def close(self, state: str, **fields: Any) -> int:
        """End these runs, and with them what cannot be made without them; returns how many."""
        closed = self.update(state=state, finished_at=timezone.now(), lease_until=None, **fields)
        runs_ended.send(sender=Run)
        return closed

    def requeue(self, **fields: Any) -> int:
        return self.update(
            state=Run.State.QUEUED, lease_until=None, worker="", finished_at=None, **fields
        )


class Run(models.Model):
    """One piece of background work: training, sampling or evaluation."""

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    FINISHED = (State.DONE, State.FAILED, State.CANCELLED)

    project = models.ForeignKey(Project, models.CASCADE, related_name="runs")
    kind = models.CharField(max_length=32)
    key = models.CharField(
        max_length=100,
        unique=True,
        null=True,
        blank=True,
        help_text="Asking twice with the same key gives the same run",
    )
    state = models.CharField(max_length=12, choices=State, default=State.QUEUED)
    params = models.JSONField(default=dict)
    result = models.JSONField(null=True, blank=True)
    reason = models.TextField(blank=True, help_text="Why it failed, was cancelled, or was lost")
    attempt = models.PositiveIntegerField(default=0, help_text="The fencing token")
    losses = models.PositiveIntegerField(default=0, help_text="How many of its workers died")
    worker = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)
    step = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    message = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project"], condition=Q(state="running"), name="one_running_in_project"
            ),
        ]
        indexes = [models.Index(fields=["state", "lease_until"])]

    def __str__(self) -> str:
        return f"{self.kind} run {self.pk}"

    @property
    def workdir(self) -> Path:
        """Private working space, shared by all attempts: checkpoints lie here."""
        return Path(settings.ARTEFACT_ROOT) / "work" / f"run-{self.pk}"

    def claim(self, worker: str) -> bool:
        """Become the one worker of this run; False when it is taken, finished, or must wait."""
        now = timezone.now()
        try:
            with transaction.atomic():
                taken = Run.objects.filter(pk=self.pk, state=Run.State.QUEUED).update(
                    state=Run.State.RUNNING,
                    worker=worker,
                    attempt=F("attempt") + 1,
                    lease_until=now + timedelta(seconds=settings.RUN_LEASE_S),
                    started_at=now,
                    reason="",
                )
        except IntegrityError:  # another run of the project is running
            return False
        if taken:
            self.refresh_from_db()
        return bool(taken)

    def _owned(self) -> RunQuerySet:
        return Run.objects.running().filter(pk=self.pk, attempt=self.attempt)

    def beat(self, **progress: Any) -> bool:
        """Extend the lease and store progress; False when this worker no longer owns the run."""
        lease = timezone.now() + timedelta(seconds=settings.RUN_LEASE_S)
        return bool(self._owned().update(lease_until=lease, **progress))

    @contextmanager
    def fenced(self, **progress: Any) -> Iterator[None]:
        """A transaction for a worker's own writes. Raises RunLost when the run is not its any more.

        The update inside locks the row, so nobody can give the run away before the commit.
        """
        with transaction.atomic():
            if not self.beat(**progress):
                raise RunLost(f"{self} was given to another worker")
            yield

    def finish(self, state: str, *, result: Any = None, reason: str = "") -> bool:
        """Close the run; False, and nothing written, when this worker no longer owns it."""
        return bool(self._owned().close(state, result=result, reason=reason))

    def give_back(self, reason: str) -> bool:
        """Queue it again because its worker was asked to stop; that is nobody's failure."""
        return self._let_go(self._owned(), reason, self.losses)

    def give_up(self, reason: str, *, overdue: bool = False) -> bool:
        """Queue it again after its worker died; after the last attempt it has failed.

        With `overdue`, only if the worker has not been heard of meanwhile.
        """
        owned = self._owned().overdue() if overdue else self._owned()
        return self._let_go(owned, reason, self.losses + 1)

    @staticmethod
    def _let_go(owned: RunQuerySet, reason: str, losses: int) -> bool:
        if owned.filter(cancel_requested=True).close(Run.State.CANCELLED, reason="cancelled"):
            return True
        if losses >= settings.RUN_MAX_ATTEMPTS:
            reason = f"{reason}; given up after {losses} attempts"
            return bool(owned.close(Run.State.FAILED, reason=reason, losses=losses))
        return bool(owned.requeue(reason=reason, losses=losses))


class RunMetric(models.Model):
    """One point of a run's curves."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="metrics")
    step = models.PositiveIntegerField()
    values = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "step"], name="metric_step_once")]

    def __str__(self) -> str:
        return f"{self.run_id}:{self.step}"


class Snapshot(models.Model):
    """A frozen dataset: the same rankings give the same bytes and the same hash."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="snapshots")
    number = models.PositiveIntegerField()
    rankings = models.ManyToManyField(Ranking, related_name="snapshots")
    folder = models.CharField(max_length=300, help_text="Below the artefact folder")
    digest = models.CharField(max_length=64)
    filters = models.JSONField(default=dict)
    exclusions = models.JSONField(default=list)
    counts = models.JSONField(default=dict)
    agreement = models.JSONField(default=dict)
    weights = models.JSONField(
        default=dict, help_text="Of everyone's judgements, and why; see rewards.services.weights"
    )
    code_version = models.CharField(max_length=40)
    tainted_at = models.DateTimeField(null=True, blank=True)
    taint_reason = models.TextField(blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="snapshot_number"),
        ]
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"snapshot {self.number}"

    @property
    def path(self) -> Path:
        return Path(settings.ARTEFACT_ROOT) / self.folder

    @property
    def adjudication_ids(self) -> list[int]:
        """The reviewers' decisions that it holds in the place of rankings, in their order."""
        ids: list[int] = self.filters.get("adjudications", [])
        return ids


class GateSetting(models.Model):
    """The thresholds in force are the newest row; the older rows are their history."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="gate_settings")
    values = models.JSONField()
    reason = models.TextField()
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.project} {self.created_at:%Y-%m-%d}"


class GateReport(models.Model):
    """A gate's verdict with every rule, value and interval, and a release where one was given."""

    class Gate(models.TextChoices):
        AGREEMENT = "agreement"
        REWARD_MODEL = "reward model"
        PROMOTION = "promotion"

    project = models.ForeignKey(Project, models.CASCADE, related_name="gate_reports")
    gate = models.CharField(max_length=16, choices=Gate)
    state = models.CharField(max_length=16, help_text="PASS, REVIEW, BLOCK or INSUFFICIENT")
    report = models.JSONField()
    digest = models.CharField(max_length=64, help_text="SHA-256 of the report's canonical JSON")
    provenance = models.JSONField(
        default=dict, help_text="Hashes of the data and the code that it was judged by"
    )
    released_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    release_reason = models.TextField(blank=True)
    released_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.gate} gate: {self.state}"

    @property
    def opens(self) -> bool:
        """Whether what stands behind the gate may go live."""
        return self.state == "PASS" or (self.state == "REVIEW" and self.released_at is not None)


class AgreementReport(models.Model):
    """The agreement at one moment, with what is needed to compute it again."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="agreement_reports")
    figures = models.JSONField()
    data_hash = models.CharField(max_length=64)
    seed = models.BigIntegerField()
    code_version = models.CharField(max_length=40)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.project} {self.created_at:%Y-%m-%d %H:%M}"


class PromptSums(models.Model):
    """What the figures of agreement need of one prompt, or of one imported item of it.

    rewards.services.sums keeps it up to date; it can always be computed anew from the rankings.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="prompt_sums")
    prompt = models.ForeignKey(Prompt, models.CASCADE, related_name="+")
    item = models.CharField(max_length=64, blank=True, help_text="The batch of an imported item")
    batch = models.CharField(max_length=64, blank=True, help_text="Of the newest of its tasks")
    judged_at = models.DateTimeField(help_text="When its newest judgement was first given")
    ratings = models.FloatField(help_text="n, D and T of alpha_sym, see rewards.ml.alpha")
    disagreement = models.FloatField()
    ties = models.FloatField()
    further = models.JSONField(help_text="The other columns of rewards.ml.prompt_sums, by name")
    criteria = models.JSONField(
        default=dict, help_text="Criterion → for each response, how often it was rated 1 to 5"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["prompt", "item"], name="sums_once"),
        ]

    def __str__(self) -> str:
        return f"sums of prompt {self.prompt_id} {self.item}".rstrip()


class PersonSums(models.Model):
    """What one annotator adds to the sums of one prompt; see rewards.ml.prompt_sums."""

    sums = models.ForeignKey(PromptSums, models.CASCADE, related_name="people")
    annotator = models.ForeignKey(Membership, models.CASCADE, related_name="+")
    judged_at = models.DateTimeField()
    comparisons = models.FloatField()
    ratings = models.FloatField(help_text="What alpha's sums change by without this annotator")
    disagreement = models.FloatField()
    ties = models.FloatField()
    share = models.FloatField(null=True, help_text="How far the others say the same, 0 to 1")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["sums", "annotator"], name="person_sums_once"),
        ]

    def __str__(self) -> str:
        return f"{self.annotator} in {self.sums}"


class LiveAgreement(models.Model):
    """The agreement as it is now, from the sums; and what these have taken in."""

    project = models.OneToOneField(Project, models.CASCADE, related_name="live_agreement")
    figures = models.JSONField(default=dict, help_text="See rewards.services.sums.figures_of")
    version = models.PositiveIntegerField(default=0, help_text="Counts the changes")
    settled_ranking = models.BigIntegerField(
        default=0, help_text="Every ranking up to this id is taken in"
    )
    recent_rankings = models.JSONField(default=list, help_text="Those beyond it that are, too")
    exclusions = models.JSONField(default=list, help_text="Ids of those in force then")
    counted_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(
        null=True, help_text="When all sums were last computed anew and compared"
    )
    n_corrected = models.PositiveIntegerField(
        default=0, help_text="How many prompts had other sums than they should, at that check"
    )

    def __str__(self) -> str:
        return f"{self.project} v{self.version}"


class Selection(models.Model):
    """How the prompts of one batch of tasks were chosen among the candidates."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="selections")
    batch = models.CharField(max_length=64, help_text="Of the tasks")
    reason = models.CharField(
        max_length=16, blank=True, help_text="Why all came at random; see rewards.choosing"
    )
    features = models.CharField(
        max_length=64, blank=True, help_text='"words", or the reward model that read the responses'
    )
    n_learned = models.PositiveIntegerField(
        default=0, help_text="Rankings the heads were fitted to"
    )
    n_candidates = models.PositiveIntegerField(help_text="Prompts with responses")
    n_random = models.PositiveIntegerField()
    n_active = models.PositiveIntegerField(default=0)
    n_repeated = models.PositiveIntegerField(default=0, help_text="Nearly the same as another")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "batch"], name="selection_once"),
        ]

    def __str__(self) -> str:
        return f"selection of {self.batch}"


class ArmComparison(models.Model):
    """How much a week's judgements of chosen prompts taught, beside as many of random ones."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="arm_comparisons")
    iso_week = models.CharField(max_length=8)
    n_labels = models.PositiveIntegerField(help_text="Judged prompts taken from each arm")
    n_held_out = models.PositiveIntegerField(help_text="Prompts that the accuracies are of")
    before = models.FloatField(help_text="Accuracy without either arm")
    random = models.FloatField(help_text="Accuracy with those of the random arm")
    active = models.FloatField()
    counts = models.BooleanField(
        default=True, help_text="False once an admin let the choosing begin anew"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "iso_week"], name="arms_once_a_week"),
        ]
        ordering = ["-iso_week"]

    def __str__(self) -> str:
        return f"{self.project} {self.iso_week}"

    @property
    def is_ahead(self) -> bool:
        """Whether the active arm taught more than the random one."""
        return self.active > self.random


class RewardModelQuerySet(models.QuerySet["RewardModelVersion"]):
    def settle(self) -> int:
        """Mark the models whose run has ended without them."""
        ended = [Run.State.FAILED, Run.State.CANCELLED]
        training = self.filter(status=RewardModelVersion.Status.TRAINING, run__state__in=ended)
        return training.update(status=RewardModelVersion.Status.FAILED)


class RewardModelVersion(models.Model):
    """A LoRA adapter and a head on a base model, fitted to the judgements of one snapshot."""

    class Status(models.TextChoices):
        TRAINING = "training", pgettext_lazy("state of a model", "Training")
        CANDIDATE = "candidate", _("candidate (gate not judged)")
        ACCEPTED = "accepted", _("Accepted")
        SHADOW = "shadow", _("shadow (metrics only)")
        REJECTED = "rejected", _("Rejected")
        FAILED = "failed", _("Failed")

    project = models.ForeignKey(Project, models.CASCADE, related_name="reward_models")
    number = models.PositiveIntegerField()
    snapshot = models.ForeignKey(Snapshot, models.PROTECT, related_name="reward_models")
    run = models.OneToOneField(Run, models.PROTECT, related_name="reward_model")
    base = models.CharField(max_length=300, help_text="Folder below the artefact folder, or hub id")
    config = models.JSONField()
    status = models.CharField(max_length=10, choices=Status, default=Status.TRAINING)
    folder = models.CharField(max_length=300, blank=True, help_text="Below the artefact folder")
    digest = models.CharField(max_length=64, blank=True)
    metrics = models.JSONField(default=dict)
    gate = models.ForeignKey(GateReport, models.PROTECT, null=True, blank=True)
    tainted_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = RewardModelQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="reward_model_number"),
        ]
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"reward model {self.number}"

    @property
    def base_source(self) -> str:
        """Where the base is loaded from: a folder, or a hub id where there is no such folder."""
        folder = Path(settings.ARTEFACT_ROOT) / self.base
        return str(folder) if folder.is_dir() else self.base

    @property
    def path(self) -> Path:
        return Path(settings.ARTEFACT_ROOT) / self.folder
