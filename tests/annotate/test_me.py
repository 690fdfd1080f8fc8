"""A volunteer's own page: what he did, how it fits, and that it gives no examined task away."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.models import Assignment, Membership, Ranking, Task, TaskResponse
from annotate.services import own_work
from annotate.services.projects import exclude
from tests.make import make_project, make_ranking, make_task, make_user
from tests.pages import words


@pytest.fixture
def as_ada(client, ada):
    client.force_login(ada)
    return client


def url(name, *args):
    return reverse(f"annotate:{name}", args=args)


def today():
    return timezone.now().date()


def earlier(ranking, **ago):
    """The ranking as if it had been given so long ago."""
    when = timezone.now() - timedelta(**ago)
    Ranking.objects.filter(pk=ranking.pk).update(created_at=when)
    Assignment.objects.filter(pk=ranking.assignment_id).update(submitted_at=when)
    return ranking


def make_repeat(member, first, ranks, **ago):
    """The task of the ranking once more, ranked otherwise or the same."""
    task = first.assignment.task
    repeat = Task.objects.create(
        project=task.project, prompt=task.prompt, kind="repeat", mirror_of=task, batch=str(first.pk)
    )
    TaskResponse.objects.bulk_create(
        TaskResponse(task=repeat, response=slot.response, slot=slot.slot)
        for slot in task.slots.all()
    )
    return earlier(make_ranking(member, ranks, task=repeat), **(ago or {"days": 2}))


# ---- What I did ------------------------------------------------------------------------------


def test_the_page_of_a_newcomer_says_what_will_be_there(as_ada, project):
    page = words(as_ada.get(url("me", project.slug)))
    assert "your first ranking will show here" in page
    assert "After 10 more tasks that others rank too" in page
    assert "what became of your rankings" in page


def test_rankings_are_counted_in_all_and_today(as_ada, project, ada_member):
    make_ranking(ada_member), make_ranking(ada_member)
    page = words(as_ada.get(url("me", project.slug)))
    assert "Ranked 2" in page and "Today 2" in page and "Days in a row 1" in page


@pytest.mark.parametrize(("ago", "streak"), [(0, 4), (1, 4), (2, 0), (30, 0)])
def test_a_streak_lives_until_the_day_after(as_ada, project, ada_member, ago, streak):
    make_ranking(ada_member)
    day = today() - timedelta(days=ago)
    Membership.objects.filter(pk=ada_member.pk).update(streak_days=4, last_day=day)
    ada_member.refresh_from_db()
    assert own_work.streak(ada_member) == streak
    page = words(as_ada.get(url("me", project.slug)))
    assert ("Days in a row" in page) == bool(streak)
    make_task(project)
    start = words(as_ada.get(url("rank", project.slug)))
    assert ("4 days in a row" in start) == bool(streak)


def test_the_calendar_marks_days_and_not_how_much(ada_member):
    earlier(make_ranking(ada_member), days=3)
    earlier(make_ranking(ada_member), days=3)
    earlier(make_ranking(ada_member), days=60)
    days = own_work.recent_days(ada_member)
    assert len(days) == 28 and days[-1].date == today() and days[-1].is_today
    assert [day.date for day in days if day.ranked] == [today() - timedelta(days=3)]


@pytest.mark.parametrize(
    ("ranks", "options", "said"),
    [
        ((2, 1, 3), {}, "B › A › C"),
        ((2, 1, 2), {}, "B › A = C"),
        ((1, 1, 1), {}, "A = B = C"),
        ((2, 1, None), {}, "B › A; C not ranked"),
        ((2, 1, None), {"unacceptable": [2]}, "B › A; C unacceptable"),
        ((None, None, None), {"unacceptable": [0, 1, 2]}, "all unacceptable"),
    ],
)
def test_a_ranking_is_said_by_the_letters_that_were_on_the_screen(
    as_ada, project, ada_member, ranks, options, said
):
    task = make_task(project, responses=3)
    ids = list(task.responses.order_by("pk").values_list("pk", flat=True))
    bad = [ids[n] for n in options.get("unacceptable", ())]
    make_ranking(ada_member, ranks, task=task, unacceptable=bad)
    page = words(as_ada.get(url("me", project.slug)))
    assert f"{task.prompt.messages[-1]['content']} {said} " in page


def test_the_list_comes_page_by_page_the_newest_first(as_ada, project, ada_member):
    for n in range(30):
        earlier(make_ranking(ada_member), hours=n)
    questions = [
        assignment.task.prompt.messages[-1]["content"]
        for assignment in ada_member.assignments.order_by("-submitted_at")
    ]
    newest = words(as_ada.get(url("me", project.slug)))
    assert questions[0] in newest and questions[5] not in newest and "All my rankings" in newest
    pages = [words(as_ada.get(url("my_rankings", project.slug), {"page": n})) for n in (1, 2)]
    assert questions[24] in pages[0] and questions[25] not in pages[0]
    assert questions[25] in pages[1] and questions[29] in pages[1]


def test_a_ranking_can_be_changed_until_a_dataset_is_frozen(as_ada, project, ada_member):
    old, new = earlier(make_ranking(ada_member), days=5), make_ranking(ada_member)
    undo = [url("undo", ranking.assignment_id) for ranking in (old, new)]
    page = as_ada.get(url("my_rankings", project.slug)).content.decode()
    assert undo[0] in page and undo[1] in page
    assert as_ada.post(undo[0]).url == url("assignment", old.assignment_id)
    Ranking.objects.filter(pk=old.pk).update(frozen_at=timezone.now() - timedelta(days=1))
    page = as_ada.get(url("my_rankings", project.slug)).content.decode()
    assert undo[0] not in page and undo[1] in page
    assert "fixed" in page


def test_no_line_gives_away_which_tasks_examine_a_person(as_ada, project, ada_member):
    """Gold tasks and repeats never enter a dataset, and would stand out if they stayed open."""
    plain = earlier(make_ranking(ada_member), days=5)
    make_repeat(ada_member, plain, (1, 2, 3, 4), days=4)
    gold = make_task(project, kind="gold")
    earlier(make_ranking(ada_member, task=gold), days=4)
    Ranking.objects.filter(pk=plain.pk).update(frozen_at=timezone.now() - timedelta(days=3))
    page = as_ada.get(url("my_rankings", project.slug))
    assert b"/undo/" not in page.content
    assert words(page).count("fixed") == 4  # each line, and the explanation below
    assert "gold" not in words(page).lower() and "repeat" not in words(page).lower()


def test_practice_is_called_practice_and_stays_as_it_is(as_ada, project, ada_member):
    make_ranking(ada_member, task=make_task(project, kind="training"))
    page = as_ada.get(url("me", project.slug))
    assert "Practice" in words(page) and b"/undo/" not in page.content


# ---- How it fits -----------------------------------------------------------------------------


def share(member, others, n, ranks=(1, 2), theirs=(1, 2), **options):
    """So many tasks that the member and the others ranked."""
    for _ in range(n):
        task = make_task(member.project, responses=len(ranks), **options)
        make_ranking(member, ranks, task=task)
        for other in others:
            make_ranking(other, theirs, task=task)


def test_agreement_is_a_number_from_ten_shared_tasks_on(as_ada, project, ada_member, bob_member):
    share(ada_member, [bob_member], 9)
    assert own_work.agreement_with_others(ada_member).value is None
    page = words(as_ada.get(url("me", project.slug)))
    assert "After 1 more task that somebody else ranks too" in page and "%" not in page
    share(ada_member, [bob_member], 1, theirs=(2, 1))
    fit = own_work.agreement_with_others(ada_member)
    assert (fit.n, fit.value) == (10, 0.9)
    assert fit.low == pytest.approx(0.596, abs=1e-3)  # Wilson, 9 of 10
    assert fit.high == pytest.approx(0.982, abs=1e-3)
    page = words(as_ada.get(url("me", project.slug)))
    assert "same in 90 % of comparisons" in page and "from 60 to 98 %" in page
    assert bob_member.pseudonym not in page and "bob" not in page


def test_a_task_counts_once_however_many_others_ranked_it(project, ada_member, bob_member):
    cleo = Membership.objects.create(project=project, user=make_user("cleo"), pseudonym="cleo")
    share(ada_member, [bob_member], 9)
    share(ada_member, [bob_member, cleo], 1, theirs=(2, 1))
    assert own_work.agreement_with_others(ada_member).value == pytest.approx(0.9)


def test_what_examines_a_person_and_who_is_excluded_does_not_count(project, ada_member, bob_member):
    share(ada_member, [bob_member], 10)
    share(ada_member, [bob_member], 3, theirs=(2, 1), kind="gold")
    share(ada_member, [bob_member], 3, theirs=(2, 1), kind="training")
    assert own_work.agreement_with_others(ada_member).value == 1
    exclude(project, bob_member, "careless", by=None)
    assert own_work.agreement_with_others(ada_member).n == 0


def test_self_consistency_is_told_as_a_whole_and_never_of_today(as_ada, project, ada_member):
    for n in range(10):
        first = earlier(make_ranking(ada_member, (1, 2)), days=9)
        make_repeat(ada_member, first, (1, 2) if n else (2, 1))
    fit = own_work.self_consistency(ada_member)
    assert (fit.n, fit.value) == (10, 0.9)
    assert "With yourself you agree in 90 %" in words(as_ada.get(url("me", project.slug)))
    first = earlier(make_ranking(ada_member, (1, 2)), days=9)
    make_repeat(ada_member, first, (2, 1), seconds=0)
    assert own_work.self_consistency(ada_member) == fit  # the last task was not given away


def test_too_few_repeats_are_not_spoken_of(as_ada, project, ada_member):
    for _ in range(9):
        make_repeat(ada_member, earlier(make_ranking(ada_member, (1, 2)), days=9), (1, 2))
    assert "With yourself" not in words(as_ada.get(url("me", project.slug)))


def test_the_page_asks_as_much_of_the_database_whatever_was_done(
    as_ada, project, ada_member, bob_member, django_assert_max_num_queries
):
    share(ada_member, [bob_member], 12)
    for _ in range(12):
        make_repeat(ada_member, earlier(make_ranking(ada_member), days=9), (1, 2, 3, 4))
    with django_assert_max_num_queries(30):
        assert as_ada.get(url("me", project.slug)).status_code == 200


# ---- The start page --------------------------------------------------------------------------


def test_a_newcomer_begins_with_practice(as_ada, project, ada_member):
    project.training_tasks = 2
    project.save()
    make_task(project)
    assert "practice" not in words(as_ada.get(url("rank", project.slug)))  # there is none
    for _ in range(3):
        task = make_task(project, kind="training")
        ids = task.responses.order_by("pk").values_list("pk", flat=True)
        task.gold_ranks = {str(pk): place for place, pk in enumerate(ids, 1)}
        task.save()
    assert "2 practice tasks that explain" in words(as_ada.get(url("rank", project.slug)))
    Membership.objects.filter(pk=ada_member.pk).update(trained_at=timezone.now())
    assert "practice" not in words(as_ada.get(url("rank", project.slug)))


def test_how_long_a_ranking_takes_is_told_when_enough_were_timed(
    as_ada, project, ada_member, bob_member
):
    for n in range(20):
        make_ranking(bob_member, dwell_ms=170_000 + 1000 * n)
    make_task(project)
    assert "about 3 minutes" in words(as_ada.get(url("rank", project.slug)))
    other = make_project("other")
    assert own_work.minutes_needed(other) is None


def test_the_cap_of_a_day_and_the_cap_in_all_are_told_apart(as_ada, project, ada_member):
    make_ranking(ada_member)
    make_task(project)
    rank = url("rank", project.slug)
    project.daily_cap = 1
    project.save()
    assert "enough for today" in words(as_ada.get(rank))
    project.total_cap = 1
    project.save()
    assert "You have done your share" in words(as_ada.get(rank))


def test_who_is_given_nothing_because_of_his_settings_is_told_so(as_ada, project, ada_member):
    make_task(project)
    Task.objects.update(language="de")
    Membership.objects.filter(pk=ada_member.pk).update(languages=["en"])
    page = as_ada.get(url("rank", project.slug))
    assert "what fits your settings" in words(page)
    assert url("my_settings", project.slug).encode() in page.content
