"""The log: who did what, in plain words, for those who run the project."""

import ast
from pathlib import Path

import pytest

import annotate
from annotate.models import AuditEvent
from annotate.services.people import create_invite, join, revoke_invite
from annotate.services.projects import create_project, exclude, publish_text, set_role
from annotate.views.audit import SENTENCES
from tests.make import PASSWORD, make_project, make_ranking
from tests.pages import words

LOG = "/p/climate/log/"


def lines(client, **wanted):
    """Of each event who did what, the newest first."""
    entries = client.get(LOG, wanted).context["page"].object_list
    return [(entry.event.actor and entry.event.actor.username, entry.words) for entry in entries]


def test_what_is_done_to_people_texts_and_links_is_there_in_words(
    admin, project, root, ada_member, bob_member
):
    AuditEvent.objects.all().delete()
    invite, token = create_invite(project, "reviewer", max_uses=3, by=root)
    member = join(token, username="cleo", password=PASSWORD)
    revoke_invite(invite, by=root)
    publish_text(project, "consent", "We publish.", by=root)
    set_role(ada_member, "reviewer", by=root)
    exclude(project, bob_member, "careless", by=root)
    exclude(project, make_ranking(ada_member), "broken", by=root)
    assert lines(admin) == [
        ("root", "left a ranking out"),
        ("root", f"left the judgements of {bob_member} out"),
        ("root", f"set {bob_member} from “Active” to “Excluded”"),
        ("root", f"made {ada_member}, who was Annotator, Reviewer"),
        ("root", "published version 1 of the text “consent”"),
        ("root", "revoked a link"),
        ("cleo", f"joined as {member}"),
        ("root", "made a link for people to join: Reviewer, 3 times"),
    ]
    assert "reason: careless" in words(admin.get(LOG))
    assert token not in admin.get(LOG).content.decode()


def test_what_no_sentence_is_written_for_is_shown_as_recorded(admin, project, root):
    AuditEvent.record("water", project, project=project, actor=root, plants=["fern"], litres=2)
    assert lines(admin)[0] == ("root", "water project")
    assert 'litres: 2 plants: ["fern"]' in words(admin.get(LOG))
    AuditEvent.record("publish", project, project=project, actor=None)  # by an older version
    assert lines(admin)[0] == (None, "published version ? of the text “?”")


def recorded_verbs():
    """The verbs that stand in the code: given to `record` as a word, or named VERB."""
    root = Path(annotate.__file__).parent.parent
    packages = ("annotate", "rewards", "training")
    for file in (file for name in packages for file in root.glob(f"{name}/**/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(ast.Attribute(attr="record"), [ast.Constant(str(verb)), *_]):
                    yield verb
                case ast.Assign([ast.Name("VERB")], ast.Constant(str(verb))):
                    yield verb


def test_every_verb_has_a_sentence():
    found = set(recorded_verbs())
    assert {"close task", "draw for audit", "freeze", "promote"} <= found
    assert found <= {verb.partition(" annotate.")[0] for verb in SENTENCES}


def test_events_are_found_by_person_act_and_object(admin, project, root, ada_member, bob_member):
    AuditEvent.objects.all().delete()
    set_role(ada_member, "reviewer", by=root)
    exclude(project, bob_member, "careless", by=ada_member.user)
    publish_text(project, "consent", "We publish.", by=root)
    assert len(lines(admin)) == 4
    assert len(lines(admin, who="ada")) == 3  # one about her, two by her
    assert len(lines(admin, who=bob_member.pseudonym)) == 2
    assert len(lines(admin, who="root", kind="annotate.Membership")) == 1
    assert [text for _, text in lines(admin, verb="exclude")] == [
        f"left the judgements of {bob_member} out"
    ]
    assert lines(admin, who="nobody like this") == []
    assert "Nothing like this is recorded" in words(admin.get(LOG, {"who": "zzz"}))
    assert len(lines(admin, verb="no such act")) == 4


def test_another_projects_events_stay_there(admin, project):
    other = make_project("other")
    create_invite(other, max_uses=77)
    create_project("third", "Third")
    assert not any("77" in text for _, text in lines(admin))


def test_a_long_log_comes_page_by_page(admin, project, root, django_assert_max_num_queries):
    for n in range(150):
        AuditEvent.record("water", project, project=project, actor=root, n=n)
    with django_assert_max_num_queries(14):
        page = admin.get(LOG, {"verb": "water"})
    assert len(page.context["page"].object_list) == 100
    assert "?verb=water&amp;page=2" in page.content.decode()
    assert len(lines(admin, verb="water", page=2)) == 50


@pytest.mark.parametrize("role", ["annotator", "reviewer"])
def test_only_admins_read_it(client, ada_member, role):
    set_role(ada_member, role, by=None)
    client.force_login(ada_member.user)
    assert client.get(LOG).status_code == 404
