"""Reward models beside people: four lines, and one sentence that says what to do."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotate.models import Project
from rewards.ceiling import ceiling_chart, ceiling_in_words, versions
from rewards.charts import draw_lines
from rewards.models import RewardModelVersion
from tests.pages import words
from tests.training.rows import make_reward_model


def metrics(
    model: float, human: float | None = None, longest: float = 0.55, itself: float | None = None
) -> dict[str, Any]:
    def found(value: float | None) -> dict[str, Any]:
        if value is None:
            return {"value": None, "low": None, "high": None, "n_prompts": 0}
        return {"value": value, "low": value - 0.03, "high": value + 0.03, "n_prompts": 100}

    named = {"accuracy": model, "human_accuracy": human, "longest_wins_accuracy": longest}
    measured = {name: found(value) for name, value in named.items()}
    return measured | ({"self_agreement": found(itself)} if itself else {})


def models(project: Project, *all_metrics: dict[str, Any]) -> list[RewardModelVersion]:
    return [make_reward_model(project, metrics=one) for one in all_metrics]


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        ([metrics(0.57, 0.75)], "Fix the model first: it is not shown to know more than"),
        ([metrics(0.66, 0.75)], "Buy labels"),
        ([metrics(0.62, 0.75), metrics(0.66, 0.75)], "Buy labels"),
        ([metrics(0.66, 0.75), metrics(0.665, 0.75)], "Fix the model: people agree with each"),
        ([metrics(0.72, 0.75)], "Train people: the model is about as good as another person. More"),
        ([metrics(0.72, 0.75, itself=0.9)], "each person is steadier than people are alike"),
        ([metrics(0.72)], "Nobody can tell how far it could get"),
        ([metrics(0.72) | {"accuracy": {"value": None}}], "could not be measured"),
        ([], ""),
    ],
)
def test_the_reading_says_what_to_do(
    project: Project, found: list[dict[str, Any]], advice: str
) -> None:
    said = ceiling_in_words(versions(models(project, *found)))
    assert advice in said and bool(said) == bool(advice)


def test_every_measured_version_is_a_point_with_its_interval(project: Project) -> None:
    all_models = models(
        project, metrics(0.6, 0.7), {}, metrics(0.65, 0.72, itself=0.9), metrics(0.7)
    )
    rows = versions(list(reversed(all_models)))
    assert [row.number for row in rows] == [1, 3, 4]
    itself, people, model, _ = ceiling_chart(rows).series
    assert model.points == [(1, 0.6), (3, 0.65), (4, 0.7)]
    assert people.points == [(1, 0.7), (3, 0.72), (4, None)]
    assert model.bounds[0] == pytest.approx((1, 0.57, 0.63))
    assert itself.points == [(1, None), (3, 0.9), (4, None)]
    drawn = {line["label"]: line for line in draw_lines(ceiling_chart(rows))["lines"]}
    assert drawn["model"]["whiskers"].count("M") == 3 * 3
    assert drawn["oneself"]["whiskers"].count("M") == 3


def test_the_page_shows_the_lines_and_the_numbers_beside(admin: Client, project: Project) -> None:
    url = reverse("rewards:reward_models", args=["climate"])
    assert "The models against people" not in words(admin.get(url))
    models(project, metrics(0.6, 0.7), metrics(0.65, 0.72, itself=0.9))
    page = words(admin.get(url))
    assert "Buy labels" in page
    assert "2 65.0 % [62.0, 68.0], n = 100 72.0 % [69.0, 75.0], n = 100 90.0 %" in page
