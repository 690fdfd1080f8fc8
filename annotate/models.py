"""What people judge and what they said.

A prompt has responses; a task asks for `need` judgements of some of them; an assignment leases one
slot of a task to one annotator and fixes the order on the screen; a ranking is what came back.
Rankings are never changed or deleted: a revision is a further row, an exclusion a row beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Least
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

SPLITS = ("train", "validation", "test")


def content_hash(value: Any) -> str:
    """SHA-256 of the value's canonical JSON: equal content has equal hashes everywhere."""
    canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def split_of(prompt_hash: str) -> str:
    """Train 80 %, validation 10 %, test 10 %: fixed by the prompt alone, so it never moves."""
    tenth = int(prompt_hash[:8], 16) % 10
    return "test" if tenth == 0 else "validation" if tenth == 1 else "train"


def base_language(tag: str) -> str:
    """The language that a tag names, without its region: "de" of "de-AT"."""
    return tag.replace("_", "-").split("-")[0].lower()


class User(AbstractUser):
    """A person who can sign in. What they are in a project stands in Membership."""

    keys = models.JSONField(
        default=dict,
        blank=True,
        help_text='Keys of the ranking page that differ from the usual ones, {"skip": "k"}; '
        '{"off": true} for none but those with Ctrl',
    )


class ProjectQuerySet(models.QuerySet["Project"]):
    def of(self, user: User) -> ProjectQuerySet:
        """Projects in which the person takes part now."""
        if user.is_superuser:
            return self
        return self.filter(
            memberships__user=user, memberships__state__in=Membership.MAY_ENTER
        ).distinct()

    def run_by(self, user: User) -> ProjectQuerySet:
        """Projects the person administers."""
        if user.is_superuser:
            return self
        return self.filter(
            memberships__user=user,
            memberships__role=Membership.Role.ADMIN,
            memberships__state=Membership.State.ACTIVE,
        ).distinct()

    def reviewed_by(self, user: User) -> ProjectQuerySet:
        """Projects in which the person reviews what people said: as a reviewer or as an admin."""
        if user.is_superuser:
            return self
        return self.filter(
            memberships__user=user,
            memberships__role__in=Membership.MAY_REVIEW,
            memberships__state=Membership.State.ACTIVE,
        ).distinct()


class Project(models.Model):
    slug = models.SlugField(unique=True)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    responses_per_prompt = models.PositiveSmallIntegerField(
        default=4, help_text="K: how many responses of a prompt a person ranks at once"
    )
    allow_ties = models.BooleanField(default=True)
    preference_steps = models.PositiveSmallIntegerField(
        default=3,
        choices=[(3, "A, equal, B"), (7, "Much, clearly, slightly A; equal; the same for B")],
        help_text="How finely a preference between two responses is asked for",
    )
    criteria = models.JSONField(
        default=list,
        blank=True,
        help_text='What each response is rated on, 1 to 5: [{"name": "safe", "label": "Safe"}, …]',
    )
    asks_confidence = models.BooleanField(default=True)
    asks_edit = models.BooleanField(
        default=True, help_text="Whether people may improve the best response by editing it"
    )
    audit_share = models.FloatField(
        default=0.25, help_text="Share of prompts, drawn at random, that two people judge"
    )
    audit_first = models.PositiveIntegerField(
        default=50, help_text="So many first prompts are all judged by two people"
    )
    active_share = models.FloatField(
        default=0.7,
        help_text="Share of a week's prompts that are chosen for what they would teach; 0 for none",
    )
    gold_rate = models.FloatField(
        default=0.0, help_text="Share of tasks whose right ranking is known, hidden among the rest"
    )
    repeat_rate = models.FloatField(
        default=0.0, help_text="Share of tasks that a person has ranked before, mirrored and hidden"
    )
    training_tasks = models.PositiveSmallIntegerField(
        default=0, help_text="How many explained tasks a newcomer begins with"
    )
    lease_s = models.PositiveIntegerField(default=900)
    undo_s = models.PositiveIntegerField(default=600)
    daily_cap = models.PositiveIntegerField(
        null=True, blank=True, help_text="How many rankings a person may give in a day"
    )
    total_cap = models.PositiveIntegerField(
        null=True, blank=True, help_text="How many rankings a person may give in the project"
    )
    languages = models.JSONField(default=list, blank=True, help_text='["en", "de"]')
    content_categories = models.JSONField(
        default=list,
        blank=True,
        help_text="Kinds of content that are covered until a person uncovers them, and that people "
        'may opt out of: [{"name": "violence", "label": "Violence"}, …]',
    )
    flags = models.JSONField(
        default=list,
        blank=True,
        help_text='Flags beside the usual ones: [{"name": "greenwash", "label": "Greenwash"}, …]',
    )
    guidelines_version = models.PositiveIntegerField(
        default=0, help_text="Of the newest guidelines; 0 where none were written"
    )
    consent_version = models.PositiveIntegerField(
        default=0, help_text="Of the newest consent text; 0 where none was written"
    )
    progress = models.JSONField(
        default=dict,
        blank=True,
        help_text="Totals over the project's tasks, counted each minute; see TaskProgress",
    )
    paused = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(responses_per_prompt__gte=2, responses_per_prompt__lte=8),
                name="between_two_and_eight_responses",
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def text(self, kind: str) -> ProjectText | None:
        """The newest guidelines or consent text, or None where none was written."""
        return self.texts.filter(kind=kind).order_by("-version").first()

    def text_version(self, kind: str) -> int:
        return int(getattr(self, f"{kind}_version"))


class ProjectText(models.Model):
    """One version of the guidelines or of the consent text; a change is a further row."""

    class Kind(models.TextChoices):
        GUIDELINES = "guidelines"
        CONSENT = "consent"

    project = models.ForeignKey(Project, models.CASCADE, related_name="texts")
    kind = models.CharField(max_length=12, choices=Kind)
    version = models.PositiveIntegerField()
    text = models.TextField()
    html = models.TextField(blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "kind", "version"], name="one_text_of_a_version"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.project} {self.kind} v{self.version}"


class Membership(models.Model):
    """What a person is in one project. Rankings belong to it, and outlive the account."""

    class Role(models.TextChoices):
        ANNOTATOR = "annotator", _("Annotator")
        REVIEWER = "reviewer", _("Reviewer")
        ADMIN = "admin", _("Admin")

    class State(models.TextChoices):
        ACTIVE = "active", _("Active")
        PAUSED = "paused", _("Paused")
        EXCLUDED = "excluded", _("Excluded")
        LEFT = "left", pgettext_lazy("went away", "Left")

    MAY_ENTER = (State.ACTIVE, State.PAUSED)
    MAY_REVIEW = (Role.REVIEWER, Role.ADMIN)

    project = models.ForeignKey(Project, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(
        User,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="memberships",
        help_text="Empty for a person whose judgements were imported or whose account was erased",
    )
    role = models.CharField(max_length=12, choices=Role, default=Role.ANNOTATOR)
    state = models.CharField(max_length=12, choices=State, default=State.ACTIVE)
    pseudonym = models.CharField(max_length=64)
    invite = models.ForeignKey("Invite", models.SET_NULL, null=True, blank=True)
    cohort = models.CharField(max_length=64, blank=True)
    languages = models.JSONField(default=list, blank=True)
    category_opt_outs = models.JSONField(default=list, blank=True)
    consent_version = models.PositiveIntegerField(default=0)
    consented_at = models.DateTimeField(null=True, blank=True)
    guidelines_version = models.PositiveIntegerField(default=0)
    trained_at = models.DateTimeField(
        null=True, blank=True, help_text="When the explained tasks for newcomers were done"
    )
    n_submitted = models.PositiveIntegerField(
        default=0, help_text="Rankings given; a revision is not counted again"
    )
    last_day = models.DateField(
        null=True, blank=True, help_text="The newest day (UTC) on which a ranking was given"
    )
    n_last_day = models.PositiveIntegerField(default=0, help_text="Rankings given on that day")
    streak_days = models.PositiveIntegerField(
        default=0, help_text="Days in a row, up to that day, each with a ranking"
    )
    reliability = models.FloatField(null=True, blank=True)
    reliability_se = models.FloatField(null=True, blank=True)
    position_bias = models.FloatField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "pseudonym"], name="pseudonym_in_project"),
            models.UniqueConstraint(fields=["project", "user"], name="person_in_project"),
        ]

    def __str__(self) -> str:
        return self.pseudonym

    @property
    def reads(self) -> set[str]:
        """The languages of tasks for this person, "" where none is known; empty means all."""
        return {"", *map(base_language, self.languages)} if self.languages else set()

    def still_takes_part(self) -> bool:
        """Whether the person takes part, who then neither leaves nor is erased before the commit.

        Asked in the transaction that stores what he wrote, before it is stored.
        """
        mine = Membership.objects.select_for_update(no_key=True).filter(pk=self.pk)
        return mine.filter(state__in=Membership.MAY_ENTER).exists()

    def takes(self, language: str, categories: str) -> bool:
        """Whether a task suits: it is in a language he reads, and shows nothing he opted out of."""
        return (not self.reads or language in self.reads) and not any(
            f"|{category}|" in categories for category in self.category_opt_outs
        )


class InviteQuerySet(models.QuerySet["Invite"]):
    def open(self) -> InviteQuerySet:
        """Invitations that still let somebody in."""
        return self.filter(uses__lt=F("max_uses"), revoked_at=None, expires_at__gt=timezone.now())


class Invite(models.Model):
    """A link that lets people join; only the hash of its token is kept."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="invites")
    token_hash = models.CharField(max_length=64, unique=True)
    role = models.CharField(
        max_length=12, choices=Membership.Role, default=Membership.Role.ANNOTATOR
    )
    max_uses = models.PositiveIntegerField(default=1)
    uses = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = InviteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(uses__lte=F("max_uses")), name="invite_uses"),
        ]

    def __str__(self) -> str:
        return f"{self.role} of {self.project} ({self.uses}/{self.max_uses})"

    @staticmethod
    def hash(token: str) -> str:
        return hashlib.sha256(token.encode()).hexdigest()

    @property
    def is_open(self) -> bool:
        return Invite.objects.open().filter(pk=self.pk).exists()

    def take(self) -> bool:
        """Count one use; False when it is used up, expired or revoked."""
        return bool(Invite.objects.open().filter(pk=self.pk).update(uses=F("uses") + 1))


class Prompt(models.Model):
    project = models.ForeignKey(Project, models.CASCADE, related_name="prompts")
    external_id = models.CharField(  # noqa: DJ001 (many prompts have none, and "" is unique)
        max_length=200, null=True, blank=True
    )
    messages = models.JSONField(help_text='[{"role": "user", "content": "…"}, …]')
    html = models.JSONField(help_text="Each message's content, rendered once and sanitised")
    topic = models.CharField(max_length=100, blank=True)
    language = models.CharField(max_length=16, blank=True)
    content_categories = models.JSONField(default=list, blank=True)
    content_hash = models.CharField(max_length=64)
    split = models.CharField(max_length=12, choices=[(s, s) for s in SPLITS])
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "content_hash"], name="prompt_once"),
            models.UniqueConstraint(fields=["project", "external_id"], name="external_id_once"),
        ]
        indexes = [
            models.Index(fields=["project", "split"]),
            models.Index(fields=["project", "topic"]),
        ]

    def __str__(self) -> str:
        return str(self.messages[-1]["content"])[:80]


class Response(models.Model):
    class Source(models.TextChoices):
        POLICY = "policy"
        IMPORT = "import"
        HUMAN = "human"

    prompt = models.ForeignKey(Prompt, models.CASCADE, related_name="responses")
    text = models.TextField()
    html = models.TextField(help_text="The text, rendered once and sanitised")
    content_hash = models.CharField(max_length=64)
    source = models.CharField(max_length=8, choices=Source)
    source_name = models.CharField(
        max_length=200, blank=True, help_text="The system that wrote an imported response"
    )
    policy_ref = models.BigIntegerField(
        null=True,
        blank=True,
        db_index=True,
        help_text="Id of the training.PolicyVersion that wrote it; no foreign key, since this "
        "package knows nothing of training",
    )
    sampling = models.JSONField(default=dict, blank=True)
    author = models.ForeignKey(Membership, models.SET_NULL, null=True, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["prompt", "content_hash"], name="response_once"),
        ]

    def __str__(self) -> str:
        return self.text[:80]


# The queue: what volunteers are asked one after the other. A task with a key, to compare rankings
# with, and the mirror of one that a person has judged come among these on occasion, so they must
# not lie in the way. SQLite uses an index with a condition only where it finds the same terms.
QUEUED = Q(state="open", gold_ranks__isnull=True, mirror_of__isnull=True)
FRESH = QUEUED & Q(n_done=0)
BEGUN = QUEUED & Q(n_done__gt=0)
KEYED = Q(gold_ranks__isnull=False)


def open_to(member: Membership | models.Expression) -> Q:
    """Whether a person has not judged, skipped or written the task, and it is not for another."""
    taken = Assignment.objects.filter(
        task=models.OuterRef("pk"), annotator=member, state__in=Assignment.TAKEN
    )
    own = TaskResponse.objects.filter(task=models.OuterRef("pk"), response__author=member)
    for_him = Q(reserved_for=None) | Q(reserved_for=member)
    return for_him & ~models.Exists(taken) & ~models.Exists(own)


class TaskQuerySet(models.QuerySet["Task"]):
    def with_free_slots(self) -> TaskQuerySet:
        return self.filter(state=Task.State.OPEN, n_done__lt=F("need") - F("n_live"))

    def fresh(self) -> TaskQuerySet:
        """The part of the queue that nobody has judged, most urgent first."""
        return self.filter(FRESH).with_free_slots().order_by("-priority", "id")

    def begun(self) -> TaskQuerySet:
        """The part of the queue where somebody has judged and another is wanted."""
        return self.filter(BEGUN).with_free_slots().order_by("-priority", "id")

    def keyed(self, project: Project, kind: str) -> TaskQuerySet:
        """The project's gold or training tasks, most urgent first."""
        return self.filter(KEYED, project=project, kind=kind).order_by("-priority", "id")

    def open_to(self, member: Membership) -> TaskQuerySet:
        """Without what the person has judged, skipped or written himself, or is for another."""
        return self.filter(open_to(member))

    def steps(self, column: str) -> Iterator[str]:
        """The column's different values in order, each found by one step in an index."""
        values = self.order_by(column).values_list(column, flat=True)
        value = values.first()
        while value is not None:
            yield value
            value = values.filter(**{f"{column}__gt": value}).first()

    def totals(self) -> dict[str, int]:
        """Sums over the tasks that ask for judgements; those that examine people ask for none.

        A late judgement beyond what a task needs is not counted, so `given` never exceeds `wanted`.
        """
        examining = (Task.Kind.GOLD, Task.Kind.TRAINING, Task.Kind.REPEAT)
        asking = self.exclude(state=Task.State.CLOSED).exclude(kind__in=examining)
        return asking.aggregate(
            tasks=models.Count("pk"),
            tasks_done=models.Count("pk", filter=Q(state=Task.State.DONE)),
            wanted=models.Sum("need", default=0),
            given=models.Sum(
                Least("n_done", "need", output_field=models.IntegerField()), default=0
            ),
            live=models.Sum("n_live", default=0),
        )

    def reviewable(self) -> TaskQuerySet:
        """Tasks whose rankings a reviewer may look at and decide about.

        Not those that are still open, since who reads what others said of them could be asked for
        a judgement of his own; nor those that examine people or compare policies.
        """
        return self.filter(kind__in=Task.REVIEWED).exclude(state=Task.State.OPEN)


class Task(models.Model):
    """A wish for `need` judgements of the same responses of one prompt."""

    class Kind(models.TextChoices):
        NORMAL = "normal"
        AUDIT = "audit"
        GOLD = "gold"
        REPEAT = "repeat"
        TRAINING = "training"
        EVALUATION = "evaluation"
        IMPORT = "import"

    # Models learn from these; the others examine people or compare policies.
    REVIEWED = (Kind.NORMAL, Kind.AUDIT, Kind.IMPORT)

    class State(models.TextChoices):
        OPEN = "open"
        DONE = "done"
        CLOSED = "closed"

    class Arm(models.TextChoices):
        """How a prompt came to be asked about."""

        RANDOM = "random", _("by chance")
        ACTIVE = "active", _("chosen")
        RESERVE = "reserve", _("in reserve")

    project = models.ForeignKey(Project, models.CASCADE, related_name="tasks")
    prompt = models.ForeignKey(Prompt, models.CASCADE, related_name="tasks")
    responses = models.ManyToManyField(Response, through="TaskResponse", related_name="tasks")
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.NORMAL)
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    need = models.PositiveIntegerField(default=1)
    n_done = models.IntegerField(default=0)
    n_live = models.IntegerField(default=0)
    priority = models.IntegerField(default=0)
    batch = models.CharField(
        max_length=64,
        blank=True,
        db_index=True,
        help_text="What the task was made for, e.g. one policy's samples or one blind comparison",
    )
    arm = models.CharField(max_length=12, choices=Arm, default=Arm.RANDOM)
    inclusion_probability = models.FloatField(
        default=1.0, help_text="Of the week's candidates: how probably it came into the queue"
    )
    proposed_by = models.JSONField(
        default=dict, blank=True, help_text="Ids of the policy and reward model that proposed it"
    )
    language = models.CharField(
        max_length=16, blank=True, help_text="The prompt's language, without its region"
    )
    categories = models.CharField(
        max_length=300,
        blank=True,
        help_text="The prompt's content categories, as |violence|health|",
    )
    mirror_of = models.ForeignKey("self", models.SET_NULL, null=True, blank=True)
    reserved_for = models.ForeignKey(Membership, models.CASCADE, null=True, blank=True)
    gold_ranks = models.JSONField(
        null=True,
        blank=True,
        help_text="Of a gold or training task: response id → the right rank, as in Ranking.ranks",
    )
    gold_unacceptable = models.JSONField(default=list, blank=True, help_text="Response ids")
    adversarial = models.BooleanField(
        default=False, help_text="Of a gold task: a longer or prettier response is the wrong one"
    )
    explanation = models.TextField(
        blank=True, help_text="Of a training task: why this is the right ranking"
    )
    agreement = models.FloatField(
        null=True,
        blank=True,
        help_text="Mean over the judgements' pairs, and over the response pairs both ranked: 1 for "
        "the same preference, 1/2 for a tie against a win, 0 for opposite ones",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TaskQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(n_done__gte=0), name="task_done_not_negative"),
            models.CheckConstraint(condition=Q(n_live__gte=0), name="task_live_not_negative"),
            models.CheckConstraint(condition=Q(need__gte=1), name="task_needs_somebody"),
        ]
        indexes = [
            # Whoever looks for the next task reads the front of these, most urgent first; the
            # second pair serves who can be given nothing that stands there.
            models.Index(
                fields=["project", "-priority", "id"], condition=FRESH, name="fresh_tasks"
            ),
            models.Index(
                fields=["project", "-priority", "id"], condition=BEGUN, name="begun_tasks"
            ),
            models.Index(
                fields=["project", "language", "categories", "-priority", "id"],
                condition=FRESH,
                name="fresh_tasks_by_content",
            ),
            models.Index(
                fields=["project", "language", "categories", "-priority", "id"],
                condition=BEGUN,
                name="begun_tasks_by_content",
            ),
            models.Index(fields=["project", "kind"], condition=KEYED, name="keyed_tasks"),
            models.Index(
                fields=["project", "agreement", "id"],
                condition=Q(agreement__isnull=False),
                name="tasks_by_agreement",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} task {self.pk}"


class TaskResponse(models.Model):
    task = models.ForeignKey(Task, models.CASCADE, related_name="slots")
    response = models.ForeignKey(Response, models.CASCADE, related_name="slots")
    slot = models.PositiveSmallIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "response"], name="response_once_in_task"),
            models.UniqueConstraint(fields=["task", "slot"], name="slot_once_in_task"),
        ]

    def __str__(self) -> str:
        return f"{self.task_id}:{self.slot}"


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    def of(self, user: User | models.Expression) -> AssignmentQuerySet:
        return self.filter(annotator__user=user, annotator__state=Membership.State.ACTIVE)

    def leased(self) -> AssignmentQuerySet:
        return self.filter(state=Assignment.State.LEASED)

    def overdue(self) -> AssignmentQuerySet:
        return self.leased().filter(lease_expires_at__lt=timezone.now())

    def expire_overdue(self, limit: int | None = None) -> int:
        """Free the slots of leases that ran out, one transaction a row; returns how many.

        Many rows in one transaction would lock tasks in an order of their own and deadlock with
        people who submit meanwhile.
        """
        overdue = self.overdue().only("task").order_by("lease_expires_at")[:limit]
        return sum(row.free_slot(Assignment.State.EXPIRED) for row in overdue)


class Assignment(models.Model):
    """One slot of a task, leased to one annotator, with the order the responses are shown in."""

    class State(models.TextChoices):
        LEASED = "leased"
        SUBMITTED = "submitted"
        SKIPPED = "skipped"
        EXPIRED = "expired"
        RELEASED = "released"
        BARRED = "barred"  # never leased: the person knows what others said of the task

    TAKEN = (State.LEASED, State.SUBMITTED, State.SKIPPED, State.BARRED)
    # Work on these was begun and then lost its slot; it is still accepted, and marked late.
    LATE = (State.EXPIRED, State.RELEASED)

    task = models.ForeignKey(Task, models.CASCADE, related_name="assignments")
    annotator = models.ForeignKey(Membership, models.CASCADE, related_name="assignments")
    state = models.CharField(max_length=10, choices=State, default=State.LEASED)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    display_order = models.JSONField(help_text="Response ids as shown, first to last")
    order_seed = models.BigIntegerField(null=True, blank=True)
    late = models.BooleanField(default=False)
    opened_at = models.DateTimeField(default=timezone.now)
    first_interaction_at = models.DateTimeField(null=True, blank=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    draft = models.JSONField(null=True, blank=True)
    draft_revision = models.PositiveIntegerField(default=0)
    skip_reason = models.CharField(max_length=200, blank=True)
    client = models.JSONField(
        default=dict, blank=True, help_text="Language and width class of the browser; no more"
    )

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "annotator"], name="task_once_for_annotator"),
            models.UniqueConstraint(
                fields=["annotator"], condition=Q(state="leased"), name="one_live_lease"
            ),
        ]
        indexes = [
            models.Index(
                fields=["lease_expires_at"], condition=Q(state="leased"), name="live_leases"
            ),
            models.Index(fields=["annotator", "-submitted_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.annotator} on task {self.task_id}"

    @cached_property
    def responses(self) -> dict[int, Response]:
        """What is shown, by id."""
        return Response.objects.in_bulk(self.display_order)

    @property
    def is_editable(self) -> bool:
        """Whether it still takes a ranking: not given yet, perhaps late, or opened for revision."""
        if self.state == self.State.SUBMITTED:
            return self.draft is not None
        return self.state == self.State.LEASED or self.state in self.LATE

    @transaction.atomic
    def free_slot(self, state: str, **fields: Any) -> bool:
        """End the lease and give its slot back; False when the lease had ended before.

        As everywhere, the task's row is locked first and the assignment changed second.
        """
        expires = state == self.State.EXPIRED
        # Who frees what ran out does not wait: somebody else is doing it, or the person is back.
        locked = Task.objects.select_for_update(skip_locked=expires).filter(pk=self.task_id)
        if locked.first() is None:
            return False
        mine = Assignment.objects.leased().filter(pk=self.pk)
        if expires:  # a heartbeat may have come meanwhile
            mine = mine.overdue()
        freed = mine.update(state=state, lease_expires_at=None, **fields)
        if freed:
            Task.objects.filter(pk=self.task_id).update(n_live=F("n_live") - 1)
        return bool(freed)


class RankingQuerySet(models.QuerySet["Ranking"]):
    def current(self) -> RankingQuerySet:
        return self.filter(is_current=True)

    def in_project(self, project: Project) -> RankingQuerySet:
        return self.filter(assignment__task__project=project)

    def not_excluded(self) -> RankingQuerySet:
        """Without what an exclusion in force names: an annotator, one ranking, or one task."""
        in_force = Exclusion.objects.filter(lifted_at=None)
        return (
            self.exclude(
                models.Exists(in_force.filter(membership=models.OuterRef("assignment__annotator")))
            )
            .exclude(models.Exists(in_force.filter(ranking=models.OuterRef("pk"))))
            .exclude(models.Exists(in_force.filter(task=models.OuterRef("assignment__task"))))
        )


class Ranking(models.Model):
    """What one annotator said of one assignment. Append-only: a revision is a further row."""

    assignment = models.ForeignKey(Assignment, models.CASCADE, related_name="rankings")
    revision = models.PositiveIntegerField(default=1)
    is_current = models.BooleanField(default=True)
    ranks = models.JSONField(
        help_text="Response id → rank, 1 the best, equal ranks a tie, null not ranked"
    )
    unacceptable = models.JSONField(default=list, blank=True, help_text="Response ids")
    strength = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="Of two responses on seven steps: 0 equal, 1 slightly, 2 clearly, 3 much better",
    )
    confidence = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="1 guessed, 2 fairly sure, 3 sure"
    )
    criteria = models.JSONField(
        default=dict, blank=True, help_text="Response id → criterion → rating from 1 to 5"
    )
    flags = models.JSONField(
        default=dict, blank=True, help_text='Response id, or "prompt" → names of flags'
    )
    rationale = models.TextField(blank=True)
    dwell_ms = models.PositiveIntegerField(null=True, blank=True)
    n_changes = models.PositiveIntegerField(null=True, blank=True)
    guidelines_version = models.PositiveIntegerField(default=0)
    consent_version = models.PositiveIntegerField(default=0)
    payload_hash = models.CharField(max_length=64)
    frozen_at = models.DateTimeField(
        null=True, blank=True, help_text="When the first snapshot that uses it was frozen"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = RankingQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "revision"], name="revision_once"),
            models.UniqueConstraint(
                fields=["assignment"], condition=Q(is_current=True), name="one_current_ranking"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.assignment} r{self.revision}"


class Demonstration(models.Model):
    """A response that a person wrote, or made from the best one by editing it."""

    prompt = models.ForeignKey(Prompt, models.CASCADE, related_name="demonstrations")
    text = models.TextField()
    author = models.ForeignKey(Membership, models.SET_NULL, null=True, blank=True)
    edited_from = models.ForeignKey(Response, models.SET_NULL, null=True, blank=True)
    assignment = models.ForeignKey(
        Assignment,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="demonstrations",
        help_text="The task in which it was written",
    )
    retired_at = models.DateTimeField(
        null=True, blank=True, help_text="When its author took it back or replaced it"
    )
    content_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["prompt", "content_hash"], name="demonstration_once"),
        ]

    def __str__(self) -> str:
        return self.text[:80]


class AdjudicationQuerySet(models.QuerySet["Adjudication"]):
    def current(self) -> AdjudicationQuerySet:
        return self.filter(is_current=True)

    def ranking(self) -> AdjudicationQuerySet:
        """The decisions that stand, give a ranking, and are of reviewers who are not excluded."""
        excluded = Exclusion.objects.filter(lifted_at=None, membership=models.OuterRef("reviewer"))
        return self.current().filter(~models.Exists(excluded), ranks__isnull=False)


class Adjudication(models.Model):
    """What a reviewer decided about a task on which people disagree. A new decision is a new row.

    The ranks in force take the place of the people's own where training learns from the task.
    """

    class Category(models.TextChoices):
        ERROR = "error"
        GUIDELINE_GAP = "guideline gap"
        AMBIGUOUS = "ambiguous prompt"
        TRUE_TIE = "true tie"
        TASTE = "taste"

    task = models.ForeignKey(Task, models.CASCADE, related_name="adjudications")
    reviewer = models.ForeignKey(Membership, models.CASCADE, related_name="adjudications")
    adopted = models.ForeignKey(
        Ranking,
        models.SET_NULL,
        null=True,
        blank=True,
        help_text="The person's ranking that was adopted; empty where the reviewer ranked anew",
    )
    ranks = models.JSONField(
        null=True, blank=True, help_text="As in Ranking; null leaves the people's rankings in force"
    )
    unacceptable = models.JSONField(default=list, blank=True, help_text="Response ids")
    category = models.CharField(max_length=16, choices=Category)
    note = models.TextField(blank=True)
    is_current = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = AdjudicationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["task"], condition=Q(is_current=True), name="one_current_adjudication"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.category} on task {self.task_id}"


class Exclusion(models.Model):
    """Leaves judgements out from now on, says why, and can be lifted. Deletes nothing."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="exclusions")
    membership = models.ForeignKey(Membership, models.CASCADE, null=True, blank=True)
    ranking = models.ForeignKey(Ranking, models.CASCADE, null=True, blank=True)
    task = models.ForeignKey(Task, models.CASCADE, null=True, blank=True)
    reason = models.TextField()
    evidence = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    lifted_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    lifted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(membership__isnull=False, ranking=None, task=None)
                | Q(membership=None, ranking__isnull=False, task=None)
                | Q(membership=None, ranking=None, task__isnull=False),
                name="exclusion_of_one_thing",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.membership or self.ranking or self.task}: {self.reason}"


class AuditEvent(models.Model):
    """Who did what to which object. Rows are added, never changed and never deleted.

    Only when a person is erased do the names of that person go (annotate.services.leaving).
    """

    project = models.ForeignKey(Project, models.CASCADE, null=True, blank=True)
    actor = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    verb = models.CharField(max_length=64)
    object_type = models.CharField(max_length=64)
    object_id = models.CharField(max_length=64)
    detail = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["project", "-created_at"])]

    def __str__(self) -> str:
        return f"{self.verb} {self.object_type} {self.object_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk:
            raise ValidationError("An audit event cannot be changed")
        super().save(*args, **kwargs)

    @classmethod
    def record(
        cls,
        verb: str,
        subject: models.Model,
        *,
        project: Project | None,
        actor: User | None,
        **detail: Any,
    ) -> AuditEvent:
        return cls.objects.create(
            project=project,
            actor=actor,
            verb=verb,
            detail=detail,
            object_type=subject._meta.label,
            object_id=str(subject.pk),
        )
