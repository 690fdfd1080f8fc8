"""What the reference says exists, and what exists is said."""

import re
from pathlib import Path

from django.core.management import get_commands

ROOT = Path(__file__).parent.parent
OWN_APPS = ("annotate", "rewards", "training")


def test_every_setting_is_documented() -> None:
    source = (ROOT / "prefloop/settings.py").read_text()
    read = set(re.findall(r'\b(?:text|flag|number|words)\("([A-Z_]+)"', source))
    page = (ROOT / "docs/reference/settings.md").read_text()
    documented = set(re.findall(r"^\| `([A-Z_]+)`", page, flags=re.MULTILINE))
    assert read == documented


def test_every_command_is_documented() -> None:
    ours = {name for name, app in get_commands().items() if app in OWN_APPS}
    page = (ROOT / "docs/reference/commands.md").read_text()
    documented = set(re.findall(r"^## `([a-z_]+)", page, flags=re.MULTILINE))
    assert ours == documented


def test_links_between_documents_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []
