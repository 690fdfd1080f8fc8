"""The defences end to end: thirty volunteers at a live server, and a small reward model.

Each session is a new project in a temporary folder, on SQLite, behind gunicorn. Volunteers sign in,
take what the server hands them, read the responses off the page and send their ranks, gold tasks
among them; who is hostile does as rewards.ml.hostile says. Then the snapshot is frozen and a LoRA
reward model is fitted to it twice, with the snapshot's weights and with none, on a base of a few
thousand weights. A response is a row of letters, worth its share of the letter a: what the model is
examined by, without noise.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.cookiejar import CookieJar
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

import numpy as np

if TYPE_CHECKING:
    from rewards.ml.pairs import RankedPrompt

ROOT = Path(__file__).resolve().parent.parent
PEOPLE, K, PROMPTS, GOLD = 30, 4, {"train": 260, "validation": 40, "test": 60}, 40
GOLD_RATE, PASSWORD, SLUG = 0.45, "volunteers-rank-7", "drill"
SKILL = 12.0  # of a response's worth, in units of the noise
CASES = (("nothing", 0.0), ("reversed", 0.2), ("longest wins", 0.2))
CONFIG = {
    "lora_r": 8,
    "lora_alpha": 16,
    "learning_rate": 1e-2,
    "epochs": 6,
    "batch_prompts": 8,
    "max_tokens": 64,
    "device": "cpu",
    "dtype": "float32",
}
EXAMINED = 1000  # pairs of new responses

_TEXT = re.compile(
    r'data-letter="(\w)".*?class="response-text[^>]*>\s*<p>(.*?)</p>', flags=re.DOTALL
)
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
_SUBMIT = re.compile(r'action="(/a/\d+/submit/)"')


def run_http(seeds: Sequence[int]) -> int:
    """Every case with every seed, each in a process of its own; 0 if all held."""
    ok = True
    for seed in seeds:
        for attack, share in CASES:
            with tempfile.TemporaryDirectory(prefix="prefloop-drill-") as home:
                command = [sys.executable, __file__, attack, str(share), str(seed)]
                settings = {"PREFLOOP_HOME": home, "DJANGO_SETTINGS_MODULE": "prefloop.settings"}
                done = subprocess.run(command, cwd=ROOT, env=os.environ | settings, check=False)
                ok &= done.returncode == 0
    return 0 if ok else 1


def session(attack: str, share: float, seed: int) -> bool:
    """One project from its first prompt to its reward models; whether the promises held."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    project, hostile = make_project(share, seed)
    begun = time.monotonic()
    with server() as address, ThreadPoolExecutor(4) as pool:
        people = [
            Volunteer(address, number, attack if number in hostile else "", seed)
            for number in range(PEOPLE)
        ]
        list(pool.map(Volunteer.begin, people))
        given = 0
        while sent := sum(pool.map(Volunteer.rank_next, people)):  # in turn, so that all get some
            given += sent
    asked = time.monotonic() - begun
    return judge(project, hostile, given, asked, f"{attack} {share:.0%}, seed {seed}", seed)


def worth(text: str) -> float:
    return text.count("a") / len(text)


def make_text(rng: random.Random) -> str:
    return "".join(rng.choices("abcd", k=rng.randint(5, 14)))


def make_project(share: float, seed: int) -> tuple[Any, set[int]]:
    """The project with its people, tasks and gold, and who of them is hostile."""
    from annotate.models import Membership, Response, User
    from annotate.services.checks import open_gold_task
    from annotate.services.content import add_prompt, add_response
    from annotate.services.people import add_member
    from annotate.services.projects import create_project
    from annotate.services.tasks import open_ranking_tasks

    rng = random.Random(seed)
    project = create_project(
        SLUG, "Drill", audit_share=0.25, audit_first=0, gold_rate=GOLD_RATE, repeat_rate=0.0
    )

    def prompt(text: str, split: str) -> tuple[Any, list[Any]]:
        made, _ = add_prompt(project, [{"role": "user", "content": text}], split=split)
        texts: set[str] = set()
        while len(texts) < K:
            texts.add(make_text(rng))
        for answer in sorted(texts):
            add_response(made, answer, source=Response.Source.POLICY)
        return made, list(made.responses.order_by("pk"))

    made = [prompt(f"{split} {n}?", split) for split, many in PROMPTS.items() for n in range(many)]
    open_ranking_tasks(project, made, batch="drill")
    for number in range(GOLD):
        asked, responses = prompt(f"gold {number}?", "test")
        by_worth = sorted(responses, key=lambda response: -worth(response.text))
        gaps = [worth(a.text) - worth(b.text) for a, b in zip(by_worth, by_worth[1:], strict=False)]
        cut = gaps.index(max(gaps)) + 1
        key = {response.pk: 1 if place < cut else 2 for place, response in enumerate(by_worth)}
        open_gold_task(project, asked, responses, key, by=None)
    for number in range(PEOPLE):
        user = User.objects.create_user(f"p{number:02d}", password=PASSWORD)
        add_member(project, user, Membership.Role.ANNOTATOR, pseudonym=f"p{number:02d}")
    return project, set(rng.sample(range(PEOPLE), round(share * PEOPLE)))


@contextmanager
def server() -> Iterator[str]:
    """The web application on a port that is free."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    gunicorn = [sys.executable, "-m", "gunicorn", "prefloop.wsgi", "--bind", address]
    process = subprocess.Popen(
        [*gunicorn, "--workers", "2", "--threads", "4", "--log-level", "error"], cwd=ROOT
    )
    try:
        for _ in range(300):
            try:
                build_opener().open(f"http://{address}/login/").close()
                break
            except URLError:
                time.sleep(0.2)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


class Volunteer:
    """A person with a browser that keeps cookies and follows redirects."""

    def __init__(self, address: str, number: int, attack: str, seed: int) -> None:
        self.address, self.attack = address, attack
        self.name, self.page = f"p{number:02d}", ""
        self.rng = np.random.default_rng([seed, number])
        self.browser: OpenerDirector = build_opener(HTTPCookieProcessor(CookieJar()))

    def begin(self) -> None:
        """Sign in and ask for the first task."""
        self.post("/login/", self.get("/login/"), username=self.name, password=PASSWORD)
        self.page = self.post(f"/p/{SLUG}/rank/", self.get(f"/p/{SLUG}/rank/"))

    def rank_next(self) -> bool:
        """Rank what the page shows, which gives the next; False where nothing is left."""
        address = _SUBMIT.search(self.page)
        if address is None:
            return False
        ranks = self.rank(dict(_TEXT.findall(self.page)))
        fields = {f"rank-{letter}": rank for letter, rank in ranks.items()}
        self.page = self.post(address[1], self.page, **fields)
        return True

    def rank(self, texts: dict[str, str]) -> dict[str, int]:
        from rewards.ml.hostile import ATTACKS, Shown

        assert len(texts) == K, texts
        perceived = [SKILL * worth(text) + self.rng.gumbel() for text in texts.values()]
        honest = [1 + sum(other > one for other in perceived) for one in perceived]
        shown = Shown(honest, [*map(len, texts.values())], [*range(K)], [False] * K)
        said = ATTACKS[self.attack](shown, self.rng) if self.attack else honest
        return dict(zip(texts, said, strict=True))

    def get(self, path: str) -> str:
        with self.browser.open(self.address + path) as response:
            return str(response.read().decode())

    def post(self, path: str, page: str, **fields: Any) -> str:
        token = _TOKEN.search(page)
        assert token, f"no form at {path}"
        sent = urlencode({"csrfmiddlewaretoken": token[1], **fields}).encode()
        with self.browser.open(self.address + path, sent) as response:
            return str(response.read().decode())


@dataclass(frozen=True)
class Fitted:
    accuracy: float
    lift: dict[str, Any]


def judge(
    project: Any, hostile: set[int], given: int, seconds: float, title: str, seed: int
) -> bool:
    """Freeze, fit with and without the weights, and print what came of it."""
    from annotate.models import Ranking
    from rewards.ml.pairs import PROMPTS_FILE, ranked_prompt, read_prompts, read_snapshot
    from rewards.pseudonyms import keyed_pseudonym
    from rewards.services.gates import judge_agreement
    from rewards.services.snapshots import freeze

    snapshot = freeze(project)
    gate = judge_agreement(project, snapshot.agreement)
    stored = Ranking.objects.current().in_project(project).count()
    defended = fit_and_examine(read_snapshot(snapshot.path), "with", seed)
    unweighted = [
        ranked_prompt(
            replace(one, judgements=tuple(replace(said, weight=1.0) for said in one.judgements))
        )
        for one in read_prompts(snapshot.path / PROMPTS_FILE)
    ]
    undefended = fit_and_examine(unweighted, "without", seed)
    members = project.memberships.filter(pseudonym__startswith="p")
    by_number = {int(m.pseudonym[1:]): keyed_pseudonym(project, m.pk) for m in members}
    report = snapshot.weights["people"]
    flagged = [
        number
        for number, key in by_number.items()
        if key in report and report[key]["weight"] <= 0.1
    ]
    alpha = snapshot.agreement["alpha"]["value"]
    caught, suspended = len(hostile & set(flagged)), len(set(flagged) - hostile)
    print(
        f"{title}: {given} rankings over HTTP in {seconds:.0f} s ({stored} stored), "
        f"alpha {'unknown' if alpha is None else f'{alpha:.2f}'} ({gate.state}), "
        f"flagged {caught} of {len(hostile)}, honest suspended {suspended}, "
        f"RM accuracy on truth {undefended.accuracy:.3f} without and "
        f"{defended.accuracy:.3f} with defences, token lift {defended.lift['state']}",
        flush=True,
    )
    return given == stored and caught >= 0.9 * len(hostile) and suspended <= 1


def fit_and_examine(examples: list[RankedPrompt], name: str, seed: int) -> Fitted:
    """A LoRA reward model on a base that knows nothing, on pairs that nobody has seen."""
    from django.conf import settings

    from rewards.audits import token_lift
    from rewards.ml.fit import FitConfig, fit
    from tests.tiny_models import make_base

    folder = Path(settings.PREFLOOP_HOME)
    base = make_base(folder / "base") if name == "with" else str(folder / "base")
    config = FitConfig(**CONFIG, seed=seed)
    fitted = fit(examples, base, config, workdir=folder / name, on_progress=lambda progress: None)
    rng = random.Random(f"examined {seed}")
    texts = [make_text(rng) for _ in range(2 * EXAMINED)]
    scores = fitted.model.score(({"role": "user", "content": "train 1?"},), texts).tolist()
    pairs = [
        (scores[i] > scores[i + 1]) == (worth(texts[i]) > worth(texts[i + 1]))
        for i in range(0, 2 * EXAMINED, 2)
        if worth(texts[i]) != worth(texts[i + 1])
    ]
    return Fitted(float(np.mean(pairs)), token_lift(fitted.model, examples, seed))


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # not this folder, whose annotate.py is no package
    import django

    django.setup()
    kind, part, number = sys.argv[1:]
    sys.exit(0 if session(kind, float(part), int(number)) else 1)
