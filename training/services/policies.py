"""What people may ask of policies.

What the weekly cycle asks for too stands in `training.lifecycle`, which it may import.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from annotate.models import AuditEvent, Project, User, content_hash
from rewards.ml.artefacts import digest
from rewards.models import Run
from rewards.services.bases import NoSuchBase, adopt_base
from rewards.services.runs import request_run
from training.lifecycle import (
    NotAllowed,
    asked_least,
    failing_rules,
    judge_promotion,
    promote,
    request_evaluation,
    request_samples,
    request_update,
)
from training.models import Cycle, LoopPause, PolicyVersion
from training.services.corpus import demonstrations, keep_corpus, read_corpus

__all__ = [
    "NotAllowed",
    "failing_rules",
    "judge_promotion",
    "promote",
    "register_base",
    "request_evaluation",
    "request_fine_tuning",
    "request_samples",
    "request_update",
    "roll_back",
    "write_responses",
]

Status = PolicyVersion.Status


def request_fine_tuning(
    project: Project,
    *,
    base: str = "",
    corpus: Path | None = None,
    config: Mapping[str, Any] | None = None,
    by: User | None = None,
) -> Run:
    """Ask for a supervised model, which `register_base` then makes a policy.

    It learns from the JSON lines in `corpus`, each with `messages` and `response`, or from the
    project's demonstrations where none is given. `base` is a folder or a hub id, see
    rewards.services.bases.adopt_base; without one a small model is made from scratch. `config` may
    hold `sft`, fields of training.ml.sft.SftConfig, and `embedded`, arguments of
    training.ml.embedded.build_model and `vocab_size`. The same request gives the same run.
    Raises NotAllowed for what cannot be learned from or trained, and ArtefactError for an altered
    artefact.
    """
    config = dict(config or {})
    if unknown := set(config) - {"sft", "embedded"}:
        names = ", ".join(sorted(unknown))
        raise NotAllowed(f"fine-tuning has no setting {names}: there are sft and embedded")
    if base and "embedded" in config:
        raise NotAllowed("embedded describes a model made from scratch, so no base can be given")
    examples = read_corpus(corpus) if corpus else demonstrations(project)
    params = {
        "base": _adopt(project, base) if base else "",
        "corpus": keep_corpus(project, examples),
        **config,
    }
    key = f"supervised {project.pk} {content_hash(params)[:32]}"
    return request_run(project, "supervised", params, key=key, by=by)


def _adopt(project: Project, base: str) -> str:
    try:
        return adopt_base(project, base)
    except NoSuchBase as error:
        raise NotAllowed(str(error)) from error


def register_base(
    project: Project,
    base: str,
    *,
    config: Mapping[str, Any] | None = None,
    by: User | None = None,
) -> PolicyVersion:
    """Make a base model a policy of the project, live if the project has none.

    `base` is a folder or a hub id, see rewards.services.bases.adopt_base. `config` may hold
    `sampling`, with `temperature` and `max_new_tokens`.
    Raises NotAllowed for what is no model, and ArtefactError for an altered artefact.
    """
    name = _adopt(project, base)
    folder = Path(settings.ARTEFACT_ROOT) / name
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)
        policy = PolicyVersion.objects.create(
            project=project,
            number=project.policies.next_number(),
            base=name,
            config=dict(config or {}),
            digest=digest(folder) if folder.is_dir() else "",
            status=Status.CANDIDATE,
        )
        if not project.policies.live().exists():
            policy.go_live()
        AuditEvent.record("register", policy, project=project, actor=by, base=name)
    return policy


@transaction.atomic
def write_responses(policy: PolicyVersion, n: int, *, by: User | None = None) -> Run:
    """Ask for the project's K responses of the policy to the `n` prompts that were asked least.

    Asked twice, it is done twice, with other responses; but not while the first is under way.
    Raises NotAllowed, also where no prompt is there.
    """
    project = Project.objects.select_for_update().get(pk=policy.project_id)
    earlier = project.runs.filter(kind="sample")
    if run := earlier.exclude(state__in=Run.FINISHED).first():
        raise NotAllowed(f"run {run.pk} is writing responses already: wait for it, or cancel it")
    prompts = asked_least(project, n)
    return request_samples(
        policy, prompts, project.responses_per_prompt, seed=earlier.count(), by=by
    )


@transaction.atomic
def roll_back(project: Project, by: User | None, reason: str) -> PolicyVersion:
    """Make the policy live that was live before; the one that is live now is rejected.

    Nothing is trained unattended until an admin has found out why: a running cycle stops, and the
    schedule begins none before services.cycles.resume_loop.
    Returns the policy that is live afterwards. Raises NotAllowed when there was none before.
    """
    Project.objects.select_for_update().get(pk=project.pk)
    bad = project.policies.live().first()
    former = project.policies.former()
    if bad is None or former is None:
        raise NotAllowed(f"no other policy of {project.slug} was live before")
    former.go_live()
    project.policies.filter(pk=bad.pk).update(status=Status.REJECTED)
    what = f"{bad} was rolled back: {reason}"
    if cycle := project.cycles.filter(state=Cycle.State.RUNNING).first():
        while cycle.state == Cycle.State.RUNNING:  # until this, and no worker, has moved it on
            cycle.close(Cycle.State.STOPPED, what)
    LoopPause.objects.update_or_create(project=project, defaults={"reason": what, "paused_by": by})
    AuditEvent.record(
        "roll back", former, project=project, actor=by, reason=reason, rejected=bad.number
    )
    return former
