"""The sums that agreement is made of follow whatever happens to the judgements."""

import math
import random
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from annotate.formats import Judgement, Record, ResponseText
from annotate.models import AuditEvent, Exclusion, Membership, Project, Ranking, Task
from annotate.services.importing import import_records
from annotate.services.leaving import erase
from annotate.services.projects import exclude, lift
from annotate.services.rankings import reopen, submit_ranking
from rewards.ml.agreement import report
from rewards.models import LiveAgreement, PromptSums
from rewards.services import sums
from rewards.services.agreement import SEED, audited
from tests import make


def figures(project: Project) -> dict[str, Any]:
    return LiveAgreement.objects.get(project=project).figures


def from_scratch(project: Project) -> dict[str, Any]:
    return asdict(report([said for _, _, said in audited(project)], SEED))


def assert_same(found: Any, wanted: Any, where: str = "") -> None:
    if isinstance(wanted, Mapping):
        for name in wanted:
            assert_same(found[name], wanted[name], f"{where}.{name}")
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), where
        for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_same(one, other, f"{where}[{place}]")
    elif isinstance(wanted, float):
        assert math.isclose(found, wanted, abs_tol=1e-9), (where, found, wanted)
    else:
        assert found == wanted, where


class Chance:
    """A project to which things happen at random."""

    def __init__(self, project: Project, seed: int) -> None:
        self.project = project
        self.random = random.Random(seed)
        self.people = [make.make_member(project, f"person{n}") for n in range(6)]
        self.n_imports = 0
        self.deeds = [self.judge] * 6 + [
            self.revise,
            self.leave_out,
            self.take_in,
            self.bring,
            self.erase,
            self.repeat,
        ]

    def step(self) -> None:
        self.random.choice(self.deeds)()

    def ranks(self, n: int) -> list[int]:
        return [self.random.randint(1, n) for _ in range(n)]

    def judge(self) -> None:
        size = self.random.randint(2, 4)
        kind = self.random.choice(["audit", "audit", "normal"])
        task = make.make_task(self.project, responses=size, kind=kind, need=2)
        active = {*self.project.memberships.filter(state=Membership.State.ACTIVE)}
        for person in self.random.sample(self.people, self.random.randint(1, 3)):
            if person in active:
                make.make_ranking(person, self.ranks(size), task=task)
        Task.objects.filter(pk=task.pk).update(need=2)

    def revise(self) -> None:
        rankings = Ranking.objects.current().in_project(self.project)
        here = rankings.filter(assignment__annotator__state=Membership.State.ACTIVE)
        ranking = self.any(here.filter(assignment__task__kind__in=["audit", "normal"]))
        if ranking is None:
            return
        assignment = ranking.assignment
        reopen(assignment, draft={})
        ranks = dict(
            zip(assignment.display_order, self.ranks(len(assignment.display_order)), strict=True)
        )
        submit_ranking(assignment, ranks, revises=ranking.revision)

    def leave_out(self) -> None:
        what = self.random.choice(["person", "ranking", "task"])
        target: Any = self.random.choice(self.people)
        if what == "ranking":
            target = self.any(Ranking.objects.in_project(self.project))
        if what == "task":
            target = self.any(self.project.tasks.all())
        if target:
            exclude(self.project, target, "at random", by=None)

    def take_in(self) -> None:
        exclusion = self.any(Exclusion.objects.filter(project=self.project, lifted_at=None))
        if exclusion:
            lift(exclusion, by=None)

    def bring(self) -> None:
        self.n_imports += 1
        records = [
            Record(
                messages=[{"role": "user", "content": f"Asked elsewhere, {self.random.random()}?"}],
                responses=[ResponseText(text) for text in "abc"],
                judgements=[Judgement(name, self.ranks(3)) for name in ("x", "y", "z")],
            )
            for _ in range(3)
        ]
        import_records(self.project, records, batch=f"file {self.n_imports}")

    def erase(self) -> None:
        if self.random.random() < 0.2 and len(self.people) > 3:
            person = self.people.pop()
            erase(person, keep_rankings=self.random.random() < 0.5)

    def repeat(self) -> None:
        rankings = Ranking.objects.current().in_project(self.project)
        here = rankings.filter(assignment__annotator__state=Membership.State.ACTIVE)
        ranking = self.any(here.filter(assignment__task__kind="audit"))
        if ranking is None:
            return
        first = ranking.assignment
        again = make.make_task(self.project, kind="repeat", responses=len(ranking.ranks))
        Task.objects.filter(pk=again.pk).update(mirror_of=first.task)
        make.make_ranking(first.annotator, self.ranks(len(ranking.ranks)), task=again)

    def any(self, rows: Any) -> Any:
        ids = list(rows.order_by("pk").values_list("pk", flat=True))
        return rows.model.objects.get(pk=self.random.choice(ids)) if ids else None


@pytest.mark.parametrize("seed", range(2))
def test_the_figures_are_those_of_all_judgements_whatever_happens(
    project: Project, seed: int
) -> None:
    chance = Chance(project, seed)
    for _ in range(22):  # enough for figures with intervals
        chance.judge()
    for _ in range(8):
        for _ in range(5):
            chance.step()
        sums.refresh(project)
        assert_same(figures(project), from_scratch(project))
    assert sums.check(project) == 0, "the sums themselves were right as well"


def judged(project: Project, people: list[Membership], n: int = 1) -> Task:
    for _ in range(n):
        task = make.make_task(project, kind="audit", need=2)
        for person in people:
            make.make_ranking(person, task=task)
    return task


@pytest.fixture
def people(ada_member: Membership, bob_member: Membership) -> list[Membership]:
    return [ada_member, bob_member]


def test_only_what_changed_is_summed_anew(project: Project, people: list[Membership]) -> None:
    judged(project, people, 3)
    assert sums.refresh(project) == 3
    assert sums.refresh(project) == 0
    before = {row.prompt_id: row.pk for row in PromptSums.objects.all()}
    task = judged(project, people)
    assert sums.refresh(project) == 1
    exclude(project, task, "unclear", by=None)
    assert sums.refresh(project) == 1
    assert {row.prompt_id: row.pk for row in PromptSums.objects.all()} == before


def test_a_ranking_that_became_visible_late_is_taken_in(
    project: Project, people: list[Membership]
) -> None:
    """As where transactions end in another order than they began."""
    task = judged(project, people[:1])
    late = Ranking.objects.get()
    judged(project, people)
    Ranking.objects.filter(pk=late.pk).update(is_current=False)
    sums.refresh(project)
    live = LiveAgreement.objects.get()
    assert live.settled_ranking == 0
    LiveAgreement.objects.update(
        recent_rankings=[pk for pk in live.recent_rankings if pk != late.pk]
    )
    Ranking.objects.filter(pk=late.pk).update(is_current=True)
    assert sums.refresh(project) == 1
    assert project.prompt_sums.filter(prompt=task.prompt).exists()


def test_old_rankings_need_not_be_remembered_one_by_one(
    project: Project, people: list[Membership]
) -> None:
    judged(project, people, 2)
    Ranking.objects.update(created_at=timezone.now() - timedelta(hours=2))
    judged(project, people)
    sums.refresh(project)
    live = LiveAgreement.objects.get()
    assert len(live.recent_rankings) == 2
    assert live.settled_ranking == min(live.recent_rankings) - 1


def test_sums_that_are_wrong_are_found_corrected_and_told(
    project: Project, people: list[Membership]
) -> None:
    judged(project, people, 3)
    sums.refresh(project)
    row = project.prompt_sums.order_by("pk")[0]
    PromptSums.objects.filter(pk=row.pk).update(disagreement=3)
    project.prompt_sums.order_by("pk").last().people.all().delete()  # type: ignore[union-attr]
    assert sums.check(project) == 2
    assert_same(figures(project), from_scratch(project))
    assert AuditEvent.objects.get(verb="correct sums").detail == {"n": 2}
    assert LiveAgreement.objects.get().n_corrected == 2
    assert sums.check(project) == 0


def test_how_many_rankings_are_not_counted_yet(project: Project, people: list[Membership]) -> None:
    judged(project, people)
    assert sums.behind(project) == 2
    sums.refresh(project)
    assert sums.behind(project) == 0
    judged(project, people)
    assert sums.behind(project) == 2
