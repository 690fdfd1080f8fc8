"""The pages of background runs: who sees them, what they show, calling a run off."""

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.models import AuditEvent, Membership
from rewards.curves import curves
from rewards.models import Run, RunMetric
from tests import make
from tests.pages import words

RUN_PAGES = {"run": "get", "run_cancel": "post", "run_retry": "post"}


@pytest.fixture
def run(project):
    run = Run.objects.create(
        project=project, kind="reward_model", state="running", attempt=2, losses=1,
        step=30, total=120, message="epoch 2", worker="box.17", params={"lora": {"r": 8}},
    )  # fmt: skip
    RunMetric.objects.create(run=run, step=10, values={"train_loss": 0.6875})
    RunMetric.objects.create(run=run, step=20, values={"train_loss": 0.5, "validation_loss": 0.625})
    return run


def address(name, run):
    return reverse(f"rewards:{name}", args=["climate", run.pk])


@pytest.mark.parametrize(("name", "method"), RUN_PAGES.items())
def test_only_admins_of_the_project_see_or_stop_a_run(client, run, ada, eve, name, method):
    other = make.make_member(make.make_project("other"), "mallory", Membership.Role.ADMIN).user
    assert getattr(client, method)(address(name, run)).url.startswith("/login/")
    for user in (ada, eve, other):
        client.force_login(user)
        assert getattr(client, method)(address(name, run)).status_code == 404
        assert client.get(reverse("rewards:runs", args=["climate"])).status_code == 404
    client.force_login(other)
    elsewhere = reverse(f"rewards:{name}", args=["other", run.pk])
    assert getattr(client, method)(elsewhere).status_code == 404
    run.refresh_from_db()
    assert not run.cancel_requested


def test_a_running_run_shows_where_it_is_and_asks_again(admin, run):
    response = admin.get(address("run", run))
    page = words(response)
    assert "epoch 2 30 of 120" in page
    assert "2 (1 worker was lost)" in page
    assert "box.17" in page
    assert "lora r 8" in page
    assert 'hx-trigger="every 3s"' in response.content.decode()
    part = admin.get(address("run", run), headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert 'id="run"' in part and 'id="run-curves"' in part


def test_the_page_is_loaded_anew_when_the_run_has_ended(admin, run):
    run.finish("failed", reason="loss is not finite")
    part = admin.get(address("run", run), headers={"HX-Request": "true"})
    assert part.headers["HX-Refresh"] == "true"
    response = admin.get(address("run", run))
    assert "loss is not finite" in words(response)
    assert "Try again" in words(response)
    assert "hx-trigger" not in response.content.decode()


def test_its_curves_show_the_stored_metrics(admin, run):
    run.finish("done")
    page = words(admin.get(address("run", run)))
    assert "Loss, nats a pair" in page
    assert "10 0.688 – 20 0.5 0.625" in page


def test_cancelling_asks_the_worker_to_stop(admin, root, run):
    assert "Cancel this run…" in words(admin.get(address("run", run)))
    assert admin.get(address("run_cancel", run)).status_code == 405
    page = words(admin.post(address("run_cancel", run), follow=True))
    run.refresh_from_db()
    assert run.cancel_requested
    assert "stopping" in page and "Cancel this run" not in page
    assert AuditEvent.objects.get(verb="cancel run").actor == root


def test_a_queued_run_is_cancelled_at_once_and_can_be_tried_again(admin, project):
    run = Run.objects.create(project=project, kind="ppo")
    assert "waits for a worker" in words(admin.get(address("run", run)))
    admin.post(address("run_cancel", run))
    run.refresh_from_db()
    assert run.state == Run.State.CANCELLED
    admin.post(address("run_retry", run))
    run.refresh_from_db()
    assert run.state == Run.State.QUEUED


def test_the_list_shows_the_newest_first_page_by_page(admin, project):
    assert "Nothing has run yet" in words(admin.get(reverse("rewards:runs", args=["climate"])))
    now = timezone.now()
    Run.objects.bulk_create(
        Run(project=project, kind="ppo", state="done", message=f"number {n}.", finished_at=now)
        for n in range(60)
    )
    first = words(admin.get(reverse("rewards:runs", args=["climate"])))
    assert "number 59." in first and "number 9." not in first and "Next" in first
    second = words(admin.get(reverse("rewards:runs", args=["climate"]), {"page": 2}))
    assert "number 9." in second and "Previous" in second


def test_metrics_that_belong_together_share_a_chart_and_none_is_lost():
    rows = [(1, {"kl_reference": 0.0, "kl_parent": 0.1, "iteration": 1, "tokens_seen": 64})]
    drawn = curves(rows)
    (kl,) = drawn.first
    assert [s.label for s in kl.series if s.points] == ["to reference", "to parent"]
    assert [c.title for c in drawn.more] == ["tokens seen"]
