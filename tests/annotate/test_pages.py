"""The volunteer's way through the pages, with htmx and without."""

import gzip
import re
from datetime import timedelta

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from annotate.models import Assignment, Demonstration, Ranking, Response, Task
from annotate.services.checks import open_gold_task
from annotate.services.content import add_prompt, add_response
from annotate.services.tasks import label_prompt, open_ranking_tasks
from annotate.tasks import expire_leases
from annotate.views.rank import SCRIPT_WORDS
from tests.make import make_member, make_project, make_prompt, make_ranking, make_task

HTMX = {"HX-Request": "true"}
CRITERIA = [{"name": "safe", "label": "Safe"}, {"name": "correct", "label": "Correct"}]


@pytest.fixture
def as_ada(client, ada):
    client.force_login(ada)
    return client


def url(name, of):
    return reverse(f"annotate:{name}", args=[of])


def start(client, project):
    """Press "Start ranking"; returns the assignment it leads to."""
    response = client.post(url("rank", project.slug))
    return Assignment.objects.get(pk=int(re.search(r"/a/(\d+)/$", response.url)[1]))


def text_of(response):
    """The page without the token against forged requests, which differs each time."""
    return re.sub(r'value="[A-Za-z0-9]{64}"', "", response.content.decode())


def form_of(response):
    """The part of the page that is filled in."""
    return text_of(response).split('<form id="ranking"')[1].split("</form>")[0]


def filled(*ranks, **more):
    return {f"rank-{letter}": rank for letter, rank in zip("abcdefgh", ranks, strict=False)} | more


# ---- Coming in -------------------------------------------------------------------------------


def test_who_annotates_one_project_goes_straight_there(as_ada, project):
    assert as_ada.get("/").url == url("rank", project.slug)


def test_who_takes_part_in_two_projects_chooses(as_ada, project):
    make_member(make_project("other"), "ada")
    page = as_ada.get("/").content.decode()
    assert url("rank", "climate") in page and url("rank", "other") in page


def test_an_admin_sees_the_way_to_people(client, project, root):
    client.force_login(root)
    assert url("people", project.slug) in client.get("/").content.decode()


def test_who_takes_part_in_nothing_is_told_so(client, eve):
    client.force_login(eve)
    assert b"no project yet" in client.get("/").content


def test_looking_claims_nothing(as_ada, project):
    make_task(project)
    page = as_ada.get(url("rank", project.slug))
    assert b"Start ranking" in page.content
    assert b"Prefer the <strong>correct</strong> response." in page.content
    assert not Assignment.objects.exists()


# ---- Ranking without scripts -----------------------------------------------------------------


@pytest.mark.parametrize("k", [3, 4, 5, 6, 8])
def test_k_responses_are_ranked_by_a_plain_form(as_ada, project, k):
    make_task(project, responses=k)
    mine = start(as_ada, project)
    page = form_of(as_ada.get(url("assignment", mine.pk)))
    assert page.count('type="radio" name="rank-') == k * k
    assert "checked" not in page
    ranks = [1, 2, 2, *range(4, k + 1)][:k]
    response = as_ada.post(url("submit", mine.pk), filled(*ranks))
    assert response.url == url("rank", project.slug)
    stored = Ranking.objects.get().ranks
    dense = [1, 2, 2, *range(3, k)][:k]
    assert [stored[str(pk)] for pk in mine.display_order] == dense
    assert b"All caught up" in as_ada.get(response.url).content


@pytest.mark.parametrize(
    ("better", "ranks"),
    [("a", [1, 2]), ("equal", [1, 1]), ("b", [2, 1]), ("bad", [None, None])],
)
def test_two_responses_are_compared_by_one_choice(as_ada, project, better, ranks):
    make_task(project, responses=2)
    mine = start(as_ada, project)
    page = form_of(as_ada.get(url("assignment", mine.pk)))
    assert page.count('name="better"') == 4 and "checked" not in page
    assert b"Choose which" in as_ada.post(url("submit", mine.pk), {}).content
    as_ada.post(url("submit", mine.pk), {"better": better})
    ranking = Ranking.objects.get()
    assert [ranking.ranks[str(pk)] for pk in mine.display_order] == ranks
    assert set(ranking.unacceptable) == (set(mine.display_order) if better == "bad" else set())
    assert ranking.strength is None


@pytest.mark.parametrize(
    ("better", "ranks", "strength"),
    [
        ("a3", [1, 2], 3),
        ("a1", [1, 2], 1),
        ("equal", [1, 1], 0),
        ("b2", [2, 1], 2),
        ("bad", [None, None], None),
    ],
)
def test_on_seven_steps_the_strength_is_kept_and_comes_back(
    as_ada, project, better, ranks, strength
):
    project.preference_steps = 7
    project.save()
    make_task(project, responses=2)
    mine = start(as_ada, project)
    page = form_of(as_ada.get(url("assignment", mine.pk)))
    assert page.count('name="better"') == 8 and "checked" not in page
    as_ada.post(url("submit", mine.pk), {"better": better})
    ranking = Ranking.objects.get()
    assert [ranking.ranks[str(pk)] for pk in mine.display_order] == ranks
    assert ranking.strength == strength
    again = form_of(as_ada.get(as_ada.post(url("undo", mine.pk)).url))
    assert f'value="{better}" checked' in again


def test_a_project_without_ties_offers_none(as_ada, project):
    type(project).objects.update(allow_ties=False)
    make_task(project, responses=2)
    mine = start(as_ada, project)
    assert "About equal" not in form_of(as_ada.get(url("assignment", mine.pk)))
    assert as_ada.post(url("submit", mine.pk), {"better": "equal"}).status_code == 200
    assert not Ranking.objects.exists()


def test_an_incomplete_ranking_comes_back_as_it_was_with_what_is_missing(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    form = filled(1, 3, unacceptable=["b"], rationale="B is <wrong>")
    page = as_ada.post(url("submit", mine.pk), form)
    text = page.content.decode()
    assert page.status_code == 200
    assert "No place yet: C and D." in text
    assert form_of(page).count("checked") == 3
    assert "B is &lt;wrong&gt;" in text
    assert not Ranking.objects.exists()


@pytest.mark.parametrize(
    "nonsense",
    [
        {"rank-a": "9"},
        {"rank-a": "x"},
        {"unacceptable": ["q"]},
        {"flag-a": ["boring"]},
        {"flag-prompt": ["boring"]},
        {"rate-a-safe": "6"},
        {"confidence": "4"},
        {"edited": "Better.", "edited_from": "q"},
        {"edited": "Better."},
    ],
)
def test_values_that_no_page_offers_are_refused(as_ada, project, nonsense):
    type(project).objects.update(criteria=CRITERIA)
    make_task(project)
    mine = start(as_ada, project)
    assert as_ada.post(url("submit", mine.pk), filled(1, 2, 3, 4) | nonsense).status_code == 200
    assert not Ranking.objects.exists()


def test_all_unacceptable_needs_no_ranks(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    as_ada.post(url("submit", mine.pk), {"unacceptable": ["a", "b", "c", "d"]})
    assert set(Ranking.objects.get().unacceptable) == set(mine.display_order)


def test_a_project_without_ties_says_so(as_ada, project):
    project.allow_ties = False
    project.save()
    make_task(project)
    mine = start(as_ada, project)
    page = as_ada.post(url("submit", mine.pk), filled(1, 1, 2, 3))
    assert b"only once" in page.content


def test_after_submitting_the_next_task_comes(as_ada, project):
    make_task(project), make_task(project)
    first = start(as_ada, project)
    response = as_ada.post(url("submit", first.pk), filled(1, 2, 3, 4))
    second = Assignment.objects.leased().get()
    assert response.url == url("assignment", second.pk)
    page = as_ada.get(response.url).content.decode()
    assert "1 ranked today" in page


def test_going_on_to_the_next_task_takes_few_queries(
    as_ada, project, django_assert_max_num_queries
):
    make_task(project), make_task(project)
    mine = start(as_ada, project)
    # 3 to know who sends what, 5 to store it, 2 to choose a task, 4 to lease it and read its texts,
    # and the 4 borders of two transactions.
    with django_assert_max_num_queries(18):
        response = as_ada.post(url("submit", mine.pk), filled(1, 2, 3, 4), headers=HTMX)
    assert url("submit", Assignment.objects.leased().get().pk) in response.content.decode()


def test_submitting_the_same_again_goes_on_and_something_else_is_refused(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    for _ in range(2):
        assert as_ada.post(url("submit", mine.pk), filled(1, 2, 3, 4)).status_code == 302
    refused = as_ada.post(url("submit", mine.pk), filled(4, 3, 2, 1))
    assert refused.status_code == 409
    assert b"stored already" in refused.content
    assert Ranking.objects.count() == 1


def test_a_task_is_skipped_with_a_reason(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    as_ada.post(url("skip", mine.pk), {"reason": "knowledge"})
    mine.refresh_from_db()
    assert (mine.state, mine.skip_reason) == ("skipped", "knowledge")
    assert as_ada.get(url("assignment", mine.pk)).url == url("rank", project.slug)


def test_what_else_is_said_is_stored_and_comes_back(as_ada, project):
    type(project).objects.update(
        criteria=CRITERIA, flags=[{"name": "greenwash", "label": "Greenwash"}]
    )
    make_task(project)
    mine = start(as_ada, project)
    a, b = mine.display_order[:2]
    said = filled(1, 2, 3, 4, confidence="2", rationale="A is right", edited_from="a")
    said |= {"flag-b": ["toxic", "greenwash"], "flag-prompt": ["off topic"]}
    said |= {"rate-a-safe": "5", "rate-b-correct": "1", "edited": "A better\r\nanswer"}
    as_ada.post(url("submit", mine.pk), said)
    ranking = Ranking.objects.get()
    assert ranking.flags == {str(b): ["greenwash", "toxic"], "prompt": ["off topic"]}
    assert ranking.criteria == {str(a): {"safe": 5}, str(b): {"correct": 1}}
    assert (ranking.confidence, ranking.rationale) == (2, "A is right")
    better = Demonstration.objects.get()
    assert (better.text, better.edited_from_id) == ("A better\nanswer", a)
    page = form_of(as_ada.get(as_ada.post(url("undo", mine.pk)).url))
    for field, value in (
        ("flag-b", "toxic"),
        ("flag-b", "greenwash"),
        ("flag-prompt", "off topic"),
        ("rate-a-safe", "5"),
        ("rate-b-correct", "1"),
        ("confidence", "2"),
    ):
        assert f'name="{field}" value="{value}" checked' in page
    assert page.count("checked") == 4 + 6
    assert "A better\nanswer</textarea>" in page and 'value="a" selected' in page
    # The same again changes nothing; without the better text that is taken back.
    as_ada.post(url("submit", mine.pk), said | {"revises": "1"})
    assert Ranking.objects.count() == 1 and Demonstration.objects.get().retired_at is None
    as_ada.post(url("undo", mine.pk))
    as_ada.post(url("submit", mine.pk), said | {"revises": "1", "edited": ""})
    assert Demonstration.objects.get().retired_at


def test_a_project_that_does_not_ask_shows_and_takes_neither_confidence_nor_text(as_ada, project):
    type(project).objects.update(asks_confidence=False, asks_edit=False)
    make_task(project)
    mine = start(as_ada, project)
    page = form_of(as_ada.get(url("assignment", mine.pk)))
    assert 'name="confidence"' not in page and 'name="edited"' not in page
    as_ada.post(url("submit", mine.pk), filled(1, 2, 3, 4, edited="New.", edited_from="a"))
    assert Ranking.objects.exists() and not Demonstration.objects.exists()


def test_the_text_of_the_best_response_is_taken_for_editing(as_ada, project):
    make_task(project, responses=["One.", "Two.", "Three."])
    mine = start(as_ada, project)
    texts = {r.pk: r.text for r in mine.task.responses.all()}
    form = filled(3, 1, 2, unacceptable=["a"], rationale="Because", **{"flag-c": ["toxic"]})
    whole = form_of(as_ada.post(url("edit", mine.pk), form))
    assert f"{texts[mine.display_order[1]]}</textarea>" in whole
    assert "Because" in whole and whole.count("checked") == 5
    part = as_ada.post(url("edit", mine.pk), form | {"edited_from": "c"}, headers=HTMX)
    text = part.content.decode()
    assert text.lstrip().startswith('<details id="edit"')
    assert f"{texts[mine.display_order[2]]}</textarea>" in text


def test_a_task_is_given_back_for_now_and_comes_again(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    assert as_ada.post(url("release", mine.pk)).url == url("rank", project.slug)
    assert b"Start ranking" in as_ada.get(url("rank", project.slug)).content
    assert start(as_ada, project) == mine


# ---- Content to take care with ---------------------------------------------------------------


@pytest.fixture
def violent(project):
    type(project).objects.update(content_categories=[{"name": "violence", "label": "Violence"}])
    prompt = make_prompt(project, "What happened?", responses=["A fight.", "Peace."])
    label_prompt(prompt, language="en", content_categories=["violence"])
    open_ranking_tasks(project, [(prompt, list(prompt.responses.order_by("pk")))], batch="b")
    return project


def test_texts_to_take_care_with_are_covered_until_uncovered(as_ada, violent):
    mine = start(as_ada, violent)
    page = as_ada.get(url("assignment", mine.pk)).content.decode()
    cover = page[page.index('<details class="cover">') :]
    before = cover[: cover.index("</summary>")]
    assert "Violence" in before and "A fight." in cover and "A fight." not in before
    assert page.index("What happened?") > page.index('<details class="cover">')
    # What is sent back for a mistake has been uncovered already.
    again = as_ada.post(url("submit", mine.pk), {}).content
    assert b'<details class="cover" open>' in again


def test_no_more_of_this_kind_skips_the_task_and_is_remembered(as_ada, violent, ada_member):
    make_task(violent, responses=2)
    mine = start(as_ada, violent)
    while mine.task.prompt.content_categories == []:
        as_ada.post(url("submit", mine.pk), {"better": "a"})
        mine = Assignment.objects.leased().get()
    as_ada.post(url("opt_out", mine.pk), {"category": "violence"})
    mine.refresh_from_db(), ada_member.refresh_from_db()
    assert (mine.state, mine.skip_reason) == ("skipped", "upsetting")
    assert ada_member.category_opt_outs == ["violence"]


def test_only_a_kind_that_the_task_has_can_be_opted_out_of(as_ada, violent, ada_member):
    mine = start(as_ada, violent)
    as_ada.post(url("opt_out", mine.pk), {"category": "nonsense"})
    ada_member.refresh_from_db()
    assert ada_member.category_opt_outs == []


# ---- Practice --------------------------------------------------------------------------------


@pytest.fixture
def practice(project, root):
    type(project).objects.update(training_tasks=1)
    project.refresh_from_db()
    prompt = make_prompt(project, responses=["Right.", "Wrong."])
    right, wrong = prompt.responses.order_by("pk")
    return open_gold_task(
        project,
        prompt,
        [right, wrong],
        {right.pk: 1, wrong.pk: 2},
        training=True,
        explanation="The first is right.",
        by=root,
    )


@pytest.mark.parametrize("htmx", [True, False])
@pytest.mark.parametrize("passed", [True, False])
def test_practice_is_named_and_explained_afterwards(as_ada, project, practice, htmx, passed):
    make_task(project)
    mine = start(as_ada, project)
    assert b"Practice" in as_ada.get(url("assignment", mine.pk)).content
    is_first = mine.display_order[0] == min(practice.responses.values_list("pk", flat=True))
    better = "a" if is_first == passed else "b"
    headers = HTMX if htmx else {}
    said = as_ada.post(url("submit", mine.pk), {"better": better}, headers=headers)
    page = (said if htmx else as_ada.get(said.url)).content.decode()
    assert "The first is right." in page and "Go on" in page
    assert ("Just as we see it" in page) == passed
    assert "Undo" not in page.split('<section id="work"')[1]
    assert as_ada.post(url("undo", mine.pk)).status_code == 409
    after = as_ada.post(url("rank", project.slug))
    assert Assignment.objects.leased().get().task.kind == "normal"
    assert url("undo", mine.pk) not in as_ada.get(after.url).content.decode()


def test_a_task_with_a_known_answer_looks_like_any_other(as_ada, project, root):
    """But for its address, which counts on, and the texts."""
    type(project).objects.update(gold_rate=1.0)
    prompt = make_prompt(project, "Question?", responses=["Answer 1.", "Answer 2."])
    one, two = prompt.responses.order_by("pk")
    open_gold_task(project, prompt, [one, two], {one.pk: 1, two.pk: 2}, by=root)
    make_task(project, responses=2)
    shown = []
    mine = start(as_ada, project)
    for _ in range(2):
        response = as_ada.get(url("assignment", mine.pk))
        body = re.sub(
            r"/a/\d+/|Question \d*\?|Answer \d\.|Task \d|\d ranked", "", text_of(response)
        )
        body = re.sub(r'<form class="undo".*?</form>', "", body, flags=re.S)
        shown.append(
            (re.sub(r"Question ?\d*\?|project: \d of \d", "", body), dict(response.headers))
        )
        kinds = {mine.task.kind}
        as_ada.post(url("submit", mine.pk), {"better": "a"})
        mine = Assignment.objects.leased().first() or mine
    kinds.add(Task.objects.exclude(kind__in=kinds).get().kind)
    assert kinds == {"gold", "normal"}
    (first, headers), (second, more_headers) = shown
    assert first.split() == second.split()
    for changing in ("Content-Length", "Set-Cookie"):
        headers.pop(changing, None), more_headers.pop(changing, None)
    assert headers == more_headers


def test_a_ranking_is_undone_changed_and_stored_as_a_revision(as_ada, project):
    make_task(project), make_task(project)
    mine = start(as_ada, project)
    form = filled(1, 2, 2, 4, unacceptable=["d"], rationale="D is wrong")
    after = as_ada.post(url("submit", mine.pk), form)
    page = as_ada.get(after.url).content.decode()
    assert url("undo", mine.pk) in page and "Undo" in page
    again = as_ada.post(url("undo", mine.pk))
    page = as_ada.get(again.url)
    assert form_of(page).count("checked") == 5 and "D is wrong" in form_of(page)
    assert b"Change your ranking" in page.content
    as_ada.post(url("submit", mine.pk), filled(2, 1, 3, 4, revises=1))
    assert Ranking.objects.count() == 2
    assert Ranking.objects.current().get().revision == 2
    # The task that had come meanwhile is still mine.
    assert Assignment.objects.leased().count() == 1


def test_where_nothing_can_be_taken_back_no_undo_is_offered(as_ada, project):
    project.undo_s = 0
    project.save()
    make_task(project), make_task(project)
    mine = start(as_ada, project)
    after = as_ada.post(url("submit", mine.pk), filled(1, 2, 3, 4), headers=HTMX)
    assert url("submit", Assignment.objects.leased().get().pk) in after.content.decode()
    assert url("undo", mine.pk) not in after.content.decode()


def test_undo_too_late_says_why(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    as_ada.post(url("submit", mine.pk), filled(1, 2, 3, 4))
    Ranking.objects.update(frozen_at=timezone.now())
    refused = as_ada.post(url("undo", mine.pk))
    assert refused.status_code == 409
    assert b"frozen dataset" in refused.content
    assert url("undo", mine.pk) not in as_ada.get(url("rank", project.slug)).content.decode()


def test_the_draft_is_still_there_after_reloading(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    form = filled(2, rationale="Because", unacceptable=["c"], draft_revision=0)
    saved = as_ada.post(url("draft", mine.pk), form, headers=HTMX)
    assert 'name="draft_revision" value="1"' in saved.content.decode()
    page = form_of(as_ada.get(url("assignment", mine.pk)))
    assert page.count("checked") == 2 and "Because" in page
    assert 'name="draft_revision" value="1"' in page


def test_a_draft_from_an_older_tab_is_refused(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    as_ada.post(url("draft", mine.pk), filled(1, draft_revision=0), headers=HTMX)
    for stale in (0, "", "x", "99999999999999999999"):
        refused = as_ada.post(url("draft", mine.pk), filled(2, draft_revision=stale), headers=HTMX)
        assert refused.status_code == 409
        assert b"edited in another tab" in refused.content
    mine.refresh_from_db()
    assert mine.draft["rank-a"] == "1"


def test_the_page_that_wrote_the_draft_may_overwrite_it(as_ada, project):
    """The answer that it was stored may have been lost on the way."""
    make_task(project)
    mine = start(as_ada, project)
    for rank in (1, 2):
        form = filled(rank, draft_revision=0, tab="one")
        saved = as_ada.post(url("draft", mine.pk), form, headers=HTMX)
        assert saved.status_code == 200
    other = as_ada.post(url("draft", mine.pk), filled(3, draft_revision=0, tab="two"), headers=HTMX)
    assert other.status_code == 409 and b"Keep mine" in other.content
    mine.refresh_from_db()
    assert (mine.draft["rank-a"], mine.draft_revision) == ("2", 2)
    kept = as_ada.post(url("draft", mine.pk), filled(3, draft_revision=2, tab="two"), headers=HTMX)
    assert kept.status_code == 200


def test_a_draft_for_what_was_sent_from_another_tab_can_only_be_let_go(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    as_ada.post(url("submit", mine.pk), filled(1, 2, 3, 4))
    late = as_ada.post(url("draft", mine.pk), filled(2, draft_revision=0), headers=HTMX)
    assert late.status_code == 409
    assert b"Load what is stored" in late.content and b"Keep mine" not in late.content


# ---- With htmx -------------------------------------------------------------------------------


def test_htmx_gets_the_part_that_changes_and_the_next_address(as_ada, project):
    make_task(project), make_task(project)
    mine = start(as_ada, project)
    response = as_ada.post(url("submit", mine.pk), filled(1, 2, 3, 4), headers=HTMX)
    text = response.content.decode()
    assert text.lstrip().startswith('<section id="work"') and "<html" not in text
    assert "Saved." in text and "Undo" in text
    following = Assignment.objects.leased().get()
    assert response["HX-Push-Url"] == url("assignment", following.pk)
    response = as_ada.post(url("submit", following.pk), filled(1, 2, 3, 4), headers=HTMX)
    assert b"All caught up" in response.content
    assert response["HX-Push-Url"] == url("rank", project.slug)


def test_page_and_part_are_told_apart_by_caches(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    page = as_ada.get(url("assignment", mine.pk))
    part = as_ada.get(url("assignment", mine.pk), headers=HTMX)
    assert "HX-Request" in page["Vary"] and "HX-Request" in part["Vary"]
    assert text_of(part).strip() in text_of(page)


def test_an_incomplete_ranking_is_shown_again_to_htmx_with_status_200(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    response = as_ada.post(url("submit", mine.pk), filled(1), headers=HTMX)
    assert response.status_code == 200
    assert b"No place yet: B, C and D." in response.content


def test_an_expired_session_sends_the_whole_page_to_the_sign_in(client, project, ada_member):
    make_task(project)
    client.force_login(ada_member.user)
    mine = start(client, project)
    client.logout()
    here = f"http://testserver{url('assignment', mine.pk)}"
    response = client.post(
        url("draft", mine.pk), filled(1), headers={**HTMX, "HX-Current-URL": here}
    )
    assert response.status_code == 204
    assert response["HX-Redirect"] == f"/login/?next=%2Fa%2F{mine.pk}%2F"
    plain = client.get(url("assignment", mine.pk))
    assert (plain.status_code, plain.url) == (302, f"/login/?next=/a/{mine.pk}/")


def test_the_page_keeps_its_lease_while_it_is_looked_at(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    Assignment.objects.update(lease_expires_at=timezone.now() + timedelta(seconds=5))
    assert as_ada.post(url("alive", mine.pk), headers=HTMX).status_code == 204
    mine.refresh_from_db()
    assert mine.lease_expires_at > timezone.now() + timedelta(minutes=10)


def test_work_whose_lease_ran_out_can_still_be_submitted(as_ada, project):
    make_task(project)
    mine = start(as_ada, project)
    Assignment.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=5))
    expire_leases()
    assert b"still submit" in as_ada.post(url("alive", mine.pk), headers=HTMX).content
    assert as_ada.get(url("assignment", mine.pk)).status_code == 200
    as_ada.post(url("submit", mine.pk), filled(1, 2, 3, 4))
    mine.refresh_from_db()
    assert (mine.state, mine.late) == ("submitted", True)


def test_measurements_of_effort_are_kept_and_nonsense_is_ignored(as_ada, project):
    make_task(project), make_task(project)
    first = start(as_ada, project)
    effort = {"dwell_ms": "4200", "n_changes": "5", "width": "narrow"}
    as_ada.post(
        url("submit", first.pk),
        filled(1, 2, 3, 4, **effort),
        headers={"Accept-Language": "de-AT,de"},
    )
    ranking = Ranking.objects.get()
    assert (ranking.dwell_ms, ranking.n_changes) == (4200, 5)
    first.refresh_from_db()
    assert first.client == {"language": "de-AT", "width": "narrow"}
    second = Assignment.objects.leased().get()
    effort = {"dwell_ms": "-1", "n_changes": "9" * 30, "width": "<script>"}
    as_ada.post(url("submit", second.pk), filled(1, 2, 3, 4, **effort))
    ranking = Ranking.objects.current().get(assignment=second)
    assert (ranking.dwell_ms, ranking.n_changes) == (None, None)
    second.refresh_from_db()
    assert second.client["width"] == "unknown"


# ---- What is shown ---------------------------------------------------------------------------


def test_nothing_in_the_page_tells_who_wrote_a_response(as_ada, project):
    prompt, _ = add_prompt(project, [{"role": "user", "content": "Why?"}])
    texts = {"policy": "Warm water expands.", "import": "It rains more.", "human": "The Moon."}
    # Ids that no other number in the page resembles: one would tell which response is newer.
    responses = [
        Response.objects.create(
            pk=990_001 + n,
            prompt=prompt,
            text=text,
            html=text,
            content_hash=text,
            source=source,
            source_name=f"secret-{source}",
            policy_ref=4711,
            sampling={"temperature": 0.7531},
        )
        for n, (source, text) in enumerate(texts.items())
    ]
    open_ranking_tasks(
        project,
        [(prompt, responses)],
        batch="secret-batch",
        kind="evaluation",
        proposed_by={"policy": 4711},
    )
    mine = start(as_ada, project)
    response = as_ada.get(url("assignment", mine.pk))
    shown = response.content.decode()
    assert all(text in shown for text in texts.values())
    assert "secret" not in str(response.headers) and "4711" not in str(response.headers)
    for hidden in ("secret", "4711", "0.7531", "evaluation", "policy", "human", "import", "99000"):
        assert hidden not in shown.lower()


def test_the_responses_stand_in_the_stored_order_each_time(as_ada, project):
    make_task(project, responses=[f"Text number {n}." for n in range(5)])
    mine = start(as_ada, project)
    by_id = {r.pk: r.text for r in mine.task.responses.all()}
    for _ in range(2):
        page = as_ada.get(url("assignment", mine.pk)).content.decode()
        places = [page.index(by_id[pk]) for pk in mine.display_order]
        assert places == sorted(places)


def test_every_turn_of_a_conversation_is_shown(as_ada, project):
    messages = [
        {"role": "system", "content": "Answer **briefly**."},
        {"role": "user", "content": "What is ice?"},
        {"role": "assistant", "content": "Frozen water."},
        {"role": "user", "content": "<b>And</b> steam?"},
    ]
    prompt, _ = add_prompt(project, messages)
    responses = [add_response(prompt, t, source="policy")[0] for t in ("Gas.", "Wet air.")]
    open_ranking_tasks(project, [(prompt, responses)], batch="b")
    page = as_ada.get(url("assignment", start(as_ada, project).pk)).content.decode()
    for text in ("<strong>briefly</strong>", "What is ice?", "Frozen water.", "&lt;b&gt;And"):
        assert text in page


def test_an_empty_response_can_be_told_from_a_page_that_failed(as_ada, project):
    make_task(project, responses=["", "Something."])
    page = as_ada.get(url("assignment", start(as_ada, project).pk)).content
    assert b"an empty response" in page


def test_untrusted_text_stands_where_htmx_does_not_act(as_ada, project):
    make_task(project, responses=["One.", "Two."])
    page = as_ada.get(url("assignment", start(as_ada, project).pk)).content.decode()
    for text in ("One.", "Two."):
        before = page[: page.index(text)]
        assert before.rindex("hx-disable data-untrusted") > before.rindex("<article")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"paused": True}, b"project is paused"),
        ({"daily_cap": 1}, b"enough for today"),
    ],
)
def test_why_there_is_nothing_to_do_is_said(as_ada, project, ada_member, change, said):
    make_ranking(ada_member)
    make_task(project)
    type(project).objects.update(**change)
    assert said in as_ada.get(url("rank", project.slug)).content
    assert as_ada.post(url("rank", project.slug)).url == url("rank", project.slug)
    assert not Assignment.objects.leased().exists()


def test_a_paused_person_is_told_so(as_ada, project, ada_member):
    type(ada_member).objects.filter(pk=ada_member.pk).update(state="paused")
    assert b"You are paused" in as_ada.get(url("rank", project.slug)).content


def test_the_page_weighs_little(as_ada, project):
    """Less than 150 kB over the wire at first, with what it loads, and 30 kB for a next task."""
    text = "Warm water takes more room, and so the sea level rises. " * 25
    for n in range(2):
        make_task(project, responses=[f"{text} {n} {m}" for m in range(4)])
    mine = start(as_ada, project)
    compressed = {"Accept-Encoding": "gzip"}
    page = as_ada.get(url("assignment", mine.pk), headers=compressed)
    found = re.findall(r'(?:src|href)="(/static/[^"]+)"', gzip.decompress(page.content).decode())
    assets = [as_ada.get(address, headers=compressed) for address in set(found)]
    assert len(assets) > 8
    sizes = [len(b"".join(asset.streaming_content)) for asset in assets]
    assert min(sizes) > 100 and len(page.content) + sum(sizes) < 150_000
    following = as_ada.post(
        url("submit", mine.pk), filled(1, 2, 3, 4), headers=compressed | {"HX-Request": "true"}
    )
    assert b"ranking" in gzip.decompress(following.content)
    assert len(following.content) < 30_000


def test_guidelines_can_be_read_at_any_time(as_ada, project):
    assert b"<strong>correct</strong>" in as_ada.get(url("guidelines", project.slug)).content


def test_a_page_touches_a_bounded_number_of_rows(
    as_ada, project, ada_member, django_assert_max_num_queries
):
    for _ in range(12):
        make_task(project)
    mine = start(as_ada, project)
    with django_assert_max_num_queries(9):
        as_ada.get(url("assignment", mine.pk))
    with django_assert_max_num_queries(34):
        as_ada.post(url("submit", mine.pk), filled(1, 2, 3, 4), headers=HTMX)


def test_the_script_has_a_word_for_all_that_it_says():
    scripts = "".join(path.read_text() for path in (settings.BASE_DIR / "static/rank").glob("*.js"))
    said = set(re.findall(r'phrase\(\s*"(\w+)"', scripts)) | set(
        re.findall(r"words\.(\w+)", scripts)
    )
    for choice in re.findall(r'phrase\([^()]*\? "(\w+)" : "(\w+)"', scripts):
        said |= set(choice)
    assert said <= set(SCRIPT_WORDS)
