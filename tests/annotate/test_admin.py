from django.contrib import admin
from django.urls import reverse

from annotate.models import Project
from tests.make import make_ranking

LOOK_ONLY = [m for m in admin.site._registry if m._meta.app_label == "annotate"]


def test_every_table_can_be_looked_at_and_none_added_to_or_deleted_from(client, ada_member, eve):
    make_ranking(ada_member)
    eve.is_staff = eve.is_superuser = True
    eve.save()
    client.force_login(eve)
    for model in LOOK_ONLY:
        name = f"admin:annotate_{model._meta.model_name}"
        page = client.get(reverse(f"{name}_changelist"))
        assert page.status_code == 200
        if model._meta.model_name != "user":
            assert client.get(reverse(f"{name}_add")).status_code == 403
            if row := model.objects.first():
                assert client.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200
                assert client.post(reverse(f"{name}_delete", args=[row.pk])).status_code == 403


def test_a_projects_settings_can_be_changed(client, project, eve):
    eve.is_staff = eve.is_superuser = True
    eve.save()
    client.force_login(eve)
    url = reverse("admin:annotate_project_change", args=[project.pk])
    form = {**client.get(url).context["adminform"].form.initial, "paused": "on", "slug": "other"}
    form = {key: "" if value is None else value for key, value in form.items()}
    lists = ("criteria", "languages", "content_categories", "flags")
    assert client.post(url, form | dict.fromkeys(lists, "[]")).status_code == 302
    changed = Project.objects.get()
    assert (changed.paused, changed.slug) == (True, "climate")


def test_people_who_annotate_do_not_enter_the_admin(client, ada):
    client.force_login(ada)
    assert client.get("/admin/").status_code == 302
