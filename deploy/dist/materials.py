#!/usr/bin/env python3
"""Third-party licences and a CycloneDX bill of materials, from `cargo metadata`.

Usage: materials.py METADATA LICENCES SBOM
"""

import json
import sys
from pathlib import Path

NAMES = ("license", "licence", "copying", "notice", "copyright")


def packages(metadata):
    """The libraries that the program is linked with: what its package reaches without dev-dependencies."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    known = {package["id"]: package for package in metadata["packages"]}
    start = next(p["id"] for p in metadata["packages"] if p["name"] == "pgweir")
    seen, todo = set(), [start]
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        for dependency in nodes[at]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    found = [known[identity] for identity in seen if known[identity]["source"]]
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def licence_texts(package):
    folder = Path(package["manifest_path"]).parent
    files = sorted(f for f in folder.iterdir() if f.is_file() and f.name.lower().startswith(NAMES))
    return [f.read_text(encoding="utf-8", errors="replace").strip() for f in files]


def licences(found):
    """One section per text; libraries with the same text share it."""
    by_text = {}
    for package in found:
        for text in licence_texts(package) or [f"(No text in the package. Its licence: {package['license']}.)"]:
            by_text.setdefault(text, []).append(f"{package['name']} {package['version']} ({package['license']})")
    sections = [", ".join(names) + "\n\n" + text for text, names in by_text.items()]
    rule = "\n\n" + "-" * 80 + "\n\n"
    return "pgweir is linked with the libraries below, under their licences." + rule + rule.join(sections) + "\n"


def component(package):
    purl = f"pkg:cargo/{package['name']}@{package['version']}"
    made = {"type": "library", "bom-ref": purl, "name": package["name"], "version": package["version"], "purl": purl}
    if package["license"]:
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if package["repository"]:
        made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return made


def main():
    metadata, licences_file, sbom_file = sys.argv[1:]
    metadata = json.loads(Path(metadata).read_text())
    found = packages(metadata)
    own = next(p for p in metadata["packages"] if p["name"] == "pgweir")
    sbom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**component(own), "type": "application"}},
        "components": [component(package) for package in found],
    }
    Path(licences_file).write_text(licences(found))
    Path(sbom_file).write_text(json.dumps(sbom, indent=1) + "\n")
    print(f"{len(found)} libraries", file=sys.stderr)


if __name__ == "__main__":
    main()
