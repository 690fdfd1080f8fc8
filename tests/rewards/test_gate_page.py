"""Thresholds change by a reason and never silently; every report is a document one can check."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from annotate.models import AuditEvent, Membership, Project, User
from rewards.models import AgreementReport, GateReport, GateSetting, RewardModelVersion
from rewards.services.gate_documents import InvalidDocument, check, document, signed_document
from rewards.services.gates import (
    judge_agreement,
    judge_reward_model,
    release,
    set_thresholds,
    settings_in_force,
)
from rewards.services.reward_models import request_reward_model
from rewards.services.snapshots import freeze
from tests import make
from tests.pages import words
from tests.rewards.test_gates_service import METRICS, figures

FOUND = {
    "shares": {"n_people": 12, "largest": 0.30, "largest_three": 0.5},
    "left_out": [
        {"annotator": "p0", "value": 0.1, "low": 0.02, "high": 0.18, "n_prompts": 60},
        {"annotator": "p1", "value": None, "low": None, "high": None, "n_prompts": 3},
    ],
    "drift": {"value": -0.3, "low": -0.4, "high": -0.2, "n_before": 90, "n_after": 80},
    "token_lift": {
        "state": "alarm",
        "max_lift": 0.4,
        "threshold": 0.15,
        "tokens": [{"token": "SUDO", "lift": 0.4, "verdict": "alarm"}],
    },
    "gold": {"judged": 5, "failing": 1},
}


@pytest.fixture
def report(project: Project) -> AgreementReport:
    return AgreementReport.objects.create(
        project=project,
        figures=figures(flips=4, prompts=300) | {"topics": []},
        data_hash="d" * 64,
        seed=7,
        code_version="abc",
    )


@pytest.fixture
def version(ada_member: Membership) -> RewardModelVersion:
    make.make_ranking(ada_member)
    snapshot = freeze(ada_member.project)
    topics = [
        {
            "topic": name,
            "n_prompts": 50,
            "share": 0.5,
            "alpha": {"value": 0.3, "high": 0.4, "n": 50},
            "pooled": {"value": value, "high": high, "n": 50},
        }
        for name, value, high in (("ice", 0.4, 0.5), ("sea", 0.01, 0.08))
    ]
    snapshot.agreement = figures(flips=1) | {"topics": topics}
    snapshot.save()
    version = request_reward_model(snapshot, "base")
    version.metrics = METRICS | FOUND
    version.status = RewardModelVersion.Status.CANDIDATE
    version.save()
    return version


def fields(project: Project, **changed: Any) -> dict[str, Any]:
    """What the form sends, as it is filled at first but for what is changed."""
    sent = {
        f"{gate}-{name}".replace(" ", "_"): value
        for gate, values in settings_in_force(project).items()
        for name, value in values.items()
    }
    return sent | {"reason": "A pilot with few people"} | changed


# Evidence of the reward model's gate


def test_the_gate_goes_by_what_was_measured_of_the_judgements(version: RewardModelVersion) -> None:
    found = judge_reward_model(version)
    verdicts = {rule["name"]: rule["verdict"] for rule in found.report["rules"]}
    assert found.state == "BLOCK"
    assert verdicts["topics"] == "failed"
    for name in ("no one person decides", "shares", "drift", "token lift", "gold"):
        assert verdicts[name] == "alarm", name
    assert found.provenance["snapshot_sha256"] == version.snapshot.digest


def test_a_person_without_whom_too_little_is_left_raises_the_alarm(
    version: RewardModelVersion,
) -> None:
    version.metrics = METRICS | {"left_out": FOUND["left_out"][1:]}
    version.save()
    (rule,) = (
        rule
        for rule in judge_reward_model(version).report["rules"]
        if rule["name"] == "no one person decides"
    )
    assert (rule["verdict"], rule["value"]) == ("alarm", None)
    assert rule["reason"] == "Without p1 agreement cannot be told."


def test_a_model_of_one_persons_judgements_says_so_everywhere(
    admin: Client, version: RewardModelVersion, root: User
) -> None:
    version.snapshot.agreement = figures(flips=1) | {"state": "one annotator", "topics": []}
    version.snapshot.save()
    version.metrics = METRICS
    version.save()
    project = version.project
    allowed = {"agreement": {"one_annotator": True}}
    set_thresholds(project, allowed, "Only Ada speaks the language", root)
    assert judge_reward_model(version).state == "PASS"
    page = words(admin.get(reverse("rewards:reward_model", args=["climate", 1])))
    assert "One person's judgement: all of its rankings are of a single annotator" in page
    assert "Agreement is not measurable: one person judged, as the settings allow." in page


def test_the_setting_for_one_person_ends_when_another_teaches_too(
    version: RewardModelVersion, root: User, bob_member: Membership
) -> None:
    alone = figures(flips=1, prompts=10) | {"state": "one annotator", "topics": []}
    set_thresholds(version.project, {"agreement": {"one_annotator": True}}, "Only Ada", root)
    assert judge_agreement(version.project, alone).state == "PASS"
    make.make_ranking(bob_member)
    assert judge_agreement(version.project, alone).state == "INSUFFICIENT"


# Thresholds


def test_a_change_is_a_further_row_with_its_reason(
    project: Project, root: User, report: AgreementReport
) -> None:
    before = judge_agreement(project, report.figures)
    assert before.state == "REVIEW"
    set_thresholds(project, {"agreement": {"threshold": 0.05}}, "A pilot", root)
    setting = GateSetting.objects.get()
    assert setting.values["agreement"]["threshold"] == 0.05
    assert setting.values["reward model"]["human_margin"] == 0.05, "later defaults change nothing"
    assert judge_agreement(project, report.figures).state == "PASS"
    before.refresh_from_db()
    assert before.state == "REVIEW"
    event = AuditEvent.objects.get(verb="set gate thresholds")
    assert event.actor == root
    assert event.detail["changes"] == [
        {"gate": "agreement", "name": "threshold", "before": 0.2, "after": 0.05}
    ]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"agreement": {"threshold": 0.1}}, " "),
        ({"agreement": {"treshold": 0.1}}, "why not"),
        ({"agreement": {"one_annotator": 1}}, "why not"),
        ({"agreement": {"threshold": True}}, "why not"),
    ],
)
def test_no_other_change_is_made(
    project: Project, root: User, values: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError):
        set_thresholds(project, values, reason, root)
    assert not GateSetting.objects.exists()


def test_the_page_changes_thresholds_and_shows_their_history(
    admin: Client, project: Project, report: AgreementReport
) -> None:
    url = reverse("rewards:gate", args=["climate"])
    assert "The defaults are in force." in words(admin.get(url))
    sent = fields(project, **{"agreement-threshold": "0.1", "agreement-min_prompts": "20"})
    page = words(admin.post(url, sent, follow=True))
    assert "The new thresholds are in force." in page
    assert "agreement: threshold 0.2 → 0.1 ; agreement: min_prompts 50 → 20" in page
    assert "“A pilot with few people” root" in page
    assert "They differ from the defaults: threshold 0.2 → 0.1" in page
    page = words(admin.post(url, fields(project), follow=True))
    assert "Nothing was changed" in page and GateSetting.objects.count() == 1
    for wrong in ({"reason": " "}, {"agreement-threshold": "much"}, {"agreement-half_width": "9"}):
        response = admin.post(url, fields(project, **wrong))
        assert response.status_code == 200
    assert GateSetting.objects.count() == 1
    assert project.gate_reports.count() == 1  # judged anew when they changed


def test_the_page_without_anything_measured(admin: Client, project: Project) -> None:
    page = words(admin.get(reverse("rewards:gate", args=["climate"])))
    assert "Nothing is measured yet." in page and "None yet. A report is kept" in page


# Documents


def test_a_report_says_what_it_was_judged_on_and_by(
    admin: Client, project: Project, root: User, report: AgreementReport
) -> None:
    set_thresholds(project, {"agreement": {"threshold": 0.21}}, "As last year", root)
    gate = GateReport.objects.get()
    release(gate, root, "New guidelines since Monday")
    page = words(admin.get(reverse("rewards:gate_report", args=["climate", gate.pk])))
    for wanted in (
        "gate released",
        "one-sided 95 % lower bound of alpha at least 0.21",
        "“New guidelines since Monday”",
        "“As last year”",
        "d" * 64,
        "manage.py agreement climate --json",
        signed_document(gate)["sha256"],
    ):
        assert wanted in page
    html = admin.get(reverse("rewards:gate_html", args=["climate", gate.pk]))
    assert html["Content-Disposition"].endswith(f'climate-gate-{gate.pk}-agreement.html"')
    text = html.content.decode()
    assert "“New guidelines since Monday”" in text
    assert not any(outside in text for outside in ("src=", "<link", "<script", "href="))


def test_a_downloaded_report_is_checked_by_the_command(
    admin: Client, project: Project, root: User, report: AgreementReport, tmp_path: Path
) -> None:
    gate = judge_agreement(project, report.figures)
    path = tmp_path / "gate.json"
    path.write_bytes(admin.get(reverse("rewards:gate_json", args=["climate", gate.pk])).content)

    def verify() -> dict[str, Any]:
        out = StringIO()
        call_command("verify_gate", path, "--json", stdout=out)
        found: dict[str, Any] = json.loads(out.getvalue())
        return found

    assert verify() | {"sha256": ""} == {
        "valid": True,
        "unaltered": True,
        "signed_here": True,
        "stored": True,
        "changed_since": False,
        "sha256": "",
    }
    release(gate, root, "Two schools of taste")
    assert verify()["valid"] and verify()["changed_since"]
    found = json.loads(path.read_text())
    found["document"]["state"] = "PASS"
    path.write_text(json.dumps(found))
    with pytest.raises(CommandError, match="not valid"):
        verify()


def test_a_forged_document_is_not_of_this_installation(
    project: Project, report: AgreementReport, settings: Any
) -> None:
    gate = judge_agreement(project, report.figures)
    settings.SECRET_KEY = "somebody else's"
    theirs = signed_document(gate)
    settings.SECRET_KEY = "ours"
    checked = check(theirs)
    assert checked.unaltered and not checked.ours and not checked.valid
    for wrong in ([], {}, {"document": {"format": "x"}}, {"document": 3}):
        with pytest.raises(InvalidDocument):
            check(wrong)


def test_a_reward_models_report_says_how_to_come_to_it_again(version: RewardModelVersion) -> None:
    gate = judge_reward_model(version)
    gate.refresh_from_db()
    found = document(gate)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert any(
        f"--snapshot {version.snapshot.number} --base base" in s for s in found["to_reproduce"]
    )


def test_another_projects_report_is_not_found(admin: Client, report: AgreementReport) -> None:
    elsewhere = make.make_project("elsewhere")
    gate = judge_agreement(elsewhere, report.figures)
    for name in ("gate_report", "gate_json", "gate_html"):
        url = reverse(f"rewards:{name}", args=["climate", gate.pk])
        assert admin.get(url).status_code == 404
