"""A gate's report as a document that can be taken away, and checked by whom it is shown to.

The document holds every rule with its figures, the thresholds and why they were set, the release
and its reason, and the hashes of the data and the code. It is signed with the installation's secret
key: nobody else can make one that this installation calls its own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.signing import BadSignature, Signer
from django.utils.crypto import constant_time_compare

from annotate.models import content_hash
from rewards.models import GateReport, GateSetting

FORMAT = "prefloop gate 1"
SALT = "rewards.gate"


class InvalidDocument(ValueError):
    """This is no document of a gate; the message says why."""


@dataclass(frozen=True)
class Checked:
    """What came of checking a document; `current` is the report as it stands now, if it does.

    `unaltered` tells that the hash is that of the content, `ours` that this installation signed it.
    """

    unaltered: bool
    ours: bool
    current: GateReport | None
    changed: bool

    @property
    def valid(self) -> bool:
        return self.unaltered and self.ours


def signed_document(gate: GateReport) -> dict[str, Any]:
    """The document with its SHA-256 and the signature of that; plain JSON."""
    found = document(gate)
    digest = content_hash(found)
    return {"document": found, "sha256": digest, "signature": _signature(digest)}


def document(gate: GateReport) -> dict[str, Any]:
    """What a gate found, by which rules, of what, and what people made of it."""
    return {
        "format": FORMAT,
        "project": gate.project.slug,
        "number": gate.pk,
        "gate": gate.gate,
        "state": gate.state,
        "opens": gate.opens,
        "judged_at": gate.created_at.isoformat(),
        "rules": gate.report.get("rules", []),
        "thresholds": gate.report.get("settings", {}),
        "thresholds_set": _setting(gate),
        "release": _release(gate),
        "report_sha256": gate.digest,
        "provenance": gate.provenance,
        "to_reproduce": steps(gate),
    }


def steps(gate: GateReport) -> list[str]:
    """The commands that come to the same figures, given the same data and code."""
    slug, found = gate.project.slug, gate.provenance
    code = found.get("code_version")
    begin = [f"check out the code at {code}"] if code else []
    if gate.gate == GateReport.Gate.REWARD_MODEL and "snapshot" in found:
        return [
            *begin,
            f"manage.py export {slug} --snapshot {found['snapshot']} --output -",
            f"manage.py train_reward_model {slug} --snapshot {found['snapshot']}"
            f" --base {found['base']} --config '{json.dumps(found['config'])}'",
        ]
    if gate.gate == GateReport.Gate.AGREEMENT:
        return [*begin, f"manage.py agreement {slug} --json"]
    return begin


def check(found: Any) -> Checked:
    """Check a document that somebody shows. Raises InvalidDocument for what is none."""
    if not isinstance(found, Mapping) or not isinstance(found.get("document"), Mapping):
        raise InvalidDocument('It has no "document".')
    content = found["document"]
    if content.get("format") != FORMAT:
        raise InvalidDocument(f"Its format is not {FORMAT!r}.")
    digest, signature = str(found.get("sha256", "")), str(found.get("signature", ""))
    unaltered = constant_time_compare(content_hash(content), digest)
    ours = _is_ours(digest, signature)
    current = None
    if unaltered and ours:  # else nothing in it is what we wrote
        reports = GateReport.objects.select_related("project", "released_by")
        current = reports.filter(project__slug=content["project"], pk=content["number"]).first()
    return Checked(
        unaltered=unaltered,
        ours=ours,
        current=current,
        changed=current is not None and document(current) != content,
    )


def _signature(digest: str) -> str:
    return Signer(salt=SALT).signature(digest)


def _is_ours(digest: str, signature: str) -> bool:
    """Whether it was signed with this installation's key, or one that it had before."""
    signer = Signer(salt=SALT)
    try:
        signer.unsign(f"{digest}{signer.sep}{signature}")
    except BadSignature:
        return False
    return True


def _release(gate: GateReport) -> dict[str, Any] | None:
    if gate.released_at is None:
        return None
    return {
        "by": gate.released_by.username if gate.released_by else None,
        "at": gate.released_at.isoformat(),
        "reason": gate.release_reason,
    }


def setting_of(gate: GateReport) -> GateSetting | None:
    """The change of thresholds that was in force when the gate was judged; None for defaults."""
    rows = gate.project.gate_settings.filter(created_at__lte=gate.created_at)
    return rows.select_related("created_by").order_by("-pk").first()


def _setting(gate: GateReport) -> dict[str, Any] | None:
    setting = setting_of(gate)
    if setting is None:
        return None
    return {
        "by": setting.created_by.username if setting.created_by else None,
        "at": setting.created_at.isoformat(),
        "reason": setting.reason,
    }
