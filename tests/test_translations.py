"""The interface in other languages: the catalogues are whole, and the pages use them."""

import gettext
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import translation

from annotate.models import Membership, Project, User
from rewards.forms import ReasonForm
from rewards.models import Run
from tests import make

ROOT = Path(settings.BASE_DIR)
LANGUAGES = [code for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
PACKAGES = ("annotate", "rewards", "training", "prefloop", "templates")

# Where volunteers go. These pages are whole in every language; the others may show some English in
# a language that nobody has had the time for.
COMPLETE = ("de",)
PAGES_OF_VOLUNTEERS = {
    *("annotate/forms/me.py", "annotate/forms/people.py", "annotate/forms/ranking.py"),
    *("annotate/keys.py", "annotate/views/home.py", "annotate/views/me.py"),
    *("annotate/views/rank.py", "annotate/services/own_work.py"),
    *("annotate/services/assignments.py", "annotate/services/rankings.py"),
    *(f"templates/{name}.html" for name in ("403_csrf", "404", "500", "_language", "base")),
    *("templates/_project_nav.html", "templates/registration/login.html"),
    "templates/training/_impact.html",
    *(
        f"templates/annotate/{name}.html"
        for name in (
            *("_conflict", "_consent_field", "_example", "_guidelines_sheet", "_keys", "_pause"),
            *("conflict", "consent", "guidelines", "home", "invite_invalid", "join", "me"),
            *("pause", "work"),
        )
    ),
    *(
        f"templates/annotate/{name}.jinja"
        for name in (
            *("_alive", "_board", "_draft_state", "_edit", "_extras", "_pair_choice"),
            *("_progress", "_response", "_texts", "_turn", "_undo", "_work"),
        )
    ),
}


@dataclass
class Message:
    """A text of the interface: where it stands, and its translations, one for each plural form."""

    text: str = ""
    plural: str = ""
    context: str | None = None
    places: set[str] = field(default_factory=set)
    flags: set[str] = field(default_factory=set)
    translations: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple[str | None, str, str]:
        return self.context, self.text, self.plural

    @property
    def is_translated(self) -> bool:
        return all(self.translations) and "fuzzy" not in self.flags

    def __str__(self) -> str:
        return f"{self.text!r} ({', '.join(sorted(self.places))})"


def read(path: Path) -> list[Message]:
    """The messages of a .po or .pot file as GNU gettext writes it, without its header."""
    found = []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        message, lines = Message(), []
        for line in block.splitlines():
            if line.startswith("#:"):
                message.places |= set(line[2:].split())
            elif line.startswith("#,"):
                message.flags |= {flag.strip() for flag in line[2:].split(",")}
            elif line.startswith('"'):
                lines[-1][1] += line[1:-1]
            elif line.startswith("msg"):
                name, text = line.split(" ", 1)
                lines.append([name, text[1:-1]])
        for name, text in lines:
            text = re.sub(r"\\(.)", lambda escaped: {"n": "\n"}.get(escaped[1], escaped[1]), text)
            if name == "msgctxt":
                message.context = text
            elif name == "msgid":
                message.text = text
            elif name == "msgid_plural":
                message.plural = text
            else:
                message.translations.append(text)
        if message.text:
            found.append(message)
    return found


def catalogue(language: str) -> Path:
    return ROOT / "locale" / language / "LC_MESSAGES" / "django.po"


def listed(messages: list[Message]) -> str:
    return "\n".join(f"  {message}" for message in messages)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> list[Message]:
    """Every text that is marked for translation in templates and in Python."""
    if not shutil.which("xgettext"):
        pytest.skip("GNU gettext is not installed, so nothing can collect the marked texts")
    copy = tmp_path_factory.mktemp("marked")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "locale").mkdir()
    # Without settings, so that it writes to the copy and not to LOCALE_PATHS.
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-m", "django", "makemessages", "--locale", "de", "--keep-pot"]
    options = ["--extension", "html,txt,py,jinja", "--add-location", "file", "--verbosity", "0"]
    subprocess.run([*command, *options], cwd=copy, env=environment, check=True)
    return read(copy / "locale" / "django.pot")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_catalogue_holds_every_marked_text_and_no_other(
    language: str, marked: list[Message]
) -> None:
    wanted = {message.key: message for message in marked}
    found = {message.key: message for message in read(catalogue(language))}
    missing = [message for key, message in wanted.items() if key not in found]
    obsolete = [message for key, message in found.items() if key not in wanted]
    assert not missing and not obsolete, (
        f"{catalogue(language)} is out of date: run `make messages`, and translate what is new.\n"
        f"Missing:\n{listed(missing)}\nNot marked anywhere any more:\n{listed(obsolete)}"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_must_be_translated_is(language: str) -> None:
    bare = [
        message
        for message in read(catalogue(language))
        if not message.is_translated
        and (language in COMPLETE or message.places & PAGES_OF_VOLUNTEERS)
    ]
    assert not bare, (
        f"Translate these in {catalogue(language)}, take the mark `fuzzy` off where the guess is "
        f"right, and run `make messages`:\n{listed(bare)}"
    )


def test_the_pages_of_volunteers_are_those_that_are_there() -> None:
    assert [place for place in PAGES_OF_VOLUNTEERS if not (ROOT / place).exists()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_have_the_placeholders_of_the_text(language: str) -> None:
    def names(text: str) -> set[str]:
        return set(re.findall(r"%\(\w+\)[a-z]|%%|{\w+}", text))

    wrong = []
    for message in read(catalogue(language)):
        for form, text in enumerate(message.translations):
            wanted = names(message.plural or message.text)
            left_out = wanted - names(text)
            # A form for one number alone may say it in words: the singular where the English one
            # does so, and those of none, one and two where there are six.
            in_words = left_out and (
                names(text) == names(message.text)
                if len(message.translations) == 2
                else len(left_out) == 1 and form < 3
            )
            if text and (names(text) - wanted or left_out and not in_words):
                wrong.append(message)
    assert not wrong, f"Other placeholders in {catalogue(language)} than in:\n{listed(wrong)}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_catalogue_is_up_to_date(language: str) -> None:
    """It is committed, since a machine that runs Prefloop need not have GNU gettext."""
    path = catalogue(language).with_suffix(".mo")
    with path.open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    stale = []
    for message in read(catalogue(language)):
        wanted = set(message.translations) if message.is_translated else {message.text}
        numbers = range(201)  # every plural form of every language comes up among these
        if message.plural:
            wanted |= set() if message.is_translated else {message.plural}
            found = {compiled.ngettext(message.text, message.plural, n) for n in numbers}
        elif message.context:
            found = {compiled.pgettext(message.context, message.text)}
        else:
            found = {compiled.gettext(message.text)}
        if found != wanted:
            stale.append(message)
    assert not stale, f"{path} is out of date, run `make messages`:\n{listed(stale)}"


# Pages


@pytest.fixture(autouse=True)
def default_language_afterwards() -> Iterator[None]:
    """A request leaves its language behind in the thread, where the next test would find it."""
    yield
    translation.deactivate()


def html_of(response: Any) -> str:
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize(
    ("asked", "start"),
    [
        ("de-CH,de;q=0.9,en;q=0.5", '<html lang="de" dir="ltr">'),
        ("ar-EG", '<html lang="ar" dir="rtl">'),
        ("fr", '<html lang="en" dir="ltr">'),
    ],
)
def test_a_page_is_in_the_language_that_the_browser_asks_for(
    client: Client, db: None, asked: str, start: str
) -> None:
    assert start in html_of(client.get(reverse("login"), headers={"Accept-Language": asked}))


def test_the_language_that_somebody_chose_stays(client: Client, ada: User) -> None:
    """Over that of the browser, before and after signing in, and in parts of pages."""
    login = reverse("login")
    form = {"language": "de", "next": f"{login}?next=/p/climate/"}
    answer = client.post(reverse("set_language"), form, headers={"Accept-Language": "ar"})
    assert answer["Location"] == form["next"]
    assert answer.cookies[settings.LANGUAGE_COOKIE_NAME]["max-age"] >= 30 * 24 * 3600
    assert "Anmelden" in html_of(client.get(login, headers={"Accept-Language": "ar"}))
    client.force_login(ada)
    for headers in ({"Accept-Language": "ar"}, {"Accept-Language": "ar", "HX-Request": "true"}):
        page = html_of(client.get(reverse("annotate:rank", args=["climate"]), headers=headers))
        assert "Prefloop" not in page or 'lang="de"' in page
        assert "There is nothing left" not in page and "Danke" in page


def test_choosing_a_language_leads_nowhere_else(client: Client, db: None) -> None:
    form = {"language": "de", "next": "https://elsewhere.example/"}
    assert client.post(reverse("set_language"), form)["Location"] == "/"


def test_the_menu_names_each_language_in_its_own(client: Client, db: None) -> None:
    page = html_of(client.get(reverse("login"), headers={"Accept-Language": "ar"}))
    assert re.search(r'<button [^>]*value="de" lang="de" dir="ltr">Deutsch</button>', page)
    assert re.search(r'<button [^>]*value="ar"[^>]* aria-current="true">العربيّة</button>', page)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pages_of_a_project_open_in_every_language(
    client: Client, project: Project, root: User, language: str
) -> None:
    """With their numbers, plurals and dates; a translation that breaks its sentence raises."""
    for _ in range(3):
        make.make_task(project)
    make.make_ranking(project.memberships.get(user=root), task=make.make_task(project))
    client.force_login(root)
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = language
    names = ("annotate:rank", "annotate:me", "annotate:guidelines", "annotate:people")
    others = ("rewards:agreement", "rewards:snapshots", "rewards:reward_models", "rewards:runs")
    loop = ("training:overview", "training:policies", "training:cycles")
    for name in (*names, *others, *loop):
        page = html_of(client.get(reverse(name, args=["climate"])))
        assert f'<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}">' in page


def test_words_that_are_set_when_the_program_starts_follow_the_reader() -> None:
    with translation.override("de"):
        assert Run.State.DONE.label == "Fertig"
        assert Membership.Role.REVIEWER.label == "Gutachter:in"
        assert ReasonForm()["reason"].label == "Grund"


def test_arabic_counts_in_six_forms() -> None:
    one, many = "%(m)s ranking since", "%(m)s rankings since"
    with translation.override("ar"):
        forms = {translation.ngettext(one, many, n) for n in (0, 1, 2, 3, 11, 100)}
    assert len(forms) == 6
