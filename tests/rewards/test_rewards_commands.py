"""The commands about judgements: text for people, one JSON object for programs."""

import gzip
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotate.models import Membership, Project
from annotate.services.projects import exclude
from annotate.services.tasks import open_ranking_tasks
from rewards.models import Run
from rewards.services.bases import adopt_base
from rewards.services.snapshots import freeze
from tests import make
from tests.commands import ask, say
from tests.processes import ROOT, share
from tests.rewards.test_reward_work import CONFIG, rank_letters
from tests.tiny_models import make_base


@pytest.fixture
def audited(ada_member: Membership, bob_member: Membership) -> Project:
    """Thirty prompts on which ada and bob agree nine times in ten."""
    for n in range(30):
        task = make.make_task(ada_member.project, responses=["Yes.", "No."], kind="audit")
        make.make_ranking(ada_member, (1, 2), task=task)
        make.make_ranking(bob_member, (1, 2) if n % 10 else (2, 1), task=task)
    return ada_member.project


@pytest.fixture
def judged(ada_member: Membership) -> Project:
    """One prompt with a win, a tie and an unacceptable response."""
    prompt = make.make_prompt(
        ada_member.project, "Why?", responses=["Best.", "Good.", "Fair.", "Bad."], split="train"
    )
    responses = list(prompt.responses.order_by("pk"))
    (task,) = open_ranking_tasks(ada_member.project, [(prompt, responses)], batch="one")
    make.make_ranking(ada_member, (1, 2, 2, None), task=task, unacceptable=[responses[3].pk])
    return ada_member.project


def test_agreement(audited: Project) -> None:
    found = ask("agreement", "climate")
    assert found["alpha"]["value"] == pytest.approx(2 * 0.9 - 1)
    assert found["alpha"]["low"] < 0.8 < found["alpha"]["high"]
    assert found["gate"]["state"] == "INSUFFICIENT"
    assert len(found["data_hash"]) == 64
    text = say("agreement", "climate")
    assert text.startswith("alpha 0.80 [")
    assert "two people put about 90 in the same order" in text
    assert "gate: INSUFFICIENT" in text


def test_agreement_without_data_is_no_error(project: Project) -> None:
    found = ask("agreement", "climate")
    assert (found["state"], found["alpha"]["value"]) == ("no judgements", None)
    assert say("agreement", "climate").startswith("alpha not measured yet. Nobody has")


def test_snapshot(judged: Project) -> None:
    found = ask("snapshot", "climate")
    assert (found["snapshot"], found["new"], found["counts"]["pairs"]) == (1, True, 3)
    assert len(found["digest"]) == 64
    assert Path(found["folder"], "prompts.jsonl").is_file()
    again = ask("snapshot", "climate")
    assert (again["digest"], again["new"]) == (found["digest"], False)
    assert "1 rankings of 1 prompts by 1 people: 3 pairs, 1 of them tied" in say(
        "snapshot", "climate"
    )


def test_snapshot_of_nothing_is_an_error(project: Project) -> None:
    with pytest.raises(CommandError, match="no ranking yet"):
        call_command("snapshot", "climate")


@pytest.mark.parametrize(
    ("ties", "pairs"), [("drop", ["Best.>Fair.", "Best.>Good."]), ("half", None), ("both", None)]
)
def test_export_of_preference_pairs(
    judged: Project, tmp_path: Path, ties: str, pairs: list[str] | None
) -> None:
    freeze(judged)
    target = tmp_path / "pairs.jsonl"
    found = ask(
        *("export", "climate", "--format", "trl-preference-standard"),
        *("--output", str(target), "--ties", ties),
    )
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert (found["lines"], found["source"]) == (len(rows), 1)
    written = sorted(f"{row['chosen']}>{row['rejected']}" for row in rows)
    wins = ["Best.>Fair.", "Best.>Good."]
    assert written == (pairs or [*wins, "Fair.>Good.", "Good.>Fair."])
    assert [row.get("weight") for row in rows].count(0.5) == (2 if ties == "half" else 0)


def test_export_to_standard_output_is_data_alone(judged: Project) -> None:
    (line,) = say("export", "climate", "--output", "-", "--snapshot", "current").splitlines()
    row = json.loads(line)
    assert row["messages"] == [{"role": "user", "content": "Why?"}]
    assert sorted(response["text"] for response in row["responses"]) == [
        "Bad.",
        "Best.",
        "Fair.",
        "Good.",
    ]
    table = say("export", "climate", "--output", "-", "--snapshot", "current", "--format", "csv")
    assert table.startswith('"split","prompt"')
    unpaired = say(
        *("export", "climate", "--output", "-", "--snapshot", "current"),
        *("--format", "trl-unpaired"),
    ).splitlines()
    assert {
        json.loads(line)["completion"][0]["content"]: json.loads(line)["label"] for line in unpaired
    } == {"Best.": True, "Bad.": False}
    with pytest.raises(CommandError, match="both write to standard output"):
        call_command("export", "climate", "--output", "-", "--json")


def test_export_packs_by_name_and_can_take_one_split(
    judged: Project, ada_member: Membership, tmp_path: Path
) -> None:
    held_out = make.make_prompt(judged, "What?", responses=2, split="test")
    (task,) = open_ranking_tasks(judged, [(held_out, list(held_out.responses.all()))], batch="two")
    make.make_ranking(ada_member, (1, 2), task=task)
    freeze(judged)
    target = tmp_path / "prompts.jsonl.gz"
    call_command(
        *("export", "climate", "--format", "trl-prompt-only", "--split", "test"),
        *("--output", str(target)),
        stdout=StringIO(),
    )
    assert json.loads(gzip.decompress(target.read_bytes())) == {
        "prompt": [{"role": "user", "content": "What?"}]
    }
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["prompts.jsonl.gz"]


def test_an_excluded_annotator_is_not_exported(
    judged: Project, ada_member: Membership, tmp_path: Path
) -> None:
    exclude(judged, ada_member, "careless", by=None)
    assert say("export", "climate", "--output", "-", "--snapshot", "current") == ""


def test_export_says_what_is_missing(judged: Project, tmp_path: Path) -> None:
    target = str(tmp_path / "x.jsonl")
    with pytest.raises(CommandError, match="no snapshot yet"):
        call_command("export", "climate", "--output", target)
    snapshot = freeze(judged)
    with pytest.raises(CommandError, match="no snapshot 7"):
        call_command("export", "climate", "--output", target, "--snapshot", "7")
    with pytest.raises(CommandError, match='neither a number nor "current"'):
        call_command("export", "climate", "--output", target, "--snapshot", "last")
    with pytest.raises(CommandError, match="No such file or directory"):
        call_command("export", "climate", "--output", str(tmp_path / "no" / "x.jsonl"))
    (snapshot.path / "prompts.jsonl").write_text("{}\n")
    with pytest.raises(CommandError, match="differs from the manifest"):
        call_command("export", "climate", "--output", target)
    assert not Path(target).exists()


@pytest.mark.django_db(transaction=True)
def test_training_a_reward_model(
    ada_member: Membership, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, n in (("train", 30), ("validation", 6), ("test", 20)):
        rank_letters(ada_member, split, n)
    folder = make_base(tmp_path / "tiny")
    with pytest.raises(CommandError, match="no snapshot yet"):
        call_command("train_reward_model", "climate", "--base", folder)
    freeze(ada_member.project)
    with pytest.raises(CommandError, match="--base must say on what"):
        call_command("train_reward_model", "climate")
    config = json.dumps(CONFIG)
    found = ask("train_reward_model", "climate", "--base", folder, "--config", config)
    assert found["metrics"]["accuracy"]["value"] > 0.7
    assert found["metrics"]["accuracy"]["low"] < found["metrics"]["accuracy"]["high"]
    assert found["base"] == adopt_base(ada_member.project, found["base"])
    assert (found["reward_model"], found["snapshot"], found["status"]) == (1, 1, "shadow")
    assert found["gate"]["state"] == "INSUFFICIENT"  # nobody has judged what another judged
    assert Path(found["folder"], "adapter_model.safetensors").is_file()
    # The same request is the same model, which is there; now the base is known.
    text = say("train_reward_model", "climate", "--config", config)
    assert text.startswith("reward model 1 of climate: shadow")
    assert "right on held-out pairs: " in text
    assert Run.objects.count() == 1
    assert capsys.readouterr().out == ""
    with pytest.raises(CommandError, match="unexpected keyword argument 'epoch'"):
        call_command("train_reward_model", "climate", "--config", '{"epoch": 1}')
    with pytest.raises(CommandError, match="neither a folder nor"):
        call_command("train_reward_model", "climate", "--base", "no such/folder/here")


def test_a_run_that_fails_is_an_error(judged: Project, tmp_path: Path) -> None:
    freeze(judged)
    folder = make_base(tmp_path / "tiny")
    with pytest.raises(CommandError, match="holds too few prompts"):
        call_command("train_reward_model", "climate", "--base", folder)
    assert judged.runs.get().state == Run.State.FAILED


@pytest.mark.django_db(transaction=True)
def test_in_a_shell_errors_go_to_standard_error(
    project: Project, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(settings, monkeypatch)

    def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments, "--json"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    good = shell("agreement", "climate")
    assert (good.returncode, json.loads(good.stdout)["state"]) == (0, "no judgements")
    bad = shell("snapshot", "climate")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert "CommandError: climate has no ranking yet" in bad.stderr


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("command", "lines_read"),
    [("export climate --snapshot current --output -", 1), ("agreement climate --json", 0)],
)
def test_a_reader_that_goes_ends_a_command_quietly(
    ada_member: Membership,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    lines_read: int,
) -> None:
    """As in `manage.py export … | head -1`: what comes after the first line fills no pipe."""
    share(settings, monkeypatch)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # it would leave nothing for the end
    for answer in "ab":
        task = make.make_task(ada_member.project, responses=[answer * 200_000, "Short."])
        make.make_ranking(ada_member, (1, 2), task=task)
    with subprocess.Popen(
        [sys.executable, "manage.py", *command.split()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        for _ in range(lines_read):
            json.loads(process.stdout.readline())
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 1)
