"""What a run of this package does: fitting a reward model.

It may run again after a crash, with the same result: fitting goes on from the checkpoints in the
run's work folder, and a model that is published already is only entered in its row.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings

from annotate.models import content_hash
from rewards.audits import influence, token_lift
from rewards.evidence import evidence, gold_prompts
from rewards.ml.artefacts import ArtefactError, publish, verify
from rewards.ml.pairs import RankedPrompt, read_snapshot
from rewards.ml.progress import OnProgress, Progress
from rewards.ml.version import code_version
from rewards.models import RewardModelVersion, Run, Snapshot
from rewards.second_opinions import ask_where_contradicted

if TYPE_CHECKING:
    from rewards.ml.reward_model import RewardModel

# Prompts with a judged pair: to learn from, to stop by, and for an interval of the accuracy.
AT_LEAST = {"train": 10, "validation": 2, "test": 2}
# Training prompts that are scored to see where the model contradicts people, and how many of the
# contradictions are kept. Reading so many costs less than an epoch.
SCORED_PROMPTS = 2000
KEPT_CONTRADICTIONS = 200

Status = RewardModelVersion.Status


class TooLittleData(Exception):
    """The snapshot is too small to fit a reward model to; the message says by how much."""


def fit_reward_model(run: Run, report: OnProgress) -> dict[str, Any]:
    """Fit, measure and publish the reward model of the run, and make it a candidate.

    Another person is asked where the model is sure that the only one who judged was wrong.
    Raises TooLittleData, and ArtefactError where the snapshot or the base has been altered, or
    another model lies where this one belongs, as after a database was put back from a backup.
    """
    version = run.reward_model
    root = Path(settings.ARTEFACT_ROOT)
    target = root / "projects" / run.project.slug / "reward-models" / str(version.number)
    if not target.exists():
        report(Progress(0, 0, f"reading {version.snapshot}"))
        _fit(version, target, report)
    manifest = verify(target)
    found: dict[str, Any] = dict(manifest.facts)
    if (found["run"], found["snapshot"]) != (run.pk, version.snapshot.digest):
        raise ArtefactError(f"{target} is the reward model of another run or snapshot")
    with run.fenced():
        unjudged = RewardModelVersion.objects.filter(
            pk=version.pk, status__in=(Status.TRAINING, Status.FAILED)
        )
        unjudged.update(
            folder=target.relative_to(root).as_posix(),
            digest=manifest.digest(),
            metrics=found["metrics"],
            status=Status.CANDIDATE,
        )
        contradicted = found.pop("contradicted")
        found["second_opinions"] = ask_where_contradicted(
            version, contradicted["pairs"], contradicted["n_scored"]
        )
    return found


def _fit(version: RewardModelVersion, target: Path, report: OnProgress) -> None:
    """Publish the model with what is known of it."""
    from rewards.ml.fit import FitConfig, fit
    from rewards.ml.machine import machine

    examples = _examples(version.snapshot)
    if Path(version.base_source).is_dir():
        verify(Path(version.base_source))
    config = FitConfig(**{**machine(), **version.config})
    fitted = fit(
        examples,
        version.base_source,
        config,
        workdir=version.run.workdir / "fit",
        on_progress=report,
    )
    test = [example for example in examples if example.split == "test"]
    gold = gold_prompts(version.project, examples)
    facts: dict[str, Any] = {
        "run": version.run.pk,
        "snapshot": version.snapshot.digest,
        "base": version.base,
        "config": asdict(config),
        "code_version": code_version(),
        "metrics": fitted.metrics
        | _against_former(version, fitted.model, test, gold, config.seed)
        | _on_gold(fitted.model, gold, config.seed)
        | evidence(version, examples)
        | {
            "token_lift": token_lift(fitted.model, examples, config.seed),
            "influence": influence(examples, gold, config.seed),
        },
        "contradicted": _contradicted(fitted.model, examples, config.seed),
        "contested": _contested(fitted.model, examples),
    }
    publish(fitted.model.save, target, facts)


def _examples(snapshot: Snapshot) -> list[RankedPrompt]:
    if verify(snapshot.path).digest() != snapshot.digest:
        raise ArtefactError(f"{snapshot.path} is not what was frozen as {snapshot}")
    examples = read_snapshot(snapshot.path)
    found = Counter(example.split for example in examples)
    if any(found[split] < least for split, least in AT_LEAST.items()):
        counts = ", ".join(
            f"{found[split]} of at least {least} prompts for {split}"
            for split, least in AT_LEAST.items()
        )
        raise TooLittleData(
            f"{snapshot} holds too few prompts with a judged pair: {counts}. "
            "Let people rank more prompts, then freeze again."
        )
    return examples


def _contradicted(
    model: "RewardModel", examples: Sequence[RankedPrompt], seed: int
) -> dict[str, Any]:
    """Where the model contradicts the one person who judged a training prompt."""
    from rewards.ml.contradictions import contradictions, judged_once
    from rewards.ml.fit import score_judged

    train = [example for example in examples if example.split == "train"]
    once = judged_once(train, SCORED_PROMPTS, seed)
    found = contradictions(score_judged(model, once), model.normalisation.temperature)
    pairs = [asdict(one) for one in found[:KEPT_CONTRADICTIONS]]
    return {"n_scored": len(once), "pairs": pairs}


def _contested(model: "RewardModel", examples: Sequence[RankedPrompt]) -> list[dict[str, Any]]:
    """What the model thinks of pairs about which people contradict each other, surest first.

    The responses are named by their hashes.
    """
    from rewards.ml.contradictions import contested, split_prompts
    from rewards.ml.fit import score_judged

    split = split_prompts(examples)[:SCORED_PROMPTS]
    if not split:
        return []
    found = contested(score_judged(model, split), model.normalisation.temperature)
    return [
        {
            "prompt_id": one.prompt_id,
            "better": content_hash(one.better),
            "worse": content_hash(one.worse),
            "p": one.p,
        }
        for one in found[:KEPT_CONTRADICTIONS]
    ]


def _on_gold(model: "RewardModel", gold: Sequence[RankedPrompt], seed: int) -> dict[str, Any]:
    """How often the model is right where the answer is known; empty without such prompts."""
    from rewards.ml.evaluate import accuracy
    from rewards.ml.fit import score_judged

    return {"gold_accuracy": asdict(accuracy(score_judged(model, gold), seed))} if gold else {}


def _against_former(
    version: RewardModelVersion,
    model: "RewardModel",
    test: Sequence[RankedPrompt],
    gold: Sequence[RankedPrompt],
    seed: int,
) -> dict[str, Any]:
    """How much more accurate the model is than the last one that was accepted, if any.

    On held-out prompts, and where there are some, on those whose answer is known.
    """
    from rewards.ml.evaluate import accuracy_gain
    from rewards.ml.fit import score_judged
    from rewards.ml.machine import machine
    from rewards.ml.reward_model import RewardModel

    accepted = version.project.reward_models.filter(
        number__lt=version.number, status=Status.ACCEPTED, tainted_at=None
    )
    former = next((one for one in accepted if one.path.is_dir()), None)
    if former is None:
        return {}
    import torch

    where = machine()
    rival = RewardModel.load(
        former.path,
        former.base_source,
        device=where["device"],
        dtype=getattr(torch, where["dtype"]),
    )
    gains = {}
    for name, prompts in (("accuracy_over_former", test), ("gold_over_former", gold)):
        if prompts:
            theirs = [prompt.scores for prompt in score_judged(rival, prompts)]
            gains[name] = asdict(accuracy_gain(score_judged(model, prompts), theirs, seed))
    return {"former": former.number, **gains}
