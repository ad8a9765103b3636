"""The source ``upstream`` against servers on this machine that serve the same layout, well and badly."""

import datetime
import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml
from servers.files import Files
from servers.http import certificates
from servers.registry import Registry
from servers.signing import Signing

from kubesmith.bundle import builder, fetch, load, signature, source, upstream, verify
from kubesmith.bundle.distribution import reference
from kubesmith.bundle.fetch import UnavailableError, UntrustedError
from kubesmith.bundle.recipe import load_release as load_recipes
from kubesmith.bundle.toolchain import host_arch
from kubesmith.bundle.upstream import Places, Settings
from kubesmith.errors import InputError, KubesmithError
from kubesmith.progress import Silent

WHO = {"identity": "release@example.org", "issuer": "https://accounts.example.org"}
KUBEADM = b"#!/bin/sh\necho kubesmith.internal/pause:3.10\n"
LOGIN = ("mirror", "s3cret-mirror-word")


def release() -> dict:
    return {
        "kubernetes": "1.37.2",
        "signers": {"project": WHO},
        "components": [
            {
                "name": "kubernetes",
                "version": "1.37.2",
                "licence": "Apache-2.0",
                "downloads": [
                    {
                        "url": "{kubernetes}/v1.37.2/bin/linux/{arch}/kubeadm",
                        "checksum": ".sha256",
                        "sigstore": "project",
                        "files": [{"path": "bin/kubeadm", "set": "kubernetes", "install": "/usr/local/bin/kubeadm"}],
                    },
                    {
                        "url": "{github}/x/tools-{arch}.tar.gz",
                        "checksum": "../SHA256SUMS",
                        "files": [{"member": "bin/{arch}/tool", "path": "bin/tool", "set": "runtime"}],
                    },
                    {
                        "url": "{raw}/x/x.yaml",
                        "sha256": hashlib.sha256(b"image: old\n").hexdigest(),
                        "files": [{"path": "m/x.yml", "mode": "0644", "set": "manifests", "replace": {"old": "new"}}],
                    },
                ],
                "images": [{"from": "{registry}/team/pause:3.10", "set": "node", "sigstore": "project"}],
            }
        ],
    }


def archive(name: str, content: bytes) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


class World:
    """The internet, as far as a release needs it."""

    def __init__(self, tmp_path: Path, tiny: Path, **options) -> None:
        self.arch = host_arch()
        self.signing = Signing()
        self.recipes = tmp_path / "recipes"
        (self.recipes / "upstream").mkdir(parents=True)
        (self.recipes / "upstream" / "fulcio.pem").write_bytes(self.signing.authorities)
        self.describe(release())
        self.files = Files(login=options.get("login"))
        self.registry = Registry(tiny / "images", **options)
        self.serve()

    def describe(self, data: dict) -> None:
        (self.recipes / "upstream" / "1.37.2.yml").write_text(yaml.safe_dump(data))

    def serve(self) -> None:
        kubeadm = f"/k/v1.37.2/bin/linux/{self.arch}/kubeadm"
        tools = archive(f"./bin/{self.arch}/tool", b"tool")
        signature, certificate = self.signing.sign(KUBEADM, **WHO)
        sums = f"{'0' * 64}  other\n{hashlib.sha256(tools).hexdigest()}  tools-{self.arch}.tar.gz\n"
        self.files.files = {
            kubeadm: KUBEADM,
            f"{kubeadm}.sha256": hashlib.sha256(KUBEADM).hexdigest().encode(),
            f"{kubeadm}.sig": signature,
            f"{kubeadm}.cert": certificate,
            f"/g/x/tools-{self.arch}.tar.gz": tools,
            "/g/x/SHA256SUMS": sums.encode(),
            "/r/x/x.yaml": b"image: old\n",
        }
        self.signing.sign_image(self.registry, "pause", self.registry.images["pause:3.10"], **WHO)

    def settings(self, **more) -> Settings:
        url = self.files.url
        places = Places(f"{url}/k", f"{url}/g", f"{url}/r", self.registry.url, self.registry.url)
        return Settings(places, **{"timeout": (1.0, 0.5), **more})

    def build(self, **more) -> Path:
        return upstream.build(Silent(), "1.37.2", self.settings(**more))

    def __enter__(self):
        self.files.__enter__()
        self.registry.__enter__()
        return self

    def __exit__(self, *error):
        self.files.__exit__()
        self.registry.__exit__()


@pytest.fixture
def make(tmp_path, tiny, monkeypatch):
    """Return a function that starts a world; kubesmith's cache and recipes are its own."""
    monkeypatch.setenv("KUBESMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBESMITH_BUNDLE", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetch, "PAUSE", 0.01)
    started = []

    def start(**options):
        made = World(tmp_path, tiny, **options).__enter__()
        started.append(made)
        monkeypatch.setattr("kubesmith.paths.bundle_recipes", lambda: made.recipes)
        return made

    yield start
    for made in started:
        made.__exit__()


@pytest.fixture
def world(make):
    return make()


def fails(world: World, kind: type[KubesmithError], *words: str, **more) -> None:
    with pytest.raises(kind) as error:
        world.build(**more)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.fix
    assert not (builder.folder() / "current").exists()


def test_a_bundle_is_made_of_what_was_checked(world):
    made = world.build()
    assert verify(made) == []
    bundle = load(made)
    (component,) = bundle.components
    assert [file.path for file in component.files] == ["bin/kubeadm", "bin/tool", "m/x.yml"]
    assert (made / "bin" / "tool").read_bytes() == b"tool"
    assert (made / "m" / "x.yml").read_text() == "image: new\n"
    assert component.images[0].ref == "kubesmith.internal/pause:3.10"
    assert [row.get("signed") for row in component.source["from"]] == ["sigstore", None, None, "sigstore"]
    assert "127.0.0.1" not in (made / "bundle.json").read_text(), "where a mirror is makes no other bundle"


def test_what_was_fetched_is_not_fetched_again(world):
    world.build()
    before = len(world.files.requests) + len(world.registry.requests)
    world.build()
    assert len(world.files.requests) + len(world.registry.requests) == before


@pytest.mark.parametrize(
    "options", [{"index": True}, {"tokens": True}, {"login": LOGIN}, {"tokens": True, "login": LOGIN}]
)
def test_lists_of_platforms_tokens_and_logins(make, options):
    login = options.get("login")
    world = make(**options)
    assert verify(world.build(login=login)) == []
    assert not login or "mirror" in {user for _m, _p, user, _s in world.registry.requests}


def test_a_login_is_sent_to_the_mirrors_only(make):
    world = make(login=LOGIN)
    assert Settings(login=LOGIN).fetcher().login.hosts == frozenset()
    fetcher = world.settings(login=LOGIN).fetcher()
    assert fetcher.login.for_url(f"{world.files.url}/x") == LOGIN
    assert fetcher.login.for_url("https://dl.k8s.io/x") is None
    assert LOGIN[1] not in repr(world.settings(login=LOGIN)) + repr(fetcher.login)


def test_without_or_with_a_wrong_login(make):
    world = make(login=LOGIN)
    fails(world, UnavailableError, "kubeadm answers 401 (a login is needed, or wrong)")
    fails(world, UnavailableError, "401", login=("mirror", "wrong"))


def test_a_wrong_checksum(world):
    world.files.files[f"/k/v1.37.2/bin/linux/{world.arch}/kubeadm.sha256"] = b"0" * 64
    fails(world, UntrustedError, "kubeadm has the sha256", f"its checksum is {'0' * 64}")


def test_a_changed_file(world):
    world.files.faults["tools-"] = "change"
    fails(world, UntrustedError, ".tar.gz has the sha256", "its checksum is")


def test_a_pinned_checksum(world):
    world.files.files["/r/x/x.yaml"] = b"image: evil\n"
    fails(world, UntrustedError, "/r/x/x.yaml has the sha256")


def test_a_list_without_the_file(world):
    world.files.files["/g/x/SHA256SUMS"] = b"%s  other\n" % (b"0" * 64)
    fails(world, UnavailableError, f"SHA256SUMS holds no sha256 of tools-{world.arch}.tar.gz")


def resign(world: World, content: bytes = KUBEADM, signing: Signing | None = None, **changed) -> None:
    place = f"/k/v1.37.2/bin/linux/{world.arch}/kubeadm"
    signature, certificate = (signing or world.signing).sign(content, **(WHO | changed))
    world.files.files |= {f"{place}.sig": signature, f"{place}.cert": certificate}


def test_a_signature_of_something_else(world):
    resign(world, b"something else")
    fails(world, UntrustedError, "/kubeadm: the signature does not fit it")


def test_somebody_else_signed(world):
    resign(world, identity="evil@example.org")
    fails(world, UntrustedError, "was signed by evil@example.org, must be release@example.org")


def test_somebody_else_vouched(world):
    resign(world, issuer="https://evil.example.org")
    fails(
        world, UntrustedError, "https://evil.example.org vouched for its signer, must be https://accounts.example.org"
    )


def test_an_authority_that_nobody_pinned(world):
    resign(world, signing=Signing())
    fails(world, UntrustedError, "no pinned authority vouches")


def test_a_certificate_for_something_else(world):
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

    resign(world, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    fails(world, UntrustedError, "is not one for signing code")


def test_a_certificate_from_before_its_authority(world):
    resign(world, at=datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=4000))
    fails(world, UntrustedError, "no pinned authority vouches")


@pytest.mark.parametrize(
    "rubbish", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_rubbish_for_a_certificate(world, rubbish):
    world.files.files[f"/k/v1.37.2/bin/linux/{world.arch}/kubeadm.cert"] = rubbish
    fails(world, UntrustedError, "the certificate of its signature cannot be read")


def test_a_certificate_in_base64_as_cosign_writes_it(world):
    import base64  # noqa: PLC0415

    place = f"/k/v1.37.2/bin/linux/{world.arch}/kubeadm.cert"
    world.files.files[place] = base64.b64encode(world.files.files[place])
    assert verify(world.build()) == []


def test_authorities_of_a_site(world, tmp_path):
    own = Signing()
    (tmp_path / "own.pem").write_bytes(own.authorities)
    resign(world, signing=own)
    own.sign_image(world.registry, "pause", world.registry.images["pause:3.10"], **WHO)
    assert verify(world.build(trust=tmp_path / "own.pem")) == []


@pytest.mark.parametrize("part", ["/kubeadm", "/kubeadm.sha256", "/kubeadm.sig", "/kubeadm.cert", "/SHA256SUMS"])
def test_not_found(world, part):
    for path in [path for path in world.files.files if path.endswith(part)]:
        del world.files.files[path]
    fails(world, UnavailableError, f"{part} answers 404 (not found)")


def test_a_cut_connection(world):
    world.files.faults["/kubeadm"] = "cut"
    fails(world, UnavailableError, "/kubeadm broke off after", "the connection was cut")


def test_a_connection_on_which_nothing_comes(world):
    world.files.faults["tools-"] = "stall"
    fails(world, UnavailableError, ".tar.gz broke off after", "nothing came in time")


def test_nobody_there(world):
    world.files.__exit__()
    fails(world, UnavailableError, "/kubeadm cannot be fetched: connection refused")


def test_a_name_that_is_not_known(world):
    places = Places(kubernetes="http://no-such-host.invalid")
    with pytest.raises(UnavailableError, match="cannot be fetched: its name is not known"):
        upstream.build(Silent(), "1.37.2", Settings(places, timeout=(1.0, 1.0)))


def test_a_proxy_is_used_and_told_when_it_fails(world, monkeypatch):
    proxy = Files(files={})
    with proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        fails(world, UnavailableError, "answers 404")
    assert proxy.requests[0][1].startswith(f"{world.files.url}/k/")
    fails(world, UnavailableError, "the proxy does not answer or refuses")


def test_tls_by_a_ca_of_the_site(tmp_path):
    ca, pem = certificates(tmp_path, "127.0.0.1")
    with Files({"/x": b"x"}, certificate=pem) as server:
        assert fetch.Fetcher(ca=ca).small(f"{server.url}/x") == b"x"
        with pytest.raises(UnavailableError, match="its certificate is not trusted"):
            fetch.Fetcher(tries=1).small(f"{server.url}/x")


def test_an_image_that_is_not_there(world):
    del world.registry.images["pause:3.10"]
    fails(world, UnavailableError, "/team/pause:3.10 answers 404")


def test_a_changed_layer(world, tiny):
    layer = next(load(tiny).images()).blobs[-1]
    world.registry.faults[layer] = "change"
    fails(world, UntrustedError, f"/team/pause:3.10: layer or config {layer} has the sha256")


def test_a_layer_that_breaks_off(world, tiny):
    world.registry.faults[next(load(tiny).images()).blobs[-1]] = "cut"
    fails(world, UnavailableError, "broke off")


def test_an_image_that_nobody_signed(world):
    digest = world.registry.images["pause:3.10"]
    del world.registry.images[f"pause:{digest.replace(':', '-')}.sig"]
    fails(world, UnavailableError, f"pause:{digest.replace(':', '-')}.sig answers 404")


def test_an_image_with_the_signature_of_another(world):
    digest = world.registry.images["pause:3.10"]
    world.signing.sign_image(world.registry, "pause", "sha256:" + "1" * 64, **WHO)
    tag = "sha256-" + "1" * 64 + ".sig"
    world.registry.images[f"pause:{digest.replace(':', '-')}.sig"] = world.registry.images[f"pause:{tag}"]
    fails(world, UntrustedError, "what was signed is sha256:111", f"not {digest}")


def test_a_release_that_is_not_described(world):
    with pytest.raises(InputError, match=r"Kubernetes 1\.2\.3 are not described"):
        upstream.build(Silent(), "1.2.3", Settings())


def test_a_description_with_a_mistake(world):
    wrong = release()
    wrong["components"][0]["downloads"][0]["sigstore"] = "nobody"
    world.describe(wrong)
    with pytest.raises(InputError, match="signers are not described: nobody"):
        world.build()


def test_upstream_is_asked_once_and_quickly(world):
    assert upstream.reachable(world.settings(), "1.37.2")
    assert not upstream.reachable(world.settings(), "1.37.3")
    world.registry.__exit__()
    assert not upstream.reachable(world.settings(), "1.37.2")


def test_auto_takes_upstream_if_it_answers_else_builds(world):
    wanted = source.Wanted("1.37.2", upstream=world.settings())
    assert source.choose(wanted).kind == "upstream"
    world.files.files.clear()
    assert source.choose(wanted).kind == "gomod"


@pytest.mark.skipif(not shutil.which("gpg"), reason="gpg makes the key")
class TestOpenPgp:
    @pytest.fixture
    def signed(self, world, tmp_path):
        def gpg(*words, data=b""):
            command = ["gpg", "--homedir", str(tmp_path / "gpg"), "--batch", "--quiet", "--passphrase", "", *words]
            return subprocess.run(command, input=data, capture_output=True, check=True).stdout

        (tmp_path / "gpg").mkdir(mode=0o700)
        gpg("--quick-generate-key", "someone@example.org", "ed25519", "sign")
        keyring = world.recipes / "upstream" / "project.keyring"
        keyring.write_bytes(b"uid  Someone\n\n" + gpg("--armor", "--export"))
        described = release()
        part = described["components"][0]["downloads"][1]
        part["openpgp"] = "project.keyring"
        world.describe(described)
        place = f"/g/x/tools-{world.arch}.tar.gz"
        world.files.files[f"{place}.asc"] = gpg("--armor", "--detach-sign", data=world.files.files[place])
        yield world, f"{place}.asc", gpg
        subprocess.run(["gpgconf", "--homedir", str(tmp_path / "gpg"), "--kill", "all"], check=False)

    def test_a_signature_by_a_pinned_key(self, signed):
        world, _place, _gpg = signed
        made = world.build()
        assert [row.get("signed") for row in load(made).components[0].source["from"]][1] == "openpgp"

    def test_a_signature_of_something_else(self, signed):
        world, place, gpg = signed
        world.files.files[place] = gpg("--armor", "--detach-sign", data=b"something else")
        fails(world, UntrustedError, "its signature is not one of the pinned keys in project.keyring")

    def test_a_key_that_nobody_pinned(self, signed):
        world, place, gpg = signed
        gpg("--quick-generate-key", "evil@example.org", "ed25519", "sign")
        data = world.files.files[place.removesuffix(".asc")]
        world.files.files[place] = gpg("-u", "evil@example.org", "--armor", "--detach-sign", data=data)
        fails(world, UntrustedError, "its signature is not one of the pinned keys in project.keyring")


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[3] / "bundle" / "upstream").glob("*.yml")))
def test_upstream_brings_the_same_as_the_recipes(file):
    """What roles ask of a bundle does not depend on its source."""
    recipes = load_recipes(file.stem)
    files = {(item.path, item.mode, item.set, item.install) for recipe in recipes for item in recipe.files}
    release = upstream.load_release(file.stem)
    images = {
        (image.name, image.tag, image.set)
        for recipe in recipes
        if recipe.folder.name not in release.made_here
        for image in recipe.images
    }
    assert {recipe.folder.name for recipe in recipes if recipe.source.type == "debian"} == set(release.made_here)
    parts = release.components
    placed = [one for part in parts for download in part.downloads for one in download.files]
    placed += [one for part in parts for one in part.recipes]
    assert {(one.path, one.mode, one.set, one.install) for one in placed} == files
    pulled = [(pull, reference(Places().url(pull.from_, "amd64"))) for part in parts for pull in part.images]
    assert {(p.name or r.repository.rpartition("/")[2], r.tag, p.set) for p, r in pulled} == images
    built = {recipe.name: recipe.version for recipe in recipes if recipe.source.type == "gomod"}
    assert {part.name: part.version for part in parts} == built


def test_the_pinned_authorities_are_sigstores():
    found = upstream.authorities((upstream.folder() / "fulcio.pem").read_bytes())
    assert [ca.subject.rfc4514_string() for ca in found] == [
        "CN=sigstore-intermediate,O=sigstore.dev",
        "CN=sigstore,O=sigstore.dev",
    ]
    found[0].verify_directly_issued_by(found[1])
    assert len(signature.dearmoured((upstream.folder() / "runc.keyring").read_text())) > 1


@pytest.mark.parametrize(
    ("text", "address", "repository", "tag"),
    [
        ("registry.k8s.io/coredns/coredns:v1.14.6", "https://registry.k8s.io", "coredns/coredns", "v1.14.6"),
        ("docker.io/calico/node:v3.28.5", "https://registry-1.docker.io", "calico/node", "v3.28.5"),
        ("http://mirror:5000/k8s/pause:3.10", "http://mirror:5000", "k8s/pause", "3.10"),
    ],
)
def test_references(text, address, repository, tag):
    found = reference(text)
    assert (found.address, found.repository, found.tag) == (address, repository, tag)
