import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.models import AuditEvent, Exclusion, Invite, Membership, User
from annotate.services.people import (
    InvalidInvite,
    NameTaken,
    create_invite,
    join,
    join_as,
    revoke_invite,
)
from annotate.services.projects import create_project, publish_text
from tests.make import PASSWORD, make_ranking, make_user
from tests.pages import words


def test_an_invitation_lets_so_many_people_in(project):
    invite, token = create_invite(project, "annotator", max_uses=2)
    members = [join(token, username=name, password=PASSWORD) for name in ("cleo", "dan")]
    assert {member.role for member in members} == {"annotator"}
    assert len({member.pseudonym for member in members}) == 2
    with pytest.raises(InvalidInvite):
        join(token, username="eva", password=PASSWORD)
    assert not User.objects.filter(username="eva").exists()


def test_the_token_is_stored_nowhere(project):
    invite, token = create_invite(project, "annotator")
    assert token not in str(Invite.objects.values().get())
    assert not any(token in str(event.detail) for event in AuditEvent.objects.all())
    assert len(token) >= 43  # 256 bits


def test_an_old_or_revoked_invitation_lets_nobody_in(project, root):
    old, old_token = create_invite(project, "annotator")
    Invite.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    revoked, revoked_token = create_invite(project, "annotator")
    revoke_invite(revoked, by=root)
    for token in (old_token, revoked_token, "made-up"):
        with pytest.raises(InvalidInvite):
            join(token, username="cleo", password=PASSWORD)


def test_a_taken_name_costs_no_use(project, eve):
    invite, token = create_invite(project, "annotator")
    with pytest.raises(NameTaken):
        join(token, username="eve", password=PASSWORD)
    invite.refresh_from_db()
    assert invite.uses == 0


def test_a_member_who_follows_a_link_stays_what_he_is(project, ada, root):
    invite, token = create_invite(project, "admin")
    assert join_as(token, ada).role == "annotator"
    invite.refresh_from_db()
    assert invite.uses == 0


def test_who_makes_a_project_runs_it(eve):
    project = create_project("fresh", "Fresh", by=eve)
    assert project.memberships.get(user=eve).role == Membership.Role.ADMIN


def test_texts_have_versions_and_an_unchanged_text_is_none(project):
    assert publish_text(project, "guidelines", "B", by=None).version == 2
    assert publish_text(project, "guidelines", "B", by=None).version == 2
    assert publish_text(project, "consent", "C", by=None).version == 1
    assert project.text("guidelines").text == "B"


# ---- Joining by the page ---------------------------------------------------------------------


def invite_url(project, role="annotator", **options):
    _, token = create_invite(project, role, **options)
    return reverse("annotate:invite", args=[token])


def test_a_newcomer_joins_agrees_and_starts_at_once(client, project):
    publish_text(project, "consent", "We *publish* rankings.", by=None)
    url = invite_url(project)
    assert b"<em>publish</em>" in client.get(url).content
    form = {"username": "cleo", "password": PASSWORD, "agree": "on"}
    response = client.post(url, form)
    assert response.url == reverse("annotate:rank", args=[project.slug])
    member = project.memberships.get(user__username="cleo")
    assert (member.consent_version, member.role) == (1, "annotator")
    assert (
        b"Start ranking" in client.get(response.url).content
        or b"caught up" in client.get(response.url).content
    )


@pytest.mark.parametrize(
    ("role", "page"),
    [("admin", "training:overview"), ("reviewer", "annotate:rank"), ("annotator", "annotate:rank")],
)
def test_who_runs_the_project_begins_with_its_overview_and_others_rank(client, project, role, page):
    response = client.post(invite_url(project, role), {"username": "cleo", "password": PASSWORD})
    assert response.url == reverse(page, args=[project.slug])
    assert client.get(response.url).status_code == 200


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"agree": ""}, b"if you agree"),
        ({"password": "short"}, b"too short"),
        ({"username": "eve"}, b"taken"),
        ({"username": "no spaces please"}, b"valid username"),
    ],
)
def test_a_form_that_cannot_be_taken_says_why(client, project, eve, changed, said):
    publish_text(project, "consent", "We publish rankings.", by=None)
    url = invite_url(project)
    form = {"username": "cleo", "password": PASSWORD, "agree": "on", **changed}
    response = client.post(url, form)
    assert response.status_code == 200
    assert said in response.content
    assert not project.memberships.exists()


def test_who_is_signed_in_joins_with_that_account(client, project, eve):
    client.force_login(eve)
    url = invite_url(project)
    assert b"eve" in client.get(url).content
    client.post(url)
    assert project.memberships.get().user == eve


def test_every_bad_link_gives_the_same_page(client, project, root):
    used = invite_url(project)
    client.post(used, {"username": "cleo", "password": PASSWORD})
    client.logout()
    pages = [client.get(url) for url in (used, reverse("annotate:invite", args=["made-up"]))]
    assert [page.status_code for page in pages] == [404, 404]
    assert words(pages[0]) == words(pages[1])


def test_a_new_consent_text_is_put_before_everybody_again(client, project, ada):
    client.force_login(ada)
    rank = reverse("annotate:rank", args=[project.slug])
    consent = reverse("annotate:consent", args=[project.slug])
    publish_text(project, "consent", "New terms.", by=None)
    assert client.get(rank).url == consent
    assert client.post(rank).url == consent
    assert b"New terms." in client.get(consent).content
    assert client.post(consent, {}).status_code == 200  # not agreed
    assert client.post(consent, {"agree": "on"}).url == rank
    assert client.get(rank).status_code == 200


# ---- What an admin does ----------------------------------------------------------------------


def test_an_admin_makes_a_link_that_is_shown_once(client, project, root):
    client.force_login(root)
    url = reverse("annotate:people", args=[project.slug])
    made = client.post(url, {"role": "annotator", "max_uses": 5, "days": 3})
    assert made["Cache-Control"] == "no-store"
    link = made.context["link"]
    assert link.encode() in made.content
    assert b"/invite/" not in client.get(url).content
    invite = Invite.objects.get()
    assert (invite.max_uses, invite.created_by) == (5, root)
    client.post(reverse("annotate:revoke", args=[project.slug, invite.pk]))
    client.logout()
    assert client.get(link).status_code == 404


def test_an_admin_sees_what_people_did(client, project, root, ada_member):
    make_ranking(ada_member), make_ranking(ada_member)
    client.force_login(root)
    page = client.get(reverse("annotate:people", args=[project.slug]))
    counted = {member.pseudonym: member.ranked for member in page.context["members"]}
    assert counted[ada_member.pseudonym] == 2
    assert ada_member.pseudonym.encode() in page.content


def test_hundreds_of_people_come_page_by_page(client, project, root):
    Membership.objects.bulk_create(
        Membership(project=project, pseudonym=f"volunteer-{n:03}") for n in range(249)
    )
    client.force_login(root)
    url = reverse("annotate:people", args=[project.slug])
    pages = [client.get(url, {"page": n}).content.decode() for n in (1, 2, 3)]
    found = [set(re.findall(r">(volunteer-\d+|admin-\w+)</a>", page)) for page in pages]
    assert [len(names) for names in found] == [100, 100, 50]
    assert len(set.union(*found)) == 250
    assert 'href="?page=2"' in pages[0] and 'rel="prev"' not in pages[0]
    assert 'href="?page=1"' in pages[1] and 'href="?page=3"' in pages[1]
    assert 'rel="next"' not in pages[2]


def test_an_admin_pauses_and_resumes(client, project, root, ada_member):
    client.force_login(root)
    url = reverse("annotate:person", args=[project.slug, ada_member.pk])
    client.post(url, {"action": "pause"})
    ada_member.refresh_from_db()
    assert ada_member.state == "paused"
    client.post(url, {"action": "resume"})
    ada_member.refresh_from_db()
    assert ada_member.state == "active"


def test_leaving_judgements_out_needs_a_reason_and_can_be_taken_back(
    client, project, root, ada_member
):
    client.force_login(root)
    url = reverse("annotate:person", args=[project.slug, ada_member.pk])
    assert b"Say why" in client.post(url, {"action": "exclude"}).content
    assert not Exclusion.objects.exists()
    client.post(url, {"action": "exclude", "reason": "clicks at random"})
    exclusion = Exclusion.objects.get()
    assert (exclusion.membership, exclusion.created_by) == (ada_member, root)
    assert b"clicks at random" in client.get(url).content
    assert client.post(url, {"action": "pause"}).status_code == 200  # not possible now
    client.post(url, {"action": "lift"})
    exclusion.refresh_from_db()
    ada_member.refresh_from_db()
    assert (exclusion.lifted_by, ada_member.state) == (root, "active")
    verbs = set(AuditEvent.objects.values_list("verb", flat=True))
    assert {"exclude", "lift", "set state"} <= verbs


def test_two_people_never_share_a_pseudonym(project):
    make_user("x")
    _, token = create_invite(project, "annotator", max_uses=30)
    names = [join(token, username=f"p{n}", password=PASSWORD).pseudonym for n in range(30)]
    assert len(set(names)) == 30
