"""Nobody sees or changes what is not theirs: every address of annotate, every method."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from annotate import urls
from annotate.models import Assignment, Membership
from annotate.services.people import create_invite
from annotate.services.uploads import keep, look
from tests.make import PASSWORD, make_assignment, make_member, make_project, make_ranking
from tests.pages import everything

OPEN_TO_ALL = {"invite"}
FOR_ADMINS = {
    *("people", "person", "revoke", "log"),
    *("settings", "pause", "text", "queue", "open_tasks", "batch", "close_task", "gold"),
    *("gold_new", "upload", "upload_preview", "upload_again", "upload_confirm", "upload_cancel"),
}
FOR_REVIEWERS = {"review", "review_task", "review_ask", "review_gaps", "review_flags"}
FOR_WHO_MAY_ADD_PROJECTS = {"project_new"}
POST_ONLY = {
    *("draft", "alive", "submit", "skip", "undo", "edit", "release", "opt_out", "revoke"),
    *("pause", "open_tasks", "batch", "gold_confirm"),
    *("close_task", "upload_again", "upload_confirm", "upload_cancel", "review_ask", "rejoin"),
}
OF_EVERY_MEMBER = {"rejoin"}
GET_ONLY = {
    *("assignment", "guidelines_version", "me", "my_rankings", "my_data"),
    *("queue", "gold", "upload_preview", "log", "review", "review_gaps", "review_flags"),
}
NAMES = [pattern.name for pattern in urls.urlpatterns]


@pytest.fixture
def objects(project, ada_member, root):
    """One of each thing that an address may name."""
    invite, token = create_invite(project)
    reviewable = make_ranking(ada_member).assignment.task
    assignment = make_assignment(ada_member)
    upload = keep(project, root, [b'{"prompt": "Why?"}'], "prompts.jsonl")
    look(project, upload)
    return {
        "token": token,
        "slug": project.slug,
        "member_id": ada_member.pk,
        "invite_id": invite.pk,
        "assignment_id": assignment.pk,
        "task_id": assignment.task_id,
        "review_task task_id": reviewable.pk,
        "review_ask task_id": reviewable.pk,
        "prompt_id": assignment.task.prompt_id,
        "kind": "guidelines",
        "number": 1,
        "upload_token": upload.token,
    }


def address(name, objects):
    (pattern,) = (p for p in urls.urlpatterns if p.name == name)
    wanted = pattern.pattern.converters
    own = {key: objects.get(f"{name} {key}", objects[key]) for key in wanted}
    return reverse(f"annotate:{name}", kwargs=own)


def text_of(response):
    """The page without the token against forged requests, which differs each time."""
    return re.sub(rb'value="[A-Za-z0-9]{64}"', b"", response.content)


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
@pytest.mark.parametrize("name", NAMES)
def test_who_is_not_signed_in_gets_nowhere(client, objects, name, method):
    before = everything("annotate")
    response = getattr(client, method)(address(name, objects))
    if name in OPEN_TO_ALL:
        assert response.status_code in (200, 405)
    else:
        assert response.status_code == 302
        assert response.url.startswith("/login/")
    assert everything("annotate") == before


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("name", sorted(set(NAMES) - OPEN_TO_ALL))
@pytest.mark.parametrize("who", ["eve", "an admin of another project"])
def test_strangers_get_what_they_get_for_things_that_are_not_there(
    client, objects, eve, name, method, who
):
    if who != "eve":
        eve = make_member(make_project("other"), "mallory", Membership.Role.ADMIN).user
    client.force_login(eve)
    before = everything("annotate")
    response = getattr(client, method)(address(name, objects))
    absent = {**objects, "slug": "absent", "member_id": 10**9, "invite_id": 10**9}
    absent |= {"assignment_id": 10**9, "task_id": 10**9, "prompt_id": 10**9}
    absent |= {name: 10**9 for name in objects if " " in name}
    missing = getattr(client, method)(address(name, absent))
    assert response.status_code == missing.status_code
    not_offered = name in (POST_ONLY if method == "get" else GET_ONLY)
    assert response.status_code == (405 if not_offered else 404)
    assert text_of(response) == text_of(missing)
    assert everything("annotate") == before


@pytest.mark.parametrize(
    "name", sorted((FOR_ADMINS | FOR_REVIEWERS | POST_ONLY | {"assignment"}) - OF_EVERY_MEMBER)
)
def test_who_annotates_too_reaches_neither_anothers_work_nor_admins_pages(
    client, objects, bob, name
):
    client.force_login(bob)
    before = everything("annotate")
    method = client.get if name in GET_ONLY else client.post
    assert method(address(name, objects)).status_code == 404
    assert everything("annotate") == before


@pytest.mark.parametrize("name", sorted(set(NAMES) - FOR_WHO_MAY_ADD_PROJECTS))
def test_looking_changes_nothing(client, objects, ada, root, name):
    client.force_login(root if name in FOR_ADMINS | FOR_REVIEWERS else ada)
    before = everything("annotate")
    response = client.get(address(name, objects))
    assert response.status_code == (405 if name in POST_ONLY else 302 if name == "rank" else 200)
    assert everything("annotate") == before


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"guidelines", "me"}))
def test_a_post_without_a_token_is_refused(objects, ada, root, name):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(root if name in FOR_ADMINS | FOR_REVIEWERS else ada)
    before = everything("annotate")
    response = strict.post(address(name, objects))
    assert response.status_code == 403
    assert b"load the page again" in response.content
    assert everything("annotate") == before


@pytest.mark.parametrize("name", sorted(FOR_ADMINS | FOR_REVIEWERS))
def test_a_reviewer_reaches_what_is_reviewed_and_nothing_else(client, project, objects, name):
    client.force_login(make_member(project, "rita", Membership.Role.REVIEWER).user)
    before = everything("annotate")
    method = client.post if name in POST_ONLY - FOR_REVIEWERS else client.get
    response = method(address(name, objects))
    reached = 405 if name in POST_ONLY else 200
    assert response.status_code == (reached if name in FOR_REVIEWERS else 404)
    if reached == 200 and name in FOR_REVIEWERS:
        assert b"/review/" in response.content and b"/people/" not in response.content
    assert everything("annotate") == before


@pytest.mark.parametrize("state", ["paused", "excluded", "left"])
@pytest.mark.parametrize("role", ["reviewer", "admin"])
def test_who_does_not_take_part_now_reviews_nothing(client, objects, bob_member, role, state):
    Membership.objects.filter(pk=bob_member.pk).update(role=role, state=state)
    client.force_login(bob_member.user)
    for name in FOR_REVIEWERS:
        assert client.post(address(name, objects)).status_code in (404, 405)
        assert client.get(address(name, objects)).status_code in (404, 405)


@pytest.mark.parametrize("state", ["excluded", "left"])
def test_who_was_excluded_or_left_sees_the_project_no_more(client, objects, ada_member, state):
    Membership.objects.filter(pk=ada_member.pk).update(state=state)
    client.force_login(ada_member.user)
    for name in ("rank", "me", "my_rankings", "my_settings", "guidelines", "assignment"):
        assert client.get(address(name, objects)).status_code == 404
    assert Assignment.objects.leased().exists()


def test_an_admin_of_one_project_does_not_reach_people_of_another_by_its_address(
    client, objects, root
):
    other = make_project("other")
    stranger = make_member(other, "stranger")
    invite, _ = create_invite(other)
    client.force_login(root)
    for name, pk in (("person", stranger.pk), ("revoke", invite.pk)):
        crossed = reverse(f"annotate:{name}", args=["climate", pk])
        assert client.post(crossed, {"action": "pause"}).status_code == 404


def test_a_superuser_administers_every_project(client, objects, eve):
    eve.is_superuser = True
    eve.save()
    client.force_login(eve)
    assert client.get(address("people", objects)).status_code == 200
    assert client.get("/").status_code == 200


def test_every_answer_carries_the_policy_that_forbids_foreign_content(client, db):
    policy = client.get("/login/")["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    assert "unsafe" not in policy


def test_signing_in_leads_back_but_never_to_another_site(client, project, ada):
    form = {"username": "ada", "password": PASSWORD}
    assert client.post("/login/", {**form, "next": "/p/climate/me/"}).url == "/p/climate/me/"
    client.logout()
    assert client.post("/login/", {**form, "next": "https://evil.example/"}).url == "/"


def test_signing_out_is_a_post(client, ada):
    client.force_login(ada)
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/").status_code == 302
    assert client.get("/").status_code == 302
