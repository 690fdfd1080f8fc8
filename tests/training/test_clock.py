"""What the clock keeps up to date, since pages only read."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from annotate.models import Exclusion, Membership, Project, Ranking
from rewards.models import AgreementReport, GateReport, GateSetting
from rewards.services.agreement import MEASURED_EVERY, measure
from rewards.services.snapshots import freeze
from tests import make
from training.tasks import refresh_project, refresh_projects


def rank(member: Membership, kind: str = "audit") -> None:
    make.make_ranking(member, task=make.make_task(member.project, kind=kind))


def let_pass(duration: timedelta) -> None:
    for model in (AgreementReport, Ranking):
        model.objects.update(created_at=F("created_at") - duration)


def test_agreement_is_measured_and_judged_when_there_is_news(ada_member: Membership) -> None:
    project = ada_member.project
    reports = project.agreement_reports
    refresh_project(project.pk)
    assert not reports.exists(), "there is nothing to measure"
    rank(ada_member)
    refresh_project(project.pk)
    assert (reports.get().figures["n_prompts"], project.gate_reports.count()) == (1, 1)
    let_pass(MEASURED_EVERY)
    rank(ada_member, kind="normal")
    refresh_project(project.pk)
    assert reports.count() == 1, "a ranking that does not count is no news"
    rank(ada_member)
    refresh_project(project.pk)
    assert reports.latest("pk").figures["n_prompts"] == 2


def test_agreement_is_measured_every_ten_minutes_at_most(ada_member: Membership) -> None:
    project = ada_member.project
    rank(ada_member)
    measure(project)
    rank(ada_member)
    let_pass(timedelta(minutes=9))
    refresh_project(project.pk)
    assert project.agreement_reports.count() == 1
    let_pass(timedelta(minutes=1))
    refresh_project(project.pk)
    assert project.agreement_reports.count() == 2


def test_an_exclusion_is_news(ada_member: Membership) -> None:
    project = ada_member.project
    rank(ada_member)
    measure(project)
    let_pass(timedelta(hours=1))
    Exclusion.objects.create(project=project, membership=ada_member, reason="careless")
    refresh_project(project.pk)
    assert project.agreement_reports.latest("pk").figures["n_prompts"] == 0


def test_other_thresholds_judge_the_same_figures_anew(project: Project) -> None:
    measure(project)
    for threshold in (0.2, 0.3):
        GateSetting.objects.create(
            project=project, values={"agreement": {"threshold": threshold}}, reason="trial"
        )
        refresh_project(project.pk)
    judged = GateReport.objects.order_by("pk")
    assert [gate.report["settings"]["threshold"] for gate in judged] == [0.2, 0.3]


def test_an_exclusion_that_a_freeze_did_not_see_taints(
    ada_member: Membership, settings: Any, tmp_path: Any
) -> None:
    settings.ARTEFACT_ROOT = tmp_path
    rank(ada_member)
    snapshot = freeze(ada_member.project)
    # As in another transaction at the same time, which saw no snapshot yet.
    Exclusion.objects.create(project=ada_member.project, membership=ada_member, reason="careless")
    refresh_project(ada_member.project.pk)
    snapshot.refresh_from_db()
    assert "careless" in snapshot.taint_reason


def test_every_project_has_its_turn(
    ada_member: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh_project, "delay", refresh_project)
    other = make.make_member(make.make_project("elsewhere"), "cleo")
    for member in (ada_member, other):
        rank(member)
    refresh_projects()
    assert {report.project for report in AgreementReport.objects.all()} == {
        ada_member.project,
        other.project,
    }
