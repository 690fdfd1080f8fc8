"""What a web or worker process loads, asked of a fresh one."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "transformers", "peft", "trl", "datasets", "accelerate"}
SLOW = {"scipy", "sklearn", "pandas"}  # a second or two, which everybody waits for at a restart

LOAD_EVERYTHING = """
import json, sys
import django
django.setup()
from importlib import import_module
from pkgutil import iter_modules
from django.apps import apps
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.urls import get_resolver
from prefloop.celery import app
from prefloop.wsgi import application

def patterns(resolver):
    for pattern in resolver.url_patterns:
        if hasattr(pattern, "url_patterns"):
            yield from patterns(pattern)
        else:
            yield pattern

views = [pattern.callback for pattern in patterns(get_resolver())]
web = sorted(sys.modules)
app.loader.import_default_modules()
for name in ("annotate", "rewards", "training"):
    for folder in ("services", "management"):
        package = import_module(f"{name}.{folder}")
        for module in iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)
for name, origin in get_commands().items():
    if origin in ("annotate", "rewards", "training"):
        load_command_class(origin, name)
for function in settings.RUN_KINDS.values():
    import_module(function.rpartition(".")[0])
print(json.dumps({"modules": sorted(sys.modules), "web": web, "views": len(views)}))
"""


def packages(modules: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_neither_web_nor_worker_loads_torch_and_web_no_scipy() -> None:
    process = subprocess.run(
        [sys.executable, "-c", LOAD_EVERYTHING],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "prefloop.settings"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert found["views"] > 10
    assert {"rewards.services.runs", "training.work", "training.tasks"} <= set(found["modules"])
    assert packages(found["modules"]) & HEAVY == set()
    assert packages(found["web"]) & SLOW == set()
