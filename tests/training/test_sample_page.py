"""Responses to rank, asked of a policy in the browser."""

import pytest
from django.urls import reverse

from annotate.models import Membership
from rewards.models import Run
from tests import make
from tests.pages import words
from training.models import PolicyVersion


def ask(client, prompts, number=1):
    return client.post(
        reverse("training:sample", args=["climate", number]), {"prompts": prompts}, follow=True
    )


@pytest.fixture
def prompts(project):
    return [make.make_prompt(project, responses=0) for _ in range(3)]


def test_a_policy_is_asked_for_responses_and_the_run_is_shown(admin, project, live, prompts, root):
    asked = make.make_task(project).prompt
    response = ask(admin, 3)
    run = project.runs.get()
    assert response.redirect_chain[-1][0] == reverse("rewards:run", args=["climate", run.pk])
    assert (run.kind, run.created_by) == ("sample", root)
    assert (run.params["policy"], run.params["k"]) == (live.pk, project.responses_per_prompt)
    assert asked.pk not in run.params["prompts"]  # asked about already, so it comes last
    assert sorted(run.params["prompts"]) == sorted(prompt.pk for prompt in prompts)


def test_while_responses_are_written_no_more_are_asked_for(admin, project, live, prompts):
    ask(admin, 3)
    run = project.runs.get()
    assert f"run {run.pk} is writing responses already" in words(ask(admin, 2))
    page = words(admin.get(reverse("training:policy", args=["climate", 1])))
    assert f"Run {run.pk} is writing responses" in page
    assert project.runs.count() == 1


def test_asked_again_afterwards_the_same_prompts_get_other_responses(admin, project, live, prompts):
    ask(admin, 3)
    project.runs.update(state=Run.State.DONE)
    ask(admin, 3)
    seeds = [run.params["seed"] for run in project.runs.order_by("pk")]
    assert len(seeds) == len(set(seeds)) == 2


@pytest.mark.parametrize("number", ["0", "-1", "5001", "many", ""])
def test_a_number_of_prompts_out_of_bounds_is_refused_with_a_reason(
    admin, project, live, prompts, number
):
    assert "note error" in ask(admin, number).content.decode()
    assert not project.runs.exists()


def test_without_prompts_it_is_refused_with_a_reason(admin, project, live):
    assert "there is no prompt to respond to" in words(ask(admin, 5))
    assert not project.runs.exists()


def test_a_policy_in_training_is_not_asked(admin, project, live, prompts):
    PolicyVersion.objects.filter(pk=live.pk).update(status=PolicyVersion.Status.TRAINING)
    assert "not trained" in words(ask(admin, 3))
    page = admin.get(reverse("training:policy", args=["climate", 1])).content.decode()
    assert reverse("training:sample", args=["climate", 1]) not in page
    assert not project.runs.exists()


@pytest.mark.parametrize("who", ["annotator", "stranger", "admin elsewhere"])
def test_nobody_but_an_admin_of_the_project_asks(client, project, live, prompts, eve, who):
    if who == "annotator":
        eve = make.make_member(project, "eva").user
    elif who == "admin elsewhere":
        make.make_member(make.make_project("other"), "eve", Membership.Role.ADMIN)
    client.force_login(eve)
    assert ask(client, 3).status_code == 404
    assert not project.runs.exists()
