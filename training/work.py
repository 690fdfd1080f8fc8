"""What the runs of this package do: supervised training, sampling, PPO and evaluation.

Each function may run again after a crash, with the same result: it goes on from the checkpoints in
the run's work folder, and finishes what it finds published.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings

from annotate.models import Project, Prompt, Response, Task
from annotate.services.content import add_response
from annotate.services.tasks import open_ranking_tasks
from rewards.ml.artefacts import ArtefactError, publish, verify
from rewards.ml.progress import OnProgress, Progress
from rewards.models import Run
from rewards.services.selection import choose, open_chosen_tasks
from training.ml.config import UpdateConfig
from training.models import PolicyVersion

if TYPE_CHECKING:
    from rewards.ml.text import Message
    from training.ml.evaluate import Comparison, WinRate
    from training.ml.sft import Demonstration

# Lines with `messages` and `response`, in the folder that a supervised model learns from.
CORPUS_FILE = "corpus.jsonl"
# Prompts that responses are sampled for between two reports.
PROMPTS_AT_ONCE = 16
# PPO trains on at most so many prompts, and chooses its best policy on so many others.
UPDATE_PROMPTS = 5000
VALIDATION_PROMPTS = 64
SHOWN_PAIRS = 12
# Comparisons hold a policy up, so they come before other tasks.
COMPARISON_PRIORITY = 10
COMPARISON_MAX_JUDGES = 3


def fine_tune(run: Run, report: OnProgress) -> dict[str, Any]:
    """Publish a supervised model; see services.policies.request_fine_tuning for the parameters."""
    from training.ml.sft import SftConfig
    from training.ml.sft import fine_tune as train

    target = _artefact(run.project, "bases", f"run-{run.pk}")
    made_of = {"run": run.pk, "from": run.params["base"], "corpus": run.params["corpus"]}
    if not target.exists():
        examples = _examples(run.params["corpus"])
        model, tokenizer = _start_model(run.params, examples)
        config = SftConfig(**run.params.get("sft", {}))
        result = train(
            model, tokenizer, examples, config, workdir=run.workdir / "sft", on_progress=report
        )

        def save(folder: Path) -> None:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

        publish(save, target, made_of | {"sft": asdict(config), "result": asdict(result)})
    manifest = verify(target)
    if any(manifest.facts.get(name) != value for name, value in made_of.items()):
        raise ArtefactError(f"{target} is a base that {run} did not make")
    base = target.relative_to(settings.ARTEFACT_ROOT).as_posix()
    return {"base": base, "digest": manifest.digest(), **dict(manifest.facts)}


def sample_responses(run: Run, report: OnProgress) -> dict[str, Any]:
    """Store K responses of a policy to each prompt, and open tasks to rank them.

    Where there are more prompts than people are to judge, some of them are chosen.
    """
    policy = PolicyVersion.objects.get(pk=run.params["policy"])
    answered = _answered(run, policy, report)
    n, batch = run.params.get("queue", len(answered)), run.params["batch"]
    report(Progress(len(answered), len(answered), "choosing what people are asked"))
    choice = choose(run.project, answered, n, batch=batch)
    with run.fenced():
        tasks = open_chosen_tasks(run.project, answered, choice, proposed_by={"policy": policy.pk})
    n_reserve = sum(task.arm == Task.Arm.RESERVE for task in tasks)
    return {
        "prompts": len(answered),
        "responses": sum(len(responses) for _, responses in answered),
        "tasks": len(tasks) - n_reserve,
        "in_reserve": n_reserve,
    }


def _answered(
    run: Run, policy: PolicyVersion, report: OnProgress
) -> list[tuple[Prompt, list[Response]]]:
    """The run's prompts with responses of the policy, which are stored."""
    prompts = list(Prompt.objects.filter(pk__in=run.params["prompts"]).order_by("pk"))
    k, seed = run.params["k"], run.params["seed"]
    sample = _sampler(policy)
    answered: list[tuple[Prompt, list[Response]]] = []
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        part = prompts[start : start + PROMPTS_AT_ONCE]
        texts = sample([prompt.messages for prompt in part for _ in range(k)], seed + start)
        with run.fenced():
            for place, prompt in enumerate(part):
                own = texts[place * k : (place + 1) * k]
                responses = [_store(policy, prompt, text, run) for text in own]
                answered.append((prompt, responses))
        n = len(answered)
        report(Progress(n, len(prompts), f"{n} of {len(prompts)} prompts answered"))
    return answered


def update_policy(run: Run, report: OnProgress) -> dict[str, Any]:
    """Improve the parent policy by PPO, publish the adapter, and make the policy a candidate."""
    from rewards.ml.machine import machine
    from training.ml.update import run_update

    policy = run.policy
    assert policy.parent is not None and policy.reward_model is not None
    target = _artefact(run.project, "policies", str(policy.number))
    if not target.exists():
        prompts = run.project.prompts.order_by("content_hash")
        validation = prompts.filter(split="validation")[:VALIDATION_PROMPTS]
        config = UpdateConfig(**{**machine(), **policy.config["update"], **policy.sampling})
        result = run_update(
            _checked(policy.base_source),
            Path(_checked(policy.reward_model.path)),
            [prompt.messages for prompt in prompts.filter(split="train")[:UPDATE_PROMPTS]],
            config,
            validation_prompts=[prompt.messages for prompt in validation],
            workdir=run.workdir / "ppo",
            on_progress=report,
            start_adapter=_adapter(policy.parent),
        )

        def copy(folder: Path) -> None:
            shutil.copytree(result.adapter_dir, folder, dirs_exist_ok=True)

        facts: dict[str, Any] = {
            "run": run.pk,
            "base": policy.base,
            "parent": policy.parent.number,
            "reward_model": policy.reward_model.digest,
            "update": asdict(config),
            "metrics": {**result.metrics, "status": result.status},
        }
        publish(copy, target, facts)
    manifest = verify(target)
    found = dict(manifest.facts)
    with run.fenced():
        PolicyVersion.objects.filter(pk=policy.pk).update(
            folder=target.relative_to(settings.ARTEFACT_ROOT).as_posix(),
            digest=manifest.digest(),
            metrics=found["metrics"],
            status=PolicyVersion.Status.CANDIDATE,
        )
    return found


def evaluate_policy(run: Run, report: OnProgress) -> dict[str, Any]:
    """Compare a policy with another on held-out prompts, and let people compare them too."""
    from rewards.ml.machine import machine
    from rewards.ml.reward_model import RewardModel
    from training.ml.evaluate import EvaluationConfig, evaluate

    policy = PolicyVersion.objects.get(pk=run.params["policy"])
    against = PolicyVersion.objects.get(pk=run.params["against"])
    assert policy.reward_model is not None
    held_out = run.project.prompts.filter(split="test").order_by("content_hash")
    prompts = list(held_out[: run.params["prompts"]])
    base = _checked(policy.base_source)
    where = machine()
    reward_model = RewardModel.load(policy.reward_model.path, base, device=where["device"])
    shown: list[dict[str, Any]] = []  # what the scorer saw, prompt by prompt

    def scorer(messages: Sequence["Message"], texts: Sequence[str]) -> list[float]:
        scores: list[float] = reward_model.score(messages, texts).tolist()
        old, new = map(_storable, texts)
        shown.append({"messages": list(messages), "old": old, "new": new, "scores": scores})
        report(Progress(len(shown), len(prompts), "comparing responses"))
        return scores

    report(Progress(0, len(prompts), f"{policy} and {against} respond to {len(prompts)} prompts"))
    comparison = evaluate(
        base,
        [prompt.messages for prompt in prompts],
        scorer,
        EvaluationConfig(**where, **policy.sampling, seed=run.params["seed"]),
        before=_adapter(against),
        after=_adapter(policy),
    )
    votes = run.params["blind_votes"]
    found = _evaluation(comparison) | {
        "against": against.pk,
        "against_number": against.number,
        "blind_votes": votes,
        "pairs": shown[:SHOWN_PAIRS],
    }
    with run.fenced():
        tasks = _open_comparisons(policy, against, prompts, shown, run) if votes else []
        PolicyVersion.objects.filter(pk=policy.pk).update(evaluation=found)
    return {"win_rate": found["win_rate"], "comparisons": len(tasks)}


def _open_comparisons(
    policy: PolicyVersion,
    against: PolicyVersion,
    prompts: Sequence[Prompt],
    shown: Sequence[dict[str, Any]],
    run: Run,
) -> list[Task]:
    """Put both policies' responses before the volunteers, the new one in slot 0 of each task."""
    votes = run.params["blind_votes"]
    pairs = [
        (
            prompt,
            [_store(policy, prompt, one["new"], run), _store(against, prompt, one["old"], run)],
        )
        for prompt, one in zip(prompts, shown, strict=True)
        if one["new"].split() != one["old"].split()
    ][:votes]
    tasks: list[Task] = []
    if pairs:
        each, more = divmod(votes, len(pairs))
        for need, part in ((each + 1, pairs[:more]), (each, pairs[more:])):
            tasks += open_ranking_tasks(
                run.project,
                part,
                batch=policy.blind_batch,
                kind=Task.Kind.EVALUATION,
                need=min(need, COMPARISON_MAX_JUDGES),
                priority=COMPARISON_PRIORITY,
                proposed_by={"policy": policy.pk, "against": against.pk},
            )
    return tasks


def _store(policy: PolicyVersion, prompt: Prompt, text: str, run: Run) -> Response:
    response, _ = add_response(
        prompt,
        text,
        source=Response.Source.POLICY,
        source_name=str(policy),
        policy_ref=policy.pk,
        sampling=policy.sampling | {"seed": run.params["seed"], "run": run.pk},
    )
    return response


def _storable(text: str) -> str:
    """The text without NUL, which a model can spell and no database takes."""
    return text.replace("\x00", "\ufffd")


def _evaluation(comparison: "Comparison") -> dict[str, Any]:
    """The comparison as `lifecycle.judge_promotion` and the pages read it."""

    def win_rate(found: "WinRate") -> dict[str, Any]:
        figures = asdict(found)
        return {"value": figures.pop("rate"), **figures}

    before, after = comparison.before, comparison.after
    return {
        "n_prompts": comparison.overall.n,
        "win_rate": win_rate(comparison.overall),
        "length_controlled_win_rate": win_rate(comparison.length_controlled),
        "old": asdict(before),
        "new": asdict(after),
        "length_change": after.response_tokens / before.response_tokens - 1,
        "kl": after.kl_reference,
        "eos_rate": after.eos_rate,
    }


def _sampler(policy: PolicyVersion) -> Callable[[Sequence[Sequence["Message"]], int], list[str]]:
    """A function of conversations and a seed that gives one response of the policy to each."""
    import torch

    from rewards.ml.machine import machine
    from rewards.ml.text import encode_prompt
    from training.ml.adapters import AdapterBank, lora_config, read_lora_config
    from training.ml.base import load_base
    from training.ml.rollout import Sampling, sample_episodes

    where = machine()
    model, tokenizer = load_base(
        _checked(policy.base_source), getattr(torch, where["dtype"]), where["device"]
    )
    adapter = _adapter(policy)
    lora = read_lora_config(adapter) if adapter else lora_config(r=1, alpha=1)
    bank = AdapterBank(model, lora, pad_token_id=tokenizer.pad_token_id, seed=0)
    if adapter:
        bank.load("policy", adapter)
    sampling = Sampling(eos_token_id=tokenizer.eos_token_id, micro_batch=64, **policy.sampling)

    def sample(conversations: Sequence[Sequence["Message"]], seed: int) -> list[str]:
        generator = torch.Generator(model.device).manual_seed(seed)
        ids = [encode_prompt(tokenizer, messages) for messages in conversations]
        episodes = sample_episodes(
            bank, "policy" if adapter else "reference", ids, sampling, generator
        )
        return [
            _storable(tokenizer.decode(ids, skip_special_tokens=True)) for ids in episodes.responses
        ]

    return sample


def _start_model(params: dict[str, Any], examples: Sequence["Demonstration"]) -> tuple[Any, Any]:
    """The model that supervised training starts from, and its tokenizer.

    In fp32 everywhere, since most of its small steps would be lost to weights in bf16.
    """
    from rewards.ml.machine import machine
    from training.ml.base import load_base
    from training.ml.embedded import build_model, build_tokenizer

    where = machine()
    if base := params["base"]:
        place = Path(settings.ARTEFACT_ROOT) / base
        source = place if place.is_dir() else base
        return load_base(_checked(source), device=where["device"])
    shape = {"vocab_size": 2048, **params.get("embedded", {})}
    texts = [message["content"] for example in examples for message in example.messages]
    texts += [example.response for example in examples]
    tokenizer = build_tokenizer(texts, shape.pop("vocab_size"))
    return build_model(tokenizer, **shape).to(where["device"]), tokenizer


def _examples(corpus: str) -> list["Demonstration"]:
    """What a supervised model learns from."""
    from training.ml.sft import Demonstration

    folder = Path(_checked(Path(settings.ARTEFACT_ROOT) / corpus))
    with (folder / CORPUS_FILE).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Demonstration(tuple(row["messages"]), row["response"]) for row in rows]


def _artefact(project: Project, kind: str, name: str) -> Path:
    return Path(settings.ARTEFACT_ROOT) / "projects" / project.slug / kind / name


def _adapter(policy: PolicyVersion) -> Path | None:
    """The policy's adapter, compared with its manifest; None for a base by itself."""
    return Path(_checked(policy.adapter_path)) if policy.adapter_path else None


def _checked(source: str | Path) -> str:
    """The same, after an artefact was compared with its manifest; a hub id has none."""
    if Path(source).is_dir():
        verify(Path(source))
    return str(source)
