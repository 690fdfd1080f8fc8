"""A run fits a reward model for real: on a base of two layers that is made on the spot."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from annotate.models import Membership, Project
from annotate.services.tasks import open_ranking_tasks
from rewards.ml.artefacts import verify
from rewards.ml.progress import Progress
from rewards.ml.reward_model import RewardModel
from rewards.models import RewardModelVersion, Run
from rewards.runner import execute
from rewards.services.bases import NoSuchBase, adopt_base, known_bases
from rewards.services.gates import judge_reward_model
from rewards.services.reward_models import request_reward_model
from rewards.services.snapshots import freeze
from tests import make
from tests.tiny_models import make_base

pytestmark = pytest.mark.django_db(transaction=True)

CONFIG = {
    "lora_r": 4,
    "lora_alpha": 8,
    "learning_rate": 1e-2,
    "epochs": 3,
    "batch_prompts": 8,
    "max_tokens": 64,
    "device": "cpu",
    "dtype": "float32",
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def base(project: Project, model_folder: str) -> str:
    return adopt_base(project, model_folder)


def rank_letters(member: Membership, split: str, n: int) -> None:
    """`n` prompts whose responses the annotator ranks by how often they have the letter a."""
    rng = random.Random(split)
    for number in range(n):
        texts = ["".join(rng.choices("abcd", k=rng.randint(4, 10))) for _ in range(3)]
        prompt = make.make_prompt(
            member.project,
            f"{split} {number}?",
            responses=list(dict.fromkeys(texts)),
            split=split,
        )
        responses = list(prompt.responses.order_by("pk"))
        (task,) = open_ranking_tasks(member.project, [(prompt, responses)], batch=str(prompt.pk))
        more_a = sorted({response.text.count("a") for response in responses}, reverse=True)
        ranks = [1 + more_a.index(response.text.count("a")) for response in responses]
        make.make_ranking(member, ranks, task=task)


@pytest.fixture
def ranked(ada_member: Membership) -> Project:
    for split, n in (("train", 30), ("validation", 6), ("test", 20)):
        rank_letters(ada_member, split, n)
    return ada_member.project


def test_a_run_makes_a_candidate(ranked: Project, base: str) -> None:
    version = request_reward_model(freeze(ranked), base, CONFIG)
    run = execute(version.run)
    version.refresh_from_db()
    assert (run.state, run.reason) == ("done", "")
    assert version.status == RewardModelVersion.Status.CANDIDATE
    assert version.metrics["accuracy"]["value"] > 0.8
    assert version.metrics["accuracy"]["n_prompts"] > 15
    assert "accuracy_over_former" not in version.metrics
    assert version.metrics["token_lift"]["state"] == "too little data"  # of 30 prompts
    assert version.metrics["influence"]["examined_by"] == "held-out"
    manifest = verify(version.path)
    assert manifest.digest() == version.digest
    assert manifest.facts["snapshot"] == version.snapshot.digest
    assert manifest.facts["metrics"] == version.metrics
    assert manifest.facts["contradicted"]["n_scored"] == 30
    assert run.result["second_opinions"] == 0  # ada ranked them all by the same rule
    steps = list(run.metrics.order_by("step").values_list("values", flat=True))
    assert any("validation_loss" in values for values in steps)
    assert any("train_loss" in values for values in steps)
    scores = RewardModel.load(version.path, version.base_source).score(
        [{"role": "user", "content": "Question?"}], ["aaaaaa", "bbbbbb"]
    )
    assert scores[0] > scores[1]
    judge_reward_model(version)


def test_the_next_model_is_compared_with_the_accepted_one(ranked: Project, base: str) -> None:
    snapshot = freeze(ranked)
    first = request_reward_model(snapshot, base, CONFIG)
    execute(first.run)
    RewardModelVersion.objects.filter(pk=first.pk).update(status="accepted")
    same = request_reward_model(snapshot, base, CONFIG, key="the same again")
    execute(same.run)
    weak = request_reward_model(snapshot, base, CONFIG | {"epochs": 1, "learning_rate": 1e-7})
    execute(weak.run)
    for version in (first, same, weak):
        version.refresh_from_db()
    assert same.digest == first.digest  # on a CPU the same request gives the same bytes
    assert same.metrics["former"] == first.number
    assert same.metrics["accuracy_over_former"]["value"] == 0
    gain = weak.metrics["accuracy_over_former"]
    assert gain["value"] == pytest.approx(
        weak.metrics["accuracy"]["value"] - first.metrics["accuracy"]["value"]
    )
    assert gain["value"] < -0.02
    rules = {rule["name"]: rule for rule in judge_reward_model(weak).report["rules"]}
    assert rules["not worse than the live model"]["verdict"] in ("alarm", "failed")


def test_a_run_that_died_after_publishing_is_finished(ranked: Project, base: str) -> None:
    version = request_reward_model(freeze(ranked), base, CONFIG)
    execute(version.run)
    version.refresh_from_db()
    digest, metrics = version.digest, version.metrics
    RewardModelVersion.objects.filter(pk=version.pk).update(
        status="training", digest="", folder="", metrics={}
    )
    Run.objects.filter(pk=version.run.pk).update(state="queued", result=None)
    version.run.refresh_from_db()
    said: list[Progress] = []
    run = execute(version.run, said.append)
    version.refresh_from_db()
    assert run.state == "done"
    assert (version.digest, version.metrics, version.status) == (digest, metrics, "candidate")
    assert said == []  # nothing was computed again


def test_a_stopped_run_leaves_no_model_and_goes_on_when_asked_again(
    ranked: Project, base: str
) -> None:
    snapshot = freeze(ranked)
    whole = request_reward_model(snapshot, base, CONFIG, key="whole")
    execute(whole.run)
    whole.refresh_from_db()
    version = request_reward_model(snapshot, base, CONFIG)

    class Enough(Exception):
        pass

    def stop(progress: Progress) -> None:
        if "validation_loss" in progress.metrics and progress.step > 0:
            raise Enough

    run = execute(version.run, stop)
    assert run.state == "failed"
    assert not (whole.path.parent / str(version.number)).exists()
    again = request_reward_model(snapshot, base, CONFIG)
    assert again == version
    run = execute(again.run)
    assert run.state == "done"
    version.refresh_from_db()
    assert version.digest == whole.digest


def test_too_little_data_is_refused_with_the_counts(ada_member: Membership, base: str) -> None:
    rank_letters(ada_member, "train", 12)
    rank_letters(ada_member, "validation", 1)
    version = request_reward_model(freeze(ada_member.project), base, CONFIG)
    run = execute(version.run)
    assert run.state == "failed"
    assert run.reason.startswith("TooLittleData: snapshot 1 holds too few prompts")
    assert "12 of at least 10 prompts for train" in run.reason
    assert "1 of at least 2 prompts for validation" in run.reason
    assert "0 of at least 2 prompts for test" in run.reason
    version.refresh_from_db()
    assert version.status == RewardModelVersion.Status.FAILED


def test_an_altered_snapshot_is_refused(ranked: Project, base: str) -> None:
    version = request_reward_model(freeze(ranked), base, CONFIG)
    prompts = version.snapshot.path / "prompts.jsonl"
    first, *rest = prompts.read_text().splitlines(keepends=True)
    prompts.write_text("".join(rest))
    run = execute(version.run)
    assert run.state == "failed"
    assert "prompts.jsonl differs from the manifest" in run.reason
    manifest = version.snapshot.path / "manifest.json"
    content = json.loads(manifest.read_text())
    data = prompts.read_bytes()
    content["files"]["prompts.jsonl"] = {
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    manifest.write_text(json.dumps(content))
    version = request_reward_model(version.snapshot, base, CONFIG)
    assert "not what was frozen" in execute(version.run).reason


def test_the_model_of_another_run_is_not_taken_over(ranked: Project, base: str) -> None:
    """As after the database was put back from a backup, and the artefacts were not."""
    snapshot = freeze(ranked)
    first = request_reward_model(snapshot, base, CONFIG)
    execute(first.run)
    RewardModelVersion.objects.all().delete()
    second = request_reward_model(snapshot, base, CONFIG, key="another")
    assert second.number == first.number
    run = execute(second.run)
    second.refresh_from_db()
    assert (run.state, second.status) == ("failed", "failed")
    assert "is the reward model of another run" in run.reason


def test_a_worker_that_lost_the_run_enters_nothing(ranked: Project, base: str) -> None:
    version = request_reward_model(freeze(ranked), base, CONFIG)

    def lose(progress: Progress) -> None:
        if progress.step == progress.total > 0:  # fitted, but not yet entered
            Run.objects.filter(pk=version.run.pk).update(attempt=7)

    execute(version.run, lose)
    version.refresh_from_db()
    assert (version.status, version.digest) == ("training", "")


def test_a_base_is_kept_as_an_artefact(project: Project, model_folder: str, base: str) -> None:
    assert base == "projects/climate/bases/tiny"
    assert adopt_base(project, base) == base
    assert adopt_base(project, "org/model-1b") == "org/model-1b"
    with pytest.raises(NoSuchBase, match="neither a folder nor"):
        adopt_base(project, "../models/tiny")
    with pytest.raises(NoSuchBase, match="no config.json"):
        adopt_base(project, str(Path(model_folder).parent))


def test_a_folder_that_comes_again_is_the_same_base_unless_it_differs(
    project: Project, model_folder: str, base: str, tmp_path: Path
) -> None:
    assert adopt_base(project, model_folder) == base
    (tmp_path / "mine").mkdir()
    other = make_base(tmp_path / "mine" / "tiny", hidden_size=16)
    with pytest.raises(NoSuchBase, match=f"{other} differs from the base {base}"):
        adopt_base(project, other)


def test_a_base_that_is_being_copied_is_not_offered_yet(
    project: Project, base: str, tmp_path: Path
) -> None:
    half = tmp_path / "artefacts/projects/climate/bases/.tmp-other-x1y2"
    half.mkdir()
    (half / "config.json").touch()
    assert known_bases(project) == [base]


def test_an_artefact_from_elsewhere_becomes_a_base(
    project: Project, base: str, settings: Any, tmp_path: Path
) -> None:
    """As when a model that was fine-tuned in another Prefloop is brought here."""
    elsewhere = tmp_path / "artefacts" / base
    settings.ARTEFACT_ROOT = tmp_path / "here"
    assert adopt_base(project, str(elsewhere)) == base
    assert verify(tmp_path / "here" / base).files == verify(elsewhere).files
