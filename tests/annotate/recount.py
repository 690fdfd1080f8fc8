"""Every promise about handing out work, counted anew from the rows."""

from collections import Counter, defaultdict

from annotate.models import Assignment, Project, Ranking, Task
from annotate.services.rankings import mean_agreement


def recount(project: Project) -> None:
    """Fail where a counter or a state is not what the rows say, or a task has too many judges."""
    by_task = defaultdict(list)
    by_person = defaultdict(list)
    assignments = Assignment.objects.filter(task__project=project)
    for assignment in assignments.select_related("annotator").order_by("pk"):
        by_task[assignment.task_id].append(assignment)
        by_person[assignment.annotator_id].append(assignment)
    rankings = defaultdict(list)
    for ranking in Ranking.objects.filter(assignment__in=assignments).order_by("revision"):
        rankings[ranking.assignment_id].append(ranking)
    for task in project.tasks.prefetch_related("responses"):
        recount_task(task, by_task[task.pk])
        for assignment in by_task[task.pk]:
            recount_assignment(assignment, task, rankings[assignment.pk])
    for member in project.memberships.all():
        recount_person(member, by_person[member.pk])
    counting = set(
        Ranking.objects.current().not_excluded().in_project(project).values_list("pk", flat=True)
    )
    for task in project.tasks.filter(kind__in=Task.REVIEWED):
        said = [
            ranking.ranks
            for assignment in by_task[task.pk]
            for ranking in rankings[assignment.pk]
            if ranking.pk in counting
        ]
        assert task.agreement == mean_agreement(said)
    recount_repeats(project, by_task)


def recount_task(task, assignments):
    states = Counter(assignment.state for assignment in assignments)
    late = sum(assignment.late for assignment in assignments)
    assert task.n_live == states["leased"]
    assert task.n_done == states["submitted"]
    assert task.n_done + task.n_live <= task.need + late, "more than wanted, and not late"
    if task.state != Task.State.CLOSED:
        assert (task.state == Task.State.DONE) == (task.n_done >= task.need)
    people = [assignment.annotator_id for assignment in assignments]
    assert len(set(people)) == len(people), "somebody was given the task twice"


def recount_assignment(assignment, task, rankings):
    submitted = assignment.state == Assignment.State.SUBMITTED
    assert (assignment.submitted_at is not None) == submitted
    assert (assignment.lease_expires_at is not None) == (assignment.state == "leased")
    assert submitted or not assignment.late
    assert [one.is_current for one in rankings] == [False] * (len(rankings) - 1) + [True] * (
        1 if submitted else 0
    )
    assert [one.revision for one in rankings] == list(range(1, len(rankings) + 1))
    responses = sorted(response.pk for response in task.responses.all())
    assert sorted(assignment.display_order) == responses
    for ranking in rankings:
        assert sorted(map(int, ranking.ranks)) == responses


def recount_person(member, assignments):
    leased = [one for one in assignments if one.state == Assignment.State.LEASED]
    assert len(leased) <= 1, "two live leases"
    days = Counter(one.submitted_at.date() for one in assignments if one.submitted_at)
    assert member.n_submitted == days.total()
    assert member.last_day == max(days, default=None)
    assert member.n_last_day == days[member.last_day]
    assert (member.streak_days > 0) == (member.n_submitted > 0)
    cap = member.project.daily_cap
    if cap is not None:
        on_time = [one for one in assignments if one.submitted_at and not one.late]
        assert len(on_time) <= cap, "more in a day than the cap allows"


def recount_repeats(project, by_task):
    seen = set()
    tasks = {task.pk: task for task in project.tasks.all()}
    for task in tasks.values():
        if task.kind != Task.Kind.REPEAT:
            assert task.mirror_of_id is None
            continue
        (again,) = by_task[task.pk]
        assert again.annotator_id == task.reserved_for_id
        (first,) = (
            one for one in by_task[task.mirror_of_id] if one.annotator_id == again.annotator_id
        )
        assert again.display_order == first.display_order[::-1]
        assert tasks[task.mirror_of_id].kind in (Task.Kind.NORMAL, Task.Kind.AUDIT)
        key = task.mirror_of_id, again.annotator_id
        assert key not in seen, "a task came back twice"
        seen.add(key)
