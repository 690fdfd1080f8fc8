"""An admin writes tasks whose right ranking is known, and sees how people do."""

import pytest
from django.urls import reverse

from annotate.models import Membership, Project, Task
from annotate.selection import gold_share
from annotate.services import gold_candidates
from annotate.services.assignments import claim
from annotate.services.checks import close_gold_task, open_gold_task, outcome
from annotate.services.gold_candidates import settled
from annotate.services.projects import exclude
from annotate.services.queue import reopen_batch
from annotate.services.rankings import submit_ranking
from annotate.services.review import adjudicate
from annotate.services.tasks import ask_second_opinion
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


def confirm(admin, task):
    """Click on the button that stands by the task, on the page as it is now."""
    found = admin.get(url("gold")).context["candidates"]
    [seen] = [one.hash for one, _ in found if one.task == task]
    assert f'name="seen" value="{seen}"' in admin.get(url("gold")).content.decode()
    return admin.post(url("gold_confirm", task.pk), {"seen": seen}, follow=True)


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


def test_what_people_are_sure_of_is_suggested_and_filled_in(admin, project):
    people = [make.make_member(project, name) for name in ("one", "two", "three")]
    agreed, split, thin = (make.make_task(project, responses=2) for _ in range(3))
    for person in people[:2]:
        make.make_ranking(person, (2, 1), task=agreed)
        make.make_ranking(person, (1, 2), task=split)
    make.make_ranking(people[2], (2, 1), task=split)
    make.make_ranking(people[0], (1, 2), task=thin)
    page = admin.get(url("gold"))
    assert [one.task for one, _ in page.context["candidates"]] == [agreed]
    address = f"{url('gold_new', agreed.prompt_id)}?task={agreed.pk}"
    assert address in page.content.decode()
    form = admin.get(address).context["form"]
    assert [form[f"rank-{pk}"].value() for pk in ids(agreed.prompt)] == [2, 1]
    assert not Task.objects.filter(kind="gold").exists()
    write(admin, agreed.prompt, "2", "1")
    assert not admin.get(url("gold")).context["candidates"]


def test_a_suggestion_is_confirmed_by_one_click(admin, project):
    people = [make.make_member(project, name) for name in ("one", "two")]
    responses = ["Yes, because of the ozone layer.", "No.", "Perhaps; nobody can know that today."]
    agreed = make.make_task(project, responses=responses)
    for person in people:
        make.make_ranking(person, (2, 1, 3), task=agreed)
    page = admin.get(url("gold"))
    assert "a wrong one looks better" in words(page)
    assert "2 people, 3 responses" in words(page)
    page = confirm(admin, agreed)
    assert "The task is open now" in words(page) and "1 of 60" in words(page)
    gold = project.tasks.get(kind="gold")
    assert list(gold.gold_ranks.values()) == [2, 1, 3]
    assert gold.adversarial
    page = admin.post(url("gold_confirm", agreed.pk), follow=True)
    assert "do not agree on the task any more, or it is used" in words(page)
    assert project.tasks.filter(kind="gold").count() == 1


def test_what_a_reviewer_decided_is_suggested(admin, project, root):
    people = [make.make_member(project, name) for name in ("one", "two")]
    task = make.make_task(project, responses=3)
    make.make_ranking(people[0], (1, 2, 3), task=task)
    make.make_ranking(people[1], (3, 2, 1), task=task)
    assert not admin.get(url("gold")).context["candidates"]
    best, good, bad = ids(task.prompt)
    adjudicate(
        task,
        make.make_member(project, "rita", Membership.Role.REVIEWER),
        category="error",
        ranks={best: 1, good: 2, bad: None},
        unacceptable=[bad],
        replaces=None,
    )
    page = admin.get(url("gold"))
    assert "decided by a reviewer" in words(page)
    confirm(admin, task)
    gold = project.tasks.get(kind="gold")
    assert gold.gold_ranks == {str(best): 1, str(good): 2, str(bad): 3}
    assert gold.gold_unacceptable == [bad]


def test_gold_shows_as_many_responses_as_its_task(admin, project, bob_member):
    """Else whoever counts them knows which tasks examine people."""
    tasks = [make.make_task(project, responses=4) for _ in range(2)]
    for name, ranks in (("one", (1, 2, 3, 4)), ("two", (1, 2, 4, 3))):
        person = make.make_member(project, name)
        for task in tasks:
            make.make_ranking(person, ranks, task=task)
    confirmed, written = tasks
    confirm(admin, confirmed)
    page = f"{url('gold_new', written.prompt_id)}?task={written.pk}"
    form = admin.get(page).context["form"]
    places = {name: form[name].value() or "" for name in form.fields if name.startswith("rank")}
    admin.post(page, {"kind": "gold", **places})
    for task in tasks:
        gold = project.tasks.get(kind="gold", prompt=task.prompt)
        assert list(gold.responses.order_by("pk")) == list(task.responses.order_by("pk"))
        assert sorted(gold.gold_ranks.values(), key=str) == [1, 2, 3, None]
        ranking = make.make_ranking(bob_member, (1, 2, 3, 4), task=gold)
        assert outcome(ranking).passed


def test_a_ranking_that_has_changed_since_is_not_confirmed(admin, project):
    people = [make.make_member(project, name) for name in ("one", "two", "three", "four")]
    task = make.make_task(project, responses=3)
    for person in people[:2]:
        make.make_ranking(person, (1, 2, 3), task=task)
    [(seen, _)] = admin.get(url("gold")).context["candidates"]
    for person in people[2:]:
        make.make_ranking(person, (1, 3, 2), task=task)
    page = admin.post(url("gold_confirm", task.pk), {"seen": seen.hash}, follow=True)
    assert "The ranking has changed since; look again." in words(page)
    assert not project.tasks.filter(kind="gold").exists()
    confirm(admin, task)
    assert project.tasks.filter(kind="gold").exists()


def test_tasks_without_agreement_push_no_suggestion_out(project, monkeypatch):
    monkeypatch.setattr(gold_candidates, "SCANNED", 1)
    people = [make.make_member(project, name) for name in ("one", "two", "three", "four")]
    agreed, left_out = (make.make_task(project, responses=2) for _ in range(2))
    for n, task in ((0, agreed), (2, left_out)):
        for person in people[n : n + 2]:
            make.make_ranking(person, (1, 2), task=task)
    exclude(project, left_out, "broken", by=None)
    left_out.refresh_from_db()
    assert left_out.agreement is None
    found = gold_candidates.candidates(project)
    assert [one.task for one in found] == [agreed]


def test_gold_and_its_task_are_never_given_out_together(admin, project, root):
    people = [make.make_member(project, name) for name in ("one", "two")]
    task = make.make_task(project, responses=2)
    for person in people:
        make.make_ranking(person, (1, 2), task=task)
    Task.objects.filter(pk=task.pk).update(state="open", need=3)
    assert not admin.get(url("gold")).context["candidates"]
    Task.objects.filter(pk=task.pk).update(state="closed")
    confirm(admin, task)
    assert reopen_batch(project, task.batch, by=root) == 0
    Task.objects.filter(pk=task.pk).update(state="done", need=2)
    admin.post(reverse("annotate:review_ask", args=[project.slug, task.pk]))
    task.refresh_from_db()
    assert task.state == "done" and not ask_second_opinion(task)
    assert close_gold_task(project.tasks.get(kind="gold"), by=root)
    assert ask_second_opinion(task)


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ([(1, 2, 3)], {}),
        ([(1, 2, 3), (1, 2, 3)], {0: 1, 1: 2, 2: 3}),
        ([(1, 2, 3), (1, 3, 2)], {0: 1, 1: 2}),  # of the others nothing is settled
        ([(1, 2, 3), (1, 3, 2), (1, 2, 3), (1, 2, 3)], {0: 1, 1: 2, 2: 3}),  # three against one
        ([(1, 1, 1), (1, 1, 1)], {}),
        ([(1, 2, None), (2, 3, 1)], {0: 1, 1: 2}),
        ([(1, 2, 3), (1, 2, 3), (2, 3, 1), (2, 3, 1), (3, 1, 2), (3, 1, 2)], {0: 1, 1: 2}),
    ],
)
def test_the_responses_stay_of_which_every_pair_is_settled(said, key):
    rankings = [({str(pk): rank for pk, rank in enumerate(ranks)}, []) for ranks in said]
    assert settled(rankings) == key


def test_an_unacceptable_response_is_worse_than_the_ranked_ones():
    assert settled([({"1": 1, "2": None}, [2]), ({"1": 1, "2": None}, [2])]) == {1: 1, 2: 2}


def test_the_stock_is_told_by_language(admin, project):
    Project.objects.update(languages=["en", "de-AT"])
    for language, answers in (("en", ["Ja.", "Nein, nein."]), ("en-GB", ["Yes, yes.", "No."])):
        prompt = make.make_prompt(project, language, responses=answers, language=language)
        write(admin, prompt, "1", "2")
    page = admin.get(url("gold"))
    rows = {
        row.language: (row.n, row.n_adversarial, row.is_enough) for row in page.context["stock"]
    }
    assert rows == {"en": (2, 1, False), "de": (0, 0, False)}
    assert "2 of 60 1 (50 %)" in words(page)


def test_gold_that_thirty_people_have_ranked_is_retired(admin, project, prompt, ada_member):
    write(admin, prompt, "1", "2", "3")
    task = project.tasks.get()
    assert task.need == 30
    Task.objects.filter(pk=task.pk).update(n_done=29)
    Project.objects.update(gold_rate=1.0)
    ada_member.project.refresh_from_db()
    make.make_task(project)
    lease = claim(ada_member)
    assert lease.task_id == task.pk
    submit_ranking(lease, dict(zip(ids(prompt), (1, 2, 3), strict=True)))
    task.refresh_from_db()
    assert task.state == "done"
    assert "retired" in words(admin.get(url("gold")))


def test_who_ranked_the_prompt_does_not_get_its_gold(project, root, ada_member, bob_member):
    Project.objects.update(gold_rate=1.0)
    task = make.make_task(project, responses=2)
    make.make_ranking(ada_member, (1, 2), task=task)
    answers = list(task.responses.order_by("pk"))
    gold = open_gold_task(
        project, task.prompt, answers, {answers[0].pk: 1, answers[1].pk: 2}, by=root
    )
    make.make_task(project), make.make_task(project)
    for member, kind in ((ada_member, "normal"), (bob_member, "gold")):
        member.project.refresh_from_db()
        assert claim(member).task.kind == kind
    assert gold.adversarial is False


def test_who_decided_about_the_prompt_does_not_get_its_gold(project, root, bob_member):
    Project.objects.update(gold_rate=1.0)
    rita = make.make_member(project, "rita", Membership.Role.REVIEWER)
    task = make.make_task(project, responses=2)
    make.make_ranking(make.make_member(project, "one"), (1, 2), task=task)
    key = dict(zip(ids(task.prompt), (2, 1), strict=True))
    adjudicate(task, rita, category="error", ranks=key, replaces=None)
    responses = list(task.responses.order_by("pk"))
    open_gold_task(project, task.prompt, responses, key, by=root)
    make.make_task(project), make.make_task(project)
    for member, kind in ((rita, "normal"), (bob_member, "gold")):
        member.project.refresh_from_db()
        assert claim(member).task.kind == kind


def test_a_newcomer_gets_twice_as_much_gold():
    assert gold_share(1 / 25, 0) == pytest.approx(1 / 12)
    assert gold_share(1 / 25, 119) == pytest.approx(1 / 12)
    assert gold_share(1 / 25, 120) == 1 / 25
    assert gold_share(0.0, 0) == 0
    assert gold_share(0.4, 0) == 0.5 and gold_share(0.9, 0) == 0.9  # there is other work too


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
