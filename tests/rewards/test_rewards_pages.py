"""Admins see what is stored about judgements and do what needs a person; nobody else gets in."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotate.models import Membership, Project, Task, User
from annotate.services.projects import exclude
from rewards import urls
from rewards.models import (
    AgreementReport,
    GateReport,
    GateSetting,
    RewardModelVersion,
    Run,
    RunMetric,
    Snapshot,
)
from rewards.services.agreement import measure
from rewards.services.gates import judge_agreement
from rewards.services.reward_models import request_reward_model
from rewards.services.snapshots import freeze
from tests import make
from tests.pages import everything, words
from tests.rewards.rows import FITTED
from tests.rewards.test_gates_service import figures

POST_ONLY = {
    "agreement_measure",
    "agreement_release",
    "disagreement_cause",
    "selection_again",
    "snapshot_freeze",
    "reward_model_judge",
    "reward_model_release",
    "run_cancel",
    "run_retry",
}
BOTH = {"reward_models", "drill", "gate", "audit_more"}
NAMES = [pattern.name for pattern in urls.urlpatterns]


@pytest.fixture
def snapshot(ada_member: Membership) -> Snapshot:
    """Two rankings, frozen, of people who agree well enough."""
    make.make_ranking(ada_member, (1, 2, 2, None))
    make.make_ranking(ada_member)
    snapshot = freeze(ada_member.project)
    snapshot.agreement = figures(flips=1) | {"topics": []}
    snapshot.save()
    return snapshot


@pytest.fixture
def version(snapshot: Snapshot) -> RewardModelVersion:
    """A trained reward model that no gate has judged yet."""
    version = request_reward_model(snapshot, "org/base", {"epochs": 7})
    Run.objects.filter(pk=version.run.pk).update(state=Run.State.DONE)
    RunMetric.objects.create(run=version.run, step=1, values={"train_loss": 0.69})
    RunMetric.objects.create(run=version.run, step=2, values={"train_loss": 0.41})
    version.metrics = {**FITTED}
    version.status = RewardModelVersion.Status.CANDIDATE
    version.save()
    return version


ASKED = {
    "base": "projects/climate/bases/tiny",
    "epochs": 4,
    "learning_rate": "1e-3",
    "lora_r": 8,
    "seed": 1,
}


def put_base(home: Path) -> None:
    """What looks like a base model of the project, from outside."""
    folder = home / "artefacts/projects/climate/bases/tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")


def show(client: Client, name: str, *args: Any, **more: Any) -> str:
    """The words of a page, without its tags."""
    response = client.get(reverse(f"rewards:{name}", args=["climate", *args]), **more)
    assert response.status_code == 200
    return words(response)


def act(client: Client, name: str, *args: Any, **fields: Any) -> str:
    """The words of the page that follows a POST."""
    response = client.post(reverse(f"rewards:{name}", args=["climate", *args]), fields, follow=True)
    assert response.status_code == 200
    return words(response)


# Who may see and do this


@pytest.fixture
def addresses(version: RewardModelVersion) -> dict[str, str]:
    gate = GateReport.objects.create(
        project=version.project, gate="agreement", state="REVIEW", report={"rules": []}, digest="x"
    )
    assert gate.pk is not None
    known = {"slug": "climate", "number": 1, "pk": gate.pk, "task_id": Task.objects.first().pk}
    known["member_id"] = version.project.memberships.first().pk
    run = {"slug": "climate", "pk": version.run.pk}
    return {
        p.name: reverse(
            f"rewards:{p.name}",
            kwargs={
                key: (run if p.name.startswith("run") else known)[key]
                for key in ("slug", *p.pattern.converters)
            },
        )
        for p in urls.urlpatterns
    }


def test_only_admins_of_the_project_get_anywhere(
    client: Client, addresses: dict[str, str], ada: User, eve: User
) -> None:
    mallory = make.make_member(make.make_project("other"), "mallory", Membership.Role.ADMIN).user
    before = everything("rewards")
    for user in (None, ada, eve, mallory):
        if user:
            client.force_login(user)
        for name, address in addresses.items():
            for method in ("get", "post"):
                response = getattr(client, method)(address)
                wrong = (method == "get") == (name in POST_ONLY) and name not in BOTH
                assert response.status_code == (302 if user is None else 405 if wrong else 404)
                if user is None:
                    assert response.url.startswith("/login/")
    assert everything("rewards") == before


def test_what_changes_something_takes_a_post(admin: Client, addresses: dict[str, str]) -> None:
    for name, address in addresses.items():
        found = admin.get(address, {"format": "csv", "ties": "drop"}).status_code
        assert (name, found) == (name, 405 if name in POST_ONLY else 200)
    for name in POST_ONLY - {"reward_model_release"}:  # nothing to release yet
        assert admin.post(addresses[name]).status_code == 302


def test_no_page_has_inline_styles_or_scripts(admin: Client, addresses: dict[str, str]) -> None:
    files = {"snapshot_export", "gate_html"}  # which are read elsewhere
    for name in sorted(set(NAMES) - POST_ONLY - files):
        html = admin.get(addresses[name]).content.decode()
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src)", html), name


# Agreement


def test_nothing_measured_is_a_state(admin: Client, project: Project) -> None:
    page = show(admin, "agreement")
    assert "Not measured yet. There is no ranking yet to measure." in page
    assert "Measure now" not in page
    page = act(admin, "agreement_measure")
    assert "Nobody has ranked a prompt that was drawn for two people yet." in page
    assert "too little data" in page


def test_thin_data_say_how_much_is_missing(
    admin: Client, ada_member: Membership, bob_member: Membership
) -> None:
    for _ in range(7):
        task = make.make_task(ada_member.project, kind="audit")
        make.make_ranking(ada_member, task=task)
        make.make_ranking(bob_member, task=task)
    page = act(admin, "agreement_measure")
    assert "Not enough overlap: 7 prompts have been judged by two people;" in page
    assert "about 13 more prompts until agreement can be measured." in page
    assert "43 more are needed" in page
    assert "Ask two people about 13 more prompts" in page
    assert "Other ways to look at it" not in page


def test_the_page_shows_what_is_stored(admin: Client, project: Project) -> None:
    found = figures(flips=2, prompts=300)
    alpha = found["alpha"]
    AgreementReport.objects.create(
        project=project,
        figures=found | {"topics": [], "two_way": {"low": 0.11, "high": 0.77}},
        data_hash="",
        seed=0,
        code_version="",
    )
    page = show(admin, "agreement")
    interval = f"[{alpha['low']:.2f}, {alpha['high']:.2f}]"
    assert f"{alpha['value']:.2f} {interval}, n = 300" in page
    assert "People agree well" in page
    assert "two people put about 80 in the same order" in page
    assert "If other people had done it: between 0.11 and 0.77." in page
    assert "gate open" in page
    assert "80.0 %" in page  # raw agreement
    assert "50.0 %" in page  # and what chance gives
    assert "not on record yet" in page


def test_rankings_that_nobody_measured_yet_can_be_measured_now(
    admin: Client, ada_member: Membership
) -> None:
    make.make_ranking(ada_member)
    page = show(admin, "agreement")
    assert "Not measured yet. There is 1 ranking, which the clock measures" in page
    assert "Measure now" in page


def test_new_rankings_since_the_report_are_told(admin: Client, ada_member: Membership) -> None:
    measure(ada_member.project)
    assert "come since" not in show(admin, "agreement")
    make.make_ranking(ada_member, task=make.make_task(ada_member.project, kind="audit"))
    make.make_ranking(ada_member)
    assert "1 ranking has come since." in show(admin, "agreement")
    assert "Exclusions have changed" not in show(admin, "agreement")
    exclude(ada_member.project, ada_member, "careless", by=None)
    assert "Exclusions have changed since." in show(admin, "agreement")
    assert "since" not in act(admin, "agreement_measure")


def test_a_review_is_released_with_a_reason(admin: Client, project: Project, root: User) -> None:
    AgreementReport.objects.create(
        project=project,
        figures=figures(4, 300) | {"topics": []},
        data_hash="",
        seed=0,
        code_version="",
    )
    assert "Release the gate this once" not in show(admin, "agreement"), "it is not on record yet"
    gate = judge_agreement(project, project.agreement_reports.get().figures)
    assert "Release the gate this once" in show(admin, "agreement")
    assert "Say why, for the record." in act(admin, "agreement_release", gate.pk, reason=" ")
    page = act(admin, "agreement_release", gate.pk, reason="New guidelines since Monday")
    assert "gate released" in page
    assert "Released by root on" in page
    assert "“New guidelines since Monday”" in page
    assert "Release the gate this once" not in page
    assert "once; this one was released before" in act(
        admin, "agreement_release", gate.pk, reason="Once more"
    )


# Snapshots


def test_freezing_from_the_page(admin: Client, ada_member: Membership, root: User) -> None:
    assert "There is no ranking yet." in show(admin, "snapshots")
    assert "has no ranking yet that a model could learn from" in act(admin, "snapshot_freeze")
    make.make_ranking(ada_member)
    assert "1 ranking is not frozen yet." in show(admin, "snapshots")
    page = act(admin, "snapshot_freeze")
    snapshot = Snapshot.objects.get()
    assert page.count("Snapshot 1") == 1
    assert snapshot.digest in page
    assert "by root" in page
    assert "Nothing has changed since" in act(admin, "snapshot_freeze")
    assert "Every ranking is frozen." in show(admin, "snapshots")
    assert "1 rankings of 1 prompts by 1 people" in show(admin, "snapshots")


def test_an_exclusion_taints_and_offers_to_freeze_anew(
    admin: Client, version: RewardModelVersion, bob_member: Membership, ada_member: Membership
) -> None:
    make.make_ranking(bob_member)
    assert "tainted" not in show(admin, "snapshots")
    exclude(version.project, ada_member, "copied every answer", by=None)
    assert "tainted" in show(admin, "snapshots")
    assert "tainted" in show(admin, "reward_models")
    for name in ("snapshot", "reward_model"):
        page = show(admin, name, 1)
        assert "judgements that were excluded since" in page
        assert "copied every answer" in page
        assert "Freeze anew without them" in page
    page = act(admin, "snapshot_freeze")
    assert "Snapshot 2" in page
    assert "tainted" not in page
    assert f"annotator {ada_member.pseudonym}: copied every answer" in page


@pytest.mark.parametrize(
    ("wanted", "lines"), [("prefloop", 2), ("trl-preference", 8), ("csv", 3), ("trl-unpaired", 2)]
)
def test_a_snapshot_is_taken_away_as_a_file(
    admin: Client, snapshot: Snapshot, wanted: str, lines: int
) -> None:
    response = admin.get(
        reverse("rewards:snapshot_export", args=["climate", 1]), {"format": wanted, "ties": "drop"}
    )
    name = "csv" if wanted == "csv" else "jsonl"
    assert response["Content-Disposition"] == (
        f'attachment; filename="climate-snapshot-1-{wanted}.{name}"'
    )
    content = b"".join(response.streaming_content).decode()
    assert len(content.splitlines()) == lines
    if name == "jsonl":
        assert all(json.loads(line) for line in content.splitlines())


def test_an_unknown_format_is_no_file(admin: Client, snapshot: Snapshot) -> None:
    response = admin.get(
        reverse("rewards:snapshot_export", args=["climate", 1]), {"format": "xml"}, follow=True
    )
    assert "There is no such format." in words(response)
    (snapshot.path / "prompts.jsonl").write_text("{}\n")
    response = admin.get(
        reverse("rewards:snapshot_export", args=["climate", 1]),
        {"format": "csv", "ties": "drop"},
        follow=True,
    )
    assert "differs from the manifest" in words(response)


# Reward models


def test_a_reward_model_is_shown_beside_chance_length_and_people(
    admin: Client, version: RewardModelVersion
) -> None:
    page = show(admin, "reward_model", 1)
    assert "71.2 % [65.5, 76.8], n = 212" in page
    assert "The longer response" in page
    assert "Another person" in page
    assert "chance" in page
    assert "212 prompts, 900 pairs" in page
    assert "3 of 5" in page
    assert "Loss, nats a pair" in page
    assert "2 rankings by 1 people" in page
    assert "71.2 % [65.5, 76.8], n = 212 right on held-out pairs" in show(admin, "reward_models")


def test_judging_from_the_page(admin: Client, version: RewardModelVersion) -> None:
    assert "Not judged yet." in show(admin, "reward_model", 1)
    page = act(admin, "reward_model_judge", 1)
    assert "Accepted" in page
    assert "gate open" in page
    assert "Judge" not in page


def test_releasing_a_reward_model_from_the_page(admin: Client, version: RewardModelVersion) -> None:
    version.metrics["accuracy_over_longest"] = {"value": 0.02, "low": -0.02, "high": 0.06}
    version.save()
    assert "Release the gate this once" in act(admin, "reward_model_judge", 1)
    page = act(admin, "reward_model_release", 1, reason="Lengths are equal here")
    assert "“Lengths are equal here”" in page
    version.refresh_from_db()
    assert version.status == RewardModelVersion.Status.ACCEPTED


def test_a_model_without_a_gate_cannot_be_released(
    admin: Client, version: RewardModelVersion
) -> None:
    url = reverse("rewards:reward_model_release", args=["climate", 1])
    assert admin.post(url, {"reason": "Now"}).status_code == 404


def test_a_failed_training_says_why(admin: Client, snapshot: Snapshot) -> None:
    version = request_reward_model(snapshot, "org/base")
    assert "It is being trained." in show(admin, "reward_model", 1)
    assert version.run.claim("worker")
    assert version.run.finish(Run.State.FAILED, reason="TooLittleData: 3 prompts")
    page = show(admin, "reward_model", 1)
    assert "Its training failed: TooLittleData: 3 prompts" in page
    assert "Failed" in show(admin, "reward_models")
    assert "is failed" in act(admin, "reward_model_judge", 1)


def test_training_from_the_page(
    admin: Client, project: Project, ada_member: Membership, tmp_path: Any
) -> None:
    assert "There is nothing to learn from yet" in show(admin, "reward_models")
    make.make_ranking(ada_member)
    snapshot = freeze(project)
    assert "No base model is known yet." in show(admin, "reward_models")
    put_base(tmp_path)
    page = show(admin, "reward_models")
    assert "projects/climate/bases/tiny" in page
    asked = ASKED | {"snapshot": snapshot.pk}
    page = act(admin, "reward_models", **asked)
    version = RewardModelVersion.objects.get()
    assert "Reward model 1" in page
    assert "It is being trained." in page
    assert version.base == "projects/climate/bases/tiny"
    assert version.config == {"epochs": 4, "learning_rate": 0.001, "lora_r": 8, "seed": 1}
    assert (version.run.kind, version.run.state) == ("reward_model", "queued")
    assert version.run.created_by == User.objects.get(username="root")
    act(admin, "reward_models", **asked)  # clicked twice
    assert RewardModelVersion.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base", "/etc"),
        ("base", "org/from-the-hub"),
        ("snapshot", 999),
        ("epochs", 0),
        ("learning_rate", "nan"),
        ("learning_rate", "fast"),
    ],
)
def test_a_wrong_form_trains_nothing_and_says_so(
    admin: Client, snapshot: Snapshot, tmp_path: Any, field: str, value: Any
) -> None:
    put_base(tmp_path)
    url = reverse("rewards:reward_models", args=["climate"])
    response = admin.post(url, ASKED | {"snapshot": snapshot.pk} | {field: value})
    assert response.status_code == 200
    assert list(response.context["form"].errors) == [field]
    assert not RewardModelVersion.objects.exists()


def test_a_snapshot_of_another_project_is_no_choice(
    admin: Client, snapshot: Snapshot, tmp_path: Any
) -> None:
    elsewhere = make.make_project("elsewhere")
    make.make_ranking(make.make_member(elsewhere, "cleo"))
    other = freeze(elsewhere)
    put_base(tmp_path)
    response = admin.post(
        reverse("rewards:reward_models", args=["climate"]),
        ASKED | {"snapshot": other.pk},
    )
    assert list(response.context["form"].errors) == ["snapshot"]


# The admin


def test_thresholds_are_checked_when_they_are_set(client: Client, project: Project) -> None:
    boss = User.objects.create_superuser("boss", password=make.PASSWORD)
    client.force_login(boss)
    measure(project)
    url = reverse("admin:rewards_gatesetting_add")
    wrong = {"project": project.pk, "reason": "stricter"}
    for values in ('{"agreement": {"treshold": 0.3}}', '{"promotion": {}}', "[1]", "{"):
        response = client.post(url, wrong | {"values": values})
        assert response.status_code == 200
    assert not GateSetting.objects.exists()
    client.post(url, wrong | {"values": '{"agreement": {"threshold": 0.3}}'})
    setting = GateSetting.objects.get()
    assert GateReport.objects.get().report["settings"]["threshold"] == 0.3, "judged at once"
    assert (setting.values, setting.created_by) == ({"agreement": {"threshold": 0.3}}, boss)


def test_the_admin_shows_every_table(client: Client, version: RewardModelVersion) -> None:
    client.force_login(User.objects.create_superuser("boss", password=make.PASSWORD))
    measure(version.project)
    for model, row in (
        ("run", version.run),
        ("snapshot", version.snapshot),
        ("rewardmodelversion", version),
        ("agreementreport", AgreementReport.objects.get()),
    ):
        assert client.get(reverse(f"admin:rewards_{model}_changelist")).status_code == 200
        assert (
            client.get(reverse(f"admin:rewards_{model}_change", args=[row.pk])).status_code == 200
        )
