"""People claim, draft, submit, revise, skip, go away and come back late, and are excluded, paused
and frozen, in any order; a plain model says what must come of it, and every step is recounted.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from annotate.models import Assignment, Exclusion, Membership, Project, Ranking, Task
from annotate.services import assignments
from annotate.services.assignments import (
    Conflict,
    claim,
    has_work,
    heartbeat,
    release,
    save_draft,
    skip,
)
from annotate.services.checks import close_gold_task
from annotate.services.people import add_member
from annotate.services.projects import exclude, lift, set_member_state
from annotate.services.rankings import reopen, submit_ranking
from annotate.services.tasks import ask_second_opinion
from tests.annotate.recount import recount
from tests.annotate.test_assignments import let_lease_run_out
from tests.annotate.test_checks import open_check, open_training
from tests.make import make_project, make_task

QUEUE = ("normal", "audit")
CAP = 4
PEOPLE = ("ada", "bob", "cleo")
# What happens in a step, by the methods' names; what stands here more often happens more often.
# One rule for all, since Hypothesis would leave out some rules of a machine at random, and without
# claims nothing follows.
STEPS = (
    *("works",) * 10,
    *("claims", "submits") * 5,
    *("reopens", "goes_away", "are_taken_in_again", "another_opinion_is_wanted") * 2,
    *("drafts", "skips", "gives_back", "is_excluded", "is_paused", "the_project_pauses"),
    *("a_ranking_is_frozen", "gold_is_closed"),
)


@dataclass(frozen=True)
class Step:
    person: int
    number: int  # says which, where there are several
    said: tuple[int, ...]  # ranks of the two responses
    otherwise: bool


steps = st.builds(
    Step,
    person=st.integers(0, len(PEOPLE) - 1),
    number=st.integers(0, 50),
    said=st.sampled_from([(1, 2), (2, 1), (1, 1)]),
    otherwise=st.booleans(),
)


@dataclass
class Given:
    """What the model knows of an assignment."""

    person: int
    task: int
    order: list[int]
    state: str = "leased"
    late: bool = False
    said: list[tuple[int, ...]] = field(default_factory=list)  # one entry a revision
    frozen: bool = False  # it stands for good
    drafted: bool = False  # there is a draft; of a submitted one, it was opened again
    drafts: int = 0

    @property
    def editable(self) -> bool:
        return self.drafted if self.state == "submitted" else self.state != "skipped"


class HandingOut(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.example = transaction.atomic()
        self.example.__enter__()
        self.project = make_project(
            "machine", training_tasks=1, gold_rate=0.2, repeat_rate=0.5, daily_cap=CAP
        )
        for kind in (*QUEUE, *QUEUE):
            make_task(self.project, responses=2, kind=kind)
        self.gold = open_check(self.project, (1, 2), responses=2)
        self.training = open_training(self.project, ranks=(1, 2), responses=2)
        self.people = [add_member(self.project, None, pseudonym=name) for name in PEOPLE]
        # One newcomer is enough.
        Membership.objects.exclude(pk=self.people[0].pk).update(trained_at=timezone.now())
        self.may_work = [True] * len(PEOPLE)
        self.given: dict[int, Given] = {}

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.example.__exit__(None, None, None)

    # What the model says

    def member(self, person: int) -> Membership:
        return Membership.objects.select_related("project").get(pk=self.people[person].pk)

    def has_left(self, person: int) -> bool:
        """Nothing is taken from him any more, not even what he began before."""
        return self.member(person).state not in Membership.MAY_ENTER

    def lease_of(self, person: int) -> int | None:
        mine = [
            pk for pk, one in self.given.items() if (one.person, one.state) == (person, "leased")
        ]
        return mine[0] if mine else None

    def submitted(self, person: int) -> int:
        mine = [one for one in self.given.values() if one.person == person]
        return sum(one.state == "submitted" for one in mine)

    def used(self, task: Task) -> int:
        """Slots of the task that are used or being used."""
        states = [one.state for one in self.given.values() if one.task == task.pk]
        return states.count("submitted") + states.count("leased")

    def could_get(self, person: int, task: Task) -> bool:
        """Whether the task is open, has a free slot, and the person neither judged nor skipped."""
        over = ("submitted", "skipped")
        mine = [one for one in self.given.values() if (one.person, one.task) == (person, task.pk)]
        return (
            task.state == "open"
            and self.used(task) < task.need
            and not any(one.state in over for one in mine)
        )

    def queue_of(self, person: int) -> list[Task]:
        tasks = Task.objects.filter(project=self.project, kind__in=QUEUE)
        return [task for task in tasks if self.could_get(person, task)]

    def some(self, step: Step, **wanted: Any) -> Assignment | None:
        """One of the assignments of which the model knows this, or None."""
        fitting = [
            pk
            for pk, one in sorted(self.given.items())
            if all(getattr(one, name) == value for name, value in wanted.items())
        ]
        if not fitting:
            return None
        pk = fitting[step.number % len(fitting)]
        return Assignment.objects.select_related("task__project", "annotator").get(pk=pk)

    @rule(what=st.sampled_from(STEPS), step=steps)
    def happens(self, what: str, step: Step) -> None:
        getattr(self, what)(step)

    # What people do

    def claims(self, step: Step) -> None:
        person = step.person
        member = self.member(person)
        mine = self.lease_of(person)
        queue = self.queue_of(person)
        trains = member.trained_at is None and self.could_get(person, self.training)
        if not mine:
            assert has_work(member) == bool(trains or queue)
        lease = claim(member)
        if mine:
            assert lease is not None and lease.pk == mine
        elif not self.may_work[person] or self.submitted(person) >= CAP:
            assert lease is None
        elif trains:
            assert lease is not None and lease.task == self.training
        elif not queue:
            assert lease is None, "gold or a repeat alone"
        else:
            assert lease is not None, "there is work"
            if lease.task.kind in QUEUE:
                assert lease.task in queue
            elif lease.task.kind == "gold":
                assert self.could_get(person, lease.task)
            else:
                assert lease.task.kind == "repeat"
                assert lease.task.reserved_for == member
        if lease and lease.pk not in self.given:
            self.given[lease.pk] = Given(person, lease.task_id, lease.display_order)
        elif lease and not mine:
            assert self.given[lease.pk].state in ("expired", "released")
            assert lease.display_order == self.given[lease.pk].order
            self.given[lease.pk].state = "leased"

    def drafts(self, step: Step) -> None:
        """Saves a draft, or in another tab one that began from an older draft."""
        if (assignment := self.some(step)) is None:
            return
        one = self.given[assignment.pk]
        is_stale = step.otherwise
        try:
            save_draft(assignment, {"rank-a": "1"}, one.drafts - is_stale)
        except Conflict:
            assert is_stale or not one.editable
        else:
            assert one.editable and not is_stale
            one.drafted, one.drafts = True, one.drafts + 1

    def works(self, step: Step) -> None:
        self.claims(step)
        if mine := self.lease_of(step.person):
            self.submit(mine, step.said, None)

    def submits(self, step: Step) -> None:
        """Anything that was ever given: late, or again; as a revision or, in another tab, not."""
        if assignment := self.some(step):
            revises = None if step.otherwise else len(self.given[assignment.pk].said)
            self.submit(assignment.pk, step.said, revises)

    def submit(self, pk: int, said: tuple[int, ...], revises: int | None) -> None:
        one = self.given[pk]
        is_same = bool(one.said) and one.said[-1] == said
        may_revise = bool(revises) and not one.frozen
        is_refused = one.state == "skipped" or self.has_left(one.person)
        ranks = dict(zip(sorted(one.order), said, strict=True))
        try:
            ranking = submit_ranking(Assignment.objects.get(pk=pk), ranks, revises=revises)
        except Conflict:
            assert is_refused or (one.said and not is_same and not may_revise)
            return
        assert not is_refused
        assert not one.said or is_same or may_revise
        if not is_same:
            one.said.append(said)
        assert ranking.revision == len(one.said)
        if one.state != "submitted":
            one.late = one.state != "leased"
        one.state, one.drafted = "submitted", False
        one.frozen |= one.task == self.training.pk  # what is right was shown

    def reopens(self, step: Step) -> None:
        if (assignment := self.some(step)) is None:
            return
        one = self.given[assignment.pk]
        try:
            reopen(assignment, {"rank-a": "2"})
        except Conflict:
            assert not one.said or one.frozen or self.has_left(one.person)
        else:
            assert one.said and not one.frozen and not self.has_left(one.person)
            one.drafted, one.drafts = True, one.drafts + 1

    def skips(self, step: Step) -> None:
        if (assignment := self.some(step)) is None:
            return
        one = self.given[assignment.pk]
        may = one.state not in ("submitted", "skipped")
        assert skip(assignment, "knowledge") is may
        if may:
            one.state = "skipped"

    def gives_back(self, step: Step) -> None:
        if (assignment := self.some(step)) is None:
            return
        one = self.given[assignment.pk]
        assert release(assignment) is (one.state == "leased")
        if one.state == "leased":
            one.state = "released"

    def goes_away(self, step: Step) -> None:
        """The lease runs out, or the person comes back just before somebody notices."""
        if (assignment := self.some(step, state="leased")) is None:
            return
        let_lease_run_out(assignment)
        if step.otherwise:
            assert heartbeat(assignment)
        assert Assignment.objects.expire_overdue() == (0 if step.otherwise else 1)
        if not step.otherwise:
            self.given[assignment.pk].state = "expired"

    # What others do

    def is_excluded(self, step: Step) -> None:
        exclude(self.project, self.member(step.person), "spam", by=None)
        self.sent_away(step.person)

    def is_paused(self, step: Step) -> None:
        set_member_state(self.member(step.person), "paused", by=None)
        self.sent_away(step.person)

    def sent_away(self, person: int) -> None:
        self.may_work[person] = False
        if mine := self.lease_of(person):
            self.given[mine].state = "released"

    def are_taken_in_again(self, step: Step) -> None:
        for exclusion in Exclusion.objects.filter(project=self.project, lifted_at=None):
            lift(exclusion, by=None)
        for person, may_work in enumerate(self.may_work):
            if not may_work:
                set_member_state(self.member(person), "active", by=None)
        self.may_work = [True] * len(PEOPLE)

    def the_project_pauses(self, step: Step) -> None:
        Project.objects.filter(pk=self.project.pk).update(paused=True)
        lease = claim(self.member(step.person))
        assert (lease and lease.pk) == self.lease_of(step.person)
        Project.objects.filter(pk=self.project.pk).update(paused=False)

    def a_ranking_is_frozen(self, step: Step) -> None:
        if assignment := self.some(step, state="submitted"):
            assignment.rankings.filter(is_current=True).update(frozen_at=timezone.now())
            for one in self.given.values():  # and with it all that the person had ranked
                one.frozen |= bool(one.said) and one.person == self.given[assignment.pk].person

    def another_opinion_is_wanted(self, step: Step) -> None:
        if assignment := self.some(step, state="submitted"):
            task = assignment.task
            may = task.kind == "normal" and task.state == "done"
            assert ask_second_opinion(task) is may

    def gold_is_closed(self, step: Step) -> None:
        close_gold_task(self.gold, by=None)

    # What must hold

    @invariant()
    def the_rows_are_what_the_model_says(self) -> None:
        recount(self.project)
        rows = {row.pk: row for row in Assignment.objects.filter(task__project=self.project)}
        assert rows.keys() == self.given.keys()
        for pk, one in self.given.items():
            row = rows[pk]
            assert (row.state, row.late) == (one.state, one.late)
            assert row.draft_revision == one.drafts
            assert (row.draft is not None) == one.drafted
            assert row.is_editable == one.editable
        said: dict[int, list[tuple[int, ...]]] = {pk: [] for pk in self.given}
        for ranking in Ranking.objects.filter(assignment__in=rows).order_by("revision"):
            ranks = ranking.ranks
            said[ranking.assignment_id].append(tuple(ranks[k] for k in sorted(ranks, key=int)))
        assert said == {pk: one.said for pk, one in self.given.items()}


@pytest.mark.django_db
def test_whatever_people_do_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignments, "BEFORE_A_REPEAT", 1)
    run_state_machine_as_test(
        HandingOut,
        settings=settings(
            max_examples=8,
            stateful_step_count=40,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # finding a shorter counterexample takes many minutes
        ),
    )
