"""The tables, to look at; policies and cycles change through the services and the pages."""

from django.contrib import admin

from annotate.admin import LookOnly
from training import models


@admin.register(models.PolicyVersion)
class PolicyAdmin(LookOnly):
    list_display = ("__str__", "project", "status", "parent", "reward_model", "promoted_at")
    list_filter = ("project", "status")


@admin.register(models.Cycle)
class CycleAdmin(LookOnly):
    list_display = ("__str__", "step", "state", "policy", "created_at", "finished_at")
    list_filter = ("project", "state")


@admin.register(models.LoopPause)
class LoopPauseAdmin(LookOnly):
    list_display = ("project", "reason", "paused_by", "paused_at")
