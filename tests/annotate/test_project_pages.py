"""A project is made and set up in the browser."""

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from annotate.models import AuditEvent, Project, Ranking, Task
from annotate.services.assignments import claim
from annotate.services.content import add_prompt
from annotate.services.people import create_invite
from annotate.services.projects import publish_text
from tests import make
from tests.pages import everything, words


def url(name, *args):
    return reverse(f"annotate:{name}", args=["climate", *args])


@pytest.fixture
def page(admin, project):
    """The settings as the form sends them when nothing was touched."""
    form = admin.get(url("settings")).context["form"]
    sent = {name: form[name].value() for name in form.fields}
    # A box that is not ticked is not sent, nor is a number that is not there.
    return {
        name: "on" if value is True else value
        for name, value in sent.items()
        if value is not False and value is not None
    }


def save(admin, page, **changed):
    """Post the settings; a value of None leaves a box unticked."""
    sent = {name: value for name, value in (page | changed).items() if value is not None}
    return admin.post(url("settings"), sent, follow=True)


# ---- Making one -------------------------------------------------------------------------------


@pytest.mark.parametrize("right", ["superuser", "permission"])
def test_who_may_add_projects_makes_one_and_runs_it(client, eve, right):
    if right == "superuser":
        eve.is_superuser = True
        eve.save()
    else:
        eve.user_permissions.add(Permission.objects.get(codename="add_project"))
    client.force_login(eve)
    assert reverse("annotate:project_new") in client.get("/").content.decode()
    sent = {"title": "Heat & Pumps", "description": "Which is right?"}
    response = client.post(reverse("annotate:project_new"), sent)
    project = Project.objects.get()
    assert (project.slug, project.title) == ("heat-pumps", "Heat & Pumps")
    assert project.description == "Which is right?"
    assert response.url == reverse("annotate:settings", args=["heat-pumps"])
    assert project.memberships.get().role == "admin"
    assert "Write guidelines" in words(client.get(response.url))


def test_an_admin_of_one_project_does_not_make_others(admin, project):
    assert reverse("annotate:project_new") not in admin.get("/").content.decode()
    assert admin.get(reverse("annotate:project_new")).status_code == 404
    assert admin.post(reverse("annotate:project_new"), {"title": "Mine"}).status_code == 404
    assert Project.objects.count() == 1


def test_projects_of_the_same_title_have_short_names_of_their_own(client, eve):
    eve.is_superuser = True
    eve.save()
    client.force_login(eve)
    for title in ("Sky", "Sky!", "sky", "蓝天", "天"):
        client.post(reverse("annotate:project_new"), {"title": title})
    slugs = Project.objects.order_by("pk").values_list("slug", flat=True)
    assert list(slugs) == ["sky", "sky-2", "sky-3", "project", "project-2"]


# ---- Settings ---------------------------------------------------------------------------------


def test_saving_what_is_there_changes_nothing(admin, project, page):
    before = everything("annotate")
    assert "The settings are saved" in words(save(admin, page))
    assert everything("annotate") == before


def test_settings_are_stored_as_they_were_meant(admin, project, page):
    save(
        admin, page,
        responses_per_prompt="2", allow_ties=None, preference_steps="7", asks_edit=None,
        audit_share="12.5", gold_rate="7", lease_s="2.5", undo_s="0", daily_cap="30",
        languages="en, de pt-BR", criteria="safe: Safe to follow\r\n\r\nIs it clear?",
        flags="Greenwashing", content_categories="violence: Violence",
    )  # fmt: skip
    project.refresh_from_db()
    assert project.responses_per_prompt == 2 and project.preference_steps == 7
    assert not project.allow_ties and not project.asks_edit and project.asks_confidence
    assert (project.audit_share, project.gold_rate) == (0.125, pytest.approx(0.07))
    assert (project.lease_s, project.undo_s, project.daily_cap) == (150, 0, 30)
    assert project.languages == ["en", "de", "pt-BR"]
    assert project.criteria == [
        {"name": "safe", "label": "Safe to follow"},
        {"name": "is-it-clear", "label": "Is it clear?"},
    ]
    assert project.flags == [{"name": "greenwashing", "label": "Greenwashing"}]
    assert project.content_categories == [{"name": "violence", "label": "Violence"}]
    shown = admin.get(url("settings")).context["form"]
    assert shown["criteria"].value() == "safe: Safe to follow\nis-it-clear: Is it clear?"
    assert (shown["audit_share"].value(), shown["lease_s"].value()) == ("12.5", "2.5")


def test_a_change_is_kept_in_the_record_with_what_was_before(admin, root, project, page):
    save(admin, page, gold_rate="5", title="Weather")
    event = AuditEvent.objects.get(verb="update")
    assert event.actor == root and event.project == project
    assert event.detail["before"] == {"title": "Climate", "gold_rate": 0.0}
    assert event.detail["after"] == {"title": "Weather", "gold_rate": 0.05}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", ""), ("title", "x" * 201), ("responses_per_prompt", "1"),
        ("responses_per_prompt", "9"), ("preference_steps", "5"), ("audit_share", "101"),
        ("gold_rate", "51"), ("gold_rate", "-1"), ("gold_rate", "nan"), ("repeat_rate", "60"),
        ("training_tasks", "21"), ("lease_s", "0.5"), ("lease_s", "241"), ("undo_s", "-1"),
        ("daily_cap", "0"), ("total_cap", "many"), ("languages", "English!"),
        ("languages", "a-language-that-is-long"), ("description", "x" * 2001),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_beside_its_field(admin, project, page, name, value):
    before = everything("annotate")
    response = save(admin, page, **{name: value})
    assert list(response.context["form"].errors) == [name]
    assert "Nothing was saved" in words(response)
    assert everything("annotate") == before


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("safe: Safe\nsafe: Sound", "Line 2: “safe” is there twice."),
        ("safe: Safe\n: Sound", "Line 2: write a short name, a colon and a label."),
        ("safe:", "Line 1: the label is missing after the colon."),
        ("a|b: Both", "Line 1: “a|b” is no short name."),
        ("toxic: Toxic", "Line 1: every project has “toxic” already."),
        ("!!!", "Line 1: write a short name, a colon and a label."),
        ("x: " + "y" * 101, "Line 1: the label is longer than 100 characters."),
        ("\n".join(f"flag{n}: Flag" for n in range(21)), "At most 20 lines."),
    ],
)
def test_a_list_is_refused_by_its_line_and_shown_as_it_was_typed(
    admin, project, page, lines, complaint
):
    response = save(admin, page, flags=lines)
    assert complaint in words(response)
    assert response.context["form"]["flags"].value() == lines
    project.refresh_from_db()
    assert project.flags == []


@pytest.fixture
def in_use(project, page, ada_member):
    """A criterion, a flag and a category that a ranking, a task and a person use."""
    Project.objects.update(
        criteria=[{"name": "safe", "label": "Safe"}],
        flags=[{"name": "dull", "label": "Dull"}],
        content_categories=[{"name": "war", "label": "War"}],
    )
    project.refresh_from_db()
    add_prompt(project, [{"role": "user", "content": "?"}], content_categories=["war"])
    task = make.make_task(project)
    Task.objects.filter(pk=task.pk).update(categories="|peace|war|")
    ranking = make.make_ranking(ada_member)
    first = next(iter(ranking.ranks))
    Ranking.objects.update(criteria={first: {"safe": 4}}, flags={first: ["dull"]})
    return page | {"criteria": "safe: Safe", "flags": "dull: Dull", "content_categories": "war: W"}


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ("criteria", "“safe”: 1 ranking uses it."),
        ("flags", "“dull”: 1 ranking uses it."),
        ("content_categories", "“war”: 1 task has it."),
    ],
)
def test_a_name_in_use_leaves_the_list_only_when_that_is_meant(
    admin, project, in_use, setting, kept
):
    before = getattr(project, setting)
    response = save(admin, in_use, **{setting: ""})
    assert kept in words(response)
    project.refresh_from_db()
    assert getattr(project, setting) == before
    save(admin, in_use, **{setting: "", "drop_used": "on"})
    project.refresh_from_db()
    assert getattr(project, setting) == []
    assert Ranking.objects.exclude(criteria={}).exclude(flags={}).exists()


def test_a_label_may_change_and_an_unused_name_may_go(admin, project, in_use):
    save(admin, in_use, criteria="safe: Harmless\nshort: Short")
    save(admin, in_use, criteria="safe: Harmless")
    project.refresh_from_db()
    assert project.criteria == [{"name": "safe", "label": "Harmless"}]


def test_a_paused_project_gives_no_tasks_until_it_goes_on(admin, project, ada_member):
    make.make_task(project)
    admin.post(url("pause"), {"pause": "1"})
    ada_member.refresh_from_db()
    assert claim(ada_member) is None
    admin.post(url("pause"), {"resume": "1"})
    ada_member.refresh_from_db()
    assert claim(ada_member) is not None
    assert AuditEvent.objects.filter(verb="update").count() == 2


# ---- Texts ------------------------------------------------------------------------------------


def test_a_text_is_looked_at_before_it_is_published(admin, project):
    sent = {"text": "Prefer what is **true**.\r\n"}
    response = admin.post(url("text", "guidelines"), sent)
    page = response.content.decode()
    assert "<p>Prefer what is <strong>true</strong>.</p>" in page
    assert "<del>" in page and "<ins>" in page
    assert project.text_version("guidelines") == 1
    admin.post(url("text", "guidelines"), sent | {"publish": "1"})
    published = project.text("guidelines")
    assert (published.version, published.text) == (2, "Prefer what is **true**.")
    assert AuditEvent.objects.filter(verb="publish").latest("pk").detail["version"] == 2


def test_the_same_text_is_no_new_version(admin, project):
    sent = {"text": project.text("guidelines").text + "\r\n", "publish": "1"}
    response = admin.post(url("text", "guidelines"), sent, follow=True)
    assert "Nothing has changed" in words(response)
    assert project.text_version("guidelines") == 1


def test_a_text_with_html_in_it_is_shown_as_text(admin, project):
    sent = {"text": "<script>alert(1)</script> <img src=x onerror=alert(2)>"}
    page = admin.post(url("text", "consent"), sent).content.decode()
    assert "<script>alert" not in page and "<img" not in page


@pytest.mark.parametrize("text", ["", "  \n ", "x" * 50_001])
def test_an_empty_or_endless_text_is_refused(admin, project, text):
    response = admin.post(url("text", "consent"), {"text": text, "publish": "1"})
    assert response.context["form"].errors
    assert project.text("consent") is None


def test_there_is_no_third_kind_of_text(admin, project):
    assert admin.get(url("text", "rules")).status_code == 404


# ---- What is still to do ----------------------------------------------------------------------


def test_the_list_of_what_is_to_do_shrinks_and_goes(admin, project):
    def open_steps():
        return [
            step.text for step in admin.get(url("settings")).context["steps"] if not step.is_done
        ]

    assert len(open_steps()) == 4  # the guidelines are written
    publish_text(project, "consent", "We keep what you say.", by=None)
    make.make_task(project)
    assert open_steps() == ["People are invited."]
    create_invite(project)
    assert admin.get(url("settings")).context["steps"] == []


def test_wanted_practice_and_gold_tasks_are_on_the_list(admin, project):
    Project.objects.update(training_tasks=2, gold_rate=0.1)
    page = words(admin.get(url("settings")))
    assert "2 practice tasks" in page and "known right ranking" in page
