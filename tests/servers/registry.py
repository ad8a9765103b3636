"""A registry (OCI distribution API, pulls only) that serves the images of an OCI layout under any name."""

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

from servers.http import Server

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class Registry(Server):
    """``tokens`` asks for a token of its own service instead of the password itself, as public registries do.

    ``index`` puts each image behind a list of platforms; ``more`` is {last part of a name and tag: manifest}.
    """

    def __init__(self, layout, *, tokens=False, index=False, **options):
        super().__init__(**options)
        self.blobs = Path(layout) / "blobs" / "sha256"
        self.tokens = tokens
        self.more = {}
        self.images = {}
        rows = json.loads((Path(layout) / "index.json").read_text())["manifests"]
        for row in rows:
            name = row["annotations"]["io.containerd.image.name"].rpartition("/")[2]
            self.images[name] = self._listed(row) if index else row["digest"]

    def _listed(self, row):
        other = {**row, "digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "s390x"}}
        listed = [{k: v for k, v in one.items() if k != "annotations"} for one in (other, row)]
        return self.put(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode())

    def put(self, content):
        """Serve ``content`` as a blob too, from memory; return its digest."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.more[digest] = content
        return digest

    def add_layer(self, name, new):
        """Serve the image ``name`` (such as ``pause:3.10``) with one more layer, which nobody has, as ``new``."""
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as archive:
            archive.addfile(tarfile.TarInfo(f"{new.replace(':', '-')}.txt"))
        layer = self.put(raw.getvalue())
        manifest = json.loads((self.blobs / self.images[name].removeprefix("sha256:")).read_text())
        config = json.loads((self.blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
        config["rootfs"]["diff_ids"].append(layer)
        config["history"].append({"created_by": "test"})
        content = json.dumps(config).encode()
        manifest["config"] |= {"digest": self.put(content), "size": len(content)}
        size = len(self.more[layer])
        manifest["layers"].append({"mediaType": manifest["layers"][0]["mediaType"], "digest": layer, "size": size})
        self.images[new] = self.put(json.dumps(manifest).encode())
        return layer

    def answer(self, handler):
        """Answer one request."""
        path = handler.path.partition("?")[0]
        if path == "/token":
            return self._token(handler)
        if not self._allowed(handler):
            challenge = f'Bearer realm="{self.url}/token",service="test"' if self.tokens else 'Basic realm="test"'
            return handler.send(401, b"{}", WWW_Authenticate=challenge)
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
        if not found:
            return handler.send(200 if path == "/v2/" else 404, b"{}")
        name, kind, reference = found.groups()
        digest = self.images.get(f"{name.rpartition('/')[2]}:{reference}", reference)
        body = self.more.get(digest) or self.blobs / digest.removeprefix("sha256:")
        if not digest.startswith("sha256:") or (isinstance(body, Path) and not body.is_file()):
            return handler.send(404, b"{}")
        if kind == "blobs":
            return handler.send(200, body, Docker_Content_Digest=digest)
        media = INDEX if isinstance(body, bytes) and b'"manifests"' in body else MANIFEST
        return handler.send(200, body, Content_Type=media, Docker_Content_Digest=digest)

    def _allowed(self, handler):
        if self.login is None and not self.tokens:
            return True
        if self.tokens:
            return handler.headers.get("Authorization") == "Bearer test-token"
        return bool(self.user(handler))

    def _token(self, handler):
        if handler.command == "POST":
            return handler.send(405, b"")
        if self.login and not self.user(handler):
            return handler.send(401, b"{}")
        return handler.send(200, b'{"token": "test-token"}', Content_Type="application/json")
