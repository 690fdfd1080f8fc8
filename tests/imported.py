"""What holds for whatever was imported."""

from annotate.models import Assignment, Project, Task


def check_tasks(project: Project) -> None:
    """Imported tasks are whole: judged by as many as they need, each judgement on all of them."""
    tasks = project.tasks.filter(kind=Task.Kind.IMPORT)
    for task in tasks.prefetch_related("assignments__rankings", "responses"):
        assignments = task.assignments.all()
        responses = {response.pk for response in task.responses.all()}
        assert task.state == Task.State.DONE
        assert task.need == task.n_done == len(assignments) >= 1
        assert task.n_live == 0
        assert len(responses) >= 2
        assert {response.prompt_id for response in task.responses.all()} == {task.prompt_id}
        for assignment in assignments:
            assert assignment.state == Assignment.State.SUBMITTED
            assert sorted(assignment.display_order) == sorted(responses)
            (ranking,) = assignment.rankings.all()
            assert ranking.is_current and set(ranking.ranks) == {str(pk) for pk in responses}
            given = {rank for rank in ranking.ranks.values() if rank is not None}
            assert given == set(range(1, len(given) + 1))
            assert set(ranking.unacceptable) <= responses
