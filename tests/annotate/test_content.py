import pytest

from annotate.models import Membership, Response, Task
from annotate.services import content, tasks
from tests.make import make_project, make_prompt


def test_the_same_prompt_is_stored_once(project):
    first, created = content.add_prompt(project, [{"role": "user", "content": "Why?"}])
    again, created_again = content.add_prompt(
        project, [{"content": "Why?", "role": "user"}], topic="other"
    )
    assert (created, created_again) == (True, False)
    assert again.pk == first.pk


def test_a_prompts_split_is_fixed_by_its_content(project):
    other = make_project("other")
    messages = [{"role": "user", "content": "Why is the sea rising?"}]
    here, _ = content.add_prompt(project, messages)
    there, _ = content.add_prompt(other, messages)
    assert here.split == there.split
    given, _ = content.add_prompt(project, [{"role": "user", "content": "New"}], split="test")
    assert given.split == "test"


def test_about_one_prompt_in_ten_is_held_out(project):
    splits = [make_prompt(project, f"Question {n}", responses=0).split for n in range(300)]
    assert 15 <= splits.count("test") <= 50
    assert 15 <= splits.count("validation") <= 50


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([], "no message"),
        ([{"role": "user", "content": "  "}], "Message 1 is empty"),
        ([{"role": "robot", "content": "Hi"}], "robot"),
        ([{"role": "user", "content": "Hi"}, {"role": "user"}], "Message 2"),
        ([{"role": "user", "content": "a\x00b"}], "NUL"),
        ([{"role": "user", "content": "a\ud800b"}], "surrogate"),
    ],
)
def test_what_a_database_would_refuse_is_refused_with_its_place(project, messages, named):
    with pytest.raises(content.InvalidContent, match=named):
        content.add_prompt(project, messages)
    assert not project.prompts.exists()


def test_an_external_id_names_one_prompt(project):
    content.add_prompt(project, [{"role": "user", "content": "A"}], external_id="7")
    with pytest.raises(content.InvalidContent, match="'7'"):
        content.add_prompt(project, [{"role": "user", "content": "B"}], external_id="7")


def test_the_same_response_is_stored_once_for_a_prompt(project):
    prompt = make_prompt(project, responses=0)
    first, created = content.add_response(prompt, "Yes.", source="policy", policy_ref=3)
    again, created_again = content.add_response(prompt, "Yes.", source="import")
    assert (created, created_again) == (True, False)
    assert again.pk == first.pk
    assert again.source == Response.Source.POLICY


def test_an_empty_response_can_be_judged_but_not_imitated(project):
    prompt = make_prompt(project, responses=0)
    assert content.add_response(prompt, "", source="policy")[1]
    with pytest.raises(content.InvalidContent, match="empty"):
        content.add_demonstration(prompt, " ")
    assert content.add_demonstration(prompt, "Because.")[1]
    assert not content.add_demonstration(prompt, "Because.")[1]


def opened(project, prompts, **options):
    pairs = [(prompt, list(prompt.responses.order_by("pk"))) for prompt in prompts]
    return tasks.open_ranking_tasks(project, pairs, **options)


def test_opening_a_batch_twice_gives_the_same_tasks(project):
    prompts = [make_prompt(project) for _ in range(3)]
    first = opened(project, prompts, batch="policy 1")
    again = opened(project, [*prompts, make_prompt(project)], batch="policy 1")
    assert [task.pk for task in again[:3]] == [task.pk for task in first]
    assert Task.objects.count() == 4


def test_responses_that_read_alike_count_as_one(project):
    same = make_prompt(project, responses=["Yes, it is.", "Yes,  it is.\n", "Yes, it is. "])
    two = make_prompt(project, responses=["Yes.", "Yes. ", "No."])
    (task,) = opened(project, [same, two], batch="b")
    assert task.prompt == two
    assert [response.text for response in task.responses.order_by("slots__slot")] == ["Yes.", "No."]


def test_the_first_prompts_are_all_audited_then_a_share(project):
    project.audit_first, project.audit_share = 5, 0.25
    project.save()
    prompts = [make_prompt(project, f"Question {n}", responses=2) for n in range(205)]
    made = opened(project, prompts, batch="policy 1")
    assert [task.kind for task in made[:5]] == ["audit"] * 5
    audited = [task for task in made[5:] if task.kind == "audit"]
    assert 30 <= len(audited) <= 70
    assert {task.need for task in audited} == {2}
    assert {task.need for task in made if task.kind == "normal"} == {1}
    again = opened(project, prompts[5:], batch="policy 2")
    assert [task.kind for task in again] == [task.kind for task in made[5:]]


def test_a_blind_comparison_leaves_the_audit_draw_alone(project):
    project.audit_first = 1
    project.save()
    opened(project, [make_prompt(project, responses=2)], batch="e", kind="evaluation", need=3)
    (first,) = opened(project, [make_prompt(project)], batch="policy 1")
    assert first.kind == "audit"


def test_progress_never_counts_more_than_was_wanted(project):
    prompts = [make_prompt(project) for _ in range(2)]
    first, _ = opened(project, prompts, batch="b")
    Task.objects.filter(pk=first.pk).update(n_done=2, state="done")  # one came late
    progress = tasks.task_progress(project, batch="b")
    assert (progress.tasks, progress.tasks_done, progress.wanted, progress.given) == (2, 1, 2, 1)
    assert progress.waiting == 1
    assert tasks.task_progress(project, batch="none").wanted == 0


def test_the_standing_cast(project, ada_member, root):
    assert ada_member.role == Membership.Role.ANNOTATOR
    assert project.memberships.get(user=root).role == Membership.Role.ADMIN
