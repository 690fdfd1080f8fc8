import json

import pytest
from django.core.management import CommandError

from annotate.models import Project
from annotate.services.people import join
from tests.commands import say
from tests.make import PASSWORD


@pytest.mark.django_db
def test_a_project_is_made_with_its_texts(tmp_path, eve):
    guidelines = tmp_path / "guidelines.md"
    guidelines.write_text("Prefer **true** answers.")
    facts = json.loads(
        say(
            "create_project",
            "sea",
            "The sea",
            "--responses",
            "3",
            "--audit-share",
            "0.5",
            "--guidelines",
            str(guidelines),
            "--admin",
            "eve",
            "--json",
        )
    )
    assert facts == {
        "project": "sea",
        "title": "The sea",
        "texts": {"guidelines": 1, "consent": 0},
    }
    project = Project.objects.get(slug="sea")
    assert (project.responses_per_prompt, project.audit_share) == (3, 0.5)
    assert project.text("guidelines").html == "<p>Prefer <strong>true</strong> answers.</p>\n"
    assert project.memberships.get().user == eve


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["climate", "Again"], "already exists"),
        (["x", "X", "--responses", "12"], "responses"),
        (["x", "X", "--guidelines", "no/such/file"], "no/such/file"),
        (["x", "X", "--admin", "nobody"], "nobody"),
        (["not a slug", "X"], "slug"),
    ],
)
def test_a_project_that_cannot_be_made_says_why_and_leaves_nothing(project, arguments, named):
    with pytest.raises(CommandError, match=named):
        say("create_project", *arguments)
    assert Project.objects.count() == 1


def test_an_invitation_is_a_link_that_works(project):
    link = say(
        "invite", "climate", "--role", "admin", "--base-url", "https://rank.example/"
    ).strip()
    assert link.startswith("https://rank.example/invite/")
    member = join(link.rstrip("/").split("/")[-1], username="cleo", password=PASSWORD)
    assert member.role == "admin"
    facts = json.loads(say("invite", "climate", "--uses", "20", "--json"))
    assert facts["max_uses"] == 20 and facts["link"].startswith("/invite/")


def test_an_unknown_project_is_named_with_those_there_are(project):
    with pytest.raises(CommandError, match="'clymate'. Projects: climate"):
        say("invite", "clymate")
    with pytest.raises(CommandError, match="count from 1"):
        say("invite", "climate", "--uses", "0")


def test_a_text_is_published_from_a_file(project, tmp_path):
    path = tmp_path / "consent.md"
    path.write_text("We publish.")
    assert "version 1" in say("publish_text", "climate", "consent", str(path))
    facts = json.loads(say("publish_text", "climate", "consent", str(path), "--json"))
    assert facts == {"project": "climate", "kind": "consent", "version": 1}


def test_text_of_others_cannot_steer_a_terminal(project, capsys):
    Project.objects.update(slug="x", title="x\x1b[2Jy")
    printed = say("create_project", "new", "a\x1b[2Jb")
    assert "\x1b" not in printed and "[U+001B]" in printed
