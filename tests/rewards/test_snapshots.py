"""Snapshots hold what may be learned from, the same bytes for the same rankings, and no names."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection

from annotate.models import Adjudication, AuditEvent, Membership, Project, Ranking, Response, Task
from annotate.services.assignments import Conflict
from annotate.services.projects import exclude, lift
from annotate.services.rankings import reopen, submit_ranking
from annotate.services.review import adjudicate
from annotate.services.tasks import open_ranking_tasks
from rewards.ml.artefacts import verify
from rewards.ml.pairs import read_snapshot
from rewards.models import AgreementReport, Snapshot
from rewards.pseudonyms import keyed_pseudonym
from rewards.services.agreement import measure
from rewards.services.exports import records
from rewards.services.reward_models import request_reward_model
from rewards.services.snapshots import NothingToFreeze, count, freeze
from rewards.services.taint import refresh_taint
from tests import make


def lines(snapshot: Snapshot) -> list[dict[str, Any]]:
    text = (snapshot.path / "prompts.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_ranking_becomes_a_judgement_of_its_prompt(ada_member: Membership) -> None:
    prompt = make.make_prompt(
        ada_member.project,
        "Why is ice light?",
        responses=["Air.", "Snow.", "Sun."],
        topic="ice",
        language="en",
        split="validation",
    )
    responses = list(prompt.responses.order_by("pk"))
    (task,) = open_ranking_tasks(ada_member.project, [(prompt, responses)], batch="one")
    make.make_ranking(ada_member, (2, 1, None), task=task, unacceptable=[responses[2].pk])
    snapshot = freeze(ada_member.project)
    (line,) = lines(snapshot)
    (judgement,) = line["judgements"]
    shown = [response["text"] for response in line["responses"]]
    assert line["messages"] == [{"role": "user", "content": "Why is ice light?"}]
    assert (line["topic"], line["language"], line["split"]) == ("ice", "en", "validation")
    assert line["prompt_id"] == prompt.content_hash
    assert dict(zip(shown, judgement["ranks"], strict=True)) == {
        "Air.": 2,
        "Snow.": 1,
        "Sun.": None,
    }
    assert judgement["unacceptable"] == [text == "Sun." for text in shown]
    assert judgement["weight"] == 1.0
    (example,) = read_snapshot(snapshot.path)
    (pair,) = example.pairs
    assert (example.responses[pair.i], example.responses[pair.j], pair.p) == ("Snow.", "Air.", 1.0)


def test_the_tasks_of_a_prompt_are_one_line(ada_member: Membership, bob_member: Membership) -> None:
    project = ada_member.project
    prompt = make.make_prompt(project, responses=3)
    a, b, c = prompt.responses.order_by("pk")
    for batch, pair, member in (("one", [a, b], ada_member), ("two", [b, c], bob_member)):
        (task,) = open_ranking_tasks(project, [(prompt, pair)], batch=batch)
        make.make_ranking(member, (1, 2), task=task)
    (line,) = lines(freeze(project))
    by_person = {
        judgement["annotator"]: dict(
            zip([r["text"] for r in line["responses"]], judgement["ranks"], strict=True)
        )
        for judgement in line["judgements"]
    }
    assert by_person == {
        keyed_pseudonym(project, ada_member.pk): {a.text: 1, b.text: 2, c.text: None},
        keyed_pseudonym(project, bob_member.pk): {a.text: None, b.text: 1, c.text: 2},
    }


def test_what_nobody_was_shown_is_no_response_of_the_snapshot(ada_member: Membership) -> None:
    ranking = make.make_ranking(ada_member, (1, 2))
    prompt = ranking.assignment.task.prompt
    Response.objects.create(
        prompt=prompt, text="Later.", html="Later.", content_hash="x", source="policy"
    )
    (line,) = lines(freeze(ada_member.project))
    assert [response["text"] for response in line["responses"]] != []
    assert "Later." not in [response["text"] for response in line["responses"]]


@pytest.mark.parametrize(
    ("kind", "kept"),
    [("normal", 1), ("audit", 1), ("import", 1), ("gold", 0), ("repeat", 0), ("evaluation", 0)],
)
def test_only_some_kinds_of_tasks_train(ada_member: Membership, kind: str, kept: int) -> None:
    make.make_ranking(ada_member, task=make.make_task(ada_member.project, kind=kind))
    other = make.make_ranking(ada_member)
    snapshot = freeze(ada_member.project)
    assert snapshot.counts["rankings"] == 1 + kept
    assert snapshot.rankings.filter(pk=other.pk).exists()


def test_what_is_excluded_is_left_out_and_listed(
    ada_member: Membership, bob_member: Membership
) -> None:
    project = ada_member.project
    kept = make.make_ranking(ada_member)
    one = make.make_ranking(ada_member)
    task = make.make_ranking(ada_member).assignment.task
    make.make_ranking(bob_member)
    exclude(project, bob_member, "ties everything", by=None)
    exclude(project, one, "wrong prompt", by=None)
    exclude(project, task, "broken responses", by=None)
    snapshot = freeze(project)
    assert list(snapshot.rankings.all()) == [kept]
    assert [(row["what"], row["reason"]) for row in snapshot.exclusions] == [
        ("annotator", "ties everything"),
        ("ranking", "wrong prompt"),
        ("task", "broken responses"),
    ]


def test_frozen_rankings_can_be_revised_no_more(ada_member: Membership) -> None:
    ranking = make.make_ranking(ada_member)
    freeze(ada_member.project)
    ranking.refresh_from_db()
    assert ranking.frozen_at is not None
    with pytest.raises(Conflict, match="frozen"):
        reopen(ranking.assignment, draft={})


def test_the_same_rankings_are_the_same_snapshot(ada_member: Membership) -> None:
    project = ada_member.project
    make.make_ranking(ada_member)
    first = freeze(project)
    assert freeze(project) == first
    before = Ranking.objects.get().frozen_at
    make.make_ranking(ada_member)
    second = freeze(project)
    assert (first.number, second.number) == (1, 2)
    assert first.digest != second.digest
    assert Ranking.objects.order_by("pk")[0].frozen_at == before
    assert project.snapshots.count() == 2


def test_the_same_rankings_are_the_same_bytes(
    ada_member: Membership, bob_member: Membership
) -> None:
    """Of two snapshots with another between them, which an exclusion made and its end undid."""
    project = ada_member.project
    for _ in range(5):
        task = make.make_task(project, kind="audit")
        make.make_ranking(bob_member, (1, 1, 2, 3), task=task)
        make.make_ranking(ada_member, task=task)
    first = freeze(project)
    exclusion = exclude(project, bob_member, "careless", by=None)
    freeze(project)
    lift(exclusion, by=None)
    third = freeze(project)
    assert third.number == 3
    assert third.path != first.path
    assert third.digest == first.digest
    assert (third.path / "manifest.json").read_bytes() == (
        first.path / "manifest.json"
    ).read_bytes()


def test_the_order_in_which_people_came_does_not_matter(
    ada_member: Membership, bob_member: Membership, settings: Any, tmp_path: Any
) -> None:
    def content(project: Project, reverse: bool) -> bytes:
        texts = ["One?", "Two?", "Three?"]
        for text in reversed(texts) if reverse else texts:
            answers = ["A.", "B.", "C."]
            prompt = make.make_prompt(
                project, text, responses=answers[::-1] if reverse else answers
            )
            responses = {response.text: response for response in prompt.responses.all()}
            (task,) = open_ranking_tasks(project, [(prompt, list(responses.values()))], batch=text)
            members = [
                project.memberships.get(user__username=name)
                for name in (("bob", "ada") if reverse else ("ada", "bob"))
            ]
            for member in members:
                make.make_ranking(member, (3, 2, 1) if reverse else (1, 2, 3), task=task)
        path = freeze(project).path / "prompts.jsonl"
        names = {
            keyed_pseudonym(project, member.pk): member.user.username
            for member in project.memberships.exclude(user=None)
        }
        text = path.read_text(encoding="utf-8")
        for keyed, name in names.items():
            text = text.replace(keyed, name)
        rows = [json.loads(line) for line in text.splitlines()]
        for row in rows:
            row["judgements"].sort(key=lambda judgement: judgement["annotator"])
        return json.dumps(rows).encode()

    elsewhere = make.make_project("elsewhere")
    for name in ("ada", "bob"):
        make.make_member(elsewhere, name)
    assert content(ada_member.project, reverse=False) == content(elsewhere, reverse=True)


def test_no_name_leaves_the_installation(ada_member: Membership) -> None:
    project = ada_member.project
    Membership.objects.filter(pk=ada_member.pk).update(pseudonym="Ada Lovelace")
    make.make_ranking(ada_member, rationale="Call me at ada@example.org")
    snapshot = freeze(project)
    written = "".join(path.read_text(encoding="utf-8") for path in snapshot.path.iterdir())
    assert "Ada" not in written
    assert "@" not in written
    assert keyed_pseudonym(project, ada_member.pk) in written


def test_pseudonyms_are_keyed(ada_member: Membership, settings: Any) -> None:
    project = ada_member.project
    name = keyed_pseudonym(project, ada_member.pk)
    assert keyed_pseudonym(project, ada_member.pk) == name
    assert keyed_pseudonym(make.make_project("elsewhere"), ada_member.pk) != name
    settings.SECRET_KEY = "another" * 10
    assert keyed_pseudonym(project, ada_member.pk) != name


def test_nothing_to_freeze_is_said(ada_member: Membership) -> None:
    make.make_ranking(ada_member, task=make.make_task(ada_member.project, kind="gold"))
    with pytest.raises(NothingToFreeze, match="climate has no ranking yet"):
        freeze(ada_member.project)
    assert not Snapshot.objects.exists()


def test_a_snapshot_is_a_whole_artefact_with_its_counts(
    ada_member: Membership, bob_member: Membership, root: Any
) -> None:
    project = ada_member.project
    for split in ("train", "train", "validation", "test"):
        prompt = make.make_prompt(project, split=split)
        (task,) = open_ranking_tasks(
            project, [(prompt, list(prompt.responses.all()))], batch=f"{prompt.pk}"
        )
        make.make_ranking(ada_member, (1, 2, 2, None), task=task)
        make.make_ranking(bob_member, (1, 2, 3, 4), task=task)
    snapshot = freeze(project, by=root)
    assert verify(snapshot.path).digest() == snapshot.digest
    assert snapshot.counts == {
        "annotators": 2,
        "responses": 16,
        "ties": 4,
        "unacceptable": 0,
        "prompts": 4,
        "rankings": 8,
        "pairs": 4 * (3 + 6),
        "splits": {
            "train": {"prompts": 2, "rankings": 4, "pairs": 18},
            "validation": {"prompts": 1, "rankings": 2, "pairs": 9},
            "test": {"prompts": 1, "rankings": 2, "pairs": 9},
        },
    }
    assert snapshot.agreement["state"] == "no judgements"
    event = AuditEvent.objects.get(verb="freeze")
    assert (event.actor, event.detail["digest"]) == (root, snapshot.digest)


def test_a_freeze_that_fails_leaves_nothing(
    ada_member: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ada_member.project
    make.make_ranking(ada_member)

    class Crash(Exception):
        pass

    def crash(*args: object, **more: object) -> None:
        raise Crash

    monkeypatch.setattr(AuditEvent, "record", crash)
    with pytest.raises(Crash):
        freeze(project)
    assert not Snapshot.objects.exists()
    assert Ranking.objects.get().frozen_at is None
    monkeypatch.undo()
    snapshot = freeze(project)
    assert verify(snapshot.path).digest() == snapshot.digest
    assert [*snapshot.path.parent.iterdir()] == [snapshot.path]


def test_excluding_taints_what_was_made_of_it_until_lifted(
    ada_member: Membership, bob_member: Membership
) -> None:
    project = ada_member.project
    make.make_ranking(ada_member)
    clean = freeze(project)
    make.make_ranking(bob_member)
    tainted = freeze(project)
    models = [request_reward_model(snapshot, "base") for snapshot in (clean, tainted)]
    exclusion = exclude(project, bob_member, "colluded", by=None)
    for row in (clean, tainted, *models):
        row.refresh_from_db()
    assert (clean.tainted_at, models[0].tainted_at) == (None, None)
    assert tainted.tainted_at is not None
    assert models[1].tainted_at == tainted.tainted_at
    assert tainted.taint_reason == f"{bob_member.pseudonym} was excluded: colluded"
    anew = freeze(project)
    assert (anew.number, anew.tainted_at, anew.rankings.count()) == (3, None, 1)
    lift(exclusion, by=None)
    for row in (tainted, models[1]):
        row.refresh_from_db()
        assert row.tainted_at is None


@pytest.mark.parametrize("what", ["ranking", "task"])
def test_a_ranking_or_a_task_taints_too(ada_member: Membership, what: str) -> None:
    ranking = make.make_ranking(ada_member)
    snapshot = freeze(ada_member.project)
    target: Ranking | Task = ranking if what == "ranking" else ranking.assignment.task
    exclude(ada_member.project, target, "broken", by=None)
    snapshot.refresh_from_db()
    assert snapshot.taint_reason == f"a {what} was excluded: broken"
    assert refresh_taint(ada_member.project) == [snapshot]


@pytest.mark.django_db(transaction=True)
def test_two_who_freeze_at_once_get_one_snapshot(ada_member: Membership) -> None:
    for _ in range(5):
        make.make_ranking(ada_member)
    barrier = threading.Barrier(4)

    def freeze_now(_: int) -> Snapshot:
        barrier.wait()
        try:
            return freeze(Project.objects.get(pk=ada_member.project_id))
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(freeze_now, range(4)))
    assert len(found) == 1
    (snapshot,) = Snapshot.objects.all()
    assert [*snapshot.path.parent.iterdir()] == [snapshot.path]


@pytest.mark.django_db(transaction=True)
def test_who_revises_while_it_freezes_is_either_in_time_or_refused(
    ada_member: Membership,
) -> None:
    given = [make.make_ranking(ada_member) for _ in range(12)]
    for ranking in given:
        reopen(ranking.assignment, draft={})
    barrier = threading.Barrier(2)

    def revise() -> None:
        for ranking in given:
            ids = sorted(ranking.assignment.display_order)
            with suppress(Conflict):
                submit_ranking(
                    ranking.assignment, dict(zip(ids, (4, 3, 2, 1), strict=True)), revises=1
                )

    def freeze_now() -> None:
        freeze(Project.objects.get(pk=ada_member.project_id))

    def together(work: Callable[[], None]) -> None:
        barrier.wait()
        try:
            work()
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(together, work) for work in (revise, freeze_now)]:
            done.result()
    snapshot = Snapshot.objects.get()
    frozen = snapshot.rankings.all()
    assert frozen.count() == Ranking.objects.filter(frozen_at__isnull=False).count() > 0
    assert all(ranking.is_current for ranking in frozen)
    assert snapshot.counts["rankings"] == frozen.count()


# ---- Adjudications ---------------------------------------------------------------------------


@pytest.fixture
def rita(ada_member: Membership) -> Membership:
    return make.make_member(ada_member.project, "rita", Membership.Role.REVIEWER)


def disputed(ada: Membership, bob: Membership, split: str = "train", **options: Any) -> Task:
    """A task that two people judged in opposite ways."""
    prompt = make.make_prompt(ada.project, responses=3, split=split)
    responses = list(prompt.responses.order_by("pk"))
    (task,) = open_ranking_tasks(
        ada.project, [(prompt, responses)], batch=f"{prompt.pk}", **options
    )
    make.make_ranking(ada, (1, 2, 3), task=task)
    make.make_ranking(bob, (3, 2, 1), task=task)
    return task


def decide(
    task: Task, reviewer: Membership, *ranks: int | None, replaces: int | None = None
) -> Adjudication:
    """The reviewer's own ranking, in the order of the responses' ids; none leaves it as it is."""
    ids = sorted(task.responses.values_list("pk", flat=True))
    given = dict(zip(ids, ranks, strict=True)) if ranks else None
    return adjudicate(task, reviewer, "taste", ranks=given, replaces=replaces)


def judgements(snapshot: Snapshot) -> dict[str, list[tuple[str, dict[str, int | None]]]]:
    """Of each prompt who said what: the keyed pseudonym, and ranks by text."""
    return {
        line["prompt_id"]: [
            (
                one["annotator"],
                dict(zip((r["text"] for r in line["responses"]), one["ranks"], strict=True)),
            )
            for one in line["judgements"]
        ]
        for line in lines(snapshot)
    }


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_decision_takes_the_place_of_the_rankings_of_its_task(
    ada_member: Membership, bob_member: Membership, rita: Membership, split: str
) -> None:
    project = ada_member.project
    task = disputed(ada_member, bob_member, split)
    other = make.make_ranking(ada_member, (2, 1, 3))
    decision = decide(task, rita, 2, 1, None)
    snapshot = freeze(project)
    said = judgements(snapshot)
    texts = [r.text for r in task.responses.order_by("pk")]
    assert said[task.prompt.content_hash] == [
        (keyed_pseudonym(project, rita.pk), dict(zip(texts, (2, 1, None), strict=True)))
    ]
    ((who, _),) = said[other.assignment.task.prompt.content_hash]
    assert who == keyed_pseudonym(project, ada_member.pk)
    assert {one["weight"] for line in lines(snapshot) for one in line["judgements"]} == {1.0}
    assert snapshot.adjudication_ids == [decision.pk]
    # The rankings are frozen with it all the same: what it stands for stays as it was.
    assert snapshot.rankings.count() == 3
    assert not Ranking.objects.filter(frozen_at=None).exists()


def test_held_out_prompts_keep_what_people_said(
    ada_member: Membership, bob_member: Membership, rita: Membership
) -> None:
    task = disputed(ada_member, bob_member, "test")
    decide(task, rita, 1, 1, 2)
    snapshot = freeze(ada_member.project)
    assert len(judgements(snapshot)[task.prompt.content_hash]) == 2
    assert snapshot.adjudication_ids == []


def test_the_agreement_is_that_of_the_people_whatever_was_decided(
    ada_member: Membership, bob_member: Membership, rita: Membership
) -> None:
    task = disputed(ada_member, bob_member, kind="audit")
    before = measure(ada_member.project).figures
    assert before["n_overlapped_prompts"] == 1
    decide(task, rita, 1, 2, 2)
    AgreementReport.objects.all().delete()
    assert freeze(ada_member.project).agreement == before


def test_a_decision_to_leave_it_changes_nothing(
    ada_member: Membership, bob_member: Membership, rita: Membership
) -> None:
    first = freeze_with(ada_member, bob_member)
    decide(Task.objects.get(), rita)
    assert freeze(ada_member.project) == first


def freeze_with(ada: Membership, bob: Membership) -> Snapshot:
    disputed(ada, bob)
    return freeze(ada.project)


def test_a_decision_makes_a_new_snapshot_and_the_same_ones_the_same_bytes(
    ada_member: Membership, bob_member: Membership, rita: Membership, settings: Any, tmp_path: Any
) -> None:
    project = ada_member.project
    before = freeze_with(ada_member, bob_member)
    decision = decide(Task.objects.get(), rita, 1, 1, 2)
    decided = freeze(project)
    assert (decided.number, decided.digest != before.digest) == (2, True)
    assert freeze(project) == decided
    project.snapshots.filter(pk=decided.pk).delete()
    settings.ARTEFACT_ROOT = tmp_path / "elsewhere"
    assert freeze(project).digest == decided.digest
    decide(Task.objects.get(), rita, replaces=decision.pk)
    assert lines(freeze(project)) == lines_at(before, settings, tmp_path / "artefacts")


def lines_at(snapshot: Snapshot, settings: Any, root: Any) -> list[dict[str, Any]]:
    settings.ARTEFACT_ROOT = root
    return lines(snapshot)


def test_without_a_ranking_to_learn_from_a_decision_counts_no_more(
    ada_member: Membership, bob_member: Membership, rita: Membership
) -> None:
    project = ada_member.project
    task = disputed(ada_member, bob_member)
    other = make.make_ranking(rita)
    decide(task, rita, 1, 1, 2)
    exclude(project, ada_member, "careless", by=None)
    assert task.prompt.content_hash in judgements(freeze(project))
    exclude(project, bob_member, "careless", by=None)
    without = freeze(project)
    assert [*judgements(without)] == [other.assignment.task.prompt.content_hash]
    assert without.adjudication_ids == []


def test_excluding_a_reviewer_takes_his_decisions_out_and_taints_what_held_them(
    ada_member: Membership, bob_member: Membership, rita: Membership
) -> None:
    project = ada_member.project
    clean = freeze_with(ada_member, bob_member)
    decide(Task.objects.get(), rita, 1, 1, 2)
    tainted = freeze(project)
    exclusion = exclude(project, rita, "bribed", by=None)
    for snapshot in (clean, tainted):
        snapshot.refresh_from_db()
    assert clean.tainted_at is None
    assert tainted.taint_reason == f"{rita.pseudonym} was excluded: bribed"
    assert lines(freeze(project)) == lines(clean)
    lift(exclusion, by=None)
    tainted.refresh_from_db()
    assert tainted.tainted_at is None


def test_a_reviewer_excluded_while_it_freezes_decides_nothing_in_it(
    ada_member: Membership,
    bob_member: Membership,
    rita: Membership,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = ada_member.project
    task = disputed(ada_member, bob_member)
    decide(task, rita, 1, 1, 2)

    def exclude_and_count(prompts: Any) -> dict[str, Any]:  # after the folder is written
        exclude(project, rita, "bribed", by=None)
        return count(prompts)

    monkeypatch.setattr("rewards.services.snapshots.count", exclude_and_count)
    snapshot = freeze(project)
    assert (snapshot.adjudication_ids, snapshot.tainted_at) == ([], None)
    assert len(judgements(snapshot)[task.prompt.content_hash]) == 2


def test_rankings_as_they_stand_are_exported_as_decided(
    ada_member: Membership, bob_member: Membership, rita: Membership
) -> None:
    task = disputed(ada_member, bob_member)
    decide(task, rita, 1, 1, 2)
    (record,) = records(ada_member.project)
    assert [one.annotator for one in record.judgements] == [
        keyed_pseudonym(ada_member.project, rita.pk)
    ]


@pytest.mark.django_db(transaction=True)
def test_a_decision_made_while_it_freezes_is_either_in_or_for_the_next(
    ada_member: Membership, bob_member: Membership, rita: Membership
) -> None:
    project = ada_member.project
    tasks = [disputed(ada_member, bob_member) for _ in range(8)]
    first = [decide(task, rita, 1, 1, 2) for task in tasks]
    barrier = threading.Barrier(2)

    def decide_anew() -> None:
        for task, before in zip(tasks, first, strict=True):
            decide(task, rita, 2, 1, 1, replaces=before.pk)

    def together(work: Callable[[], object]) -> None:
        barrier.wait()
        try:
            work()
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        for done in [
            pool.submit(together, work) for work in (decide_anew, lambda: freeze(project))
        ]:
            done.result()
    for snapshot in (Snapshot.objects.get(number=1), freeze(project)):
        held = Adjudication.objects.filter(pk__in=snapshot.adjudication_ids)
        assert {row.task_id for row in held} == {task.pk for task in tasks}
        by_prompt = judgements(snapshot)
        for row in held.select_related("task__prompt"):
            ((_, ranks),) = by_prompt[row.task.prompt.content_hash]
            ids = dict(row.task.responses.values_list("text", "pk"))
            assert {str(ids[text]): rank for text, rank in ranks.items()} == row.ranks
