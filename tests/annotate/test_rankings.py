from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from annotate.models import Assignment, Ranking, Task
from annotate.services.assignments import Conflict, claim, skip
from annotate.services.projects import exclude, lift, publish_text
from annotate.services.rankings import (
    InvalidRanking,
    reopen,
    submit_ranking,
    undoable,
)
from annotate.tasks import expire_leases
from tests.make import make_assignment, make_ranking, make_task


def ranks(assignment, *values):
    """Ranks by the order of the responses' ids."""
    return dict(zip(sorted(assignment.display_order), values, strict=True))


def test_a_ranking_is_stored_with_ties_and_without_gaps(project, ada_member):
    mine = make_assignment(ada_member)
    ids = sorted(mine.display_order)
    ranking = submit_ranking(
        mine, ranks(mine, 2, 4, 2, 1), unacceptable=[ids[1]], rationale=" Clear. ", dwell_ms=900
    )
    assert ranking.ranks == {str(ids[0]): 2, str(ids[1]): 3, str(ids[2]): 2, str(ids[3]): 1}
    assert ranking.unacceptable == [ids[1]]
    assert (ranking.rationale, ranking.dwell_ms) == ("Clear.", 900)
    assert ranking.guidelines_version == 1
    task = mine.task
    task.refresh_from_db()
    assert (task.n_live, task.n_done, task.state) == (0, 1, "done")


def test_submitting_twice_is_the_same_as_once(project, ada_member):
    mine = make_assignment(ada_member)
    first = submit_ranking(mine, ranks(mine, 1, 2, 3, 4))
    again = submit_ranking(mine, ranks(mine, 1, 2, 3, 4))
    assert again == first
    mine.task.refresh_from_db()
    assert (Ranking.objects.count(), mine.task.n_done) == (1, 1)


def test_another_ranking_of_the_same_task_is_refused_and_the_first_kept(project, ada_member):
    mine = make_assignment(ada_member)
    first = submit_ranking(mine, ranks(mine, 1, 2, 3, 4))
    with pytest.raises(Conflict, match="stored already"):
        submit_ranking(mine, ranks(mine, 4, 3, 2, 1))
    assert Ranking.objects.get() == first


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((1, None, None, None), "At least two"),
        ((0, 1, 2, 3), "count from 1"),
    ],
)
def test_a_ranking_that_says_nothing_is_refused(project, ada_member, values, named):
    mine = make_assignment(ada_member)
    with pytest.raises(InvalidRanking, match=named):
        submit_ranking(mine, ranks(mine, *values))
    mine.refresh_from_db()
    assert mine.state == Assignment.State.LEASED


def test_each_response_is_named_and_no_other(project, ada_member):
    mine = make_assignment(ada_member)
    given = ranks(mine, 1, 2, 3, 4)
    with pytest.raises(InvalidRanking, match="each response"):
        submit_ranking(mine, {**given, 999: 1})
    del given[mine.display_order[0]]
    with pytest.raises(InvalidRanking, match="each response"):
        submit_ranking(mine, given)
    with pytest.raises(InvalidRanking, match="unacceptable"):
        submit_ranking(mine, ranks(mine, 1, 2, 3, 4), unacceptable=[999])


def test_where_all_are_unacceptable_no_rank_is_needed(project, ada_member):
    mine = make_assignment(ada_member)
    nothing = ranks(mine, None, None, None, None)
    ranking = submit_ranking(mine, nothing, unacceptable=mine.display_order)
    assert set(ranking.ranks.values()) == {None}


def test_a_project_may_forbid_ties(project, ada_member):
    project.allow_ties = False
    project.save()
    mine = make_assignment(ada_member)
    with pytest.raises(InvalidRanking, match="ties"):
        submit_ranking(mine, ranks(mine, 1, 1, 2, 3))


def test_late_work_is_kept_and_marked_and_counted(project, ada_member, bob_member):
    task = make_task(project)
    mine = claim(ada_member)
    Assignment.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    expire_leases()
    his = claim(bob_member)
    submit_ranking(mine, ranks(mine, 1, 2, 3, 4))
    submit_ranking(his, ranks(his, 4, 3, 2, 1))
    task.refresh_from_db()
    mine.refresh_from_db(), his.refresh_from_db()
    assert (task.n_done, task.n_live, task.state) == (2, 0, "done")
    assert (mine.late, his.late) == (True, False)


def test_a_skipped_task_takes_no_ranking(project, ada_member):
    mine = make_assignment(ada_member)
    skip(mine, "other")
    with pytest.raises(Conflict, match="skipped"):
        submit_ranking(mine, ranks(mine, 1, 2, 3, 4))


def test_a_revision_is_a_further_row(project, ada_member):
    first = make_ranking(ada_member, [1, 2, 3, 4])
    mine = first.assignment
    reopened = reopen(mine, {"rank-a": "1"})
    assert reopened.is_editable
    second = submit_ranking(mine, ranks(mine, 2, 1, 3, 4), revises=1)
    first.refresh_from_db()
    mine.refresh_from_db()
    assert (second.revision, second.is_current, first.is_current) == (2, True, False)
    assert Ranking.objects.current().get() == second
    assert (mine.draft, mine.is_editable) == (None, False)
    mine.task.refresh_from_db()
    assert mine.task.n_done == 1
    assert submit_ranking(mine, ranks(mine, 2, 1, 3, 4), revises=1) == second  # clicked twice
    with pytest.raises(Conflict):  # a tab that still showed the first revision
        submit_ranking(mine, ranks(mine, 4, 3, 2, 1), revises=1)


def test_an_unchanged_revision_adds_nothing(project, ada_member):
    first = make_ranking(ada_member, [1, 2, 3, 4])
    mine = reopen(first.assignment, {"rank-a": "1"})
    assert submit_ranking(mine, ranks(mine, 1, 2, 3, 4), revises=1) == first
    mine.refresh_from_db()
    assert mine.draft is None


def test_undo_is_offered_for_minutes_and_revision_until_a_snapshot(project, ada_member):
    ranking = make_ranking(ada_member)
    mine = ranking.assignment
    assert undoable(ada_member) == mine
    long_ago = timezone.now() - timedelta(seconds=project.undo_s + 1)
    Assignment.objects.update(submitted_at=long_ago)
    mine.refresh_from_db()
    assert undoable(ada_member) is None
    reopen(mine, {})
    revised = submit_ranking(mine, ranks(mine, 4, 3, 2, 1), revises=1)
    assert revised.revision == 2


def test_a_frozen_ranking_stands(project, ada_member):
    ranking = make_ranking(ada_member)
    Ranking.objects.update(frozen_at=timezone.now())
    assert undoable(ada_member) is None
    with pytest.raises(Conflict, match="frozen"):
        submit_ranking(ranking.assignment, ranks(ranking.assignment, 4, 3, 2, 1), revises=1)
    assert Ranking.objects.get() == ranking


def test_a_dataset_fixes_what_was_ranked_before_whether_it_entered_or_not(project, ada_member):
    examining = make_ranking(ada_member, task=make_task(project))
    Task.objects.filter(pk=examining.assignment.task_id).update(kind=Task.Kind.GOLD)
    trained_on = make_ranking(ada_member)
    later = make_ranking(ada_member)
    Ranking.objects.filter(pk=trained_on.pk).update(frozen_at=trained_on.created_at)
    for ranking in (examining, trained_on):
        with pytest.raises(Conflict, match="frozen"):
            reopen(ranking.assignment, {})
    reopen(later.assignment, {})


def test_undo_does_not_tell_which_task_examined_the_person(project, ada_member):
    """After a dataset was frozen nothing before it is offered, whether it entered or not."""
    entered = make_ranking(ada_member)
    examining = make_ranking(ada_member, task=make_task(project))
    Task.objects.filter(pk=examining.assignment.task_id).update(kind=Task.Kind.GOLD)
    assert undoable(ada_member) == examining.assignment
    Ranking.objects.filter(pk=entered.pk).update(frozen_at=timezone.now())
    assert undoable(ada_member) is None
    later = make_ranking(ada_member)
    assert undoable(ada_member) == later.assignment


def test_the_database_itself_keeps_one_current_ranking(project, ada_member):
    ranking = make_ranking(ada_member)
    with pytest.raises(IntegrityError), transaction.atomic():
        Ranking.objects.create(
            assignment=ranking.assignment, revision=2, ranks={}, payload_hash="x"
        )


def test_rankings_name_the_guidelines_in_force(project, ada_member):
    publish_text(project, "guidelines", "Prefer the kind response.", by=None)
    assert make_ranking(ada_member).guidelines_version == 2


def test_excluded_judgements_are_left_out_until_the_exclusion_is_lifted(
    project, ada_member, bob_member, root
):
    task = make_task(project)
    hers = make_ranking(ada_member, task=task)
    his = make_ranking(bob_member, task=task)
    other = make_ranking(bob_member)

    def counted():
        return set(Ranking.objects.in_project(project).current().not_excluded())

    assert counted() == {hers, his, other}
    by_person = exclude(project, ada_member, "clicks at random", by=root)
    assert exclude(project, ada_member, "again", by=root) == by_person
    assert counted() == {his, other}
    exclude(project, his, "slipped", by=root)
    assert counted() == {other}
    by_task = exclude(project, other.assignment.task, "broken prompt", by=root)
    assert counted() == set()
    lift(by_task, by=root)
    lift(by_person, by=root)
    ada_member.refresh_from_db()
    assert counted() == {hers, other}
    assert ada_member.state == "active"
    assert Ranking.objects.count() == 3


# ---- What is said besides the order --------------------------------------------------------------


def test_flags_ratings_and_confidence_are_stored_by_response(project, ada_member):
    project.criteria = [{"name": "safe", "label": "Safe"}]
    project.flags = [{"name": "greenwash", "label": "Greenwash"}]
    project.save()
    mine = make_assignment(ada_member)
    a, b, c, _ = mine.display_order
    ranking = submit_ranking(
        mine,
        ranks(mine, 1, 2, 3, 4),
        flags={a: ["toxic", "greenwash"], b: [], "prompt": ["off topic"]},
        criteria={a: {"safe": 5}, c: {}},
        confidence=3,
    )
    assert ranking.flags == {str(a): ["greenwash", "toxic"], "prompt": ["off topic"]}
    assert ranking.criteria == {str(a): {"safe": 5}}
    assert ranking.confidence == 3


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"flags": {"prompt": ["boring"]}}, "no flag 'boring'"),
        ({"flags": {999: ["toxic"]}}, "can be flagged"),
        ({"criteria": {999: {"safe": 1}}}, "can be rated"),
        ({"criteria": {"first": {"kind": 1}}}, "no criterion 'kind'"),
        ({"criteria": {"first": {"safe": 6}}}, "from 1 to 5"),
        ({"criteria": {"first": {"safe": 0}}}, "from 1 to 5"),
        ({"confidence": 0}, "Confidence"),
        ({"confidence": 4}, "Confidence"),
        ({"strength": 1}, "two ranked responses"),
        ({"edited": (999, "Better.")}, "can be edited"),
    ],
)
def test_what_nobody_asked_for_is_refused_and_nothing_stored(project, ada_member, said, named):
    project.criteria = [{"name": "safe", "label": "Safe"}]
    project.save()
    mine = make_assignment(ada_member)
    if "first" in said.get("criteria", {}):
        said = {"criteria": {mine.display_order[0]: said["criteria"]["first"]}}
    with pytest.raises(InvalidRanking, match=named):
        submit_ranking(mine, ranks(mine, 1, 2, 3, 4), **said)
    mine.refresh_from_db()
    assert mine.state == Assignment.State.LEASED
    assert not Ranking.objects.exists()


@pytest.mark.parametrize(
    ("given", "strength", "fits"),
    [
        ((1, 2), 1, True),
        ((2, 1), 3, True),
        ((1, 1), 0, True),
        ((1, 2), 0, False),
        ((1, 1), 1, False),
        ((1, 2), 4, False),
    ],
)
def test_a_strength_fits_its_preference(project, ada_member, given, strength, fits):
    mine = make_assignment(ada_member, responses=2)
    if fits:
        assert submit_ranking(mine, ranks(mine, *given), strength=strength).strength == strength
    else:
        with pytest.raises(InvalidRanking, match="strength"):
            submit_ranking(mine, ranks(mine, *given), strength=strength)


def test_the_same_order_with_another_remark_is_another_ranking(project, ada_member):
    mine = make_assignment(ada_member)
    submit_ranking(mine, ranks(mine, 1, 2, 3, 4))
    with pytest.raises(Conflict, match="stored already"):
        submit_ranking(mine, ranks(mine, 1, 2, 3, 4), confidence=1)


def test_a_better_text_is_kept_replaced_and_taken_back(project, ada_member):
    mine = make_assignment(ada_member)
    best = mine.display_order[0]
    given = ranks(mine, 1, 2, 3, 4)

    def in_force():
        return [one.text for one in mine.demonstrations.filter(retired_at=None)]

    submit_ranking(mine, given, edited=(best, "Better."))
    assert in_force() == ["Better."]
    assert mine.demonstrations.get().author == ada_member
    submit_ranking(mine, given, edited=(best, "Best."))
    assert in_force() == ["Best."]
    submit_ranking(mine, given, edited=(best, "Better."))
    assert in_force() == ["Better."]
    unchanged = mine.task.responses.get(pk=best).text
    submit_ranking(mine, given, edited=(best, f" {unchanged}"))
    assert in_force() == []


def test_the_first_judgement_of_a_task_has_nobody_to_agree_with(project, ada_member, bob_member):
    task = make_ranking(ada_member, [1, 2, 3, 4]).assignment.task
    task.refresh_from_db()
    assert task.agreement is None
    make_ranking(bob_member, [1, 2, 3, 4], task=task)
    task.refresh_from_db()
    assert task.agreement == 1
