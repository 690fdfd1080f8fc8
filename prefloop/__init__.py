"""The Django project: it imports the apps and is imported by none."""

from prefloop.celery import app as celery_app

__all__ = ["celery_app"]
