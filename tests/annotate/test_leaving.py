"""People leave, come back, and are erased: what stays is what they chose, and tells nothing."""

import pytest
from django.contrib.sessions.models import Session
from django.core import serializers
from django.urls import reverse

from annotate.models import (
    Assignment,
    AuditEvent,
    Demonstration,
    Exclusion,
    Membership,
    Ranking,
    Task,
    User,
)
from annotate.services.content import add_demonstration
from annotate.services.leaving import erase, leave
from annotate.services.people import come_back, create_invite, join_as
from annotate.services.projects import (
    exclude,
    lift,
    publish_text,
    rename_member,
    set_cohort,
    set_member_state,
)
from rewards.models import Snapshot
from rewards.services.snapshots import freeze
from tests.make import (
    PASSWORD,
    make_assignment,
    make_member,
    make_project,
    make_ranking,
    make_task,
)
from tests.pages import everything, words
from tests.training.rows import make_reward_model


@pytest.fixture
def as_ada(client, ada):
    client.force_login(ada)
    return client


@pytest.fixture(autouse=True)
def somebody_runs_it(root):
    """Without root there would be nobody left who runs the project."""


def url(name, project):
    return reverse(f"annotate:{name}", args=[project.slug])


# ---- Leaving and coming back -----------------------------------------------------------------


def test_who_leaves_gives_the_open_task_back_and_keeps_the_rankings(as_ada, project, ada_member):
    make_ranking(ada_member)
    open_one = make_assignment(ada_member)
    assert as_ada.post(url("leave", project)).url == "/"
    ada_member.refresh_from_db()
    assert ada_member.state == "left" and ada_member.user is not None
    assert Ranking.objects.current().not_excluded().count() == 1
    open_one.refresh_from_db()
    assert open_one.state == "released"
    assert Task.objects.get(pk=open_one.task_id).n_live == 0
    assert as_ada.get(url("rank", project)).status_code == 404


def test_the_start_page_leads_back(as_ada, project, ada_member):
    as_ada.post(url("leave", project))
    page = as_ada.get("/")
    assert "You have left" in words(page) and url("rejoin", project).encode() in page.content
    assert as_ada.post(url("rejoin", project)).url == url("rank", project)
    assert as_ada.get(url("rank", project)).status_code == 200


def test_who_was_paused_is_paused_still_when_he_comes_back(project, ada_member, root):
    set_member_state(ada_member, "paused", by=root)
    leave(ada_member)
    assert come_back(ada_member).state == "paused"
    _, token = create_invite(project, "annotator")
    leave(Membership.objects.get(pk=ada_member.pk))
    assert join_as(token, ada_member.user).state == "paused"


def test_an_excluded_person_neither_leaves_nor_comes_back(as_ada, project, ada_member, root):
    exclude(project, ada_member, "clicks at random", by=root)
    as_ada.post(url("leave", project))
    as_ada.post(url("rejoin", project))
    _, token = create_invite(project, "admin")
    assert as_ada.post(reverse("annotate:invite", args=[token])).url == "/"
    ada_member.refresh_from_db()
    assert (ada_member.state, ada_member.role) == ("excluded", "annotator")
    page = as_ada.get("/")
    assert "have ended your taking part" in words(page)
    assert url("rejoin", project).encode() not in page.content


def test_by_own_wish_one_comes_back_to_rank_and_by_invitation_in_its_role(project, root):
    cleo = make_member(project, "cleo", Membership.Role.ADMIN)
    leave(cleo)
    assert come_back(cleo).role == "annotator"
    leave(Membership.objects.get(pk=cleo.pk))
    invite, token = create_invite(project, "reviewer")
    assert join_as(token, cleo.user).role == "reviewer"
    invite.refresh_from_db()
    assert invite.uses == 1 and project.memberships.filter(user=cleo.user).count() == 1


def test_the_last_admin_neither_leaves_nor_is_erased(client, project, root):
    client.force_login(root)
    assert "only one who runs this project" in words(client.get(url("leave", project)))
    before = everything("annotate")
    client.post(url("leave", project))
    form = {"rankings": "take out", "password": PASSWORD}
    refused = client.post(url("erase", project), form)
    assert "You are the only one" in words(refused)
    assert everything("annotate") == before


# ---- Being erased ----------------------------------------------------------------------------


def spread_out(member):
    """Everything that a person leaves behind."""
    ranking = make_ranking(member, rationale="As I told you in Graz, I am Ada")
    add_demonstration(ranking.assignment.task.prompt, "A better text.", author=member)
    make_assignment(member)
    Assignment.objects.filter(annotator=member, state="leased").update(
        draft={"rationale": "Graz again"}
    )
    Assignment.objects.filter(annotator=member).update(client={"language": "de-AT"})
    Membership.objects.filter(pk=member.pk).update(category_opt_outs=["despair"], cohort="Graz")
    member.refresh_from_db()
    return ranking


def test_without_the_password_nothing_happens(as_ada, project, ada_member):
    before = everything("annotate")
    for form, said in (
        ({"rankings": "keep", "password": "wrong"}, "not your password"),
        ({"rankings": "keep"}, "Type your password"),
        ({"password": PASSWORD}, "Choose what becomes"),
    ):
        assert said in words(as_ada.post(url("erase", project), form))
    assert everything("annotate") == before


def test_who_has_no_password_types_the_user_name(as_ada, project, ada):
    ada.set_unusable_password()
    ada.save()
    as_ada.force_login(ada)
    assert "not your user name" in words(
        as_ada.post(url("erase", project), {"rankings": "keep", "username": "bob"})
    )
    as_ada.post(url("erase", project), {"rankings": "keep", "username": "ada"})
    assert not User.objects.filter(username="ada").exists()


@pytest.mark.parametrize("choice", ["keep", "take out"])
def test_nothing_tells_any_more_who_it_was(as_ada, project, ada, ada_member, choice):
    spread_out(ada_member)
    pseudonym = ada_member.pseudonym
    User.objects.filter(pk=ada.pk).update(username="Kunigunde", email="k@example.org")
    gone = as_ada.post(url("erase", project), {"rankings": choice, "password": PASSWORD})
    assert gone.url == reverse("login")
    assert "account is deleted" in words(as_ada.get(gone.url))
    assert not User.objects.filter(pk=ada.pk).exists()
    rows = everything("annotate")
    for trace in ("Kunigunde", "k@example", "Graz", "de-AT", "despair", pseudonym):
        assert trace not in rows, trace
    assert AuditEvent.objects.filter(verb="erase", actor=None).count() == 1
    assert Ranking.objects.count() == 1 and Demonstration.objects.get().text == "A better text."


def test_reasons_and_the_record_say_the_pseudonym_where_they_said_a_name(
    project, ada, ada_member, root
):
    User.objects.filter(pk=ada.pk).update(first_name="Kunigunde", last_name="von Graz (K.)")
    rename_member(ada_member, "The lady from Graz", by=root)
    rename_member(ada_member, "quick fox", by=root)
    set_cohort(ada_member, "Graz 2026", by=root)
    copied = make_ranking(ada_member)
    lift(exclude(project, copied, "Kunigunde copied; the adage holds", by=root), by=root)
    exclude(project, ada_member, "ADA and von Graz (K.), the quick fox, click", by=root)
    erase(Membership.objects.get(pk=ada_member.pk), keep_rankings=True)
    ada_member.refresh_from_db()
    name = ada_member.pseudonym
    rows = everything("annotate")
    for trace in ("Kunigunde", "Graz", "fox", "ADA"):
        assert trace not in rows, trace
    reasons = set(Exclusion.objects.values_list("reason", flat=True))
    assert reasons == {
        f"{name} copied; the adage holds",
        f"{name} and {name}, the {name}, click",
    }
    said = AuditEvent.objects.filter(verb="exclude").values_list("detail__reason", flat=True)
    assert set(said) == reasons
    assert AuditEvent.objects.filter(actor=root).count() > 5  # who did it all stays


def test_the_rankings_stay_if_so_chosen(project, ada_member):
    ranking = spread_out(ada_member)
    erase(ada_member, keep_rankings=True)
    kept = Ranking.objects.current().not_excluded().get()
    assert (kept.pk, kept.ranks) == (ranking.pk, ranking.ranks)
    assert ada_member.state == "left" and not Exclusion.objects.exists()
    assert Demonstration.objects.get().retired_at is None
    assert not Assignment.objects.leased().exists()


def test_the_rankings_go_out_of_all_that_follows_and_what_they_made_is_marked(
    project, ada_member, bob_member, root
):
    for member in (ada_member, bob_member):
        make_ranking(member, task=make_task(project, kind="audit"))
    spread_out(ada_member)
    model = make_reward_model(project)
    before = freeze(project)
    type(model).objects.filter(pk=model.pk).update(snapshot=before)
    erase(ada_member, keep_rankings=False)
    before.refresh_from_db(), model.refresh_from_db()
    assert before.tainted_at and model.tainted_at
    assert "ada" not in before.taint_reason
    after = freeze(project)
    assert not after.rankings.filter(assignment__annotator=ada_member).exists()
    assert after.rankings.count() == 1
    assert Demonstration.objects.get().retired_at is not None


def test_nobody_takes_in_again_what_a_person_took_out(project, ada_member, root):
    make_ranking(ada_member)
    first = exclude(project, ada_member, "careless", by=root)
    erase(ada_member, keep_rankings=False)
    for exclusion in Exclusion.objects.filter(membership=ada_member):
        lift(exclusion, by=root)
    first.refresh_from_db(), ada_member.refresh_from_db()
    assert first.lifted_at is None and ada_member.state == "excluded"
    assert not Ranking.objects.not_excluded().exists()


def test_who_takes_part_elsewhere_keeps_the_account_and_the_rest(as_ada, project, ada, ada_member):
    other = make_member(make_project("other"), "ada")
    make_ranking(other, rationale="Stays")
    publish_text(project, "guidelines", "By Ada", by=ada)
    form = {"rankings": "keep", "where": "here", "password": PASSWORD}
    gone = as_ada.post(url("erase", project), form)
    assert (gone.url, gone["Clear-Site-Data"]) == ("/", '"storage"')
    ada_member.refresh_from_db(), other.refresh_from_db()
    assert ada_member.user is None and other.user == ada
    assert Ranking.objects.get(assignment__annotator=other).rationale == "Stays"
    here = [
        *AuditEvent.objects.filter(project=project, actor=ada),
        *project.texts.filter(created_by=ada),
    ]
    assert here == []
    assert as_ada.get(url("rank", other.project)).status_code == 200
    assert as_ada.get(url("leave", project)).status_code == 404


def test_the_whole_account_can_go(as_ada, project, ada, ada_member):
    other = make_member(make_project("other"), "ada")
    make_member(other.project, "dan", Membership.Role.ADMIN)
    make_ranking(other), make_ranking(ada_member)
    form = {"rankings": "take out", "where": "everywhere", "password": PASSWORD}
    as_ada.post(url("erase", project), form)
    assert not User.objects.filter(pk=ada.pk).exists()
    assert not Ranking.objects.not_excluded().exists()
    assert not Session.objects.filter(pk=as_ada.session.session_key or "").exists()


def test_who_runs_another_project_alone_is_not_erased_halfway(as_ada, project, ada, ada_member):
    make_member(make_project("other"), "ada", Membership.Role.ADMIN)
    before = serializers.serialize("json", Membership.objects.order_by("pk"))
    form = {"rankings": "keep", "where": "everywhere", "password": PASSWORD}
    assert "only one who runs a project" in words(as_ada.post(url("erase", project), form))
    assert serializers.serialize("json", Membership.objects.order_by("pk")) == before


def test_a_superuser_keeps_the_account_that_runs_the_server(project, ada, ada_member):
    User.objects.filter(pk=ada.pk).update(is_superuser=True)
    erase(Membership.objects.get(pk=ada_member.pk), keep_rankings=True)
    assert User.objects.filter(pk=ada.pk).exists()


def test_who_left_or_was_excluded_can_be_erased_and_take_the_data(as_ada, project, ada_member):
    make_ranking(ada_member)
    set_member_state(ada_member, "left", by=None)
    assert as_ada.get(url("my_data", project)).status_code == 200
    assert "do not take part" in words(as_ada.get(url("leave", project)))
    as_ada.post(url("erase", project), {"rankings": "keep", "password": PASSWORD})
    assert not User.objects.filter(username="ada").exists()


def test_another_session_of_an_erased_person_ends(client, project, ada, ada_member):
    client.force_login(ada)
    erase(ada_member, keep_rankings=True)
    assert client.get("/").url.startswith(reverse("login"))


def test_snapshots_stay_what_they_are(project, ada_member, bob_member):
    """Erasing changes no frozen file: its bytes are what models were made of."""
    for member in (ada_member, bob_member):
        make_ranking(member, task=make_task(project, kind="audit"))
    snapshot = freeze(project)
    erase(ada_member, keep_rankings=True)
    assert Snapshot.objects.get().digest == snapshot.digest
    assert freeze(project) == snapshot
