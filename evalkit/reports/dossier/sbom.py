"""The software bill of materials of this environment: CycloneDX 1.6, JSON."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

from evalkit.core.environment import DISTRIBUTION, Package, environment, installed_packages, normalised

# Deterministic: the same environment gives the same bytes, so there is neither a time nor a random serial number.
SPECIFICATION = "1.6"


def bill_of_materials() -> dict[str, Any]:
    """Every installed distribution, with version, licence as stated and package URL."""
    found = environment({})
    packages = [p for p in installed_packages() if normalised(p.name) != DISTRIBUTION]
    names = "\n".join(f"{p.name}=={p.version}" for p in packages)
    digest = hashlib.sha256(f"{found['evalkit']} {found['python']}\n{names}".encode()).hexdigest()
    serial = f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": _component(Package(name=DISTRIBUTION, version=found["evalkit"]), "application"),
            "properties": [
                {"name": f"evalkit:{key}", "value": str(found[key])}
                for key in ("python", "system", "machine", "accelerator")
            ],
        },
        "components": [_component(p, "library") for p in packages],
    }


def _component(package: Package, kind: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{quote(normalised(package.name))}@{quote(package.version)}"
    # Metadata state licences in words of their own, so that they are names here and no SPDX ids.
    stated = {"licenses": [{"license": {"name": package.licence}}]} if package.licence else {}
    return {"type": kind, "bom-ref": purl, "name": package.name, "version": package.version, "purl": purl} | stated
