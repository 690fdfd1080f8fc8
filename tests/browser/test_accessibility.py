"""Every page, empty, full, with far too long texts and after a form that says too little.

What a machine can tell of accessibility: axe-core finds nothing in light or in dark, no page
scrolls sideways on a phone, what is tapped is large enough, and the browser complains of nothing.
Pages are found by their addresses, and forms in the pages, so that new ones are looked at too.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from annotate.models import (
    Adjudication,
    Membership,
    Project,
    ProjectText,
    Prompt,
    Ranking,
    Response,
    Task,
    User,
)
from annotate.rendering import render_markdown
from rewards.models import GateReport, Run
from rewards.services.agreement import measure
from tests import make
from tests.browser.rows import add_loop, taint
from tests.test_get_requests import addresses, known  # noqa: F401 (a fixture)
from training.models import LoopPause, PolicyVersion

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

HERE = Path(__file__).parent
AXE = (HERE / "axe" / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# What depends on the colour scheme; all else was told in the other one.
COLOURS = ["color-contrast", "link-in-text-block"]
PHONE, SMALL_PHONE, DESKTOP = 390, 320, 1280
# CSS pixels a side; the controls of the ranking page are pressed a hundred times a day.
LEAST_TARGET, LEAST_RANKING_TARGET = 24, 44

WORD = "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz" * 4
ARABIC = "ما الذي يجعل السماء زرقاء في النهار وحمراء عند الغروب؟ "
LONG = f"{WORD} {ARABIC * 3}{'And then some more words follow. ' * 20}"
LONG_HTML = render_markdown(
    f"## {LONG}\n\n{LONG}\n\n- {WORD}\n\n`{WORD}`\n\n```\n{WORD}\n{LONG}\n```\n\n"
    f"{f'| {WORD} ' * 5}|\n{'|---' * 5}|\n{f'| {WORD} ' * 5}|\n"
)


class Case(NamedTuple):
    """A page as one person sees it; nobody is signed in where there is no user."""

    name: str
    address: str
    user: User | None
    forms: tuple[str, ...] = ()  # where those are sent to that have something to fill in


FORM = re.compile(r"<form\b[^>]*>.*?</form>", re.DOTALL)
ACTION = re.compile(r'\baction="([^"]*)"')
FIELD = re.compile(r'<textarea|<select|<input(?![^>]*type="hidden")')


def case(name: str, address: str, user: User | None) -> tuple[Case, int]:
    """The page, and the status of its answer; 204 for what is no page."""
    client = Client()
    if user:
        client.force_login(user)
    answer = client.get(address)
    if not answer["Content-Type"].startswith("text/html") or answer.has_header(
        "Content-Disposition"
    ):
        return Case(name, address, user), 204
    forms = [form for form in FORM.findall(answer.content.decode()) if 'method="post"' in form]
    found = [ACTION.search(form) for form in forms if FIELD.search(form)]
    actions = tuple(action[1] if action else "" for action in found)
    return Case(name, address, user, actions), answer.status_code


class Sweep:
    """A browser that looks at one page after the other and writes down what is wrong with it."""

    def __init__(self, context: Any, base: str) -> None:
        self.context, self.base = context, base
        self.problems: list[str] = []
        self.looked_at = 0
        self.sessions: dict[int, str] = {}
        self.now = ""
        self.page = context.new_page()
        self.page.set_default_timeout(10_000)
        self.page.on("pageerror", lambda error: self.note(f"script: {error}"))
        self.page.on("console", self.hear)

    def note(self, problem: str) -> None:
        self.problems.append(f"{self.now}: {problem}")

    def hear(self, message: Any) -> None:
        # That an answer had an error status is checked where it is wanted.
        if message.type in ("error", "warning") and "responded with a status" not in message.text:
            self.note(f"console: {message.text}")

    def sign_in(self, user: User | None) -> None:
        self.context.clear_cookies()
        if user is None:
            return
        if user.pk not in self.sessions:
            client = Client()
            client.force_login(user)
            self.sessions[user.pk] = client.cookies["sessionid"].value
        cookie = {"name": "sessionid", "value": self.sessions[user.pk], "url": self.base}
        self.context.add_cookies([cookie])

    def open(self, case: Case, state: str) -> int:
        """Go to the page; returns the status of the answer."""
        self.now = f"{case.name} ({state}) {case.address}"
        self.sign_in(case.user)
        return self.page.goto(case.address).status

    def look(self, volunteers: bool, dark: bool = True) -> None:
        """Judge the page that is open; `volunteers` says that it is one of their pages."""
        self.looked_at += 1
        self.page.set_viewport_size({"width": DESKTOP, "height": 900})
        self.page.emulate_media(color_scheme="light")
        self.audit(RULES, "light")
        for width in (DESKTOP, PHONE, SMALL_PHONE):
            self.page.set_viewport_size({"width": width, "height": 800})
            wide = self.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
            if wide > 0:
                culprits = ", ".join(self.page.evaluate(TOO_WIDE))
                self.note(f"{wide} px too wide at {width} px: {culprits}")
            if volunteers and width == PHONE:
                least = [LEAST_TARGET, LEAST_RANKING_TARGET]
                self.problems += [
                    f"{self.now}: {target}" for target in self.page.evaluate(SMALL_TARGETS, least)
                ]
        if dark:
            self.page.emulate_media(color_scheme="dark")
            self.audit(COLOURS, "dark")

    def audit(self, rules: list[str], scheme: str) -> None:
        kind = "tag" if rules is RULES else "rule"
        only = {"runOnly": {"type": kind, "values": rules}, "resultTypes": ["violations"]}
        for found in self.page.evaluate(AUDIT, only):
            self.note(f"{found['impact']}, {found['id']} in {scheme}: {found['places']}")

    def finish(self, least: int) -> None:
        assert not self.problems, "\n" + "\n".join(dict.fromkeys(self.problems))
        assert self.looked_at >= least


AUDIT = """async options => (await axe.run(document, options)).violations.map(found => ({
  id: found.id, impact: found.impact,
  places: found.nodes.slice(0, 4).map(node =>
    `${node.target.join(" ")} ${[...node.any, ...node.all].map(check => check.message)[0] || ""}`
  ).join("; "),
}))"""

# The innermost elements that stand out of the window; what scrolls within itself is no matter.
TOO_WIDE = """() => [...document.querySelectorAll("body *")].filter(one => {
  const end = one.getBoundingClientRect();
  if (end.right <= innerWidth + 0.5 && end.left >= -0.5) return false;
  for (let up = one; up; up = up.parentElement)
    if (getComputedStyle(up).overflowX !== "visible" || up.matches(".skip-link")) return false;
  return true;
}).slice(-3).map(one => one.tagName + "." + one.className)"""

# A control is as large as itself and its labels together. Links in a line of text are exempt, as
# in WCAG 2.2, 2.5.8.
SMALL_TARGETS = """([least, ranking]) => {
  const found = [];
  const controls = "a[href], button, input, select, textarea, summary, [tabindex='0']";
  for (const one of document.querySelectorAll(controls)) {
    if (one.type === "hidden" || one.closest(".skip-link, .visually-hidden")) continue;
    if (!one.checkVisibility({visibilityProperty: true})) continue;
    const parts = [one, ...(one.labels || [])].map(part => part.getBoundingClientRect());
    const wide = Math.max(...parts.map(part => part.width));
    const high = Math.max(...parts.map(part => part.height));
    const words = one.parentElement.textContent.trim() !== one.textContent.trim();
    if (one.matches("a") && getComputedStyle(one).display === "inline" && words) continue;
    const scrolls = one.matches("[tabindex='0']");
    const wanted = one.closest("#ranking") && !scrolls && !one.matches("a") ? ranking : least;
    if (Math.min(wide, high) < wanted - 0.5)
      found.push(`target of ${Math.round(wide)} x ${Math.round(high)}, not ${wanted}: `
        + `${one.tagName} ${one.className} ${(one.name || one.textContent).trim().slice(0, 30)}`);
  }
  return found;
}"""


@pytest.fixture
def sweep(chromium: Any, live_server: Any) -> Iterator[Sweep]:
    context = chromium.new_context(base_url=live_server.url, reduced_motion="reduce")
    context.add_init_script(AXE)
    yield Sweep(context, live_server.url)
    context.close()


# The project and its pages


@pytest.fixture
def full(project: Project, known: Any, root: User, ada_member: Membership) -> dict[str, Any]:  # noqa: F811
    """A project with something of everything, and the arguments of its pages' addresses."""
    snapshot = project.snapshots.get(number=1)
    add_loop(project, snapshot, root)
    measure(project)
    taint(snapshot)
    LoopPause.objects.create(project=project, reason="The last policy was worse", paused_by=root)
    for number in range(60):
        make.make_member(project, f"volunteer-{number}")
        Run.objects.create(project=project, kind="sample", state=Run.State.DONE)
    return {**known, "assignment_id": lease(ada_member, responses=4)}


def lease(member: Membership, **options: Any) -> int:
    """The id of an assignment that the person has open."""
    member.assignments.filter(state="leased").update(state="released")
    return make.make_assignment(member, **options).pk


def cases(arguments: dict[str, Any], users: list[User], within: str = "") -> list[Case]:
    """Every page that one of these people may see, as the first of them who may."""
    found = []
    for name, address in addresses(arguments):
        if not address.startswith(within):
            continue
        for user in users:
            seen, status = case(name, address, user)
            assert status in (200, 204, 302, 404, 405), f"{address} answers {status}"
            if status == 200:
                found.append(seen)
                break
    return found


def rows_of(project: Project, root: User, newest: bool = False) -> Iterator[Case]:
    """The page of every run, reward model, policy and cycle, each in a state of its own.

    Or only that of the newest of each.
    """
    for name, rows in {
        "rewards:run": project.runs.exclude(kind="sample", state="done").values_list("pk"),
        "rewards:reward_model": project.reward_models.values_list("number"),
        "training:policy": project.policies.values_list("number"),
        "training:cycle": project.cycles.values_list("iso_week"),
    }.items():
        for (key,) in rows.order_by("-pk")[: 1 if newest else None]:
            yield case(name, reverse(name, args=[project.slug, key]), root)[0]


def of_nobody(arguments: dict[str, Any]) -> list[Case]:
    """What is shown to somebody who is not signed in."""
    invite = reverse("annotate:invite", args=[arguments["token"]])
    void = reverse("annotate:invite", args=["nothing"])
    pages = {"sign in": reverse("login"), "invitation": invite, "void invitation": void}
    return [case(name, address, None)[0] for name, address in pages.items()]


def is_for_volunteers(case: Case, root: User) -> bool:
    return case.user != root


# What is looked at


def test_full_pages(
    sweep: Sweep, full: dict[str, Any], project: Project, root: User, ada: User
) -> None:
    found = [*cases(full, [ada, root]), *rows_of(project, root), *of_nobody(full)]
    for k in (2, 8):
        member = make.make_member(project, f"ranks-{k}")
        address = reverse("annotate:assignment", args=[lease(member, responses=k)])
        found.append(Case(f"ranking {k}", address, member.user))
    for page in found:
        assert sweep.open(page, "full") == (404 if "void" in page.name else 200), page
        sweep.look(is_for_volunteers(page, root))
    sweep.finish(least=40)


def test_empty_pages(sweep: Sweep, full: dict[str, Any], root: User, ada: User, eve: User) -> None:
    fresh = make.create_project("fresh", "Fresh")
    for user, role in ((ada, Membership.Role.ANNOTATOR), (root, Membership.Role.ADMIN)):
        make.add_member(fresh, user, role)
    found = cases(full | {"slug": "fresh"}, [ada, root], within="/p/fresh/")
    found.append(Case("home", "/", eve))
    for page in found:
        assert sweep.open(page, "empty") == 200, page
        sweep.look(is_for_volunteers(page, root))
    sweep.finish(least=14)


def test_pages_with_far_too_long_texts(
    sweep: Sweep, full: dict[str, Any], project: Project, root: User, ada: User
) -> None:
    lengthen(project)
    full["slug"] = project.slug
    for page in [*cases(full, [ada, root]), *rows_of(project, root, newest=True)]:
        assert sweep.open(page, "long") == 200, page
        sweep.look(is_for_volunteers(page, root), dark=False)  # texts bring no colours of their own
    sweep.finish(least=35)


def lengthen(project: Project) -> None:
    """Give everything in the project that people or models may write as long a text as it takes."""
    names = [{"name": "one", "label": WORD[:60]}, {"name": "two", "label": ARABIC}]
    Project.objects.filter(pk=project.pk).update(
        title=WORD[:200], description=LONG, criteria=names, flags=names, content_categories=names
    )
    ProjectText.objects.update(text=LONG, html=LONG_HTML)
    for user in User.objects.exclude(username="root"):
        User.objects.filter(pk=user.pk).update(username=f"{user.pk}{WORD}"[:150])
    for member in project.memberships.all():
        Membership.objects.filter(pk=member.pk).update(
            pseudonym=f"{member.pk}{WORD}"[:64], cohort=WORD[:64]
        )
    for prompt in project.prompts.all():
        messages = [
            {"role": role, "content": LONG} for role in ("system", "user", "assistant", "user")
        ]
        Prompt.objects.filter(pk=prompt.pk).update(
            messages=messages, html=[LONG_HTML] * 4, topic=WORD[:100], language="x" * 16
        )
    Response.objects.update(text=LONG, html=LONG_HTML, source_name=WORD[:200])
    Ranking.objects.update(rationale=LONG)
    Task.objects.update(explanation=LONG)
    Adjudication.objects.update(note=LONG)
    project.exclusions.update(reason=LONG)
    project.runs.update(
        reason=LONG, message=LONG[:300], worker=WORD[:100], params={WORD[:80]: LONG}
    )
    project.snapshots.update(taint_reason=LONG, folder=WORD, digest=WORD[:64])
    project.reward_models.update(base=WORD)
    project.cycles.update(
        reason=LONG, log=[{"step": "freeze", "at": "2026-11-16T03:00:00+00:00", "what": LONG}]
    )
    LoopPause.objects.update(reason=LONG)
    for policy in project.policies.all():
        pair = {"messages": [{"role": "user", "content": LONG}], "old": LONG, "new": LONG,
                "scores": [0.1, -0.2]}  # fmt: skip
        evaluation = policy.evaluation and policy.evaluation | {"pairs": [pair]}
        PolicyVersion.objects.filter(pk=policy.pk).update(base=WORD, evaluation=evaluation)
    for gate in project.gate_reports.all():
        rules = [rule | {"rule": LONG, "reason": LONG} for rule in gate.report["rules"]]
        GateReport.objects.filter(pk=gate.pk).update(
            report=gate.report | {"rules": rules}, release_reason=LONG
        )
    report = project.agreement_reports.latest("pk")
    topic = {
        "topic": WORD[:100],
        "n_prompts": 40,
        "alpha": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 33},
    }
    report.figures |= {"topics": [topic, topic | {"topic": ARABIC * 2}]}
    project.agreement_reports.filter(pk=report.pk).update(figures=report.figures)


def test_after_a_form_that_says_too_little(
    sweep: Sweep, full: dict[str, Any], project: Project, root: User, ada: User
) -> None:
    """Every form with something to fill in is sent empty, as a browser without scripts sends it."""
    tried = set()
    for page in [*cases(full, [ada, root]), *rows_of(project, root), *of_nobody(full)]:
        for action in page.forms:
            if re.sub(r"\d+", "", action or page.address) in tried:
                continue
            tried.add(re.sub(r"\d+", "", action or page.address))
            sweep.open(page, f"with nothing sent to {action}")
            with sweep.page.expect_navigation() as answer:
                sweep.page.evaluate(SEND_EMPTY, action)
            assert answer.value.status < 500, f"{page.name}: {action} {answer.value.status}"
            sweep.look(is_for_volunteers(page, root))
    sweep.finish(least=4)


# Past the browser's own checks and past htmx.
SEND_EMPTY = """action => {
  const form = [...document.forms].find(form => (form.getAttribute("action") || "") === action
    && form.querySelector("input:not([type=hidden]), textarea, select"));
  if (!form) return location.reload();  // what was sent before has made it pointless
  for (const field of form.elements) {
    if (["checkbox", "radio"].includes(field.type)) field.checked = false;
    else if (field.type !== "hidden" && field.tagName !== "SELECT") field.value = "";
  }
  HTMLFormElement.prototype.submit.call(form);
}"""


def test_pages_of_errors(sweep: Sweep, ada: User) -> None:
    """What becomes of a page that is not there, a form that is too old, and a mistake of ours."""
    assert sweep.open(Case("no such page", "/p/nothing/overview/", ada), "error") == 404
    sweep.look(volunteers=True)
    sweep.open(Case("form that is too old", reverse("login"), None), "error")
    sweep.context.clear_cookies()
    with sweep.page.expect_navigation() as answer:
        sweep.page.evaluate("HTMLFormElement.prototype.submit.call(document.forms[0])")
    assert answer.value.status == 403
    sweep.look(volunteers=True)
    broken = {"status": 500, "body": render_to_string("500.html"), "content_type": "text/html"}
    sweep.page.route("**/broken/", lambda route: route.fulfill(**broken))
    assert sweep.open(Case("mistake of ours", "/broken/", ada), "error") == 500
    sweep.look(volunteers=True)
    sweep.finish(least=3)
