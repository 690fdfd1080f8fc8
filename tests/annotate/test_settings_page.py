"""What people set for themselves: languages, content, keys; and their own data to take away."""

import json

import pytest
from django.urls import reverse

from annotate.keys import ACTIONS, keys_of
from annotate.models import AuditEvent, Membership
from annotate.services.content import add_demonstration
from annotate.services.people import agree, opt_out
from annotate.services.projects import publish_text
from tests.make import make_assignment, make_ranking, make_task
from tests.pages import words

KEYS = {f"key_{action.name}": action.default for action in ACTIONS}


@pytest.fixture
def as_ada(client, ada):
    client.force_login(ada)
    return client


@pytest.fixture
def page(project):
    project.languages = ["en", "de"]
    project.content_categories = [
        {"name": "violence", "label": "Violence"},
        {"name": "despair", "label": "Despair"},
    ]
    project.save()
    return reverse("annotate:my_settings", args=[project.slug])


def save(client, page, **changed):
    return client.post(page, KEYS | {"languages": ["en", "de"]} | changed)


def test_at_first_all_languages_and_contents_are_chosen(as_ada, page):
    text = as_ada.get(page).content.decode()
    assert text.count("checked") == 2 and "Deutsch" in text and "Violence" in text


def test_what_is_chosen_is_kept_and_shown_again(as_ada, page, ada_member):
    assert save(as_ada, page, languages=["de"], opt_outs=["despair"]).url == page
    ada_member.refresh_from_db()
    assert (ada_member.languages, ada_member.category_opt_outs) == (["de"], ["despair"])
    again = as_ada.get(page)
    assert "settings are saved" in words(again)
    assert again.content.decode().count("checked") == 2


def test_who_reads_no_language_is_asked_for_one(as_ada, page, ada_member):
    refused = words(save(as_ada, page, languages=[]))
    assert "Not saved yet" in refused and "Languages I read : Tick at least one" in refused
    ada_member.refresh_from_db()
    assert ada_member.languages == []


def test_a_choice_that_is_not_offered_is_refused_by_name(as_ada, page, ada_member):
    assert "rather not see : Select a valid choice. cats" in words(
        save(as_ada, page, opt_outs=["cats"])
    )
    ada_member.refresh_from_db()
    assert ada_member.category_opt_outs == []


def test_an_earlier_choice_stays_when_the_project_no_longer_offers_it(
    as_ada, page, project, ada_member
):
    save(as_ada, page, opt_outs=["despair"])
    project.content_categories = []
    project.save()
    assert "despair" in words(as_ada.get(page))
    save(as_ada, page)
    ada_member.refresh_from_db()
    assert ada_member.category_opt_outs == []


def test_with_nothing_to_choose_there_are_only_keys(as_ada, page, project, ada_member):
    Membership.objects.filter(pk=ada_member.pk).update(category_opt_outs=[])
    project.languages, project.content_categories = ["en"], []
    project.save()
    text = words(as_ada.get(page))
    assert "Languages I read" not in text and "rather not see" not in text
    assert as_ada.post(page, KEYS).url == page


def test_a_key_is_changed_and_gets_its_usual_one_back(as_ada, page, ada):
    save(as_ada, page, key_skip="k")
    ada.refresh_from_db()
    assert ada.keys == {"skip": "k"} and keys_of(ada)["skip"] == "k"
    assert 'value="k"' in as_ada.get(page).content.decode()
    assert "usual: s" in words(as_ada.get(page))
    save(as_ada, page, key_skip="s")
    ada.refresh_from_db()
    assert ada.keys == {}


def test_an_action_is_left_without_a_key_and_the_help_says_so(as_ada, page, project, ada):
    make_task(project)
    save(as_ada, page, key_skip="", key_undo="s")
    ada.refresh_from_db()
    assert ada.keys == {"skip": "", "undo": "s"}
    as_ada.post(reverse("annotate:rank", args=[project.slug]))
    help = words(as_ada.get(reverse("annotate:rank", args=[project.slug]), follow=True))
    assert "no key skip this one" in help and "s undo" in help
    again = as_ada.get(page)
    assert again.context["form"]["key_skip"].value() == ""
    assert "usual: s" in words(again) and "usual: u" in words(again)


def test_keys_that_are_not_sent_stay_the_usual_ones(as_ada, page, ada):
    as_ada.post(page, {"languages": ["en", "de"]})
    ada.refresh_from_db()
    assert ada.keys == {}


def test_keys_are_switched_off_and_remember_what_they_were(as_ada, page, ada):
    save(as_ada, page, key_skip="k", keys_off="on")
    ada.refresh_from_db()
    assert keys_of(ada) == {}
    save(as_ada, page, key_skip="k")
    ada.refresh_from_db()
    assert keys_of(ada)["skip"] == "k"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"key_skip": "u"}, "key u is given twice"),
        ({"key_skip": "7"}, "7 cannot be used"),
        ({"key_skip": "ab"}, "ab cannot be used"),
    ],
)
def test_keys_that_cannot_be_are_named_and_nothing_is_saved(as_ada, page, ada, keys, said):
    refused = save(as_ada, page, opt_outs=["despair"], **keys)
    assert f"Keys : The {said}" in words(refused) or f"Keys : {said}" in words(refused)
    ada.refresh_from_db()
    assert ada.keys == {} and not ada.memberships.get().category_opt_outs


def test_no_more_of_a_kind_is_noted_once_and_for_nobody_else(project, ada_member, ada, page):
    stale = Membership.objects.get(pk=ada_member.pk)
    opt_out(ada_member, "violence")
    opt_out(stale, "despair")
    opt_out(ada_member, "violence")
    ada_member.refresh_from_db()
    assert ada_member.category_opt_outs == ["despair", "violence"]
    assert not AuditEvent.objects.filter(actor=ada).exists()


def test_the_page_says_under_which_name_one_appears(as_ada, page, ada_member):
    assert ada_member.pseudonym in words(as_ada.get(page))


# ---- My data ---------------------------------------------------------------------------------


def download(client, project):
    response = client.get(reverse("annotate:my_data", args=[project.slug]))
    assert response["Content-Disposition"].startswith("attachment")
    return json.loads(b"".join(response.streaming_content))


def test_all_of_a_person_is_in_one_file(as_ada, project, ada, ada_member, bob_member):
    publish_text(project, "consent", "We keep *rankings*.", by=None)
    agree(ada_member)
    ranking = make_ranking(ada_member, (2, 1), rationale="A has no source. “Ünïcode”")
    add_demonstration(ranking.assignment.task.prompt, "Better so.", author=ada_member)
    make_ranking(bob_member, rationale="Bob's own words")
    make_assignment(ada_member)
    found = download(as_ada, project)
    assert found["account"]["username"] == "ada"
    assert found["membership"]["pseudonym"] == ada_member.pseudonym
    assert found["membership"]["consent_text"] == "We keep *rankings*."
    done, leased = found["assignments"]
    assert (done["state"], leased["state"], leased["rankings"]) == ("submitted", "leased", [])
    assert done["prompt"] == ranking.assignment.task.prompt.messages
    assert done["responses"] == {"A": "Answer 1.", "B": "Answer 2."}
    assert done["rankings"][0]["ranks"] == {"A": 2, "B": 1}
    assert done["rankings"][0]["rationale"] == "A has no source. “Ünïcode”"
    assert [one["text"] for one in found["demonstrations"]] == ["Better so."]
    assert "Bob" not in json.dumps(found)


def test_the_file_does_not_unmask_what_examines_a_person(as_ada, project, ada_member):
    make_ranking(ada_member, task=make_task(project, kind="gold", batch="gold batch"))
    text = json.dumps(download(as_ada, project))
    assert "gold" not in text and "kind" not in text and "frozen" not in text


def test_who_did_nothing_gets_a_file_too(as_ada, project):
    found = download(as_ada, project)
    assert found["assignments"] == found["demonstrations"] == []


def test_nobody_else_gets_it(client, project, ada_member, eve):
    client.force_login(eve)
    assert client.get(reverse("annotate:my_data", args=[project.slug])).status_code == 404
