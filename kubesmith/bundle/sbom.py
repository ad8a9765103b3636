"""The software bill of materials: CycloneDX 1.5, from what the components' records say."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


def serial_number(digest: str) -> str:
    """Return the document's serial number for the bundle with this ``digest``."""
    return f"urn:uuid:{uuid.uuid5(NAMESPACE, digest)}"


def sbom(head: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the CycloneDX document for a bundle whose head (name, digest, kubernetes) is ``head``.

    Its serial number comes from the bundle's digest and it has no date: the same bundle has the same document.
    """
    libraries: dict[str, dict[str, Any]] = {}
    components = []
    relations = []
    for record in records:
        component = _component(record["component"])
        parts = [*map(_module, record.get("dependencies", ())), *_packages(record["component"])]
        libraries.update({part["bom-ref"]: part for part in parts})
        components.append(component)
        relations.append({"ref": component["bom-ref"], "dependsOn": sorted({part["bom-ref"] for part in parts})})
    root = {"type": "platform", "bom-ref": head["name"], "name": head["name"], "version": head["kubernetes"]}
    relations.append({"ref": head["name"], "dependsOn": [component["bom-ref"] for component in components]})
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": serial_number(head["digest"]),
        "version": 1,
        "metadata": {"component": root, "tools": {"components": [{"type": "application", "name": "kubesmith"}]}},
        "components": [*components, *(libraries[ref] for ref in sorted(libraries))],
        "dependencies": relations,
    }


def _component(data: Mapping[str, Any]) -> dict[str, Any]:
    source = data["source"]
    reference = f"component:{data['name']}@{data['version']}"
    result: dict[str, Any] = {
        "type": "application",
        "bom-ref": reference,
        "name": data["name"],
        "version": data["version"],
        "licenses": [{"expression": data["licence"]}],
        "components": [_file(reference, file) for file in data["files"]] + [_image(image) for image in data["images"]],
    }
    if source["type"] == "gomod":
        result["purl"] = f"pkg:golang/{source['module']}@{source['version']}"
        result["properties"] = [{"name": "kubesmith:go.sum", "value": source["sum"]}]
    return result


def _file(reference: str, file: Mapping[str, Any]) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": file["sha256"]}]
    return {"type": "file", "bom-ref": f"{reference}#{file['path']}", "name": file["path"], "hashes": hashes}


def _image(image: Mapping[str, Any]) -> dict[str, Any]:
    name, _, tag = image["ref"].rpartition(":")
    digest = image["digest"]
    hashes = [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]
    purl = f"pkg:oci/{name.rpartition('/')[2]}@{digest.replace(':', '%3A')}?tag={tag}"
    return {"type": "container", "bom-ref": image["ref"], "name": name, "version": tag, "purl": purl, "hashes": hashes}


def _module(dependency: Mapping[str, str]) -> dict[str, Any]:
    purl = f"pkg:golang/{dependency['module']}@{dependency['version']}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": dependency["module"],
        "version": dependency["version"],
        "purl": purl,
        "properties": [{"name": "kubesmith:go.sum", "value": dependency["sum"]}],
    }


def _packages(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_package(package, data["source"]["suite"]) for package in data["source"].get("packages", ())]


def _package(package: Mapping[str, Any], suite: str) -> dict[str, Any]:
    purl = f"pkg:deb/debian/{package['name']}@{package['version'].replace(':', '%3A')}?distro={suite}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package["name"],
        "version": package["version"],
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": package["sha256"]}],
        "licenses": [{"license": {"name": name}} for name in package["licences"]],
    }
