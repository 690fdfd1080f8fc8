"""Policies are registered, asked for, judged, promoted and rolled back."""

import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from annotate.models import AuditEvent, Membership, Project, Task, User
from annotate.services.projects import exclude, lift
from annotate.services.tasks import open_ranking_tasks
from rewards.ml.artefacts import ArtefactError
from rewards.models import GateReport, Run, Snapshot
from tests import make
from tests.training.rows import make_candidate, make_reward_model
from tests.training.tiny_base import make_base
from training.lifecycle import NotAllowed, blind_result
from training.models import PolicyVersion
from training.services.policies import (
    judge_promotion,
    promote,
    register_base,
    request_evaluation,
    request_samples,
    request_update,
    roll_back,
)

Status = PolicyVersion.Status


@pytest.fixture
def live(project: Project) -> PolicyVersion:
    return register_base(project, "org/base", config={"sampling": {"max_new_tokens": 32}})


# Registering


def test_the_first_base_is_live_and_the_next_a_candidate(project: Project, root: User) -> None:
    first = register_base(project, "org/base", by=root)
    second = register_base(project, "org/other")
    assert (first.number, first.status) == (1, Status.LIVE)
    assert (second.number, second.status) == (2, Status.CANDIDATE)
    assert AuditEvent.objects.get(verb="register", object_id=str(first.pk)).actor == root
    with pytest.raises(NotAllowed, match="has not been evaluated"):
        promote(second)


def test_a_folder_elsewhere_is_copied_without_pickles(
    project: Project, artefacts: Path, tmp_path: Path
) -> None:
    source = make_base(tmp_path / "mine")
    (source / "manifest.json").unlink()
    (source / "training_args.bin").write_bytes(b"a pickle")
    policy = register_base(project, str(source))
    assert policy.base == "projects/climate/bases/mine"
    copied = {path.name for path in Path(policy.base_source).iterdir()}
    assert {"config.json", "model.safetensors", "manifest.json"} <= copied
    assert "training_args.bin" not in copied
    assert register_base(project, str(source)).base == policy.base
    (source / "config.json").write_text("{}")
    with pytest.raises(NotAllowed, match="mine differs from the base projects/climate/bases/mine"):
        register_base(project, str(source))


def test_what_is_no_model_or_was_altered_is_refused(project: Project, artefacts: Path) -> None:
    (artefacts / "empty").mkdir(parents=True)
    with pytest.raises(NotAllowed, match=r"no config\.json"):
        register_base(project, "empty")
    with pytest.raises(NotAllowed, match="neither a folder nor the id"):
        register_base(project, "../../etc/model")
    for unknown in ("org/no-such-model", "a--b"):
        with pytest.raises(NotAllowed, match=f"{unknown} is no folder, and no model of the hub: ."):
            register_base(project, unknown)
    (make_base(artefacts / "base") / "config.json").write_text("{}")
    with pytest.raises(ArtefactError, match="differs from the manifest"):
        register_base(project, "base")
    assert not project.policies.exists()


# Asking


def test_the_same_update_is_asked_for_once(live: PolicyVersion) -> None:
    reward_model = make_reward_model(live.project)
    policy = request_update(live, reward_model, {"iterations": 3})
    assert request_update(live, reward_model, {"iterations": 3}) == policy
    assert request_update(live, reward_model, {"iterations": 4}) != policy
    assert (policy.number, policy.parent, policy.status) == (2, live, Status.TRAINING)
    assert policy.sampling == {"temperature": 1.0, "max_new_tokens": 32}
    assert Run.objects.filter(kind="ppo").count() == 2


def test_an_update_wants_an_accepted_reward_model_of_its_base(live: PolicyVersion) -> None:
    with pytest.raises(NotAllowed, match="shadow"):
        request_update(live, make_reward_model(live.project, status="shadow"), {})
    with pytest.raises(NotAllowed, match="another base"):
        request_update(live, make_reward_model(live.project, base="org/other"), {})


def test_the_same_samples_are_asked_for_once(live: PolicyVersion) -> None:
    prompts = [make.make_prompt(live.project, responses=0) for _ in range(2)]
    first = request_samples(live, prompts, k=4, seed=1)
    assert request_samples(live, prompts, k=4, seed=1) == first
    assert request_samples(live, prompts, k=4, seed=2) != first
    with pytest.raises(NotAllowed, match="no prompt"):
        request_samples(live, [], k=4, seed=1)


def test_a_policy_without_reward_model_is_not_evaluated(live: PolicyVersion) -> None:
    with pytest.raises(NotAllowed, match="without a reward model"):
        request_evaluation(live, live)


def test_policies_whose_run_failed_have_failed(live: PolicyVersion) -> None:
    policy = request_update(live, make_reward_model(live.project), {})
    assert policy.run is not None and policy.run.claim("worker")
    policy.run.finish(Run.State.FAILED, reason="NaN")
    policy.refresh_from_db()
    assert policy.status == Status.FAILED


# Judging and promoting


def test_a_policy_that_wins_is_promoted(live: PolicyVersion, root: User) -> None:
    candidate = promote(make_candidate(live), root)
    live.refresh_from_db()
    assert (candidate.status, live.status) == (Status.LIVE, Status.RETIRED)
    assert candidate.gate is not None and candidate.gate.state == "PASS"
    event = AuditEvent.objects.get(verb="promote")
    assert (event.actor, event.detail["former"]) == (root, 1)


@pytest.mark.parametrize(
    ("changes", "state", "named"),
    [
        ({"win_rate": {"value": 0.4, "low": 0.3, "high": 0.5}}, "BLOCK", "wins: "),
        ({"win_rate": {"value": 0.55, "low": 0.45, "high": 0.65}}, "REVIEW", "wins: "),
        ({"kl": 30.0}, "BLOCK", "distance: "),
        ({"length_change": 0.6, "length_controlled_win_rate": None}, "BLOCK", "length: "),
        ({"eos_rate": 0.5}, "BLOCK", "endings: "),
        ({"blind_votes": 60}, "INSUFFICIENT", "blind comparison: Nobody has compared"),
    ],
)
def test_promotion_is_refused_by_name_of_the_rule(
    live: PolicyVersion, changes: dict[str, Any], state: str, named: str
) -> None:
    candidate = make_candidate(live, changes)
    with pytest.raises(NotAllowed, match=rf"\({state}\).*{named}"):
        promote(candidate)
    live.refresh_from_db()
    assert live.status == Status.LIVE


def test_a_run_that_was_stopped_is_not_promoted(live: PolicyVersion) -> None:
    candidate = make_candidate(live)
    PolicyVersion.objects.filter(pk=candidate.pk).update(
        metrics={"status": "stopped: entropy fell"}
    )
    with pytest.raises(NotAllowed, match="run completed"):
        promote(candidate)


def test_a_released_review_stays_released_while_nothing_changes(live: PolicyVersion) -> None:
    unsure = {"win_rate": {"value": 0.55, "low": 0.45, "high": 0.65}}
    candidate = make_candidate(live, unsure)
    gate = judge_promotion(candidate)
    GateReport.objects.filter(pk=gate.pk).update(released_at="2026-11-20T12:00:00Z")
    assert judge_promotion(candidate) == gate
    candidate.refresh_from_db()
    assert promote(candidate).status == Status.LIVE


def test_votes_that_came_after_the_verdict_count(live: PolicyVersion) -> None:
    opened, released = (
        make_candidate(live, {"blind_votes": 10, **more})
        for more in ({}, {"win_rate": {"value": 0.55, "low": 0.45, "high": 0.65}})
    )
    assert judge_promotion(opened).state == "INSUFFICIENT"
    compare_blind(opened, [(1, 2)] * 10)
    compare_blind(released, [(1, 2)] * 2)
    gate = judge_promotion(released)
    GateReport.objects.filter(pk=gate.pk).update(released_at="2026-11-20T12:00:00Z")
    compare_blind(released, [(2, 1)] * 20)
    with pytest.raises(NotAllowed, match="People prefer the old policy"):
        promote(released)
    released.refresh_from_db()
    assert released.gate.state == "BLOCK", "the verdict that refused it is kept"
    assert promote(opened).status == Status.LIVE


def test_the_budget_that_a_policy_was_made_with_is_that_of_every_verdict(
    live: PolicyVersion,
) -> None:
    candidate = make_candidate(live, {"kl": 30.0})
    candidate.config = {"update": {"kl_budget": 40.0}}
    candidate.save()
    assert judge_promotion(candidate).state == "PASS"
    assert promote(candidate).status == Status.LIVE


def test_only_what_was_compared_with_the_live_policy_replaces_it(live: PolicyVersion) -> None:
    one, other = make_candidate(live), make_candidate(live)
    promote(one)
    with pytest.raises(NotAllowed, match="was not compared with policy 2"):
        promote(other)


def test_what_learned_from_judgements_excluded_since_is_not_promoted(
    live: PolicyVersion, ada_member: Membership
) -> None:
    candidate = make_candidate(live)
    candidate.reward_model.snapshot.rankings.add(make.make_ranking(ada_member))
    exclusion = exclude(live.project, ada_member, "clicks at random", by=None)
    Snapshot.objects.update(tainted_at=None, taint_reason="")  # frozen in the same moment
    with pytest.raises(NotAllowed, match=r"snapshot 1 that were excluded since: .* at random"):
        promote(candidate)
    assert live.project.policies.live().get() == live
    lift(exclusion, by=None)
    assert promote(candidate).status == Status.LIVE


def test_an_ancestor_that_learned_from_them_keeps_no_cleaner_policy_from_going_live(
    live: PolicyVersion, ada_member: Membership
) -> None:
    second = make_candidate(live)
    second.reward_model.snapshot.rankings.add(make.make_ranking(ada_member))
    promote(second)
    exclude(live.project, ada_member, "clicks at random", by=None)
    assert promote(make_candidate(second)).status == Status.LIVE


@pytest.mark.django_db(transaction=True)
def test_one_of_two_admins_who_promote_at_once_wins(live: PolicyVersion) -> None:
    candidates = [make_candidate(live), make_candidate(live)]
    barrier = threading.Barrier(2)
    refused: list[str] = []

    def press(policy: PolicyVersion) -> None:
        barrier.wait()
        try:
            promote(policy)
        except NotAllowed as error:
            refused.append(str(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=press, args=(policy,)) for policy in candidates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1 and "was not compared with" in refused[0]
    assert live.project.policies.live().count() == 1


# Rolling back


def test_rolling_back_brings_the_former_policy_back(live: PolicyVersion, root: User) -> None:
    second = promote(make_candidate(live))
    third = promote(make_candidate(second))
    assert roll_back(live.project, root, "it invents sources") == second
    third.refresh_from_db()
    assert third.status == Status.REJECTED
    assert roll_back(live.project, root, "so does that one") == live
    event = AuditEvent.objects.filter(verb="roll back").first()
    assert event is not None
    assert (event.actor, event.detail) == (root, {"reason": "it invents sources", "rejected": 3})
    with pytest.raises(NotAllowed, match="no other policy"):
        roll_back(live.project, root, "and another")
    assert live.project.policies.live().get() == live


def test_taint_reaches_every_policy_that_learned_from_it(live: PolicyVersion) -> None:
    second = promote(make_candidate(live))
    third = make_candidate(second)
    assert third.taint == ""
    snapshot = second.reward_model.snapshot
    snapshot.tainted_at, snapshot.taint_reason = "2026-11-20T12:00:00Z", "bob was excluded"
    snapshot.save()
    for policy in PolicyVersion.objects.filter(pk__in=[second.pk, third.pk]):
        assert "policy 2 learned from reward model 1" in policy.taint
        assert "bob was excluded" in policy.taint
    assert PolicyVersion.objects.get(pk=live.pk).taint == ""


# The blind comparison


def compare_blind(policy: PolicyVersion, ranks: list[tuple[int | None, int | None]]) -> list[Any]:
    """One comparison and one ranking of it for each pair of ranks, the new policy's first.

    The new response has the higher id in every second task, so that ids tell nothing.
    """
    annotators = []
    for number, (new, old) in enumerate(ranks):
        prompt = make.make_prompt(policy.project, responses=["one", "other"])
        first, second = prompt.responses.order_by("pk")
        responses = (first, second) if number % 2 else (second, first)
        (task,) = open_ranking_tasks(
            policy.project,
            [(prompt, responses)],
            batch=f"{policy.blind_batch} {prompt.pk}",
            kind=Task.Kind.EVALUATION,
        )
        Task.objects.filter(pk=task.pk).update(batch=policy.blind_batch)
        by_id = sorted(zip([r.pk for r in responses], (new, old), strict=True))
        member = make.make_member(policy.project, f"volunteer {policy.project.memberships.count()}")
        unacceptable = [response.pk for response in responses] if new is None else []
        make.make_ranking(member, [rank for _, rank in by_id], task=task, unacceptable=unacceptable)
        annotators.append(member)
    return annotators


def test_the_blind_comparison_counts_for_the_new_policy(live: PolicyVersion) -> None:
    candidate = make_candidate(live, {"blind_votes": 10})
    nothing = blind_result(candidate)
    assert (nothing["n"], nothing["win_rate"]["value"]) == (0, None)
    compare_blind(candidate, [(1, 2)] * 8 + [(1, 1)] * 2)
    found = blind_result(candidate)
    assert (found["wins"], found["ties"], found["losses"], found["open"]) == (8, 2, 0, 0)
    # R: prop.test(9, 10, correct = FALSE)
    assert found["win_rate"] == pytest.approx(
        {"value": 0.9, "low": 0.5958, "high": 0.9821, "n": 10}, abs=1e-4
    )
    assert judge_promotion(candidate).state == "PASS"


def test_people_who_prefer_the_old_policy_shut_the_gate(live: PolicyVersion) -> None:
    candidate = make_candidate(live, {"blind_votes": 10})
    compare_blind(candidate, [(2, 1)] * 9 + [(None, None)])
    with pytest.raises(NotAllowed, match="People prefer the old policy"):
        promote(candidate)


def test_excluded_annotators_do_not_count_in_the_comparison(live: PolicyVersion) -> None:
    candidate = make_candidate(live, {"blind_votes": 2})
    hostile, _ = compare_blind(candidate, [(2, 1), (1, 2)])
    exclude(live.project, hostile, "always chooses the worst", by=None)
    found = blind_result(candidate)
    assert (found["wins"], found["losses"]) == (1, 0)
