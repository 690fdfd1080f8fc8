"""A week's prompts: chosen and by chance, the audit always by chance; and the arms side by side."""

import random
from datetime import timedelta
from itertools import count

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.formats.records import Judgement, Record, ResponseText
from annotate.models import AuditEvent, Membership, Project, Prompt, Ranking, Response, Task
from annotate.services import queue
from annotate.services.audit_sample import draw_for_audit
from annotate.services.importing import import_records
from rewards.models import ArmComparison, Selection
from rewards.services.arms import compare_arms, fallen_back
from rewards.services.selection import (
    Reason,
    choose,
    n_candidates,
    open_chosen_tasks,
    why_random,
)
from tests import make
from tests.pages import words

GOOD = ("clear", "correct", "useful", "short", "kind")
BAD = ("wrong", "vague", "rude", "endless", "silly")
numbers = count()


def texts_of(number: int) -> list[str]:
    """Two good words, and two bad ones."""
    draw = random.Random(number)
    return [" ".join((*draw.sample(part, 2), f"tale{number % 7}")) for part in (GOOD, BAD)]


def answered(project: Project, n: int) -> list[tuple[Prompt, list[Response]]]:
    """New prompts, each with a good response and a bad one."""
    found = []
    for number in (next(numbers) for _ in range(n)):
        prompt = make.make_prompt(project, f"Prompt {number}", responses=texts_of(number))
        found.append((prompt, list(prompt.responses.order_by("pk"))))
    return found


def judge(project: Project, n: int, split: str, arm: str = "random") -> None:
    """Somebody ranks new prompts that came by the arm, the good response first."""
    records = [
        Record(
            messages=[{"role": "user", "content": f"Prompt {next(numbers)}"}],
            responses=[ResponseText(text) for text in texts],
            judgements=[Judgement("somebody", [1, 2])],
            split=split,
        )
        for texts in (texts_of(next(numbers)) for _ in range(n))
    ]
    batch = f"judged {next(numbers)}"
    import_records(project, records, batch=batch)
    imported = project.tasks.filter(proposed_by__import=batch)
    assert imported.update(kind=Task.Kind.NORMAL, arm=arm) == n


@pytest.fixture
def judged(project: Project) -> Project:
    """A project with enough rankings to learn from, and the usual audit."""
    judge(project, 110, split="train")
    Project.objects.update(audit_share=0.25)
    project.refresh_from_db()
    return project


def test_most_prompts_are_chosen_and_the_audit_is_drawn_by_chance(judged: Project) -> None:
    assert why_random(judged) is None
    assert n_candidates(judged, 40) == 80
    pool = answered(judged, 40)
    choice = choose(judged, pool, 20, batch="week")
    tasks = open_chosen_tasks(judged, pool, choice, proposed_by={"policy": 1})
    assert len(tasks) == 40
    arms = {arm: [task for task in tasks if task.arm == arm] for arm in Task.Arm}
    assert [len(arms[arm]) for arm in Task.Arm] == [6, 14, 20]
    assert all(task.priority < 0 for task in arms[Task.Arm.RESERVE])
    audited = [task for task in tasks if task.kind == Task.Kind.AUDIT]
    assert audited and {task.arm for task in audited} == {Task.Arm.RANDOM}
    assert sum(task.inclusion_probability for task in tasks) == pytest.approx(20)
    assert all(task.inclusion_probability >= 0.05 for task in tasks)
    row = Selection.objects.get()
    assert (row.n_candidates, row.n_random, row.n_active) == (40, 6, 14)
    assert (row.features, row.n_learned, row.reason) == ("words", 110, "")


def test_the_same_batch_again_gives_the_same_tasks(judged: Project) -> None:
    pool = answered(judged, 30)
    first = open_chosen_tasks(judged, pool, choose(judged, pool, 15, batch="w"), proposed_by={})
    again = open_chosen_tasks(judged, pool, choose(judged, pool, 15, batch="w"), proposed_by={})
    assert first == again
    assert Selection.objects.count() == 1


def test_what_stayed_in_reserve_is_dropped_by_the_next_choice(judged: Project) -> None:
    for batch in ("first", "second"):
        pool = answered(judged, 20)
        open_chosen_tasks(judged, pool, choose(judged, pool, 10, batch=batch), proposed_by={})
    reserve = Task.objects.filter(arm=Task.Arm.RESERVE)
    assert set(reserve.filter(batch="first").values_list("state", flat=True)) == {"closed"}
    assert set(reserve.filter(batch="second").values_list("state", flat=True)) == {"open"}
    assert not Task.objects.exclude(arm=Task.Arm.RESERVE).filter(state="closed").exists()


def test_reserves_are_dropped_some_tasks_at_a_time_in_their_order(
    judged: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever locks several tasks does so in their order, so that nobody waits for ever."""
    monkeypatch.setattr(queue, "CHANGED_AT_ONCE", 4)
    pool = answered(judged, 20)
    open_chosen_tasks(judged, pool, choose(judged, pool, 10, batch="first"), proposed_by={})
    pool = answered(judged, 20)
    choice = choose(judged, pool, 10, batch="second")
    with CaptureQueriesContext(connection) as queries:
        open_chosen_tasks(judged, pool, choice, proposed_by={})
    updates = [one["sql"] for one in queries if one["sql"].startswith('UPDATE "annotate_task"')]
    assert len(updates) == 3
    first = judged.tasks.filter(batch="first", arm=Task.Arm.RESERVE)
    assert {*first.values_list("state", flat=True)} == {"closed"}


def test_what_was_in_reserve_and_drawn_for_audit_is_asked_in_its_turn(judged: Project) -> None:
    pool = answered(judged, 20)
    open_chosen_tasks(judged, pool, choose(judged, pool, 10, batch="first"), proposed_by={})
    reserve = [*judged.tasks.filter(arm=Task.Arm.RESERVE).values_list("pk", flat=True)]
    draw_for_audit(judged, judged.prompts.count(), key="more", by=None)
    drawn = Task.objects.filter(pk__in=reserve)
    ways = drawn.values_list("kind", "arm", "priority", "inclusion_probability")
    assert (drawn.count(), {*ways}) == (10, {("audit", "random", 0, 1.0)})
    pool = answered(judged, 20)
    open_chosen_tasks(judged, pool, choose(judged, pool, 10, batch="second"), proposed_by={})
    assert {*drawn.values_list("state", flat=True)} == {"open"}


def test_only_normal_tasks_in_reserve_are_dropped(judged: Project) -> None:
    pool = answered(judged, 20)
    open_chosen_tasks(judged, pool, choose(judged, pool, 10, batch="first"), proposed_by={})
    judged.tasks.filter(arm=Task.Arm.RESERVE).update(kind=Task.Kind.AUDIT)
    pool = answered(judged, 20)
    open_chosen_tasks(judged, pool, choose(judged, pool, 10, batch="second"), proposed_by={})
    assert not judged.tasks.filter(kind=Task.Kind.AUDIT, state="closed").exists()


def test_held_out_prompts_come_by_chance_only(judged: Project) -> None:
    """They train nothing, and figures that rest on chosen ones would not be those of all."""
    pool = answered(judged, 60)
    for place, (prompt, _) in enumerate(pool):
        prompt.split = ("train", "test", "train", "validation")[place % 4]
    chosen = choose(judged, pool, 20, batch="week").chosen
    splits = {arm: [p.split for p, _ in pool if chosen[p.pk].arm == arm] for arm in Task.Arm}
    assert splits[Task.Arm.ACTIVE] == ["train"] * 14
    assert {"test", "validation"} & {*splits[Task.Arm.RANDOM]}
    held_out = [chosen[p.pk].inclusion_probability for p, _ in pool if p.split != "train"]
    assert held_out == pytest.approx([6 / 60] * 30, abs=0.08)


def test_of_all_that_is_audited_the_share_of_the_queue_is_kept(judged: Project) -> None:
    pool = answered(judged, 120)
    choice = choose(judged, pool, 60, batch="week")
    audit_shares = {way.arm: way.audit_share for way in choice.chosen.values()}
    assert audit_shares == {
        Task.Arm.RANDOM: pytest.approx(0.25 / 0.3),  # 25 % of the queue, of which 30 % is random
        Task.Arm.ACTIVE: 0,
        Task.Arm.RESERVE: 0,
    }


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"active_share": 0.0}, Reason.OFF),
        ({"audit_share": 1.0}, Reason.AUDIT),
        ({"audit_first": 1000}, Reason.AUDIT),
    ],
)
def test_settings_leave_all_to_chance(
    judged: Project, values: dict[str, float], reason: str
) -> None:
    for name, value in values.items():
        setattr(judged, name, value)
    pool = answered(judged, 20)
    choice = choose(judged, pool, 10, batch="week")
    assert (n_candidates(judged, 10), choice.selection.reason) == (10, reason)
    assert (choice.selection.n_random, choice.selection.n_active) == (10, 0)


def test_without_rankings_all_come_by_chance(project: Project) -> None:
    pool = answered(project, 10)
    choice = choose(project, pool, 10, batch="first")
    tasks = open_chosen_tasks(project, pool, choice, proposed_by={})
    assert choice.selection.reason == Reason.LITTLE_DATA
    assert {(task.arm, task.inclusion_probability) for task in tasks} == {("random", 1.0)}


def test_the_arms_are_compared_once_a_week_on_what_is_new(judged: Project) -> None:
    assert compare_arms(judged) is None  # nothing was chosen yet
    judge(judged, 30, split="test")
    Ranking.objects.update(created_at=timezone.now() - timedelta(days=7))
    Selection.objects.create(project=judged, batch="w", n_candidates=80, n_random=30, n_active=50)
    Selection.objects.update(created_at=timezone.now() - timedelta(days=6))
    judge(judged, 35, split="train")
    assert compare_arms(judged) is None  # none of the chosen has been judged
    judge(judged, 40, split="train", arm="active")
    found = compare_arms(judged)
    assert found is not None
    assert (found.n_labels, found.n_held_out) == (35, 30)
    assert min(found.before, found.random, found.active) > 0.8  # good words are easily learned
    assert compare_arms(judged) == found
    assert ArmComparison.objects.count() == 1


def weeks(project: Project, ahead: str) -> None:
    """One comparison a week, the oldest first: + where the chosen prompts were ahead."""
    for week, sign in enumerate(ahead, start=1):
        ArmComparison.objects.create(
            project=project,
            iso_week=f"2026-W{week:02d}",
            n_labels=60,
            n_held_out=50,
            before=0.6,
            random=0.65,
            active=0.70 if sign == "+" else 0.65,
        )


@pytest.mark.parametrize(
    ("ahead", "off"),
    [("--", False), ("---", True), ("+---", True), ("-++-", False), ("----++", False)],
)
def test_choosing_that_does_not_help_switches_itself_off(
    project: Project, ahead: str, off: bool
) -> None:
    weeks(project, ahead)
    assert fallen_back(project) == off
    assert why_random(project) == (Reason.FELL_BACK if off else Reason.LITTLE_DATA)


def test_an_admin_sees_that_it_fell_back_and_lets_it_choose_again(judged: Project) -> None:
    client = Client()
    client.force_login(make.make_member(judged, "root", Membership.Role.ADMIN).user)
    page = reverse("rewards:selection", args=[judged.slug])
    assert "Not measured yet" in words(client.get(page))
    weeks(judged, "+---")
    shown = words(client.get(page))
    assert "not ahead in 3 of the last 4 weeks" in shown
    assert "2026-W04" in shown and "65.0 %" in shown
    answer = client.post(reverse("rewards:selection_again", args=[judged.slug]), follow=True)
    assert "70.0 % are chosen" in words(answer)
    assert why_random(judged) is None
    assert AuditEvent.objects.filter(verb="choose prompts again").count() == 1
