"""What the agreement page costs with many judgements, from real rows in SQLite.

    python benchmarks/agreement_page.py
    python benchmarks/agreement_page.py --rankings 10000 100000

Each size gets a database of its own: audited prompts with four responses, two rankings each, by 200
people, with 20 topics. Printed are medians, in milliseconds of CPU time of one process: what a
volunteer's submit and the clock's look for news cost; reading the page's figures and whole pages;
summing all prompts for the first time (once); what follows one new ranking, an excluded ranking and
an excluded person, which is summing their prompts anew and making all figures, in the worker; and
computing everything from the rankings as the recorded report does, for comparison.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
PEOPLE, TOPICS, K = 200, 20, 4
AT_ONCE = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rankings", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.size:  # in a process of its own, since Django reads its settings once
        measure(options.size)
        return
    for size in options.rankings:
        with tempfile.TemporaryDirectory(prefix="prefloop-bench-") as home:
            environment = {
                **os.environ,
                "PREFLOOP_HOME": home,
                "PYTHONPATH": str(ROOT),
                "DATABASE_URL": "sqlite:///",
                "OMP_NUM_THREADS": "1",
                "DJANGO_SETTINGS_MODULE": "prefloop.settings",
            }
            command = [sys.executable, __file__, "--size", str(size)]
            subprocess.run(command, env=environment, check=True)


def measure(size: int) -> None:
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client
    from django.urls import reverse

    from annotate.models import Ranking, User
    from annotate.services.assignments import claim
    from annotate.services.projects import exclude, lift
    from annotate.services.rankings import submit_ranking
    from rewards.services import agreement, sums
    from tests import make

    settings.ALLOWED_HOSTS = ["testserver"]
    call_command("migrate", verbosity=0)
    project = make.make_project("big", audit_share=1.0)
    fill(project, size // 2)
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    member = project.memberships.order_by("pk").last()
    member.user = User.objects.create_user("volunteer")
    member.save()

    def line(what: str, act: Callable[[], object], times: int = 5) -> None:
        taken = []
        for _ in range(times):
            begun = time.process_time()
            act()
            taken.append((time.process_time() - begun) * 1000)
        print(f"{size:>9,} rankings  {what:<52} {median(taken):>10,.1f} ms", flush=True)

    line("all sums for the first time", lambda: sums.refresh(project), 1)
    line("looking for news where there is none", lambda: sums.refresh(project))
    line("the page's figures", lambda: sums.agreement_now(project))
    for name in ("agreement", "drift", "slices", "counting", "audit_more"):
        url = reverse(f"rewards:{name}", args=["big"])
        line(f"page {url}", lambda url=url: client.get(url))

    def submit() -> None:
        make.make_task(project, priority=9)
        assignment = claim(member)
        begun = time.process_time()
        submit_ranking(assignment, dict.fromkeys(assignment.display_order, 1))
        submits.append((time.process_time() - begun) * 1000)

    submits: list[float] = []
    for _ in range(5):
        submit()
    print(f"{size:>9,} rankings  {'a submit':<52} {median(submits):>10,.1f} ms")
    line("after these five", lambda: sums.refresh(project), 1)
    ranking = Ranking.objects.order_by("pk")[0]
    person = project.memberships.order_by("pk")[1]
    for what, target in (("a ranking", ranking), ("a person", person)):
        exclusion = exclude(project, target, "benchmark", by=None)
        touched = sums._touched_by(project, {exclusion.pk})
        n = len(touched)
        line(f"excluding {what}: {n} prompts summed anew", lambda t=touched: sums.resum(project, t))
        line(f"excluding {what}: all of it", lambda: sums.refresh(project), 1)
        lift(exclusion, by=None)
        line(f"lifting it: {n} prompts and all figures", lambda: sums.refresh(project), 1)
    line("all figures from the sums", lambda: sums.figures_of(project), 3)
    line(
        "everything from the rankings",
        lambda: agreement._figures(list(agreement.items(project))),
        1,
    )


def fill(project: object, n_prompts: int) -> None:
    """Audited prompts, each ranked by two of the people; made in bulk."""
    import random
    from datetime import timedelta

    from django.utils import timezone

    from annotate.models import (
        Assignment,
        Membership,
        Prompt,
        Ranking,
        Response,
        Task,
        TaskResponse,
        content_hash,
    )

    chance = random.Random(0)
    begun = timezone.now() - timedelta(days=90)
    people = Membership.objects.bulk_create(
        Membership(project=project, pseudonym=f"person {n}") for n in range(PEOPLE)
    )
    for start in range(0, n_prompts, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, n_prompts))
        prompts = Prompt.objects.bulk_create(
            Prompt(
                project=project,
                messages=[{"role": "user", "content": f"Question {n}?"}],
                html=[""],
                topic=f"topic {chance.randrange(TOPICS)}",
                language="en",
                content_hash=content_hash(n),
                split="train",
            )
            for n in numbers
        )
        responses = Response.objects.bulk_create(
            Response(
                prompt=prompt, text=f"Answer {k}.", html="", content_hash=str(k), source="policy"
            )
            for prompt in prompts
            for k in range(K)
        )
        tasks = Task.objects.bulk_create(
            Task(project=project, prompt=p, kind="audit", need=2, n_done=2, state="done", batch="b")
            for p in prompts
        )
        TaskResponse.objects.bulk_create(
            TaskResponse(task=task, response=responses[place * K + k], slot=k)
            for place, task in enumerate(tasks)
            for k in range(K)
        )
        said = []
        for place, task in enumerate(tasks):
            ids = [responses[place * K + k].pk for k in range(K)]
            worth = [chance.gauss(0, 1.2) for _ in ids]
            when = begun + timedelta(minutes=numbers[place])
            for person in chance.sample(people, 2):
                noisy = [x + chance.gauss(0, 0.9) for x in worth]
                ranks = [1 + sum(other > x + 0.3 for other in noisy) for x in noisy]
                said.append((task, person, when, ids, ranks))
        assignments = Assignment.objects.bulk_create(
            Assignment(
                task=task, annotator=person, state="submitted", submitted_at=when, display_order=ids
            )
            for task, person, when, ids, _ in said
        )
        Ranking.objects.bulk_create(
            Ranking(
                assignment=assignment,
                ranks=dict(zip(map(str, ids), ranks, strict=True)),
                payload_hash="",
                created_at=when,
            )
            for assignment, (_, _, when, ids, ranks) in zip(assignments, said, strict=True)
        )


if __name__ == "__main__":
    main()
