"""The commands about policies and cycles: text for people, one JSON object for programs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotate.models import AuditEvent, Membership, Project
from annotate.services.content import add_demonstration
from annotate.services.projects import exclude
from rewards.models import Run
from tests import make
from tests.commands import ask, say
from tests.process_settings import RUN_KINDS
from tests.processes import ROOT, share
from tests.training.rows import EVALUATION, make_candidate, make_reward_model
from tests.training.test_cycle import EASY, add_judgements
from training.models import Cycle, PolicyVersion
from training.services.cycles import start_cycle
from training.services.policies import promote, register_base

Run_ = Callable[..., str]


@pytest.fixture(autouse=True)
def instant(settings: Any) -> None:
    settings.RUN_KINDS = RUN_KINDS


def test_registering_a_policy(project: Project) -> None:
    found = ask("register_policy", "climate", "org/base", "--max-new-tokens", "48")
    assert (found["policy"], found["status"]) == (1, "live")
    assert project.policies.get().sampling == {"temperature": 1.0, "max_new_tokens": 48}
    assert say("register_policy", "climate", "org/two").startswith("policy 2 of climate: candidate")
    with pytest.raises(CommandError, match="neither a folder nor the id"):
        call_command("register_policy", "climate", "no such/folder/here")
    with pytest.raises(CommandError, match="no project 'weather'"):
        call_command("register_policy", "weather", "org/base")


EXAMPLE = '{"messages": [{"role": "user", "content": "why?"}], "response": "because"}\n'
TINY = {
    "embedded": {"hidden_size": 16, "layers": 1, "heads": 2, "vocab_size": 300},
    "sft": {"log_every": 1, "batch_size": 2},
}


@pytest.fixture
def corpus(settings: Any, tmp_path: Path) -> Path:
    """Four examples, and the real work of learning from them."""
    settings.RUN_KINDS = RUN_KINDS | {"supervised": "training.work.fine_tune"}
    path = tmp_path / "corpus.jsonl"
    path.write_text(EXAMPLE * 4)
    return path


def test_fine_tuning(project: Project, corpus: Path) -> None:
    config = json.dumps(TINY)
    found = ask("fine_tune", "climate", corpus, "--config", config)
    assert (found["n_examples"], found["n_too_long"], len(found["curve"])) == (4, 0, 2)
    assert ask("register_policy", "climate", found["base"])["digest"] == found["digest"]
    corpus.rename(corpus.with_name("moved.jsonl"))
    text = say("fine_tune", "climate", corpus.with_name("moved.jsonl"), "--config", config)
    assert text.startswith(f"{found['base']}: learned from 4 examples")
    assert f"register_policy climate {found['base']}" in text
    assert Run.objects.count() == 1, "the same examples and settings are the same run"
    # On from there, with what people wrote.
    add_demonstration(make.make_prompt(project, "why not?", split="train"), "because of that")
    second = ask("fine_tune", "climate", "--base", found["base"])
    assert (second["from"], second["n_examples"]) == (found["base"], 1)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (EXAMPLE + "\n" + EXAMPLE[:40] + "\n", r"corpus\.jsonl line 3: not JSON"),
        (EXAMPLE + '{"messages": [], "response": "so"}', "line 2: the prompt is empty"),
        (EXAMPLE + '{"prompt": "why?", "completion": "so"}', "line 2: `messages` is not a list"),
        (EXAMPLE.replace("because", " "), "line 1: the response is empty"),
        ("\n", r"corpus\.jsonl holds no example"),
    ],
)
def test_a_bad_corpus_is_refused_before_anything_runs(
    project: Project, corpus: Path, content: str, complaint: str
) -> None:
    corpus.write_text(content)
    with pytest.raises(CommandError, match=complaint):
        call_command("fine_tune", "climate", corpus)
    assert not Run.objects.exists()


def test_what_cannot_be_fine_tuned_says_why(project: Project, corpus: Path) -> None:
    with pytest.raises(CommandError, match=r"missing\.jsonl cannot be read: No such file"):
        call_command("fine_tune", "climate", corpus.with_name("missing.jsonl"))
    with pytest.raises(CommandError, match="climate has no demonstration"):
        call_command("fine_tune", "climate")
    with pytest.raises(CommandError, match=f"{corpus.parent} holds no model: it has no config"):
        call_command("fine_tune", "climate", corpus, "--base", corpus.parent)
    with pytest.raises(CommandError, match="no setting epochs: there are sft and embedded"):
        call_command("fine_tune", "climate", corpus, "--config", '{"epochs": 3}')
    with pytest.raises(CommandError, match="made from scratch"):
        call_command(
            "fine_tune", "climate", corpus, "--base", "org/base", "--config", '{"embedded": {}}'
        )
    assert not Run.objects.exists()


def test_sampling(live: PolicyVersion) -> None:
    for _ in range(3):
        make.make_prompt(live.project, responses=0)
    found = ask("sample", "climate", "--prompts", "2", "--k", "3")
    assert (found["policy"], found["tasks"]) == (1, 2)
    assert Run.objects.get().params["k"] == 3
    with pytest.raises(CommandError, match="no policy 9"):
        call_command("sample", "climate", "--policy", "9")


def test_updating_a_policy_evaluates_and_judges_it(live: PolicyVersion) -> None:
    with pytest.raises(CommandError, match="no such reward model that was accepted"):
        call_command("update_policy", "climate")
    make_reward_model(live.project)
    found = ask("update_policy", "climate", "--config", '{"iterations": 3}')
    assert (found["policy"], found["status"], found["parent"]) == (2, "candidate", 1)
    assert found["evaluation"]["win_rate"]["value"] == EVALUATION["win_rate"]["value"]
    assert found["gate"]["state"] == "PASS"
    assert "pairs" not in found["evaluation"]
    text = say("update_policy", "climate", "--config", '{"iterations": 3}')
    assert "80.0% [70.0%, 90.0%] of 100 prompts" in text and "promotion gate: PASS" in text
    assert Run.objects.filter(kind="ppo").count() == 1, "the same update is the same run"
    with pytest.raises(CommandError, match="no such setting of PPO: .*iteration"):
        call_command("update_policy", "climate", "--config", '{"iteration": 3}')
    with pytest.raises(CommandError, match="JSON"):
        call_command("update_policy", "climate", "--config", "{")


def test_promoting_and_rolling_back(live: PolicyVersion) -> None:
    worse = make_candidate(live, {"eos_rate": 0.5})
    with pytest.raises(CommandError, match=r"policy 2 stays behind its gate.*endings"):
        call_command("promote", "climate", worse.number)
    better = make_candidate(live)
    assert ask("promote", "climate", better.number)["status"] == "live"
    with pytest.raises(CommandError, match="--reason"):
        call_command("rollback", "climate")
    found = ask("rollback", "climate", "--reason", "it repeats itself")
    assert (found["policy"], found["status"]) == (1, "live")
    assert AuditEvent.objects.get(verb="roll back").detail["reason"] == "it repeats itself"
    with pytest.raises(CommandError, match="no other policy"):
        call_command("rollback", "climate", "--reason", "once more")


def test_a_tainted_policy_says_so(live: PolicyVersion, ada_member: Membership) -> None:
    second = make_candidate(live)
    second.reward_model.snapshot.rankings.add(make.make_ranking(ada_member))
    promote(second)
    promote(make_candidate(second))
    exclude(live.project, ada_member, "clicks at random", by=None)
    text = say("rollback", "climate", "--reason", "it repeats itself")
    assert "tainted: policy 2 learned from reward model 1, snapshot 1: " in text
    assert "clicks at random" in text


def test_resuming_after_a_rollback(live: PolicyVersion) -> None:
    promote(make_candidate(live))
    assert "until `manage.py resume climate`" in say("rollback", "climate", "--reason", "taint")
    assert ask("resume", "climate") == {"project": "climate", "resumed": True}
    assert say("resume", "climate") == "nothing was paused\n"


def test_a_cycle_in_the_foreground(live: PolicyVersion, capsys: Any) -> None:
    add_judgements(live.project, 20)
    live.project.gate_settings.create(values={"agreement": EASY}, reason="few prompts")
    found = ask("cycle", "climate", "--config", '{"blind_votes": 2}')
    assert (found["state"], found["step"]) == ("running", "blind comparison")
    assert found["waits_for"] == "0 of 2 blind comparisons by the volunteers"
    assert [entry["step"] for entry in found["log"]][-1] == "evaluate"
    with pytest.raises(CommandError, match="has begun with its own blind_votes"):
        call_command("cycle", "climate", "--config", '{"blind_votes": 3}')
    text = say("cycle", "climate", "--config", '{"blind_votes": 2}')
    assert "waits for 0 of 2 blind comparisons" in text
    assert Cycle.objects.count() == 1
    assert "policy 2 wins 80% of held-out prompts" in capsys.readouterr().err


def test_a_cycle_that_stops_says_why(live: PolicyVersion) -> None:
    add_judgements(live.project, 20)
    found = ask("cycle", "climate")
    assert found["state"] == "stopped"
    assert "30 more are needed" in found["reason"]
    assert "Stopped: trained in shadow" in say("cycle", "climate")


def test_a_cycle_whose_run_fails_is_an_error(live: PolicyVersion, settings: Any) -> None:
    settings.RUN_KINDS = RUN_KINDS | {"reward_model": RUN_KINDS["fail"]}
    add_judgements(live.project, 20)
    with pytest.raises(CommandError, match="the loss is not finite"):
        call_command("cycle", "climate")
    settings.RUN_KINDS = RUN_KINDS
    assert ask("cycle", "climate")["state"] == "stopped"


def test_a_cycle_wants_a_policy_and_known_settings(project: Project) -> None:
    with pytest.raises(CommandError, match="no live policy"):
        call_command("cycle", "climate")
    register_base(project, "org/base")
    with pytest.raises(CommandError, match="no setting votes"):
        call_command("cycle", "climate", "--config", '{"votes": 2}')


@pytest.mark.django_db(transaction=True)
def test_libraries_say_nothing_of_their_own_on_a_terminal(
    project: Project, corpus: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training, and sampling with adapters, in a process of its own."""
    share(settings, monkeypatch)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "prefloop.settings")
    make.make_prompt(project, responses=0)
    code = f"""import django; django.setup()
from django.core.management import call_command
from rewards.models import Run
call_command("fine_tune", "climate", {str(corpus)!r}, "--config", {json.dumps(TINY)!r})
base = Run.objects.get().result["base"]
call_command("register_policy", "climate", base, "--max-new-tokens", "4")
call_command("sample", "climate")"""
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")


def test_a_demonstration_that_began_with_other_settings_says_so(live: PolicyVersion) -> None:
    start_cycle(live.project, config={"blind_votes": 1})
    with pytest.raises(CommandError, match="its own .*blind_votes.*\n.*make demo-reset"):
        say("demo")
