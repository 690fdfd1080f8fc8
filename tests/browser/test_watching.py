"""An admin watches the loop in a real browser."""

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.models import Membership, Project
from rewards.models import Run, RunMetric
from tests.make import make_member, make_project

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def root():
    return make_member(make_project("climate"), "root", Membership.Role.ADMIN).user


@pytest.fixture
def run(root):
    project = root.memberships.get().project
    run = Run.objects.create(project=project, kind="ppo", state="running", step=1, total=4)
    add_metric(run, 1, 0.25)
    return run


def add_metric(run, step, score):
    RunMetric.objects.create(run=run, step=step, values={"score": score})


def test_a_running_run_goes_on_before_ones_eyes(open_page, root, run):
    page = open_page(root)
    page.goto(reverse("rewards:run", args=["climate", run.pk]))
    page.get_by_text("1 of 4").wait_for()
    page.get_by_text("Cancel this run…").click()
    for step in (2, 3):
        add_metric(run, step, step / 4)
    Run.objects.filter(pk=run.pk).update(step=3)
    page.get_by_text("3 of 4").wait_for()
    page.locator(".plot-series path").wait_for()
    assert page.get_by_role("button", name="Cancel the run").is_visible()  # nothing shut it
    Run.objects.filter(pk=run.pk).update(
        state="failed", reason="loss is not finite", finished_at=timezone.now()
    )
    page.get_by_role("button", name="Try again").wait_for()
    page.get_by_text("loss is not finite").wait_for()


def test_the_focus_stays_while_the_overview_renews_itself(open_page, root, run):
    page = open_page(root)
    page.goto(reverse("training:overview", args=["climate"]))
    page.get_by_role("link", name="Agreement").last.focus()
    Run.objects.filter(pk=run.pk).update(step=3)
    page.get_by_text("3 of 4").wait_for()
    assert page.evaluate("document.activeElement.id") == "to-agreement"


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_no_wider_than_their_window(open_page, root, run, width):
    page = open_page(root, viewport={"width": width, "height": 800}, java_script_enabled=False)
    for address in (
        reverse("rewards:run", args=["climate", run.pk]),
        reverse("training:overview", args=["climate"]),
    ):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_header_is_one_line_on_a_phone_however_long_the_title(open_page, root):
    Project.objects.update(title="Better answers to anything " * 3)
    page = open_page(root, viewport={"width": 390, "height": 844})
    page.goto(reverse("training:overview", args=["climate"]))
    brand = page.locator(".brand").bounding_box()
    sign_out = page.get_by_role("button", name="Sign out").bounding_box()
    assert sign_out["y"] < brand["y"] + brand["height"]
    assert sign_out["x"] + sign_out["width"] <= 390
