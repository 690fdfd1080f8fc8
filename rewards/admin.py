"""The tables, to look at; and the thresholds of the gates, to set."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin
from django.http import HttpRequest

from annotate.admin import LookOnly
from annotate.models import User
from rewards import models
from rewards.forms import GateSettingForm
from rewards.services.agreement import newest_report
from rewards.services.gates import judge_agreement


@admin.register(models.Run)
class RunAdmin(LookOnly):
    list_display = ("id", "project", "kind", "state", "attempt", "worker", "created_at")
    list_filter = ("project", "kind", "state")


@admin.register(models.Snapshot)
class SnapshotAdmin(LookOnly):
    list_display = ("__str__", "project", "digest", "tainted_at", "created_at")
    list_filter = ("project",)
    exclude = ("rankings",)  # perhaps a hundred thousand


@admin.register(models.AgreementReport)
class AgreementReportAdmin(LookOnly):
    list_display = ("project", "data_hash", "code_version", "created_at")
    list_filter = ("project",)


@admin.register(models.GateReport)
class GateReportAdmin(LookOnly):
    list_display = ("gate", "project", "state", "released_by", "created_at")
    list_filter = ("project", "gate", "state")


@admin.register(models.RewardModelVersion)
class RewardModelAdmin(LookOnly):
    list_display = ("__str__", "project", "snapshot", "base", "status", "tainted_at", "created_at")
    list_filter = ("project", "status")


@admin.register(models.GateSetting)
class GateSettingAdmin(LookOnly):
    """The thresholds in force are the newest row: a change is a further row, with its reason."""

    list_display = ("project", "created_by", "created_at", "reason")
    list_filter = ("project",)
    form = GateSettingForm

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def save_model(self, request: HttpRequest, obj: models.GateSetting, *args: Any) -> None:
        obj.created_by = cast(User, request.user)  # the admin lets nobody else in
        super().save_model(request, obj, *args)
        if report := newest_report(obj.project):
            judge_agreement(obj.project, report.figures)
