"""The standing cast: ada and bob annotate, root administers the project, eve is nobody there."""

import os
import socket
import tempfile
from ipaddress import ip_address
from pathlib import Path
from typing import Any

# Read when huggingface_hub is imported; the processes that tests start inherit it.
_hub = tempfile.TemporaryDirectory(prefix="prefloop-hub-")
os.environ |= {"HF_HOME": _hub.name, "HF_HUB_CACHE": _hub.name, "HF_HUB_OFFLINE": "1"}

import pytest  # noqa: E402
from django.conf import settings as project_settings  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.test import Client  # noqa: E402

from annotate.models import Membership, Project, User  # noqa: E402
from tests import make  # noqa: E402

# Of several processes that run tests side by side, each has a queue of its own on a shared Redis.
_worker, _broker = os.environ.get("PYTEST_XDIST_WORKER"), project_settings.CELERY_BROKER_URL
if _worker and _broker.startswith("redis:"):
    _broker = f"{_broker.rpartition('/')[0]}/{_worker.removeprefix('gw')}"
    os.environ["CELERY_BROKER_URL"] = project_settings.CELERY_BROKER_URL = _broker


@pytest.fixture(autouse=True)
def no_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing under test may open a connection to another machine."""
    connect = socket.socket.connect

    def connect_nearby(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"  # or a Unix socket's path
        if host != "localhost" and not ip_address(host).is_loopback:
            raise AssertionError(f"A test tried to connect to {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect_nearby)


@pytest.fixture(autouse=True)
def no_heartbeat_within_a_transaction(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's heartbeat comes over a connection of its own, which sees only what is committed.

    In a test that never commits it would find no run, and take it for lost after some seconds.
    """
    marker = request.node.get_closest_marker("django_db")
    commits = {"transactional_db", "live_server"} & set(request.fixturenames)
    if not commits and not (marker and marker.kwargs.get("transaction")):
        monkeypatch.setattr("rewards.runner._Attempt._beat", lambda attempt: None)


@pytest.fixture(autouse=True, scope="session")
def hub_models() -> None:
    """Models that a cache of the hub knows by their configuration alone."""
    commit = "0" * 40
    for name in ("base", "other", "two", "model-1b"):
        folder = Path(_hub.name) / f"models--org--{name}"
        for path, text in ((f"snapshots/{commit}/config.json", "{}"), ("refs/main", commit)):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)


@pytest.fixture(autouse=True)
def artefacts(settings: Any, tmp_path: Path) -> Path:
    """The folder of what is made in the test; the one of the checkout stays as it is."""
    settings.ARTEFACT_ROOT = tmp_path / "artefacts"
    return tmp_path / "artefacts"


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """Row ids come again after a test is rolled back; what was cached for them must not."""
    cache.clear()


@pytest.fixture
def project(db: None) -> Project:
    """A project that wants one judgement of each prompt (no audit), with guidelines."""
    return make.make_project("climate")


@pytest.fixture
def ada(project: Project) -> User:
    return make.make_member(project, "ada").user


@pytest.fixture
def bob(project: Project) -> User:
    return make.make_member(project, "bob").user


@pytest.fixture
def root(project: Project) -> User:
    return make.make_member(project, "root", role=Membership.Role.ADMIN).user


@pytest.fixture
def admin(client: Client, root: User) -> Client:
    """A browser in which root is signed in."""
    client.force_login(root)
    return client


@pytest.fixture
def eve(db: None) -> User:
    return make.make_user("eve")


@pytest.fixture
def ada_member(ada: User, project: Project) -> Membership:
    return project.memberships.get(user=ada)


@pytest.fixture
def bob_member(bob: User, project: Project) -> Membership:
    return project.memberships.get(user=bob)
