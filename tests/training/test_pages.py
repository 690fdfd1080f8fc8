"""Admins see where the loop stands, and nobody else does; what is shown is what is stored."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.models import AuditEvent, Membership
from annotate.services.projects import exclude
from rewards.models import GateReport, Run, RunMetric
from rewards.services.agreement import MEASURED_EVERY, measure
from rewards.services.gates import judge_agreement
from tests import make
from tests.pages import words
from tests.training.rows import EVALUATION, make_candidate, make_reward_model
from tests.training.test_policies import compare_blind
from training import urls
from training.cycle import iso_week
from training.figures import steps_of
from training.models import Cycle, PolicyVersion
from training.services import overview
from training.services.policies import (
    judge_promotion,
    promote,
    register_base,
    request_update,
)

Status, Step = PolicyVersion.Status, Cycle.Step
POST_ONLY = {"promote", "release", "resume", "sample", "start_cycle"}
COMPARED = EVALUATION | {
    "against_number": 1,
    "win_rate": {"value": 0.81, "low": 0.755, "high": 0.86, "n": 204},
    "old": {"score": -0.11, "response_tokens": 31.2, "eos_rate": 0.97, "kl_reference": 0.0,
            "distinct_2": 0.61},
    "new": {"score": 0.83, "response_tokens": 33.9, "eos_rate": 0.99, "kl_reference": 3.9,
            "distinct_2": 0.6},
    "pairs": [
        {"messages": [{"role": "user", "content": "Why is the *sky* blue?"}],
         "old": "<script>alert(1)</script>", "new": "Air scatters **blue** light.",
         "scores": [-0.42, 1.31]},
    ],
}  # fmt: skip


@pytest.fixture
def candidate(live):
    return make_candidate(live, COMPARED)


def show(client, name, *args):
    """The words of a page, without its tags."""
    response = client.get(reverse(f"training:{name}", args=["climate", *args]))
    assert response.status_code == 200
    return words(response)


def make_gate(project, gate, state, rules=()):
    return GateReport.objects.create(
        project=project,
        gate=gate,
        state=state,
        report={"rules": list(rules), "settings": {"kl_budget": 20.0}},
        digest=state,
    )


def rule(verdict, reason, **figures):
    return {"name": "n", "rule": "r", "verdict": verdict, "reason": reason, "value": None,
            "low": None, "high": None, "missing_low": None, "missing_high": None,
            "ok": verdict == "ok", **figures}  # fmt: skip


def add_audited(project, n):
    """Prompts that two people judged, who agree but for every fourth."""
    judges = [make.make_member(project, f"judge {i}") for i in range(2)]
    for number in range(n):
        task = make.make_task(project, kind="audit")
        for judge in judges:
            turned = number % 4 == 0 and judge is judges[1]
            make.make_ranking(judge, (4, 3, 2, 1) if turned else (1, 2, 3, 4), task=task)


def make_cycle(project, step=Step.FREEZE, **columns):
    columns = {"iso_week": iso_week(timezone.now()), "config": {"blind_votes": 60}, **columns}
    return Cycle.objects.create(project=project, step=step, **columns)


# Who may see and do this


@pytest.fixture
def addresses(candidate):
    week = make_cycle(candidate.project).iso_week
    known = {"number": candidate.number, "week": week, "slug": "climate"}
    return {
        p.name: reverse(
            f"training:{p.name}",
            kwargs={key: known[key] for key in ("slug", *p.pattern.converters)},
        )
        for p in urls.urlpatterns
    }


@pytest.mark.parametrize("name", [p.name for p in urls.urlpatterns])
def test_only_admins_of_the_project_get_anywhere(client, project, addresses, ada, eve, name):
    other = make.make_member(make.make_project("other"), "mallory", Membership.Role.ADMIN).user
    before = list(PolicyVersion.objects.values()), list(Cycle.objects.values())
    for method in (client.get, client.post):
        assert method(addresses[name]).url.startswith("/login/")
    for user in (ada, eve, other):
        client.force_login(user)
        for method in (client.get, client.post):
            assert method(addresses[name], {"reason": "why not"}).status_code in (404, 405)
    assert (list(PolicyVersion.objects.values()), list(Cycle.objects.values())) == before


@pytest.mark.parametrize("name", sorted(POST_ONLY))
def test_what_changes_something_is_posted(admin, addresses, name):
    assert admin.get(addresses[name]).status_code == 405


@pytest.mark.parametrize("name", [p.name for p in urls.urlpatterns if p.name not in POST_ONLY])
def test_pages_keep_to_the_content_security_policy(admin, addresses, name):
    response = admin.get(addresses[name])
    assert response.status_code == 200
    assert b"style=" not in response.content
    assert b"<script>" not in response.content
    assert b"onclick" not in response.content


# The loop at a glance


def test_an_empty_project_is_told_to_begin_with_prompts(admin, project):
    page = show(admin, "overview")
    assert "There are no prompts yet" in page
    assert "not measured yet" in page
    assert "none live" in page


def test_without_volunteers_they_are_invited(admin, project):
    make.make_task(project)
    page = show(admin, "overview")
    assert "Nobody ranks yet" in page
    assert "Invite people" in page


def test_the_stations_show_the_stored_figures(admin, ada_member, bob_member, candidate):
    project = candidate.project
    make.make_ranking(ada_member)
    make.make_ranking(bob_member)
    old = make.make_ranking(ada_member)
    type(old).objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=8))
    make.make_task(project, need=3)
    candidate.reward_model.metrics = {
        "accuracy": {"value": 0.713, "low": 0.662, "high": 0.761, "n_prompts": 212},
        "longest_wins_accuracy": {"value": 0.55, "low": 0.49, "high": 0.61, "n_prompts": 212},
        "human_accuracy": {"value": None, "low": None, "high": None, "n_prompts": 0},
    }
    candidate.reward_model.save()
    judge_promotion(candidate)
    promote(candidate)
    page = show(admin, "overview")
    assert "4 prompts 16 responses 3 judgements wait for volunteers" in page
    assert "2 in seven days by 2 of 2 volunteers 3 in all" in page
    assert "71.3 % [66.2, 76.1], n = 212" in page
    assert "length rule 55.0 % [49.0, 61.0], n = 212" in page
    assert "people not measured yet" in page
    assert "wins against policy 1 people, blind not measured yet" in page
    assert "reward model 81.0 % [75.5, 86.0], n = 204" in page


def test_the_agreement_is_as_it_was_measured_last(admin, project):
    add_audited(project, 24)
    assert "not measured yet" in show(admin, "overview")
    report = measure(project)
    alpha = report.figures["alpha"]
    page = show(admin, "overview")
    assert f"{alpha['value']:.2f} [{alpha['low']:.2f}, {alpha['high']:.2f}], n = 24" in page
    assert f"measured {report.created_at:%-d %b %Y, %H:%M} UTC" in page
    assert "too little data" in page
    rules = judge_agreement(project, report.figures).report["rules"]
    more = max(rule["missing_high"] or 0 for rule in rules)
    assert more >= 26  # fifty are the least
    assert f"About {more} more prompts judged by two people until agreement can be judged." in page
    make.make_ranking(project.memberships.first(), task=make.make_task(project, kind="audit"))
    assert "UTC, 1 ranking since" in show(admin, "overview")
    assert project.agreement_reports.get() == report


def test_measuring_is_offered_where_the_clock_has_not_done_it(admin, project):
    assert "Measure now" not in show(admin, "overview"), "nothing to measure"
    add_audited(project, 1)
    assert "Measure now" in show(admin, "overview")
    page = words(admin.post(reverse("rewards:agreement_measure", args=["climate"]), follow=True))
    assert "Not enough overlap: 1 prompt has been judged by two people" in page
    make.make_ranking(project.memberships.first(), task=make.make_task(project, kind="audit"))
    assert "Measure now" not in show(admin, "overview"), "the clock will do it"
    project.agreement_reports.update(created_at=timezone.now() - MEASURED_EVERY)
    assert "Measure now" in show(admin, "overview")


def test_a_model_in_training_does_not_hide_the_one_that_was_measured(admin, live):
    first = make_reward_model(live.project)
    first.metrics = {"accuracy": {"value": 0.7, "low": 0.6, "high": 0.8, "n_prompts": 50}}
    first.save()
    make_reward_model(live.project, status="training")
    page = show(admin, "overview")
    assert "70.0 % [60.0, 80.0], n = 50" in page
    assert "reward model 1 Accepted reward model 2 Training" in page


def test_a_running_run_shows_its_progress_and_is_asked_again(admin, live):
    run = Run.objects.create(
        project=live.project, kind="ppo", state="running", step=17, total=40, message="score 0.61"
    )
    address = reverse("training:overview", args=["climate"])
    response = admin.get(address)
    assert "17 of 40" in words(response)
    assert 'hx-trigger="every 5s"' in response.content.decode()
    part = admin.get(address, headers={"HX-Request": "true"})
    assert "<html" not in part.content.decode()
    assert "score 0.61" in words(part)
    Run.objects.filter(pk=run.pk).update(state="done", finished_at=timezone.now())
    assert (
        "hx-trigger"
        not in admin.get(reverse("training:overview", args=["climate"])).content.decode()
    )


# What needs an admin now


@pytest.fixture
def working(ada_member, live):
    """A project in which nothing needs anybody: people rank, a policy is live."""
    make.make_ranking(ada_member)
    make.make_task(live.project)
    return live.project


def need_of(project, gate=None):
    """What needs an admin when the agreement gate stands as given."""
    loop = overview.read(project)
    return overview.what_needs_you(replace(loop, agreement_gate=gate or GateReport(state="PASS")))


def test_nothing_needs_anybody_when_the_loop_runs(working):
    assert need_of(working).text == "Nothing: the loop goes on by itself."


def test_a_failed_run_comes_first_until_something_else_has_run(working):
    review = make_gate(working, "agreement", "REVIEW")
    failed = Run.objects.create(
        project=working,
        kind="ppo",
        state="failed",
        reason="out of memory",
        finished_at=timezone.now(),
    )
    need = need_of(working, review)
    assert need.text == "The last run failed: out of memory"
    assert (need.page, need.number, need.urgent) == ("rewards:run", failed.pk, True)
    Run.objects.create(project=working, kind="ppo", state="done", finished_at=timezone.now())
    assert "Agreement may be too low" in need_of(working, review).text


def test_too_little_overlap_says_how_much_is_missing(working):
    missing = rule("missing", "12 prompts; 38 more are needed.", missing_low=38, missing_high=38)
    gate = make_gate(working, "agreement", "INSUFFICIENT", [rule("ok", "fine"), missing])
    assert need_of(working, gate).text == (
        "About 38 more prompts judged by two people until agreement can be judged."
    )


def test_too_few_people_is_said_in_the_words_of_the_gate(working):
    few = [rule("missing", "3 more people are needed.")]
    gate = make_gate(working, "agreement", "INSUFFICIENT", few)
    assert need_of(working, gate).text == "3 more people are needed."


def test_people_who_disagree_are_news(working):
    need = need_of(working, make_gate(working, "agreement", "BLOCK"))
    assert "agree too little" in need.text
    assert need.urgent


def test_a_policy_behind_an_open_gate_waits_for_its_promotion(working, candidate):
    judge_promotion(candidate)
    need = need_of(working)
    assert need.text == "Policy 2 has passed its gate and can go live."
    assert (need.page, need.number) == ("training:policy", 2)


def test_a_blind_comparison_says_how_many_are_missing(working, candidate, bob_member):
    make_cycle(working, Step.BLIND_COMPARISON, policy=candidate)
    task = make.make_task(
        working, responses=2, kind="evaluation", batch=candidate.blind_batch, need=3
    )
    make.make_ranking(bob_member, (1, 2), task=task)
    assert need_of(working).text == "Policy 2 waits for 59 more blind comparisons."


def test_a_stopped_cycle_says_why(working):
    make_cycle(working, Step.END, state="stopped", reason="the agreement gate is shut")
    assert need_of(working).text == "This week's cycle stopped: the agreement gate is shut"


def test_when_the_agreement_gate_was_released_the_cycle_can_go_on(working):
    gate = make_gate(working, "agreement", "REVIEW")
    make_cycle(working, Step.END, state="stopped", reason="in shadow", agreement_gate=gate)
    GateReport.objects.filter(pk=gate.pk).update(released_at=timezone.now())
    assert need_of(working).page == "training:cycles"


def test_volunteers_without_tasks_are_noticed(working):
    working.tasks.update(state="done", n_done=1)
    assert "nothing to do" in need_of(working).text


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-16T02:00:00", "2026-11-16T03:00:00"),
        ("2026-11-18T12:00:00", "2026-11-16T03:00:00"),  # due, waits for a ranking
    ],
)
def test_the_next_cycle_is_this_weeks_until_it_began(live, now, expected):
    now, expected = (datetime.fromisoformat(t).replace(tzinfo=UTC) for t in (now, expected))
    assert overview.next_cycle_at(live.project, now) == expected
    make_cycle(live.project, iso_week="2026-W47")
    assert overview.next_cycle_at(live.project, now) == expected + timedelta(days=7)


def test_no_cycle_is_announced_without_a_live_policy_or_in_a_pause(project, root):
    assert overview.next_cycle_at(project, timezone.now()) is None
    register_base(project, "org/base")
    project.paused = True
    assert overview.next_cycle_at(project, timezone.now()) is None


# Policies


def test_a_policy_shows_its_evaluation_gate_and_lineage(admin, candidate, ada_member, bob_member):
    rankings = [make.make_ranking(m) for m in (ada_member, bob_member, ada_member)]
    candidate.reward_model.snapshot.rankings.set(rankings)
    run = Run.objects.create(project=candidate.project, kind="ppo", state="done")
    for step, score in enumerate((-0.2, 0.35, 0.875), start=1):
        RunMetric.objects.create(run=run, step=step, values={"score": score, "kl_reference": step})
    candidate.run = run
    candidate.save()
    judge_promotion(candidate)
    page = show(admin, "policy", 2)
    assert "3 rankings by 2 people" in page
    assert "by the reward model 81.0 % [75.5, 86.0], n = 204" in page
    assert "Reward −0.11 0.83" in page
    assert "Length, tokens 31.2 33.9" in page
    assert "gate open" in page
    assert "at most 20 nats a response" in page
    assert "3 0.875" in page  # the numbers under the curve
    assert "Policy 1 reward −0.42 <script>" in page
    assert "Policy 2 reward 1.31 Air scatters blue light." in page


def test_responses_of_models_are_shown_as_text(admin, candidate):
    page = admin.get(reverse("training:policy", args=["climate", 2])).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<strong>blue</strong>" in page


def test_a_base_and_a_policy_in_training_have_pages_too(admin, live):
    run = Run.objects.create(project=live.project, kind="ppo", state="queued")
    PolicyVersion.objects.create(
        project=live.project, number=2, parent=live, base=live.base, run=run,
        reward_model=make_reward_model(live.project),
    )  # fmt: skip
    assert "org/base" in show(admin, "policy", 1)
    assert "Not evaluated yet." in show(admin, "policy", 2)
    assert "from policy 1, not evaluated yet" in show(admin, "policies")


def test_taint_is_inherited_and_shown_in_the_list(
    admin, ada_member, candidate, django_assert_max_num_queries
):
    candidate.reward_model.snapshot.rankings.add(make.make_ranking(ada_member))
    judge_promotion(candidate)
    promote(candidate)
    grandchild = make_candidate(candidate, COMPARED)
    assert "tainted" not in show(admin, "policies")
    exclude(candidate.project, ada_member, "clicks at random", by=None)
    for number in (2, grandchild.number):
        page = show(admin, "policy", number)
        assert "Tainted: policy 2 learned from reward model 1, snapshot 1:" in page
        assert "clicks at random" in page
    for _ in range(5):
        make_candidate(candidate, COMPARED)
    with django_assert_max_num_queries(20):
        assert show(admin, "policies").count("tainted") == 7


def test_a_policy_whose_run_is_called_off_has_failed_at_once(admin, live):
    policy = request_update(live, make_reward_model(live.project), {})
    assert "Policy 2 Training" in show(admin, "policies")
    admin.post(reverse("rewards:run_cancel", args=["climate", policy.run.pk]))
    assert "Policy 2 Failed" in show(admin, "policies")


def test_promoting_makes_the_policy_live_and_names_who_did_it(admin, root, candidate):
    judge_promotion(candidate)
    assert "Promote: let it go live" in show(admin, "policy", 2)
    response = admin.post(reverse("training:promote", args=["climate", 2]), follow=True)
    candidate.refresh_from_db()
    assert candidate.status == Status.LIVE
    assert "Policy 2 is live." in words(response)
    assert AuditEvent.objects.get(verb="promote").actor == root


def test_a_policy_made_by_hand_is_judged_by_hand_and_one_of_a_cycle_by_the_cycle(
    admin, live, candidate
):
    cycle = make_cycle(live.project, Step.BLIND_COMPARISON, policy=candidate)
    assert "The weekly cycle judges its gate" in show(admin, "policy", 2)
    cycle.close("failed", "out of memory")
    assert "Its gate has not been judged yet." in show(admin, "policy", 2)
    admin.post(reverse("training:promote", args=["climate", 2]))
    assert live.project.policies.live().get() == candidate


def test_behind_a_closed_gate_the_failing_rules_stand_instead_of_a_button(admin, live):
    worse = {"win_rate": {"value": 0.4, "low": 0.3, "high": 0.5, "n": 100}}
    judge_promotion(make_candidate(live, COMPARED | worse))
    page = show(admin, "policy", 2)
    assert "It cannot go live: wins: Its responses are no better." in page
    assert "Promote" not in page
    response = admin.post(reverse("training:promote", args=["climate", 2]), follow=True)
    assert "stays behind its gate" in words(response)
    assert live.project.policies.live().get() == live


def test_a_gate_that_lacked_votes_is_judged_anew_with_those_that_came(admin, live):
    candidate = make_candidate(live, COMPARED | {"blind_votes": 10})
    judge_promotion(candidate)
    button = "Judge it anew, and let it go live if the gate opens"
    assert button in show(admin, "policy", 2)
    address = reverse("training:promote", args=["climate", 2])
    page = words(admin.post(address, follow=True))
    assert "stays behind its gate (INSUFFICIENT)" in page and button in page
    compare_blind(candidate, [(1, 2)] * 10)
    assert "Policy 2 is live." in words(admin.post(address, follow=True))
    assert live.project.policies.live().get() == candidate


def test_a_gate_under_review_is_released_with_a_reason_and_not_without(admin, root, live):
    unsure = {"win_rate": {"value": 0.52, "low": 0.45, "high": 0.6, "n": 100}}
    gate = judge_promotion(make_candidate(live, COMPARED | unsure))
    assert gate.state == "REVIEW"
    address = reverse("training:release", args=["climate", 2])
    assert "Say why" in words(admin.post(address, {"reason": " "}, follow=True))
    gate.refresh_from_db()
    assert not gate.opens
    page = words(admin.post(address, {"reason": "read 40 samples myself"}, follow=True))
    gate.refresh_from_db()
    assert gate.opens
    assert gate.released_by == root
    assert "Released by root" in page and "“read 40 samples myself”" in page
    again = words(admin.post(address, {"reason": "once more"}, follow=True))
    assert "this one was released before" in again


def test_rolling_back_asks_why_and_then_does_it(admin, root, live, candidate):
    judge_promotion(candidate)
    promote(candidate)
    address = reverse("training:roll_back", args=["climate"])
    assert "Roll back to policy 1…" in show(admin, "policy", 2)
    assert "Policy 1 goes live again" in words(admin.get(address))
    assert "Say why" in words(admin.post(address, {"reason": ""}))
    assert live.project.policies.live().get() == candidate
    response = admin.post(address, {"reason": "it rambles"}, follow=True)
    assert "Policy 1 is live." in words(response)
    assert live.project.policies.live().get() == live
    assert AuditEvent.objects.get(verb="roll back").detail["reason"] == "it rambles"


def test_after_a_rollback_the_loop_waits_until_an_admin_resumes_it(admin, working, candidate):
    promote(candidate)
    admin.post(reverse("training:roll_back", args=["climate"]), {"reason": "it rambles"})
    assert "paused since a rollback" in need_of(working).text
    page = show(admin, "overview")
    assert "Paused by root on " in page
    assert "UTC: policy 2 was rolled back: it rambles Resume" in page
    assert "Next cycle" not in page and "It may begin by itself" not in show(admin, "cycles")
    response = admin.post(reverse("training:resume", args=["climate"]), follow=True)
    assert "The weekly cycle begins by itself again." in words(response)
    assert "Paused" not in words(response)
    assert "paused" not in need_of(working).text


def test_with_nothing_to_go_back_to_the_page_says_so(admin, live):
    address = reverse("training:roll_back", args=["climate"])
    assert "nothing to go back to" in words(admin.get(address))
    response = admin.post(address, {"reason": "out of curiosity"}, follow=True)
    assert "no other policy of climate was live before" in words(response)


# Cycles


def test_a_cycle_is_begun_by_hand_once(admin, root, live):
    page = show(admin, "cycles")
    assert f"Start the cycle of {iso_week(timezone.now())} now" in page
    address = reverse("training:start_cycle", args=["climate"])
    for _ in range(2):
        response = admin.post(address)
        cycle = Cycle.objects.get()
        assert response.url == reverse("training:cycle", args=["climate", cycle.iso_week])
    assert cycle.created_by == root
    assert "Start the cycle" not in show(admin, "cycles")


def test_without_a_live_policy_no_cycle_is_offered(admin, project):
    assert "A cycle needs a live policy" in show(admin, "cycles")
    address = reverse("training:start_cycle", args=["climate"])
    assert "no live policy" in words(admin.post(address, follow=True))


def test_a_cycle_shows_what_was_done_and_what_it_waits_for(admin, candidate):
    cycle = make_cycle(candidate.project, policy=candidate)
    cycle.move(Step.AGREEMENT_GATE, "snapshot 1 is frozen")
    cycle.move(Step.BLIND_COMPARISON, "PASS")
    page = show(admin, "cycle", cycle.iso_week)
    assert "Snapshot 1 is frozen" in page
    assert "Waiting: 0 of 60 blind comparisons by the volunteers." in page
    assert [s.state for s in steps_of(cycle)] == ["done", "done", "current", "ahead", "ahead"]


def test_a_running_cycle_shows_the_run_it_waits_for_until_it_ends(admin, live):
    run = Run.objects.create(project=live.project, kind="ppo", state="running", step=3, total=9)
    cycle = make_cycle(live.project, Step.PPO, run=run)
    address = reverse("training:cycle", args=["climate", cycle.iso_week])
    part = admin.get(address, headers={"HX-Request": "true"})
    assert "3 of 9" in words(part)
    assert "<html" not in part.content.decode()
    cycle.close("failed", "out of memory")
    assert admin.get(address, headers={"HX-Request": "true"}).headers["HX-Refresh"] == "true"


def test_a_stopped_cycle_marks_where_and_can_be_taken_up_again(admin, live):
    cycle = make_cycle(live.project)
    cycle.move(Step.AGREEMENT_GATE, "snapshot 1 is frozen")
    cycle.close("stopped", "the agreement gate is shut")
    page = show(admin, "cycle", cycle.iso_week)
    assert "The agreement gate is shut" in page
    assert "Take it up again" in page
    assert [s.state for s in steps_of(cycle)] == ["done", "stopped"]
    cycle.reopen(Step.FREEZE, "resumed")
    assert [s.name for s in steps_of(cycle)][:4] == ["freeze", "agreement gate", "end", "freeze"]
    assert "Taken up again" in show(admin, "cycle", cycle.iso_week)
