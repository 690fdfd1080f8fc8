"""More prompts are put into the audit so that it stays a random sample."""

from collections.abc import Callable

import pytest

from annotate.models import AuditEvent, Membership, Project, Task
from annotate.selection import audit_draw
from annotate.services.assignments import claim
from annotate.services.audit_sample import draw_for_audit, drawable
from annotate.services.review import adjudicate
from annotate.services.tasks import ask_second_opinion
from tests import make


def by_number(project: Project) -> list[int]:
    rows = project.prompts.values_list("pk", "content_hash")
    return [pk for _, pk in sorted((audit_draw(project.slug, digest), pk) for pk, digest in rows)]


def audited(project: Project) -> set[int]:
    return {*project.tasks.filter(kind="audit").values_list("prompt", flat=True)}


def test_the_prompts_with_the_lowest_numbers_are_drawn(project: Project) -> None:
    """So that the audit is what it would be had its share been larger from the beginning."""
    for n in range(20):
        if n % 2:
            make.make_task(project)
        else:
            make.make_prompt(project)
    drawn = draw_for_audit(project, 5, key="a", by=None)
    assert drawn.prompts == by_number(project)[:5]
    assert audited(project) == {*by_number(project)[:5]}
    draw_for_audit(project, 5, key="b", by=None)
    assert audited(project) == {*by_number(project)[:10]}


@pytest.mark.parametrize("ranks", [(1, 2, 3, 4), (4, 3, 2, 1), (1, 1, 1, 1)])
def test_what_was_said_plays_no_part(
    project: Project, ada_member: Membership, ranks: tuple[int, ...]
) -> None:
    for _ in range(10):
        make.make_ranking(ada_member, ranks, task=make.make_task(project))
    assert draw_for_audit(project, 4, key="a", by=None).prompts == by_number(project)[:4]


def test_one_planned_judgement_counts_and_one_more_is_asked_for(
    project: Project, ada_member: Membership
) -> None:
    task = make.make_task(project)
    make.make_ranking(ada_member, task=task)
    assert draw_for_audit(project, 1, key="a", by=None).judgements == 1
    task.refresh_from_db()
    assert (task.kind, task.need, task.n_done, task.state) == ("audit", 2, 1, "open")


def test_a_second_opinion_never_counts_as_audit(project: Project, ada_member: Membership) -> None:
    """It was asked for because of what the first said."""
    task = make.make_task(project)
    make.make_ranking(ada_member, task=task)
    Task.objects.filter(pk=task.pk).update(need=1, state="done")
    assert ask_second_opinion(task)
    drawn = draw_for_audit(project, 1, key="a", by=None)
    assert (drawn.prompts, drawn.judgements) == ([task.prompt_id], 2)
    task.refresh_from_db()
    assert task.kind == "normal"
    fresh = project.tasks.get(kind="audit")
    assert (fresh.need, fresh.n_done) == (2, 0)
    assert {*fresh.responses.all()} == {*task.responses.all()}


@pytest.mark.parametrize("state", ["open", "done"])
def test_who_knows_the_earlier_task_is_not_handed_the_new_one(
    project: Project, ada_member: Membership, bob_member: Membership, state: str
) -> None:
    """What they remember is no second judgement."""
    rita = make.make_member(project, "rita", Membership.Role.REVIEWER)
    cleo = make.make_member(project, "cleo")
    task = make.make_task(project)
    make.make_ranking(ada_member, task=task)
    shown = [*task.responses.values_list("pk", flat=True)]
    for member, way in ((bob_member, "expired"), (cleo, "barred")):
        task.assignments.create(annotator=member, state=way, display_order=shown)
    adjudicate(task, rita, "taste", replaces=None)
    Task.objects.filter(pk=task.pk).update(need=2, state=state)
    draw_for_audit(project, 1, key="a", by=None)
    for member in (ada_member, bob_member, cleo, rita):
        assert claim(member) is None
    fresh = claim(make.make_member(project, "dora"))
    assert fresh is not None and fresh.task == project.tasks.get(kind="audit")
    task.refresh_from_db()
    assert task.state == ("closed" if state == "open" else "done")


def test_who_decided_about_a_task_is_not_its_second_judge(
    project: Project, ada_member: Membership, bob_member: Membership
) -> None:
    rita = make.make_member(project, "rita", Membership.Role.REVIEWER)
    task = make.make_task(project)
    make.make_ranking(ada_member, task=task)
    adjudicate(task, rita, "taste", replaces=None)
    draw_for_audit(project, 1, key="a", by=None)
    assert claim(rita) is None
    second = claim(bob_member)
    assert second is not None and second.task == task


@pytest.mark.parametrize(
    ("arm", "is_drawn"), [("random", False), ("active", False), ("reserve", True)]
)
def test_what_an_admin_closed_stays_closed_and_what_was_in_reserve_counts(
    project: Project, arm: str, is_drawn: bool
) -> None:
    task = make.make_task(project)
    Task.objects.filter(pk=task.pk).update(state="closed", arm=arm)
    assert (draw_for_audit(project, 1, key="a", by=None).prompts == [task.prompt_id]) is is_drawn


def test_a_double_click_draws_once(project: Project) -> None:
    for _ in range(4):
        make.make_prompt(project)
    assert len(draw_for_audit(project, 2, key="a", by=None).prompts) == 2
    assert draw_for_audit(project, 2, key="a", by=None).prompts == []
    assert len(audited(project)) == 2
    event = AuditEvent.objects.get(verb="draw for audit")
    assert event.detail == {"key": "a", "n": 2, "judgements": 4}


@pytest.mark.parametrize(
    "unsuitable",
    [
        lambda project: make.make_prompt(project, responses=1),
        lambda project: make.make_prompt(project, responses=["Yes.", "Yes. "]),
        lambda project: make.make_task(project, kind="audit"),
        lambda project: make.make_task(project, kind="gold"),
        lambda project: make.make_task(project, kind="training"),
    ],
)
def test_prompts_without_a_choice_or_audited_before_are_not_drawn(
    project: Project, unsuitable: Callable[[Project], object]
) -> None:
    unsuitable(project)
    wanted = make.make_prompt(project)
    assert draw_for_audit(project, 9, key="a", by=None).prompts == [wanted.pk]
    assert wanted not in drawable(project)


def test_retired_responses_are_not_asked_about(project: Project) -> None:
    prompt = make.make_prompt(project, responses=3)
    retired = prompt.responses.order_by("pk")[0]
    retired.retired_at = retired.created_at
    retired.save()
    draw_for_audit(project, 1, key="a", by=None)
    assert project.tasks.get().responses.count() == 2
