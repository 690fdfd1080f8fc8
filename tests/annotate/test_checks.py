"""Explained tasks for newcomers, hidden gold tasks, and hidden repeats."""

import pytest
from django.db import transaction
from django.utils import timezone

from annotate.models import Assignment, AuditEvent, Membership, Task
from annotate.services.assignments import claim, has_work, release, skip
from annotate.services.checks import (
    GoldRecord,
    close_gold_task,
    gold_record,
    open_gold_task,
    outcome,
)
from annotate.services.rankings import InvalidRanking, submit_ranking
from annotate.services.tasks import (
    ask_second_opinion,
    count_progress,
    task_progress,
)
from annotate.tasks import expire_leases
from tests.annotate.test_assignments import let_lease_run_out
from tests.make import make_member, make_prompt, make_ranking, make_task


def open_check(project, ranks=(1, 2, 3, 4), *, by=None, responses=4, **options):
    """A gold task whose key is `ranks` in the order of the responses' ids."""
    prompt = make_prompt(project, responses=responses)
    answers = list(prompt.responses.order_by("pk"))
    key = {answer.pk: rank for answer, rank in zip(answers, ranks, strict=True)}
    return open_gold_task(project, prompt, answers, key, by=by, **options)


def open_training(project, **options):
    return open_check(project, training=True, explanation="The first is correct.", **options)


def submit(assignment, ranks=(1, 2, 3, 4), **options):
    """Submit a ranking, `ranks` in the order of the responses' ids."""
    ids = sorted(assignment.display_order)
    return submit_ranking(assignment, dict(zip(ids, ranks, strict=True)), **options)


def work(member, n):
    """Claim and submit so many tasks; returns them."""
    tasks = []
    for _ in range(n):
        member.refresh_from_db()
        lease = claim(member)
        submit(lease, range(1, len(lease.display_order) + 1))
        tasks.append(lease.task)
    return tasks


def kinds(tasks):
    return [task.kind for task in tasks]


# Training


def test_newcomers_begin_with_explained_tasks_in_order(project, ada_member):
    project.training_tasks = 2
    project.save()
    make_task(project, priority=9)
    last, first, _second = (open_training(project, priority=p) for p in (0, 2, 1))
    tasks = work(ada_member, 3)
    assert kinds(tasks) == ["training", "training", "normal"]
    assert tasks[0] == first and last not in tasks
    ada_member.refresh_from_db()
    assert ada_member.trained_at


def test_training_ends_where_there_are_no_more_explained_tasks(project, ada_member):
    project.training_tasks = 5
    project.save()
    open_training(project), make_task(project)
    assert kinds(work(ada_member, 2)) == ["training", "normal"]
    ada_member.refresh_from_db()
    assert ada_member.trained_at
    open_training(project), make_task(project)
    assert kinds(work(ada_member, 1)) == ["normal"]


def test_training_comes_also_while_the_queue_is_empty(project, ada_member):
    project.training_tasks = 1
    project.save()
    open_training(project)
    assert has_work(ada_member)
    assert kinds(work(ada_member, 1)) == ["training"]
    assert not has_work(ada_member)


def test_another_explained_task_takes_the_place_of_a_skipped_one(project, ada_member):
    project.training_tasks = 1
    project.save()
    open_training(project), open_training(project), make_task(project)
    skipped = claim(ada_member)
    skip(skipped, "other")
    (other,) = work(ada_member, 1)
    assert other.kind == "training" and other != skipped.task
    assert kinds(work(ada_member, 1)) == ["normal"]


@pytest.mark.parametrize("who", ["reviewer", "trained", "no training wanted"])
def test_who_needs_no_training_gets_none(project, who):
    project.training_tasks = 0 if who == "no training wanted" else 1
    project.save()
    member = make_member(project, "zoe", role="reviewer" if who == "reviewer" else "annotator")
    if who == "trained":
        Membership.objects.filter(pk=member.pk).update(trained_at=timezone.now())
    open_training(project), make_task(project)
    assert kinds(work(member, 1)) == ["normal"]


def test_training_tasks_suit_their_readers(project, ada_member):
    project.training_tasks = 1
    project.save()
    Task.objects.filter(pk=open_training(project).pk).update(language="fr")
    make_task(project)
    Membership.objects.filter(pk=ada_member.pk).update(languages=["de"])
    assert kinds(work(ada_member, 1)) == ["normal"]


# Gold


def test_gold_comes_among_the_others_at_its_rate_and_each_once(project, ada_member):
    project.gold_rate = 0.3
    project.save()
    Membership.objects.filter(pk=ada_member.pk).update(pseudonym="ada")
    gold = [open_check(project) for _ in range(4)]
    for _ in range(30):
        make_task(project)
    tasks = work(ada_member, 20)
    found = [task for task in tasks if task.kind == "gold"]
    assert sorted(task.pk for task in found) == [task.pk for task in gold]
    assert kinds(tasks)[:4] != ["gold"] * 4


def test_where_gold_comes_is_fixed_by_the_person(project, ada_member):
    project.gold_rate = 0.5
    project.save()
    Membership.objects.filter(pk=ada_member.pk).update(pseudonym="ada")
    for _ in range(8):
        open_check(project), make_task(project)
    runs = []
    for _ in range(2):
        with transaction.atomic():
            runs.append([task.pk if task.kind == "gold" else 0 for task in work(ada_member, 8)])
            transaction.set_rollback(True)
    assert runs[0] == runs[1]
    assert any(runs[0]) and not all(runs[0])


def test_gold_is_never_left_over_and_never_in_the_queue(project, ada_member):
    open_check(project)
    project.gold_rate = 1.0
    project.save()
    assert claim(ada_member) is None and not has_work(ada_member)
    make_task(project)
    ada_member.refresh_from_db()
    assert claim(ada_member).task.kind == "gold"
    skip(Assignment.objects.leased().get(), "other")  # a skipped one was seen
    assert claim(ada_member).task.kind == "normal"


def test_gold_is_for_everybody_and_is_never_done(project, ada_member, bob_member):
    project.gold_rate = 1.0
    project.save()
    gold = open_check(project)
    make_task(project)
    for member in (ada_member, bob_member):
        assert work(member, 1) == [gold]
    gold.refresh_from_db()
    assert (gold.state, gold.n_done, gold.n_live) == ("open", 2, 0)


def test_closed_gold_goes_to_nobody_else(project, ada_member, root):
    project.gold_rate = 1.0
    project.save()
    gold = open_check(project)
    make_task(project)
    assert close_gold_task(gold, by=root)
    assert not close_gold_task(gold, by=root)
    assert kinds(work(ada_member, 1)) == ["normal"]
    assert AuditEvent.objects.filter(verb="close gold task", actor=root).count() == 1


def test_only_gold_is_closed_as_gold(project):
    assert not close_gold_task(make_task(project), by=None)


def test_what_examines_people_is_no_progress(project, ada_member):
    project.gold_rate = 1.0
    project.save()
    open_check(project), open_training(project), make_task(project)
    count_progress(project)
    work(ada_member, 1)
    progress = task_progress(project)
    assert (progress.tasks, progress.wanted, progress.given) == (1, 1, 0)
    assert list(Task.objects.fresh().values_list("kind", flat=True)) == ["normal"]
    assert not Task.objects.begun().exists()


def test_a_key_must_decide_something_and_training_must_explain(project, root):
    with pytest.raises(InvalidRanking, match="one response before another"):
        open_check(project, (1, 1, 1, 1))
    with pytest.raises(InvalidRanking, match="explain"):
        open_check(project, training=True, explanation=" ")
    with pytest.raises(InvalidRanking, match="no two of them alike"):
        open_check(project, (1, 2), responses=("Yes.", "Yes. "))
    with pytest.raises(InvalidRanking, match="no two of them alike"):
        open_check(project, range(1, 10), responses=9)
    elsewhere = make_prompt(project, responses=2)
    answers = list(elsewhere.responses.all())
    with pytest.raises(InvalidRanking, match="of the prompt"):
        key = {answer.pk: n for n, answer in enumerate(answers, 1)}
        open_gold_task(project, make_prompt(project), answers, key, by=root)
    assert not project.tasks.exists()


def test_a_prompt_has_one_gold_task_at_a_time(project, root):
    prompt = make_prompt(project, responses=2)
    answers = list(prompt.responses.order_by("pk"))
    key = {answers[0].pk: 1, answers[1].pk: 2}
    gold = open_gold_task(project, prompt, answers, key, by=root)
    with pytest.raises(InvalidRanking, match="already"):
        open_gold_task(project, prompt, answers, key, by=root)
    close_gold_task(gold, by=root)
    assert open_gold_task(project, prompt, answers, key, by=root) != gold
    events = AuditEvent.objects.filter(verb="open gold task", actor=root)
    assert [event.detail["ranks"] for event in events] == [gold.gold_ranks] * 2


@pytest.mark.parametrize(
    ("key", "said", "unacceptable", "score"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4), (), 1),
        ((1, 2, 3, 4), (2, 1, 3, 4), (), 5 / 6),
        ((1, 2, 3, 4), (4, 3, 2, 1), (), 0),
        ((1, 2, 3, 4), (1, 1, 1, 1), (), 0),
        ((1, 2, 2, 2), (1, 4, 3, 2), (), 1),  # the key leaves the others open
        ((1, 2, 3, None), (1, 2, 3, 1), (), 1),
        ((1, 2, 3, 4), (1, 2, 3, None), (), 1 / 2),
        ((1, 2, 3, 4), (1, 2, 3, None), (3,), 1),  # unacceptable, so below the ranked ones
        ((1, 2, 3, 4), (None, None, None, None), (0, 1, 2, 3), 0),
    ],
)
def test_gold_is_passed_by_every_pair_that_the_key_decides(
    project, ada_member, key, said, unacceptable, score
):
    project.gold_rate = 1.0
    project.save()
    gold = open_check(project, key, unacceptable=())
    make_task(project)
    lease = claim(ada_member)
    ids = sorted(lease.display_order)
    ranking = submit(lease, said, unacceptable=[ids[n] for n in unacceptable])
    found = outcome(ranking)
    assert found.kind == "gold"
    assert found.score == pytest.approx(score)
    assert found.passed is (score == 1)
    assert found.ranks == {int(pk): rank for pk, rank in gold.gold_ranks.items()}
    assert gold_record(ada_member) == GoldRecord(1, int(score == 1))


def test_the_outcome_of_training_explains_and_is_on_no_record(project, ada_member):
    project.training_tasks = 1
    project.save()
    task = open_training(project, unacceptable=[])
    ranking = submit(claim(ada_member), (4, 3, 2, 1))
    found = outcome(ranking)
    assert (found.kind, found.passed, found.explanation) == (
        "training",
        False,
        "The first is correct.",
    )
    assert found.ranks == {int(pk): rank for pk, rank in task.gold_ranks.items()}
    assert gold_record(ada_member) == GoldRecord(0, 0)


def test_other_tasks_examine_nobody(ada_member):
    assert outcome(make_ranking(ada_member)) is None


# Repeats


@pytest.fixture
def repeating(project):
    project.repeat_rate = 1.0
    project.save()
    for _ in range(14):
        make_task(project)
    return project


def test_a_repeat_is_an_own_earlier_task_mirrored_and_each_comes_once(repeating, ada_member):
    tasks = work(ada_member, 12)
    assert kinds(tasks[:6]) == ["normal"] * 6
    repeats = [task for task in tasks if task.kind == "repeat"]
    assert len(repeats) > 2
    assert len({repeat.mirror_of for repeat in repeats}) == len(repeats)
    for place, repeat in enumerate(tasks):
        if repeat.kind == "repeat":
            assert repeat.mirror_of in tasks[: place - 5]
            first, again = (
                Assignment.objects.get(task=task, annotator=ada_member)
                for task in (repeat.mirror_of, repeat)
            )
            assert again.display_order == first.display_order[::-1]
            assert set(repeat.responses.all()) == set(repeat.mirror_of.responses.all())
            assert repeat.reserved_for == ada_member
            repeat.refresh_from_db()
            assert (repeat.state, repeat.need, repeat.n_done) == ("done", 1, 1)


def test_repeats_are_for_one_person_and_are_never_left_over(repeating, ada_member, bob_member):
    work(ada_member, 6)
    ada_member.refresh_from_db()
    repeat = claim(ada_member)
    assert repeat.task.kind == "repeat"
    release(repeat)
    assert kinds(work(bob_member, 1)) == ["normal"]
    ada_member.refresh_from_db()
    assert claim(ada_member) == repeat, "one that was given back comes before a further one"
    release(repeat)
    Task.objects.filter(kind="normal", state="open").update(state="closed")
    assert claim(ada_member) is None and not has_work(ada_member)


def test_a_skipped_repeat_does_not_come_again(repeating, ada_member):
    work(ada_member, 6)
    ada_member.refresh_from_db()
    repeat = claim(ada_member)
    skip(repeat, "other")
    assert claim(ada_member).task.kind == "normal"  # there is no other that is long enough ago
    assert Task.objects.filter(kind="repeat").count() == 1


def test_a_repeat_that_ran_out_is_still_taken_late(repeating, ada_member):
    work(ada_member, 6)
    ada_member.refresh_from_db()
    repeat = claim(ada_member)
    let_lease_run_out(repeat)
    expire_leases()
    assert outcome(submit(repeat)).score == 1
    assert Task.objects.get(pk=repeat.task_id).n_live == 0


def test_people_who_opted_out_since_get_no_such_repeat(repeating, ada_member):
    work(ada_member, 6)
    Task.objects.filter(state="done").update(categories="|violence|")
    Membership.objects.filter(pk=ada_member.pk).update(category_opt_outs=["violence"])
    assert kinds(work(ada_member, 1)) == ["normal"]


def test_a_second_opinion_opens_a_judged_task_once_more(ada_member, bob_member, root):
    task = make_ranking(ada_member).assignment.task
    assert ask_second_opinion(task, {"reward_model": 3}, by=root)
    assert not ask_second_opinion(task, {"reward_model": 4})
    task.refresh_from_db()
    assert (task.state, task.need, task.kind) == ("open", 2, "normal")
    ada_member.refresh_from_db()
    assert claim(ada_member) is None
    assert work(bob_member, 1) == [task]
    task.refresh_from_db()
    assert (task.state, task.n_done) == ("done", 2)
    assert not ask_second_opinion(task, {"reward_model": 3}), "a model asks about a task once"
    assert ask_second_opinion(task, by=root)
    assert AuditEvent.objects.filter(verb="ask second opinion").count() == 2


@pytest.mark.parametrize("kind", ["audit", "evaluation", "repeat"])
def test_only_normal_tasks_get_a_second_opinion(ada_member, kind):
    task = make_ranking(ada_member).assignment.task
    Task.objects.filter(pk=task.pk).update(kind=kind)
    assert not ask_second_opinion(task, {"reward_model": 3})
    task.refresh_from_db()
    assert task.state == "done"
