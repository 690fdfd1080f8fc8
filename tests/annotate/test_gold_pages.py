"""An admin writes tasks whose right ranking is known, and sees how people do."""

import pytest
from django.urls import reverse

from annotate.models import Membership, Task
from tests import make
from tests.pages import words


def url(name, *args):
    return reverse(f"annotate:{name}", args=["climate", *args])


@pytest.fixture
def prompt(project):
    return make.make_prompt(project, "Which is *right*?", responses=["Best.", "Good.", "Bad."])


def ids(prompt):
    return list(prompt.responses.order_by("pk").values_list("pk", flat=True))


def write(admin, prompt, *ranks, **more):
    """Post the form with these places, in the order of the responses' ids."""
    places = {f"rank-{pk}": rank for pk, rank in zip(ids(prompt), ranks, strict=True)}
    sent = {"kind": "gold", "explanation": "", **places, **more}
    return admin.post(url("gold_new", prompt.pk), sent, follow=True)


def test_a_gold_task_is_written_from_a_prompt(admin, project, prompt, ada_member):
    page = admin.get(url("gold_new", prompt.pk)).content.decode()
    assert "Which is <em>right</em>?" in page and "Good." in page
    best, good, bad = ids(prompt)
    page = write(admin, prompt, "1", "2", "2", **{f"bad-{bad}": "on"})
    assert "The task is open now" in words(page) and "nobody yet" in words(page)
    task = project.tasks.get()
    assert (task.kind, task.state) == ("gold", "open")
    assert task.gold_ranks == {str(best): 1, str(good): 2, str(bad): 2}
    assert task.gold_unacceptable == [bad]


def test_responses_without_a_place_are_not_in_the_task(admin, project, prompt):
    best, good, bad = ids(prompt)
    write(admin, prompt, "2", "", "1")
    task = project.tasks.get()
    assert set(task.responses.values_list("pk", flat=True)) == {best, bad}
    assert task.gold_ranks == {str(bad): 1, str(best): 2}


def test_a_practice_task_explains(admin, project, prompt):
    page = write(admin, prompt, "1", "2", "3", kind="training")
    assert "Newcomers need to read why" in words(page)
    assert not project.tasks.exists()
    write(admin, prompt, "1", "2", "3", kind="training", explanation="Best says so.")
    task = project.tasks.get()
    assert (task.kind, task.explanation) == ("training", "Best says so.")


@pytest.mark.parametrize(
    ("ranks", "complaint"),
    [
        (("1", "", ""), "Give two to eight responses a place"),
        (("2", "2", "2"), "Put at least one response before another"),
        (("1", "2", "9"), "not one of the available choices"),
    ],
)
def test_a_key_that_decides_nothing_is_refused(admin, project, prompt, ranks, complaint):
    page = write(admin, prompt, *ranks)
    assert complaint in words(page)
    assert page.context["form"][f"rank-{ids(prompt)[0]}"].value() == ranks[0]  # kept as filled in
    assert not project.tasks.exists()


def test_a_mark_of_a_response_outside_the_task_is_refused(admin, project, prompt):
    page = write(admin, prompt, "1", "2", "", **{f"bad-{ids(prompt)[2]}": "on"})
    assert "needs a place too" in words(page)
    assert not project.tasks.exists()


def test_a_second_gold_task_of_a_prompt_is_refused_with_the_reason(admin, project, prompt):
    write(admin, prompt, "1", "2", "3")
    page = write(admin, prompt, "3", "2", "1")
    assert page.context["form"].non_field_errors()
    assert project.tasks.count() == 1


def test_how_people_did_is_counted(admin, project, prompt, ada_member, bob_member):
    write(admin, prompt, "1", "2", "3")
    task = project.tasks.get()
    make.make_ranking(ada_member, (1, 2, 3), task=task)
    make.make_ranking(bob_member, (1, 3, 2), task=task)
    assert "1 of 2 people right" in words(admin.get(url("gold")))


def test_a_gold_task_is_closed_and_its_prompt_free_for_another(admin, project, prompt):
    write(admin, prompt, "1", "2", "3")
    task = project.tasks.get()
    page = admin.post(url("close_task", task.pk), follow=True)
    assert page.redirect_chain[-1][0] == url("gold")
    assert "closed" in words(page)
    write(admin, prompt, "3", "2", "1")
    assert project.tasks.filter(state="open").count() == 1


@pytest.mark.parametrize("query", ["RIGHT", "which is", "grammar", "Größe"])
def test_a_prompt_is_found_by_its_words_and_its_topic(admin, project, query):
    wanted = make.make_prompt(project, "Which is right? Größe!", responses=2, topic="Grammar")
    make.make_prompt(project, "Something else", responses=2, topic="other")
    make.make_prompt(project, "Which is right without responses?", responses=1, topic="grammar")
    page = admin.get(url("gold"), {"q": query})
    assert [prompt for prompt, _ in page.context["found"]] == [wanted]


def test_where_nothing_is_found_the_page_says_so(admin, project):
    assert "No prompt with two responses" in words(admin.get(url("gold"), {"q": "nowhere"}))


def test_what_three_people_agree_on_is_suggested_and_filled_in(admin, project, ada_member):
    people = [make.make_member(project, name) for name in ("one", "two", "three", "four")]
    agreed, split, thin = (make.make_task(project, responses=2) for _ in range(3))
    for person in people[:3]:
        make.make_ranking(person, (2, 1), task=agreed)
        make.make_ranking(person, (1, 2), task=split)
    make.make_ranking(people[3], (2, 1), task=split)
    for person in people[:2]:
        make.make_ranking(person, (1, 2), task=thin)
    page = admin.get(url("gold"))
    assert [task for task, _ in page.context["candidates"]] == [agreed]
    address = f"{url('gold_new', agreed.prompt_id)}?task={agreed.pk}"
    assert address in page.content.decode()
    form = admin.get(address).context["form"]
    assert [form[f"rank-{pk}"].value() for pk in ids(agreed.prompt)] == [2, 1]
    assert not Task.objects.filter(kind="gold").exists()
    write(admin, agreed.prompt, "2", "1")
    assert not admin.get(url("gold")).context["candidates"]


@pytest.mark.parametrize("task", ["x", "0", "9" * 30, "-1"])
def test_a_task_that_is_none_fills_nothing_in(admin, project, prompt, task):
    form = admin.get(url("gold_new", prompt.pk), {"task": task}).context["form"]
    assert not any(form[f"rank-{pk}"].value() for pk in ids(prompt))


def test_html_in_responses_is_shown_as_text(admin, project):
    prompt = make.make_prompt(project, "<script>a</script>", responses=["<img src=x>", "\u202eb"])
    page = admin.get(url("gold_new", prompt.pk)).content.decode()
    found = admin.get(url("gold"), {"q": "script"}).content.decode()
    for forbidden in ("<script>a", "<img", "\u202e"):
        assert forbidden not in page and forbidden not in found


@pytest.mark.parametrize("who", ["annotator", "reviewer", "an admin elsewhere"])
def test_nobody_but_an_admin_of_the_project_sees_or_writes(client, project, prompt, who):
    of = make.make_project("other") if who == "an admin elsewhere" else project
    role = Membership.Role.ADMIN if of is not project else Membership.Role(who)
    client.force_login(make.make_member(of, "zoe", role).user)
    assert client.get(url("gold")).status_code == 404
    assert client.get(url("gold_new", prompt.pk)).status_code == 404
    assert write(client, prompt, "1", "2", "3").status_code == 404
    crossed = reverse("annotate:gold_new", args=[of.slug, prompt.pk])
    assert client.get(crossed).status_code == 404
    assert not project.tasks.exists()
