"""What people do about their account: a new password, and signing out."""

import pytest
from django.test import Client
from django.urls import reverse

from tests.make import PASSWORD
from tests.pages import words

NEW = "a-new-one-for-the-9-seas"


@pytest.fixture
def as_ada(client, ada):
    client.force_login(ada)
    return client


def change(client, old=PASSWORD, new=NEW, again=NEW, query=""):
    sent = {"old_password": old, "new_password1": new, "new_password2": again}
    return client.post(reverse("password") + query, sent)


def test_the_settings_lead_to_a_new_password_and_back(as_ada, project, ada):
    settings = reverse("annotate:my_settings", args=[project.slug])
    way = f"{reverse('password')}?next={settings}"
    assert way in as_ada.get(settings).content.decode()
    assert "Old password" in words(as_ada.get(way))
    assert change(as_ada, query=f"?next={settings}").url == settings
    assert "Your password is changed" in words(as_ada.get(settings))
    ada.refresh_from_db()
    assert ada.check_password(NEW)


def test_the_new_password_ends_the_sessions_elsewhere_and_not_here(as_ada, ada):
    elsewhere = Client()
    elsewhere.force_login(ada)
    change(as_ada)
    assert as_ada.get(reverse("password")).status_code == 200
    assert elsewhere.get(reverse("password")).url.startswith(reverse("login"))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"old": "wrong"}, "old password was entered incorrectly"),
        ({"again": "something-else-9"}, "fields didn’t match"),
        ({"new": "ada", "again": "ada"}, "too short"),
    ],
)
def test_what_cannot_be_the_new_password_is_said(as_ada, ada, sent, said):
    assert said in words(change(as_ada, **sent))
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)


def test_no_other_site_is_led_to(as_ada):
    assert change(as_ada, query="?next=https://evil.example/").url == reverse("home")


def test_who_is_not_signed_in_signs_in_first(client, db):
    assert client.get(reverse("password")).url.startswith(reverse("login"))


def test_who_signs_in_without_a_password_is_not_asked_for_one(as_ada, project, ada):
    ada.set_unusable_password()
    ada.save()
    as_ada.force_login(ada)
    page = as_ada.get(reverse("annotate:my_settings", args=[project.slug]))
    assert reverse("password") not in page.content.decode()


@pytest.mark.parametrize("way", ["logout", "admin:logout"])
def test_signing_out_leaves_nothing_in_the_browser(as_ada, way):
    gone = as_ada.post(reverse(way))
    assert (gone.url, gone["Clear-Site-Data"]) == (reverse("login"), '"storage"')
