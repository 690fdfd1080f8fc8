"""The weekly cycle: when it begins, how it moves, where it stops, how it goes on."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from annotate.models import AuditEvent, Project, Ranking, Task
from annotate.services.projects import exclude
from rewards.models import GateReport, GateSetting, RewardModelVersion, Run
from rewards.runner import execute
from rewards.services.gates import release
from tests import make
from tests.process_settings import RUN_KINDS
from tests.processes import WORKER, share, starting, wait_for
from tests.training.rows import EVALUATION, REWARD_METRICS
from tests.training.test_policies import compare_blind
from training.cycle import advance, begin, begin_due, due_at, is_due, iso_week, waits_for
from training.lifecycle import NotAllowed
from training.models import Cycle, LoopPause, PolicyVersion
from training.services.cycles import resume_loop, start_cycle
from training.services.policies import promote, register_base, roll_back
from training.tasks import advance_cycle, advance_cycles

Step, State = Cycle.Step, Cycle.State

EASY = {"min_prompts": 2, "min_annotators": 2, "min_rankings": 2, "half_width": 2.0}


@pytest.fixture(autouse=True)
def instant(settings: Any) -> None:
    settings.RUN_KINDS = RUN_KINDS


@pytest.fixture
def judged(project: Project) -> Project:
    """A project with a live policy, whose two annotators agree about twenty prompts."""
    register_base(project, "org/base")
    GateSetting.objects.create(project=project, values={"agreement": EASY}, reason="few prompts")
    add_judgements(project, 20)
    return project


def add_judgements(project: Project, n: int, kind: str = Task.Kind.AUDIT) -> None:
    there = {member.user.username: member for member in project.memberships.all()}
    members = [
        there.get(name) or make.make_member(project, name) for name in ("judge 1", "judge 2")
    ]
    for _ in range(n):
        task = make.make_task(project, kind=kind)
        for member in members:
            make.make_ranking(member, (1, 2, 3, 4), task=task)


def drive(cycle: Cycle) -> Cycle:
    """Go on as far as it goes, doing the work of runs here."""
    while advance(cycle) or (cycle.run and cycle.run.state == Run.State.QUEUED):
        if cycle.run:
            execute(cycle.run)
    return cycle


def steps(cycle: Cycle) -> list[str]:
    return [entry["step"] for entry in cycle.log]


# When


@pytest.mark.parametrize(
    ("moment", "week", "due"),
    [
        ("2026-11-16T02:59:00+00:00", "2026-W47", "2026-11-16T03:00:00+00:00"),
        ("2026-11-22T23:59:00+00:00", "2026-W47", "2026-11-16T03:00:00+00:00"),
        ("2027-01-01T00:00:00+00:00", "2026-W53", "2026-12-28T03:00:00+00:00"),
        # it is Monday in Auckland already, and still Sunday in UTC
        ("2026-11-23T05:00:00+13:00", "2026-W47", "2026-11-16T03:00:00+00:00"),
    ],
)
def test_weeks_are_iso_weeks_in_utc(moment: str, week: str, due: str) -> None:
    at = datetime.fromisoformat(moment)
    assert iso_week(at) == week
    assert due_at(at) == datetime.fromisoformat(due)


def test_the_weekday_and_hour_are_settings(settings: Any) -> None:
    settings.CYCLE_WEEKDAY, settings.CYCLE_HOUR = 7, 22
    at = datetime(2026, 11, 18, tzinfo=UTC)
    assert due_at(at) == datetime(2026, 11, 22, 22, tzinfo=UTC)


def test_the_schedule_waits_for_a_policy_a_ranking_and_the_last_cycle(project: Project) -> None:
    monday = datetime(2026, 11, 16, 3, tzinfo=UTC)
    assert not is_due(project, monday), "no live policy"
    register_base(project, "org/base")
    assert not is_due(project, monday), "no ranking"
    add_judgements(project, 1)
    assert is_due(project, monday)
    assert not is_due(project, monday - timedelta(minutes=1)), "too early"
    Project.objects.update(paused=True)
    project.refresh_from_db()
    assert not is_due(project, monday), "paused"
    project.paused = False
    LoopPause.objects.create(project=project, reason="policy 2 was rolled back")
    assert not is_due(project, monday), "paused by a rollback"
    assert resume_loop(project, by=None)
    assert is_due(project, monday)

    cycle = begin(project, iso_week(monday))
    next_monday = monday + timedelta(days=7)
    assert not is_due(project, next_monday), "the last cycle is running"
    cycle.close(State.STOPPED, "agreement")
    assert not is_due(project, next_monday), "nobody ranked anything since"
    add_judgements(project, 1, kind=Task.Kind.EVALUATION)
    assert not is_due(project, next_monday), "nobody ranked anything to learn from"
    add_judgements(project, 1)
    assert is_due(project, next_monday)
    assert not is_due(project, monday), "one cycle a week"


moments = st.datetimes(
    min_value=datetime(2026, 10, 1), max_value=datetime(2027, 1, 20), timezones=st.just(UTC)
)


@given(clock=st.lists(moments, max_size=12), forward=st.booleans())
@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_one_cycle_a_week_whatever_the_clock_does(
    judged: Project, clock: list[datetime], forward: bool
) -> None:
    Cycle.objects.all().delete()
    Ranking.objects.update(created_at=datetime(2100, 1, 1, tzinfo=UTC))  # newer than any cycle
    clock = sorted(clock) if forward else clock
    for now in clock:
        begin_due(now)
        begin_due(now)  # two clocks tick
        Cycle.objects.filter(state=State.RUNNING).update(state=State.DONE)
    made = sorted(Cycle.objects.values_list("iso_week", flat=True))
    due = {iso_week(now) for now in clock if now >= due_at(now)}
    assert len(set(made)) == len(made)
    assert set(made) <= due
    if forward:
        assert set(made) == due


@pytest.mark.django_db(transaction=True)
def test_many_processes_make_one_cycle_and_one_of_everything(judged: Project) -> None:
    barrier = threading.Barrier(4)
    errors: list[Exception] = []

    def go() -> None:
        try:
            barrier.wait()
            cycle = begin(judged, "2026-W47")
            while advance(cycle) or (cycle.state == State.RUNNING and cycle.run is None):
                pass
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    cycle = Cycle.objects.get()
    assert steps(cycle) == [Step.FREEZE, Step.AGREEMENT_GATE]
    assert cycle.step == Step.REWARD_MODEL
    assert Run.objects.get() == cycle.run == RewardModelVersion.objects.get().run


# How it moves


def test_a_cycle_goes_from_rankings_to_a_live_policy_and_new_tasks(judged: Project) -> None:
    cycle = drive(start_cycle(judged, config={"blind_votes": 0}))
    assert cycle.state == State.DONE, cycle.reason
    assert steps(cycle) == [
        "freeze",
        "agreement gate",
        "reward model",
        "reward gate",
        "ppo",
        "evaluate",
        "blind comparison",
        "promotion gate",
        "sample",
    ]
    live = judged.policies.live().get()
    assert live == cycle.policy and live.number == 2
    assert live.reward_model == cycle.reward_model
    assert live.reward_model.snapshot == cycle.snapshot
    assert cycle.snapshot.rankings.count() == 40
    sampled = judged.runs.get(kind="sample")
    assert (sampled.params["policy"], sampled.params["k"]) == (live.pk, 4)
    assert start_cycle(judged).state == State.DONE, "it is not begun a second time"
    assert judged.runs.count() == 4


def test_a_cycle_keeps_the_settings_of_the_last_one(judged: Project) -> None:
    first = begin(judged, "2026-W46", config={"blind_votes": 0, "sample_prompts": 7})
    drive(first)
    second = begin(judged, "2026-W47", config={"sample_prompts": 9})
    assert (second.config["blind_votes"], second.config["sample_prompts"]) == (0, 9)
    with pytest.raises(NotAllowed, match="no setting blind_vote$"):
        begin(judged, "2026-W48", config={"blind_vote": 0})


def test_the_next_week_waits_for_this_one(judged: Project) -> None:
    begin(judged, "2026-W46")
    with pytest.raises(NotAllowed, match="2026-W46 has not ended"):
        begin(judged, "2026-W47")


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_schedule_and_a_worker_turn_the_loop(
    judged: Project, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(settings, monkeypatch)
    settings.CYCLE_HOUR = 0  # due since Monday began, whenever this test runs
    begin(judged, "2020-W01", config={"blind_votes": 0}).close(State.STOPPED, "long ago")
    Ranking.objects.update(created_at=timezone.now())

    def tick() -> bool:
        advance_cycles()
        return judged.cycles.filter(state=State.DONE).exists()

    with starting() as start:
        start(*WORKER, "-c", "2")  # one process waits for trainings, one takes the cycle on
        wait_for(tick, "the cycle to be done", every_s=1, patience_s=240)
    cycle = judged.cycles.get(state=State.DONE)
    assert cycle.iso_week == iso_week(timezone.now())
    assert judged.policies.live().get() == cycle.policy
    assert {run.attempt for run in judged.runs.all()} == {1}


# Where it stops


def test_nothing_to_learn_from_stops_it(project: Project) -> None:
    register_base(project, "org/base")
    cycle = drive(start_cycle(project))
    assert (cycle.state, steps(cycle)) == (State.STOPPED, ["freeze"])
    assert "no ranking yet" in cycle.reason


def test_without_a_policy_there_is_no_cycle(project: Project) -> None:
    with pytest.raises(NotAllowed, match="no live policy"):
        start_cycle(project)
    assert not Cycle.objects.exists()


def test_little_agreement_data_trains_in_shadow(judged: Project) -> None:
    GateSetting.objects.create(project=judged, values={}, reason="the defaults")
    cycle = drive(start_cycle(judged))
    assert (cycle.state, cycle.step) == (State.STOPPED, Step.END)
    assert steps(cycle)[-1] == "reward gate"
    assert "trained in shadow" in cycle.reason and "30 more are needed" in cycle.reason
    assert cycle.reward_model.status == RewardModelVersion.Status.SHADOW
    assert not judged.runs.filter(kind="ppo").exists()


def test_disagreement_stops_it_before_training(judged: Project) -> None:
    for ranking in Ranking.objects.filter(assignment__annotator__user__username="judge 2"):
        Ranking.objects.filter(pk=ranking.pk).update(
            ranks={response: 5 - rank for response, rank in ranking.ranks.items()}
        )
    cycle = drive(start_cycle(judged))
    assert (cycle.state, steps(cycle)[-1]) == (State.STOPPED, "agreement gate")
    assert "agree too little" in cycle.reason
    assert cycle.agreement_gate.state == "BLOCK"
    assert not judged.runs.exists()


def test_a_reward_model_no_better_than_chance_stops_it(judged: Project, monkeypatch: Any) -> None:
    monkeypatch.setitem(REWARD_METRICS, "accuracy", {"value": 0.5, "low": 0.4, "high": 0.6})
    cycle = drive(start_cycle(judged))
    assert (cycle.state, steps(cycle)[-1]) == (State.STOPPED, "reward gate")
    assert "better than a coin" in cycle.reason
    assert not judged.runs.filter(kind="ppo").exists()


def test_a_policy_that_is_no_better_is_rejected(judged: Project, monkeypatch: Any) -> None:
    monkeypatch.setitem(EVALUATION, "win_rate", {"value": 0.4, "low": 0.3, "high": 0.5})
    cycle = drive(start_cycle(judged, config={"blind_votes": 0}))
    assert (cycle.state, steps(cycle)[-1]) == (State.STOPPED, "promotion gate")
    assert cycle.policy.status == PolicyVersion.Status.REJECTED
    assert judged.policies.live().get().number == 1


def test_a_failed_run_fails_the_cycle_and_is_tried_again(judged: Project) -> None:
    cycle = start_cycle(judged, config={"blind_votes": 0})
    while not cycle.run:
        advance(cycle)
    cycle.run.claim("worker")
    cycle.run.finish(Run.State.FAILED, reason="OutOfMemoryError")
    drive(cycle)
    assert cycle.state == State.FAILED
    assert "OutOfMemoryError" in cycle.reason
    resumed = drive(start_cycle(judged))
    assert (resumed.pk, resumed.state) == (cycle.pk, State.DONE)
    assert judged.runs.filter(kind="reward_model").count() == 1, "the same run went on"


# How it goes on


def test_new_judgements_let_a_stopped_cycle_begin_anew(judged: Project) -> None:
    GateSetting.objects.create(
        project=judged, values={"agreement": EASY | {"min_prompts": 22}}, reason="more"
    )
    cycle = drive(start_cycle(judged, config={"blind_votes": 0}))
    assert cycle.state == State.STOPPED
    again = drive(start_cycle(judged))
    assert again.state == State.STOPPED, "nothing has changed"
    assert judged.snapshots.count() == judged.reward_models.count() == 1
    add_judgements(judged, 2)
    again = drive(start_cycle(judged))
    assert (again.pk, again.state) == (cycle.pk, State.DONE), again.reason
    assert again.snapshot.number == again.reward_model.number == 2


def test_the_same_rankings_after_a_rollback_stop_it_until_new_ones_come(judged: Project) -> None:
    drive(begin(judged, "2020-W01", config={"blind_votes": 0}))
    roll_back(judged, None, "it repeats itself")
    cycle = drive(start_cycle(judged))
    assert (cycle.state, steps(cycle)[-1]) == (State.STOPPED, "ppo")
    assert cycle.reason == (
        "policy 2, made from the same rankings, was rolled back; new rankings are needed"
    )
    add_judgements(judged, 2)
    cycle = drive(start_cycle(judged))
    assert (cycle.state, cycle.policy.number) == (State.DONE, 3), cycle.reason


def test_a_policy_rolled_back_before_its_gate_is_judged_stops_the_cycle(judged: Project) -> None:
    cycle = drive(start_cycle(judged, config={"blind_votes": 10}))
    compare_blind(cycle.policy, [(1, 2)] * 10)
    promote(cycle.policy)
    roll_back(judged, None, "it repeats itself")
    drive(cycle)
    assert cycle.state == State.STOPPED and "policy 2" in cycle.reason
    assert "was rolled back" in cycle.reason


def test_a_rollback_stops_the_cycle_and_the_schedule_but_nobody_by_hand(
    judged: Project, root: Any
) -> None:
    drive(begin(judged, "2020-W01", config={"blind_votes": 0}))
    cycle = drive(start_cycle(judged, config={"blind_votes": 10}))
    assert (cycle.step, cycle.policy.number) == (Step.BLIND_COMPARISON, 3)
    roll_back(judged, root, "it repeats itself")
    cycle.refresh_from_db()
    why = "policy 2 was rolled back: it repeats itself"
    assert (cycle.state, cycle.reason) == (State.STOPPED, why)
    assert (judged.loop_pause.reason, judged.loop_pause.paused_by) == (why, root)

    add_judgements(judged, 2)
    next_week = timezone.now() + timedelta(days=14)
    begin_due(next_week)
    assert judged.cycles.count() == 2, "nothing begins unattended"
    cycle = drive(start_cycle(judged))
    assert (cycle.step, cycle.policy.number) == (Step.BLIND_COMPARISON, 4), "policy 3 leads nowhere"
    assert cycle.policy.parent == judged.policies.live().get()

    cycle.close(State.STOPPED, "seen enough")
    assert resume_loop(judged, by=root)
    assert not resume_loop(judged, by=root), "nothing is paused any more"
    assert AuditEvent.objects.get(verb="resume loop").actor == root
    add_judgements(judged, 1)
    begin_due(next_week)
    assert judged.cycles.count() == 3


@pytest.mark.parametrize("at", [Step.REWARD_GATE, Step.PROMOTION_GATE])
def test_judgements_excluded_meanwhile_stop_it_until_it_begins_anew_without_them(
    judged: Project, at: Step
) -> None:
    cycle = start_cycle(judged, config={"blind_votes": 0})
    while cycle.step != at:
        advance(cycle)
        if cycle.run and cycle.run.state == Run.State.QUEUED:
            execute(cycle.run)
    hasty = judged.memberships.get(user__username="judge 1")
    exclude(judged, hasty, "clicks at random", by=None)
    drive(cycle)
    assert (cycle.state, steps(cycle)[-1]) == (State.STOPPED, at)
    assert cycle.reason == (
        "reward model 1 learned from judgements in snapshot 1 that were excluded since: "
        f"{hasty} was excluded: clicks at random"
    )
    assert judged.policies.live().get().number == 1

    cycle = drive(start_cycle(judged))
    assert (cycle.snapshot.number, cycle.reward_model.number) == (2, 2)


def test_a_released_gate_lets_it_go_on(judged: Project, monkeypatch: Any, root: Any) -> None:
    monkeypatch.setitem(EVALUATION, "win_rate", {"value": 0.55, "low": 0.45, "high": 0.65})
    cycle = drive(start_cycle(judged, config={"blind_votes": 0}))
    assert cycle.state == State.STOPPED and "REVIEW" in cycle.reason
    assert cycle.policy.status == PolicyVersion.Status.CANDIDATE
    gate = judged.gate_reports.get(gate=GateReport.Gate.PROMOTION)
    release(gate, root, "the samples read better")
    cycle = drive(start_cycle(judged))
    assert (cycle.state, cycle.policy.status) == (State.DONE, PolicyVersion.Status.LIVE)
    assert judged.runs.filter(kind="ppo").count() == 1


def test_the_blind_comparison_waits_for_the_volunteers(judged: Project) -> None:
    cycle = drive(start_cycle(judged, config={"blind_votes": 10}))
    assert (cycle.state, cycle.step) == (State.RUNNING, Step.BLIND_COMPARISON)
    compare_blind(cycle.policy, [(1, 2)] * 9)
    assert not advance(cycle)
    assert waits_for(cycle) == "9 of 10 blind comparisons by the volunteers"
    compare_blind(cycle.policy, [(1, 2)])
    drive(cycle)
    assert cycle.state == State.DONE
    assert cycle.policy.evaluation["blind"]["wins"] == 10
    left = Task.objects.get(batch=cycle.policy.blind_batch, n_done=0)
    assert left.state == Task.State.CLOSED, "nobody is asked any more"


def test_people_who_prefer_the_old_policy_keep_it(judged: Project) -> None:
    cycle = drive(start_cycle(judged, config={"blind_votes": 10}))
    compare_blind(cycle.policy, [(2, 1)] * 10)
    drive(cycle)
    assert (cycle.state, cycle.policy.status) == (State.STOPPED, PolicyVersion.Status.REJECTED)
    assert "People prefer the old policy" in cycle.reason


def test_a_comparison_that_few_take_part_in_ends_after_a_week(judged: Project) -> None:
    cycle = drive(start_cycle(judged, config={"blind_votes": 10}))
    compare_blind(cycle.policy, [(1, 2)])
    assert not advance(cycle)
    cycle.log[-1]["at"] = (timezone.now() - timedelta(days=7)).isoformat()
    cycle.save()
    drive(cycle)
    assert cycle.state == State.STOPPED
    assert "People have not shown" in cycle.reason


def test_an_unexpected_error_is_kept_with_the_cycle(judged: Project, settings: Any) -> None:
    cycle = start_cycle(judged)
    GateSetting.objects.create(project=judged, values={"agreement": {"x": 1}}, reason="a slip")
    with pytest.raises(TypeError):
        advance_cycle(cycle.pk)
    cycle.refresh_from_db()
    assert cycle.state == State.FAILED and "TypeError" in cycle.reason
