"""Looking at a page changes nothing, whatever is out of date: what writes is a POST or a job."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin import site
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from annotate.models import Exclusion, Membership, Project, User
from annotate.services.assignments import claim
from annotate.services.people import create_invite
from annotate.services.uploads import keep, look
from rewards.models import AgreementReport, GateSetting, Run, RunMetric
from rewards.services.gates import judge_agreement, judge_reward_model
from rewards.services.reward_models import request_reward_model
from rewards.services.snapshots import freeze
from tests import make
from tests.training.rows import EVALUATION, REWARD_METRICS, make_candidate
from training.cycle import begin
from training.models import Cycle, PolicyVersion
from training.services.policies import judge_promotion, promote, register_base

SIDES = {"score": 0.5, "response_tokens": 30, "eos_rate": 1, "kl_reference": 1, "distinct_2": 0.6}


@pytest.fixture
def known(
    project: Project, ada_member: Membership, root: User, settings: Any, tmp_path: Any
) -> Mapping[str, Any]:
    """A value for each argument of an address, in a project in which everything is there."""
    settings.ARTEFACT_ROOT = tmp_path
    admin = project.memberships.get(user=root)
    for member in (ada_member, admin):
        make.make_ranking(member, task=make.make_task(project, kind="audit"))
    judged = project.tasks.order_by("pk")[0]
    snapshot = freeze(project)
    gate = judge_agreement(project, snapshot.agreement)
    version = request_reward_model(snapshot, "org/base")
    project.reward_models.update(metrics=REWARD_METRICS, status="candidate")
    judge_reward_model(version)
    run = version.run
    RunMetric.objects.create(run=run, step=1, values={"train_loss": 0.7})
    live = register_base(project, "org/base")
    candidate = make_candidate(live, EVALUATION | {"old": SIDES, "new": SIDES})
    judge_promotion(candidate)
    promote(candidate)
    cycle = begin(project, "2026-W47")
    cycle.move(Cycle.Step.BLIND_COMPARISON, "compared", policy=candidate, snapshot=snapshot)
    invite, token = create_invite(project)
    make.make_task(project)
    lease = claim(admin)
    assert lease is not None and gate.pk is not None
    upload = keep(project, root, [b'{"prompt": "Why?"}'], "prompts.jsonl")
    look(project, upload)
    return {
        "slug": project.slug,
        "token": token,
        "assignment_id": lease.pk,
        "task_id": lease.task_id,
        "review_task task_id": judged.pk,
        "prompt_id": lease.task.prompt_id,
        "kind": "guidelines",
        "upload_token": upload.token,
        "member_id": ada_member.pk,
        "invite_id": invite.pk,
        "number": 1,
        "week": cycle.iso_week,
        "pk": run.pk,
        "agreement_release pk": gate.pk,
        "gate_report pk": gate.pk,
        "gate_json pk": gate.pk,
        "gate_html pk": gate.pk,
    }


@pytest.fixture
def out_of_date(project: Project, known: Mapping[str, Any], ada_member: Membership) -> None:
    """What the services would have brought up to date at once, and what the clock has yet to."""
    AgreementReport.objects.update(created_at=timezone.now() - timedelta(hours=1))
    make.make_ranking(ada_member, task=make.make_task(project, kind="audit"))
    Exclusion.objects.create(project=project, membership=ada_member, reason="careless")
    GateSetting.objects.create(
        project=project, values={"agreement": {"threshold": 0.3}}, reason="stricter"
    )
    failed = Run.objects.create(project=project, kind="ppo", state=Run.State.FAILED)
    PolicyVersion.objects.create(project=project, number=9, base="org/base", run=failed)
    Run.objects.filter(pk=known["pk"]).update(state=Run.State.FAILED)
    project.reward_models.update(status="training")


def addresses(known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and address of every page, those of Django's admin apart."""

    def walk(resolver: URLResolver, arguments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for pattern in resolver.url_patterns:
            wanted = (*arguments, *pattern.pattern.converters)
            if isinstance(pattern, URLPattern):
                name = f"{resolver.namespace}:{pattern.name}".removeprefix("None:")
                own = {one: f"{pattern.name} {one}" for one in wanted}
                unknown = [one for one in wanted if not {one, own[one]} & set(known)]
                assert not unknown, f"`known` has no {', '.join(unknown)} for {name}"
                values = {one: known.get(own[one], known.get(one)) for one in wanted}
                yield name, reverse(name, kwargs=values)
            elif pattern.namespace != "admin":
                yield from walk(pattern, wanted)

    return walk(get_resolver(), ())


def admin_addresses() -> Iterator[tuple[str, str]]:
    """Of every table in Django's admin the list, and the page of a row."""
    for model in site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield name, reverse(f"{name}_changelist")
        if row := model._base_manager.first():
            yield f"{name} {row.pk}", reverse(f"{name}_change", args=[row.pk])


def test_no_page_writes_when_it_is_looked_at(
    client: Client, root: User, known: Mapping[str, Any], out_of_date: None
) -> None:
    User.objects.filter(pk=root.pk).update(is_staff=True, is_superuser=True)
    root.refresh_from_db()
    client.force_login(root)
    page, written = "", []

    def watch(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if not sql.lstrip("(").startswith(("SELECT", "SAVEPOINT", "RELEASE")):
            written.append((page, sql))
        return execute(sql, *rest)

    found = dict([*addresses(known), *admin_addresses()])
    assert {"training:overview", "rewards:agreement", "annotate:assignment"} <= set(found)
    with connection.execute_wrapper(watch):
        for page, address in found.items():
            for headers in ({}, {"HX-Request": "true"}):
                response = client.get(address, headers=headers)
                assert response.status_code in (200, 302, 405), page
    assert written == []
