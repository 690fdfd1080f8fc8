"""Files come in through the browser: looked at first, stored only when the admin says so."""

import gzip
import json
import os
import stat
import time
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from annotate import upload_store
from annotate.formats import WRITABLE, Limits, Record, ResponseText, read, write
from annotate.models import AuditEvent, Membership
from annotate.services import importing
from annotate.services.importing import import_records
from annotate.tasks import sweep_uploads
from tests import make
from tests.data import data_file
from tests.pages import everything, words

SKY = '{"prompt": "Why is the sky blue?"}\n{"prompt": "What is a heat pump?"}\n'
BAD = SKY + '{"prompt": \n{"prompt": "   "}\n'
JUDGED = (
    "prompt,topic,language,content_categories,response_1,response_2,rank_1,rank_2,annotator\n"
    'Why is the sky blue?,sky,en,"war, health",**Air**.,The sea.,1,2,ada\n'
    'Why is the sky blue?,sky,en,"war, health",**Air**.,The sea.,2,1,bob\n'
    "What is rain?,sky,en,,Water.,Wine.,,,\n"
)


@pytest.fixture
def home(settings, tmp_path):
    settings.PREFLOOP_HOME = tmp_path
    return tmp_path


@pytest.fixture
def bring(admin, project, home):
    """A function that uploads a file and opens its preview."""

    def bring(content, name="prompts.jsonl", **how):
        content = content if isinstance(content, bytes) else content.encode()
        sent = {"file": SimpleUploadedFile(name, content), **how}
        return admin.post(reverse("annotate:upload", args=["climate"]), sent, follow=True)

    return bring


def store(admin, preview, which="all"):
    upload = preview.context["upload"]
    address = reverse("annotate:upload_confirm", args=["climate", upload.token])
    return admin.post(address, {"which": which}, follow=True)


def counts(page):
    facts = page.context["facts"]
    found = facts.get("report") or facts["counts"]
    return {name: one["new"] for name, one in found.items() if isinstance(one, dict) and one["new"]}


def test_a_preview_says_what_would_come_and_stores_nothing(bring, project):
    before = everything("annotate")
    page = bring(JUDGED, "judged.csv")
    assert everything("annotate") == before
    assert counts(page) == {
        "prompts": 2, "responses": 4, "annotators": 2, "judged_tasks": 1, "rankings": 2
    }  # fmt: skip
    assert page.context["facts"]["counts"]["opened_tasks"] == 1
    assert page.context["facts"]["format"] == "csv"
    assert "<p><strong>Air</strong>.</p>" in page.content.decode()
    assert "Ranks given: 1, 2" in words(page)


def test_what_was_looked_at_is_stored_as_by_the_command(bring, admin, project, root, home):
    page = bring(JUDGED, "judged.csv")
    looked = counts(page)
    page = store(admin, page)
    assert counts(page) == looked
    assert project.prompts.count() == 2
    prompt = project.prompts.get(language="en", content_categories=["health", "war"])
    assert prompt.topic == "sky"
    assert project.tasks.get(state="open").prompt.messages[0]["content"] == "What is rain?"
    event = AuditEvent.objects.get(verb="import")
    assert event.actor == root
    file = home / "judged.csv"
    file.write_text(JUDGED)
    again = import_records(project, read(file), batch=event.detail["batch"])
    assert not again.adds


def test_the_same_file_again_brings_nothing_new(bring, admin, project):
    store(admin, bring(JUDGED, "judged.csv"))
    before = everything("annotate")
    page = bring(JUDGED, "again.csv")
    assert "Nothing in this file is new" in words(page)
    assert "Store it" not in words(page)
    assert everything("annotate") == before


def test_bad_lines_are_named_and_all_or_the_good_ones_are_stored(bring, admin, project):
    page = bring(BAD)
    assert "2 lines cannot be used" in words(page)
    assert page.context["facts"]["bad"] == [
        [3, "not JSON: Expecting value at character 13"],
        [4, "a message of the prompt is empty"],
    ]
    page = store(admin, page, "all")
    assert "Nothing was stored" in words(page)
    assert not project.prompts.exists()
    page = store(admin, page, "good")
    assert "2 lines were left out" in words(page)
    assert project.prompts.count() == 2


def test_of_many_bad_lines_the_first_hundred_are_named(bring):
    page = bring(SKY + "{\n" * 130)
    assert "130 lines cannot be used" in words(page)
    assert "The first 100 of 130" in words(page)
    assert len(page.context["facts"]["bad"]) == 100


def test_a_file_may_be_packed(bring, admin, project):
    store(admin, bring(gzip.compress(SKY.encode()), "prompts.jsonl.gz"))
    assert project.prompts.count() == 2


@pytest.mark.parametrize("format", WRITABLE)
def test_what_the_command_reads_is_read_here(bring, tmp_path, format):
    record = Record(
        [{"role": "user", "content": "Why?"}],
        [ResponseText("Air."), ResponseText("Sea.")],
        content_categories=["war"],
    )
    path = tmp_path / "file"
    write([record], path, format)
    if path.read_text().strip():  # pairs and labels need a judgement
        page = bring(path.read_bytes())
        assert page.context["facts"]["counts"]["prompts"]["new"] == 1


def test_a_format_may_be_chosen_and_a_topic_given_later(bring, admin, project):
    page = bring('{"prompt": "Why?", "completion": "Air.", "label": true}\n')
    assert page.context["facts"]["format"] == "trl-unpaired"
    upload = page.context["upload"]
    again = reverse("annotate:upload_again", args=["climate", upload.token])
    page = admin.post(again, {"format": "prompt-completion", "topic": "sky"}, follow=True)
    assert counts(page) == {"prompts": 1, "demonstrations": 1}
    store(admin, page)
    assert project.prompts.get().topic == "sky"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"what": 1}\n', "no known format has the fields what"),
        (b"\x1f\x8bnonsense", "damaged"),
        (b"  \n", "the file is empty"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_may_be_read_otherwise(bring, content, reason):
    page = bring(content)
    assert reason in words(page)
    assert "Store it" not in words(page) and "Read it again" in words(page)


def test_an_empty_file_or_none_is_asked_for_again(bring, admin, project):
    assert bring(b"").context["form"].errors
    assert admin.post(reverse("annotate:upload", args=["climate"]), {}).context["form"].errors


def test_a_file_over_the_limit_is_not_kept(bring, home, monkeypatch):
    monkeypatch.setattr("annotate.services.uploads.Limits", lambda: Limits(packed_bytes=10))
    page = bring(SKY)
    assert "larger than 50 MiB" in words(page)
    assert list((home / "uploads").iterdir()) == []


def test_a_long_file_is_counted_at_its_beginning_and_checked_to_its_end(bring, monkeypatch):
    monkeypatch.setattr(importing, "PREVIEWED", 3)
    lines = "".join(json.dumps({"prompt": f"Question {n}?"}) + "\n" for n in range(5))
    page = bring(lines + '{"prompt": ""}\n' + '{"prompt": "Last?"}\n', topic="t" * 100)
    facts = page.context["facts"]
    assert (facts["counts"]["prompts"]["new"], facts["n_more"], facts["n_bad"]) == (3, 3, 1)
    assert facts["saw_all"] and facts["bad"][0][0] == 6


def test_at_the_end_of_a_long_file_too_what_cannot_be_stored_is_named(bring, monkeypatch):
    monkeypatch.setattr(importing, "PREVIEWED", 1)
    row = {"messages": [{"role": "user", "content": "Why?"}], "responses": []}
    page = bring("".join(json.dumps(row | {"topic": t}) + "\n" for t in ("a", "b" * 101)))
    assert page.context["facts"]["bad"] == [[2, "The topic is longer than 100 characters"]]
    assert page.context["facts"]["n_more"] == 0


def test_when_time_runs_out_the_page_says_so_and_all_is_stored_in_the_end(
    bring, admin, project, monkeypatch
):
    monkeypatch.setattr(importing, "PREVIEWED", 1)
    monkeypatch.setattr("annotate.services.uploads.PATIENCE_S", -1)
    page = bring(SKY)
    assert "its end was not looked at" in words(page)
    store(admin, page)
    assert project.prompts.count() == 2


def test_content_that_the_settings_do_not_know_is_pointed_out(bring, project):
    project.content_categories = [{"name": "war", "label": "War"}]
    project.save()
    page = bring(JUDGED, "judged.csv")
    assert page.context["facts"]["unknown_categories"] == ["health"]
    assert "people cannot avoid them: health" in words(page)


def test_hostile_text_is_shown_and_does_nothing(bring):
    content = "<script>alert(1)</script> \u202eabc"
    line = {"messages": [{"role": "user", "content": content}],
            "responses": [{"text": "<img src=x onerror=alert(2)>", "source": "<b>evil</b>"}],
            "demonstration": "<iframe src=//evil.example>"}  # fmt: skip
    page = bring(json.dumps(line), "<script>alert(3)</script>.jsonl").content.decode()
    for forbidden in ("<script>alert", "<img", "<iframe", "<b>evil", "\u202e"):
        assert forbidden not in page


# ---- The file itself --------------------------------------------------------------------------


def test_the_file_lies_in_a_private_folder_under_a_name_of_ours(bring, home):
    page = bring(SKY, "../../etc/passwd")
    root = home / "uploads"
    (folder,) = root.iterdir()
    assert stat.S_IMODE(root.stat().st_mode) == stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["about.json", "facts.json", "file"]
    assert page.context["upload"].name == "passwd"


def test_the_file_is_gone_after_the_import_and_the_report_stays(bring, admin, home):
    page = store(admin, bring(SKY))
    (folder,) = (home / "uploads").iterdir()
    assert not {"file", "taken"} & {path.name for path in folder.iterdir()}
    assert "Stored" in words(admin.get(page.redirect_chain[-1][0]))


def test_storing_twice_is_storing_once(bring, admin, project):
    page = bring(SKY)
    store(admin, page)
    before = everything("annotate")
    again = store(admin, page)
    assert "stored already" in words(again) and counts(again) == {"prompts": 2}
    assert everything("annotate") == before


def test_a_file_that_is_thrown_away_is_gone(bring, admin, project, home):
    token = bring(SKY).context["upload"].token
    admin.post(reverse("annotate:upload_cancel", args=["climate", token]))
    assert list((home / "uploads").iterdir()) == []
    assert admin.get(reverse("annotate:upload_preview", args=["climate", token])).status_code == 404
    assert not project.prompts.exists()


def test_after_a_day_a_file_is_swept_away(bring, home):
    old, young = bring(SKY).context["upload"], bring(SKY).context["upload"]
    before = time.time() - upload_store.KEPT_S - 1
    os.utime(old.folder, (before, before))
    assert sweep_uploads() == 1
    assert not old.folder.exists() and young.path.exists()


@pytest.mark.parametrize("who", ["another admin", "an annotator", "an admin elsewhere"])
def test_nobody_else_sees_or_stores_the_file(bring, client, project, home, who):
    token = bring(SKY).context["upload"].token
    role = Membership.Role.ANNOTATOR if who == "an annotator" else Membership.Role.ADMIN
    of = make.make_project("other") if who == "an admin elsewhere" else project
    client.force_login(make.make_member(of, "zoe", role).user)
    for name in ("upload_preview", "upload_again", "upload_confirm", "upload_cancel"):
        for slug in {"climate", of.slug}:
            address = reverse(f"annotate:{name}", args=[slug, token])
            method = client.get if name == "upload_preview" else client.post
            assert method(address, {"which": "all"}).status_code == 404
    assert not project.prompts.exists()
    assert len(list((home / "uploads").iterdir())) == 1


@pytest.mark.parametrize("token", ["a", "about", "x" * 22, "-" * 22])
def test_a_token_that_is_none_finds_nothing(admin, project, home, token):
    address = reverse("annotate:upload_preview", args=["climate", token])
    assert admin.get(address).status_code == 404


def test_a_file_that_was_damaged_meanwhile_is_not_stored_and_may_be_looked_at_again(
    bring, admin, project
):
    page = bring(gzip.compress(SKY.encode()))
    upload = page.context["upload"]
    whole = upload.path.read_bytes()
    upload.path.write_bytes(whole[:-9])
    assert "Nothing was stored" in words(store(admin, page))
    assert not project.prompts.exists()
    upload.path.write_bytes(whole)
    again = reverse("annotate:upload_again", args=["climate", upload.token])
    store(admin, admin.post(again, {"format": "", "topic": ""}, follow=True))
    assert project.prompts.count() == 2


def test_real_judgements_come_in(bring, admin, project):
    path = data_file("pandalm/testset-v1.json.gz")
    page = bring(Path(path).read_bytes(), "testset-v1.json.gz")
    assert page.context["facts"]["format"] == "pandalm"
    looked = counts(page)
    assert counts(store(admin, page, "good")) == looked
    assert looked["annotators"] == 3
