"""How fast volunteers are served: claim and submit under gunicorn, at many sizes of the queue.

    python benchmarks/annotate.py                         # SQLite, 1,000 to 100,000 tasks
    DATABASE_URL=postgresql://postgres@127.0.0.1/postgres python benchmarks/annotate.py

One cycle is what a volunteer waits for between two tasks: the ranking is posted, stored, the next
task is claimed, and its page comes back. Each size gets a database of its own, made through the
services up to 100 tasks and multiplied from there, and dropped afterwards. Twenty people work at
once from as many connections as `--connections` says; with more than twenty, some of them have two
tabs open. Afterwards the promises are recounted from the rows.

Printed for each size and number of connections: cycles a second, CPU milliseconds a cycle of the
web server and of the database server (all of PostgreSQL, where it runs on this machine; SQLite runs
inside the web server), and how long a cycle took. The client runs on the same machine: cycles a
second are a lower bound. CPU times of different machines, or of one that is also busy otherwise,
compare by `loop ms`: what a fixed loop of plain Python (`loop_ms`) took at that moment.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlencode, urlparse

ROOT = Path(__file__).resolve().parent.parent
PEOPLE = 20
FIRST = 100  # tasks made through the services; further ones are copies of these
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
HEADER = (
    f"{'tasks':>9} {'connections':>11} {'cycles/s':>9} {'web ms':>7} {'db ms':>6} "
    f"{'p50 ms':>7} {'p95 ms':>7} {'p99 ms':>7} {'first kB':>8} {'next kB':>8} {'loop ms':>8}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", help="powers of ten from 100")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each line")
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.size:  # in a process of its own, since Django reads its settings once
        measure(options.size, options.connections, options.seconds)
        return
    url = os.environ.get("DATABASE_URL", "sqlite:///")
    largest = 5 if url.startswith("sqlite") else 6
    print(f"{urlparse(url).scheme}, {os.cpu_count()} cores, {options.seconds:g} s a line")
    print(HEADER, flush=True)
    for size in options.tasks or [10**n for n in range(3, largest + 1)]:
        with scratch_database(url) as environment:
            arguments = ["--size", str(size), "--seconds", str(options.seconds), "--connections"]
            subprocess.run(
                [sys.executable, __file__, *arguments, *map(str, options.connections)],
                env=environment,
                check=True,
            )


@contextmanager
def scratch_database(url: str) -> Iterator[dict[str, str]]:
    """The environment of processes that use a new, empty database, which is then dropped."""
    with tempfile.TemporaryDirectory(prefix="prefloop-bench-") as home:
        environment = {**os.environ, "PREFLOOP_HOME": home, "PYTHONPATH": str(ROOT)}
        if url.startswith("sqlite"):
            yield environment | {"DATABASE_URL": "sqlite:///"}
            return
        import psycopg

        name = f"prefloop_bench_{secrets.token_hex(4)}"
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(f"create database {name}")
            try:
                yield environment | {"DATABASE_URL": urlparse(url)._replace(path=name).geturl()}
            finally:
                admin.execute(f"drop database {name} with (force)")


# ---- A project with so many tasks ------------------------------------------------------------


def fill(size: int) -> list[str]:
    """Tables, a project, its tasks and people; returns a session key for each person."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.management import call_command

    from annotate.models import User
    from annotate.services.content import add_prompt, add_response
    from annotate.services.people import add_member
    from annotate.services.projects import create_project, publish_text
    from annotate.services.tasks import open_ranking_tasks

    call_command("migrate", verbosity=0)
    rng = random.Random(1)
    begun = time.perf_counter()
    # The share that two people judge is the same at every size.
    project = create_project("bench", "Benchmark", audit_first=0)
    publish_text(project, "guidelines", "Prefer the **correct** answer.", by=None)
    pairs = []
    for number in range(FIRST):
        prompt, _ = add_prompt(project, [{"role": "user", "content": f"Question {number}?"}])
        responses = [
            add_response(prompt, words(rng), source="import", source_name="bench")[0]
            for _ in range(4)
        ]
        pairs.append((prompt, responses))
    open_ranking_tasks(project, pairs, batch="bench")
    multiply(size)
    keys = []
    for number in range(PEOPLE):
        user = User.objects.create_user(f"person{number}")
        add_member(project, user)
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.create()
        keys.append(str(session.session_key))
    print(f"{size:>9,} tasks made in {time.perf_counter() - begun:.0f} s", flush=True)
    return keys


def words(rng: random.Random) -> str:
    """A response of some 60 words, with a list."""
    text = " ".join(
        "".join(rng.choices("aeiounrtsldm", k=rng.randint(2, 8)))
        for _ in range(rng.randint(30, 90))
    )
    return f"{text}\n\n- **one** point\n- another point"


def multiply(size: int) -> None:
    """Copy the prompts, responses and tasks, tenfold and tenfold, until there are `size` tasks."""
    from django.core.management.color import no_style
    from django.db import connection, transaction

    from annotate.models import Prompt, Response, Task, TaskResponse

    models = (Prompt, Response, Task, TaskResponse)
    there, position = FIRST, 1
    while there < size:
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":  # what is copied refers to what is there
                cursor.execute("SET LOCAL session_replication_role = replica")
            for model in models:
                copy_ninefold(cursor, model, models, position)
        there, position = there * 10, position + 1
    if there != size:
        raise SystemExit(f"{size} is not a power of ten from {FIRST}")
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), models):
            cursor.execute(statement)
        cursor.execute("ANALYZE")


def copy_ninefold(cursor, model, models, position: int) -> None:
    """Nine copies of each row; ids rise by the number of rows, hashes differ at `position`."""
    from django.db.models import Max

    def span(of) -> int:  # ids are dense: they count from 1
        return of.objects.aggregate(top=Max("pk"))["top"]

    # A table that was copied before this one has ten times its rows by now.
    spans = {
        one: span(one) // (10 if models.index(one) < models.index(model) else 1) for one in models
    }
    columns = [field.column for field in model._meta.concrete_fields]
    for copy in range(1, 10):
        values = []
        for column in model._meta.concrete_fields:
            value = column.column
            if column.primary_key:
                value = f"{value} + {copy * spans[model]}"
            elif (
                column.is_relation
                and column.related_model in spans
                and column.related_model in models
            ):
                value = f"{value} + {copy * spans[column.related_model]}"
            elif column.name == "content_hash":  # hexadecimal digits end at f
                letter = "ghijklmno"[copy - 1]
                head, tail = (
                    f"substr({value}, 1, {position - 1})",
                    f"substr({value}, {position + 1})",
                )
                value = f"{head} || '{letter}' || {tail}"
            values.append(value)
        table = model._meta.db_table
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {table} "
            f"WHERE id <= {spans[model]}"
        )


# ---- Volunteers ------------------------------------------------------------------------------


class Volunteer:
    """One tab of one person, on a connection of its own."""

    def __init__(self, port: int, session: str, seed: int) -> None:
        self.rng = random.Random(seed)
        self.token = "".join(self.rng.choices("abcdefghij0123456789", k=32))
        self.headers = {
            "Cookie": f"sessionid={session}; csrftoken={self.token}",
            "X-CSRFToken": self.token,
            "HX-Request": "true",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept-Encoding": "gzip",
        }
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.said: Counter[str] = Counter()
        self.acknowledged: list[int] = []
        self.latencies_ms: list[float] = []
        self.sizes: list[int] = []

    def post(self, path: str, fields: dict[str, str]) -> tuple[int, str]:
        self.connection.request("POST", path, urlencode(fields), self.headers)
        response = self.connection.getresponse()
        body = response.read()
        self.sizes.append(len(body))
        if response.getheader("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        return response.status, body.decode()

    def work(self, until: float) -> None:
        _status, page = self.post("/p/bench/rank/", {})
        self.sizes.clear()
        while time.perf_counter() < until:
            found = re.search(r'action="(/a/(\d+)/submit/)"', page)
            if not found:
                raise RuntimeError(f"No task on the page: {page[:2000]}")
            letters = dict.fromkeys(re.findall(r'name="rank-([a-h])"', page))
            fields = {f"rank-{letter}": str(self.rng.randint(1, 4)) for letter in letters}
            begun = time.perf_counter()
            status, page = self.post(found[1], {**fields, "dwell_ms": "5000", "n_changes": "4"})
            if status == 409:  # the person's other tab said something else of this task
                self.said["conflict"] += 1
                _status, page = self.post("/p/bench/rank/", {})
                self.sizes.pop()
                continue
            if status != 200:
                raise RuntimeError(f"{status}: {page[:2000]}")
            self.latencies_ms.append((time.perf_counter() - begun) * 1000)
            self.acknowledged.append(int(found[2]))


@dataclass
class Line:
    """What was measured with so many connections."""

    connections: int
    wall_s: float
    web_s: float
    database_s: float
    loop_ms: float
    volunteers: list[Volunteer] = field(default_factory=list)

    def print(self, size: int, first_bytes: int) -> None:
        latencies = [ms for one in self.volunteers for ms in one.latencies_ms]
        cuts = quantiles(latencies, n=100, method="inclusive")
        sizes = [n for one in self.volunteers for n in one.sizes]
        web, database = (s * 1000 / len(latencies) for s in (self.web_s, self.database_s))
        print(
            f"{size:>9,} {self.connections:>11} {len(latencies) / self.wall_s:>9.1f} {web:>7.1f} "
            f"{database:>6.1f} {cuts[49]:>7.1f} {cuts[94]:>7.1f} {cuts[98]:>7.1f} "
            f"{first_bytes / 1000:>8.1f} {sum(sizes) / len(sizes) / 1000:>8.1f} "
            f"{self.loop_ms:>8.0f}",
            flush=True,
        )


def measure(size: int, connections: list[int], seconds: float) -> None:
    """Fill the database, serve it, and print a line for each number of connections."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "prefloop.settings")
    sys.path.insert(0, str(ROOT))
    django.setup()
    from django.db import connections as databases

    sessions = fill(size)
    databases.close_all()
    acknowledged: list[int] = []
    with served() as (port, server):
        first_bytes = first_load(port, sessions[0])
        for number in connections:
            run(port, server, sessions, number, 1.0, acknowledged)  # warms up
            run(port, server, sessions, number, seconds, acknowledged).print(size, first_bytes)
    recount(acknowledged)


@contextmanager
def served() -> Iterator[tuple[int, int]]:
    """The port and process of a server as the Procfile starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "prefloop.wsgi", "--bind", f"127.0.0.1:{port}"]
    options = ["--workers", "2", "--threads", "4", "--no-control-socket", "--log-level", "warning"]
    server = subprocess.Popen([*command, *options], cwd=ROOT)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None:
                    raise SystemExit("The server did not start") from None
                time.sleep(0.1)
        yield port, server.pid
    finally:
        server.terminate()
        server.wait(timeout=30)


def first_load(port: int, session: str) -> int:
    """Bytes over the wire until the ranking page stands, with its style sheet and scripts."""
    headers = {"Cookie": f"sessionid={session}", "Accept-Encoding": "gzip"}
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def get(path: str) -> tuple[int, bytes]:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        head = sum(len(name) + len(value) + 4 for name, value in response.getheaders())
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status}")
        size = head + len(body)
        if response.getheader("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        return size, body

    Volunteer(port, session, 0).post("/p/bench/rank/", {})
    connection.request("GET", "/p/bench/rank/", headers=headers)
    moved = connection.getresponse()
    moved.read()
    total, page = get(moved.getheader("Location") or "")
    assets = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.decode())
    return total + sum(get(path)[0] for path in dict.fromkeys(assets))


def run(
    port: int,
    server: int,
    sessions: list[str],
    number: int,
    seconds: float,
    acknowledged: list[int],
) -> Line:
    volunteers = [
        Volunteer(port, sessions[n % len(sessions)], random.randrange(2**30)) for n in range(number)
    ]
    loop = loop_ms()
    web, database, begun = cpu_s(server), database_cpu_s(), time.perf_counter()
    with ThreadPoolExecutor(number) as pool:
        for done in [pool.submit(one.work, begun + seconds) for one in volunteers]:
            done.result()
    line = Line(
        number,
        wall_s=time.perf_counter() - begun,
        web_s=cpu_s(server) - web,
        database_s=database_cpu_s() - database,
        loop_ms=loop,
        volunteers=volunteers,
    )
    for one in volunteers:
        acknowledged += one.acknowledged
        one.connection.close()
    return line


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, of its children that run, and of those that have ended."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / CLOCK_TICKS + sum(cpu_s(int(child)) for child in children)


def database_cpu_s() -> float:
    """CPU seconds of the PostgreSQL server, if the database is one and runs on this machine."""
    from django.db import connection

    if connection.vendor != "postgresql":
        return 0.0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    try:
        status = Path(f"/proc/{backend}/stat").read_text()
    except FileNotFoundError:
        return 0.0
    return cpu_s(int(status.rpartition(")")[2].split()[1]))


def loop_ms() -> float:
    """CPU milliseconds that two million turns of the same loop take here and now."""
    begun = time.process_time()
    sum(number * number for number in range(2_000_000))
    return (time.process_time() - begun) * 1000


# ---- The promises, recounted -----------------------------------------------------------------


def recount(acknowledged: list[int]) -> None:
    """Stop with a message where a promise was broken."""
    from django.db.models import Count, F, Q

    from annotate.models import Assignment, Ranking, Task

    stored = set(Ranking.objects.current().values_list("assignment", flat=True))
    if lost := set(acknowledged) - stored:
        raise SystemExit(f"{len(lost)} acknowledged rankings are lost")
    if Ranking.objects.count() != len(stored):
        raise SystemExit("A task was ranked twice by one person")
    counted = Task.objects.annotate(
        submitted=Count("assignments", filter=Q(assignments__state=Assignment.State.SUBMITTED)),
        leased=Count("assignments", filter=Q(assignments__state=Assignment.State.LEASED)),
        late=Count("assignments", filter=Q(assignments__late=True)),
    ).filter(Q(n_done__gt=0) | Q(n_live__gt=0))
    if wrong := counted.exclude(submitted=F("n_done"), leased=F("n_live")).count():
        raise SystemExit(f"{wrong} tasks with a wrong counter")
    if over := counted.filter(submitted__gt=F("need") + F("late")).count():
        raise SystemExit(f"{over} tasks have more rankings than wanted")
    print(f"{'':>9} {len(stored):,} rankings stored, none lost, none twice, no task over its need")


if __name__ == "__main__":
    main()
