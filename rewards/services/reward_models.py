"""Asking for a reward model."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from annotate.models import AuditEvent, Project, User, content_hash
from rewards.ml.fit_config import FitConfig
from rewards.models import RewardModelVersion, Snapshot
from rewards.services.runs import request_run, retry_run


class InvalidConfig(ValueError):
    """The settings of a fit are none; the message says what is wrong."""


@transaction.atomic
def request_reward_model(
    snapshot: Snapshot,
    base: str,
    config: Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    by: User | None = None,
) -> RewardModelVersion:
    """Ask for a reward model that is fitted to the snapshot.

    `base` is a name that `services.bases.adopt_base` gave, or a policy's base. `config` holds the
    fields of rewards.ml.fit.FitConfig that differ from their defaults. The same request, or one
    with the same `key`, gives the same model; where its run failed or was cancelled, it is queued
    again. Raises InvalidConfig.
    """
    try:
        FitConfig(**(config or {}))
    except (TypeError, ValueError) as error:
        raise InvalidConfig(str(error).removeprefix("FitConfig.__init__() ")) from error
    project = Project.objects.select_for_update().get(pk=snapshot.project_id)
    asked = {"snapshot": snapshot.pk, "base": base, "config": dict(config or {})}
    key = key or f"reward model {project.pk} {content_hash(asked)[:32]}"
    if there := project.reward_models.filter(run__key=key).select_related("run").first():
        if retry_run(there.run, by):
            project.reward_models.filter(pk=there.pk).update(
                status=RewardModelVersion.Status.TRAINING
            )
            there.refresh_from_db()
        return there
    newest = project.reward_models.first()
    version = RewardModelVersion.objects.create(
        project=project,
        number=newest.number + 1 if newest else 1,
        snapshot=snapshot,
        run=request_run(project, "reward_model", asked, key=key, by=by),
        base=base,
        config=asked["config"],
        tainted_at=snapshot.tainted_at,
    )
    AuditEvent.record("train", version, project=project, actor=by, snapshot=snapshot.number)
    return version
