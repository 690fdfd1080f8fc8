"""The tables, to look at. What people judged is changed by nobody, here or elsewhere."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db.models import Model
from django.http import HttpRequest

from annotate import models

admin.site.site_header = "Prefloop"
admin.site.register(models.User, UserAdmin)


class LookOnly(admin.ModelAdmin):
    """Rows come and go through the services, which keep counts and the audit trail right."""

    list_per_page = 50

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(models.Project)
class ProjectAdmin(LookOnly):
    """The settings of a project may be changed; its name in addresses may not."""

    list_display = ("title", "slug", "responses_per_prompt", "paused", "created_at")
    readonly_fields = ("slug", "created_at")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)


@admin.register(models.Membership)
class MembershipAdmin(LookOnly):
    list_display = ("pseudonym", "project", "role", "state", "created_at")
    list_filter = ("project", "role", "state")


@admin.register(models.Prompt)
class PromptAdmin(LookOnly):
    list_display = ("__str__", "project", "topic", "language", "split")
    list_filter = ("project", "split", "topic")


@admin.register(models.Response)
class ResponseAdmin(LookOnly):
    list_display = ("__str__", "source", "source_name", "policy_ref", "created_at")
    list_filter = ("source",)


@admin.register(models.Task)
class TaskAdmin(LookOnly):
    list_display = ("id", "project", "kind", "state", "need", "n_done", "n_live", "batch")
    list_filter = ("project", "kind", "state")


@admin.register(models.Assignment)
class AssignmentAdmin(LookOnly):
    list_display = ("id", "task", "annotator", "state", "late", "opened_at", "submitted_at")
    list_filter = ("state", "late")


@admin.register(models.Ranking)
class RankingAdmin(LookOnly):
    list_display = ("assignment", "revision", "is_current", "created_at", "frozen_at")
    list_filter = ("is_current",)


@admin.register(models.AuditEvent)
class AuditEventAdmin(LookOnly):
    list_display = ("created_at", "project", "actor", "verb", "object_type", "object_id")
    list_filter = ("project", "verb")


admin.site.register(
    (models.ProjectText, models.Invite, models.Demonstration, models.Exclusion), LookOnly
)
