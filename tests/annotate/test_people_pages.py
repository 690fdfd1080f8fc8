"""What an admin sees and changes of the people in a project."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.urls import reverse

from annotate.models import AuditEvent, Exclusion, Membership
from annotate.services.projects import (
    InvalidName,
    LastAdmin,
    exclude,
    lift,
    rename_member,
    set_member_state,
    set_role,
    update_member,
)
from tests.make import make_member, make_project, make_ranking, make_task
from tests.pages import words

PEOPLE = "/p/climate/people/"


@pytest.fixture
def root_member(project, root):
    return project.memberships.get(user=root)


def person(member):
    return reverse("annotate:person", args=["climate", member.pk])


def profile(member, **changes):
    columns = {"pseudonym": member.pseudonym, "role": member.role, "cohort": member.cohort}
    return {"profile": "1", **columns, **changes}


def names(page):
    return {member.pseudonym for member in page.context["members"]}


def fresh(member):
    return Membership.objects.get(pk=member.pk)


# ---- Who is there ----------------------------------------------------------------------------


def test_people_are_found_by_name_pseudonym_group_state_and_role(
    admin, project, ada_member, bob_member, root_member
):
    update_member(bob_member, by=None, pseudonym="Blue Heron", cohort="spring school")
    set_member_state(bob_member, "paused", by=None)
    everybody = {ada_member.pseudonym, "Blue Heron", root_member.pseudonym}
    for wanted, found in (
        ({}, everybody),
        ({"q": "ADA"}, {ada_member.pseudonym}),
        ({"q": "heron"}, {"Blue Heron"}),
        ({"q": "spring"}, {"Blue Heron"}),
        ({"state": "paused"}, {"Blue Heron"}),
        ({"role": "admin"}, {root_member.pseudonym}),
        ({"state": "active", "role": "annotator"}, {ada_member.pseudonym}),
        ({"state": "nonsense"}, everybody),
    ):
        assert names(admin.get(PEOPLE, wanted)) == found, wanted
    assert "Nobody like this" in words(admin.get(PEOPLE, {"q": "zzz"}))


def test_the_next_page_keeps_what_was_looked_for(admin, project):
    Membership.objects.bulk_create(
        Membership(project=project, pseudonym=f"volunteer-{n:03}") for n in range(101)
    )
    page = admin.get(PEOPLE, {"q": "volunteer", "state": "active"}).content.decode()
    assert "?q=volunteer&amp;state=active&amp;page=2" in page


def test_a_page_of_people_takes_as_many_queries_as_one_person(
    admin, project, django_assert_max_num_queries
):
    Membership.objects.bulk_create(
        Membership(project=project, pseudonym=f"volunteer-{n:03}") for n in range(50)
    )
    with django_assert_max_num_queries(14):
        admin.get(PEOPLE)


def test_a_persons_page_tells_what_he_did(admin, project, ada_member, bob_member):
    task = make_ranking(ada_member, (1, 2)).assignment.task
    make_ranking(bob_member, (2, 1), task=task)
    make_ranking(ada_member, (1, 2), task=make_task(project, kind="gold", responses=2))
    page = admin.get(person(ada_member))
    text = words(page)
    assert "Ranked 2" in text and "too little data" in text
    assert reverse("annotate:review_task", args=["climate", task.pk]) in page.content.decode()
    assert page.content.decode().count("/review/") == 2  # the page itself and the one task
    assert "0 %" in text


def test_figures_of_a_person_come_with_an_interval_and_their_number(admin, ada_member, bob_member):
    for _ in range(10):
        make_ranking(bob_member, (1, 2), task=make_ranking(ada_member, (1, 2)).assignment.task)
    text = words(admin.get(person(ada_member)))
    assert "Agreement with others 100 % [72 %, 100 %], n = 10" in text


# ---- Role, name, group -----------------------------------------------------------------------


def test_an_admin_gives_roles_names_and_groups(admin, root, ada_member):
    sent = profile(ada_member, role="reviewer", pseudonym=" Grey  Owl ", cohort="may")
    assert admin.post(person(ada_member), sent).url == person(ada_member)
    member = fresh(ada_member)
    assert (member.role, member.pseudonym, member.cohort) == ("reviewer", "Grey Owl", "may")
    events = AuditEvent.objects.filter(object_id=str(ada_member.pk), actor=root)
    assert {event.verb: event.detail["after"] for event in events} == {
        "rename": "Grey Owl",
        "set role": "reviewer",
        "set cohort": "may",
    }
    admin.post(person(ada_member), profile(member))
    assert events.count() == 3  # what stays as it is, is no event


def test_the_last_admin_stays_one(admin, project, root_member, ada_member):
    refused = admin.post(person(root_member), profile(root_member, role="annotator", cohort="x"))
    assert "Nobody else runs this project" in words(refused)
    for action in ({"action": "pause"}, {"action": "exclude", "reason": "x"}):
        assert "Nobody else runs" in words(admin.post(person(root_member), action))
    assert (fresh(root_member).role, fresh(root_member).state) == ("admin", "active")
    assert not Exclusion.objects.exists() and fresh(root_member).cohort == ""
    set_role(ada_member, "admin", by=None)
    set_member_state(ada_member, "paused", by=None)  # a paused admin runs nothing
    with pytest.raises(LastAdmin):
        set_role(root_member, "annotator", by=None)
    set_member_state(ada_member, "active", by=None)
    assert set_role(fresh(root_member), "annotator", by=None).role == "annotator"


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_go_at_once_leave_one(ada_member):
    project = ada_member.project
    admins = [make_member(project, f"admin-{n}", "admin") for n in range(2)]
    barrier = threading.Barrier(2)

    def step_down(member):
        barrier.wait()
        try:
            set_role(member, "annotator", by=None)
        except LastAdmin:
            pass
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(step_down, admins))
    assert project.memberships.filter(role="admin").count() == 1


@pytest.mark.parametrize(
    "name", ["", " ", "x" * 65, "import-0123", "Unnamed-7", "a\u202eb", "a\x07b", "BLUE HERON"]
)
def test_a_name_that_misleads_is_refused(admin, ada_member, bob_member, name):
    rename_member(bob_member, "Blue Heron", by=None)
    page = admin.post(person(ada_member), profile(ada_member, pseudonym=name, cohort="x"))
    assert page.status_code == 200 and page.context["profile"].errors["pseudonym"]
    assert fresh(ada_member).pseudonym == ada_member.pseudonym
    assert fresh(ada_member).cohort == ""  # all of it, or nothing


def test_who_was_imported_keeps_the_name_by_which_imports_know_him(admin, project):
    member = Membership.objects.create(project=project, pseudonym="import-77")
    page = admin.get(person(member))
    assert {*page.context["profile"].fields} == {"cohort"}
    with pytest.raises(InvalidName):
        rename_member(member, "Somebody", by=None)
    admin.post(person(member), {"profile": "1", "cohort": "paper", "role": "admin"})
    assert (fresh(member).cohort, fresh(member).role) == ("paper", "annotator")


def test_the_same_name_in_another_project_is_another_persons(ada_member):
    stranger = make_member(make_project("other"), "stranger")
    rename_member(stranger, "Grey Owl", by=None)
    assert rename_member(ada_member, "Grey Owl", by=None).pseudonym == "Grey Owl"


# ---- Pause, exclude, take in again -----------------------------------------------------------


def test_the_history_says_who_left_whom_out_and_why(admin, root, ada_member):
    admin.post(person(ada_member), {"action": "exclude", "reason": "clicks at random"})
    admin.post(person(ada_member), {"action": "lift"})
    text = words(admin.get(person(ada_member)))
    assert f"root left the judgements of {ada_member} out reason: clicks at random" in text
    assert f"root took the judgements of {ada_member} in again" in text
    assert "lifted" in text


def test_lifting_gives_back_the_state_that_was(project, ada_member):
    set_member_state(ada_member, "paused", by=None)
    lift(exclude(project, ada_member, "by mistake", by=None), by=None)
    assert fresh(ada_member).state == "paused"


def test_what_a_person_took_out_for_good_is_not_offered_to_be_taken_in(admin, project, ada_member):
    exclusion = exclude(project, ada_member, "erased", by=None, evidence={"withdrawn": True})
    assert "took the judgements out for good" in words(admin.get(person(ada_member)))
    admin.post(person(ada_member), {"action": "lift"})
    exclusion.refresh_from_db()
    assert exclusion.lifted_at is None
