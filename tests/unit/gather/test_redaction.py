"""Secrets go, in every form in which they are written down; what explains a failure stays."""

import base64
import json
import time

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import private
from ansible_collections.kubesmith.cluster.plugins.module_utils.redaction import PLACE, Redactor

VALUE = "Correct-horse!battery+staple/9"
BODY = [f"MHcCAQEEI{index:02d}" + "Qx7" * 18 for index in range(4)]
KEY = "\n".join(["-----BEGIN EC PRIVATE KEY-----", *BODY, "-----END EC PRIVATE KEY-----"])


def clean(text, *values):
    return Redactor(values).clean(text)


@pytest.mark.parametrize(
    "written",
    [
        VALUE,
        json.dumps({"log": VALUE}),
        base64.b64encode(VALUE.encode()).decode(),
        base64.b64encode(f"user:{VALUE}".encode()).decode(),
        base64.b64encode(f"a:{VALUE}:z".encode()).decode(),
        base64.urlsafe_b64encode(f"xy{VALUE}".encode()).decode(),
        "https://host/?x=Correct-horse%21battery%2Bstaple%2F9",
    ],
)
def test_a_known_value_goes_in_every_form(written):
    assert PLACE in clean(f"a {written} b", VALUE)
    core = base64.b64encode(VALUE.encode()).decode()[4:-6]
    assert VALUE not in clean(written, VALUE) and core not in clean(written, VALUE)


def test_a_private_key_goes_by_each_of_its_lines():
    for line in BODY:
        assert line not in clean(f"2026-11-23T15:00:00Z stdout F {line}", KEY)
    assert clean(base64.b64encode(KEY.encode()).decode(), KEY).count(PLACE)
    assert BODY[1] not in clean("".join(BODY), KEY)


@pytest.mark.parametrize("cut", [slice(None), slice(0, 4), slice(2, None)], ids=["whole", "end cut", "begin cut"])
def test_an_unknown_private_key_goes_by_its_looks(cut):
    log = "\n".join(f"2026-11-23T15:00:00Z stdout F {line}" for line in KEY.splitlines()[cut])
    cleaned = clean(f"before\n{log}\nafter")
    assert all(line not in cleaned for line in BODY)
    assert cleaned.startswith("before\n") and cleaned.endswith("\nafter")


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("    ansible_password: hunter2", "hunter2"),
        ('{"auths": {"registry.example": {"auth": "dTpodW50ZXIy"}}}', "dTpodW50ZXIy"),
        ("kubeadm join --token abcdef.0123456789abcdef", "0123456789abcdef"),
        ("Authorization: Bearer sk-abcdefghijkl", "sk-abcdefghijkl"),
        ('Authorization = "Basic dXNlcjpwYXNzd29yZA=="', "dXNlcjpwYXNzd29yZA"),
        ("DB_PASSWORD=hunter2hunter2", "hunter2hunter2"),
        ('Environment="REGISTRY_PASSWORD=hunter2hunter2"', "hunter2hunter2"),
        ('{"password": "hunter2hunter2"}', "hunter2hunter2"),
        (r"{\"password\": \"hunter2hunter2\"}", "hunter2hunter2"),
        ("  api_key: hunter2hunter2", "hunter2hunter2"),
        ("mysql --password hunter2hunter2 -u x", "hunter2hunter2"),
        ("http://user:hunter2hunter2@proxy:3128/", "hunter2hunter2"),
        ("client-key-data: LS0tLS1CRUdJTiBFQyBQUklWQVRF", "LS0tLS1CRUdJTiBFQyBQUklWQVRF"),
        ("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5l.c2lnbmF0dXJlc2ln", "c2lnbmF0dXJlc2ln"),
    ],
)
def test_what_looks_like_a_secret_goes(text, secret):
    assert secret not in clean(text)
    assert PLACE in clean(text)


@pytest.mark.parametrize(
    "text",
    [
        '"RunPodSandbox failed" err="failed to get sandbox image \\"registry/pause:3.10\\""',
        "[ERROR Port-6443]: Port 6443 is in use",
        "x509: certificate is valid for 10.96.0.1, 10.0.0.11, not 203.0.113.9",
        "-----BEGIN CERTIFICATE-----\nMIIDBTCCAe2gAwIBAgIIVnTbEPfPfd0wDQYJKoZIhvcN\n-----END CERTIFICATE-----",
        "kubelet-client-2026-11-23-15-38-26.pem sha256:6f1ed002ab5595859014ebf0951522d9b8a7c1c4",
    ],
)
def test_what_explains_a_failure_stays(text):
    assert clean(text, VALUE, KEY) == text


def test_short_and_public_values_do_not_empty_a_text():
    text = "kube-system default true /etc/kubernetes/pki/sa.key"
    assert (
        clean(text, "true", "default", "/etc/kubernetes/pki/sa.key", "-----BEGIN CERTIFICATE-----\nkube-system") == text
    )


def test_much_text_is_cleaned_in_bearable_time():
    line = '2026-11-23T15:00:00+00:00 cp1 kubelet[9]: I1123 "SyncLoop" token=x pod="kube-system/coredns" secret y\n'
    began = time.process_time()
    clean(line * 20_000 + "A" * 500_000, *(f"value-number-{index}" for index in range(50)))
    assert time.process_time() - began < 20


class TestValuesOfANode:
    def put(self, root, path, text):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def test_keys_kubeconfigs_registries_encryption_and_units(self, tmp_path):
        self.put(tmp_path, "etc/kubernetes/pki/etcd/ca.key", KEY)
        data = base64.b64encode(KEY.replace("Qx7", "Zk3").encode()).decode()
        self.put(tmp_path, "etc/kubernetes/admin.conf", f"users:\n- user:\n    client-key-data: {data}\n")
        self.put(
            tmp_path, "etc/kubernetes/bootstrap-kubelet.conf", "users:\n- user:\n    token: abcdef.0123456789abcdef\n"
        )
        login = base64.b64encode(b"robot:registry-pass-1").decode()
        self.put(tmp_path, "etc/containerd/certs.d/r/hosts.toml", f'[header]\nAuthorization = "Basic {login}"\n')
        self.put(tmp_path, "etc/kubernetes/enc/enc.yaml", "keys:\n- name: key1\n  secret: c2VjcmV0IGlzIHNlY3VyZQ==\n")
        self.put(
            tmp_path, "etc/systemd/system/x.service.d/a.conf", '[Service]\nEnvironment="API_TOKEN=unit-token-77"\n'
        )
        self.put(tmp_path, "var/lib/kubelet/pods/u/volumes/kubernetes.io~secret/v/plain", "mounted-value-5")
        self.put(tmp_path, "var/lib/kubelet/pods/u/volumes/kubernetes.io~projected/v/namespace", "kube-system")
        self.put(tmp_path, "proc/7/environ", "HOME=/root\0DB_PASSWORD=environ-value-3\0")
        found = private.values(str(tmp_path))
        text = " ".join(["registry-pass-1", "unit-token-77", "mounted-value-5", "environ-value-3", BODY[2], data])
        cleaned = Redactor(found).clean(
            text + " c2VjcmV0IGlzIHNlY3VyZQ== abcdef.0123456789abcdef " + BODY[1].replace("Qx7", "Zk3")
        )
        assert cleaned.replace(PLACE, "").split() == []  # the token's id goes with it: the whole is known here
        assert "kube-system" not in found

    def test_the_encryption_configuration_is_found_by_the_api_servers_flag(self, tmp_path):
        self.put(tmp_path, "srv/own.yaml", "secret: b3RoZXIgc2VjcmV0IHZhbHVl\n")
        manifest = "    - --encryption-provider-config=/srv/own.yaml\n"
        self.put(tmp_path, "etc/kubernetes/manifests/kube-apiserver.yaml", manifest)
        assert "b3RoZXIgc2VjcmV0IHZhbHVl" in private.values(str(tmp_path))

    def test_values_of_secret_objects(self):
        def encoded(**data):
            return {key.replace("_", "-"): base64.b64encode(value.encode()).decode() for key, value in data.items()}

        objects = [
            {"type": "Opaque", "data": encoded(password="s3cr3t-object", username="somebody-known")},
            {
                "type": "bootstrap.kubernetes.io/token",
                "data": encoded(token_id="abcdef", token_secret="0123456789abcdef", description="kubesmith"),
            },
            {
                "type": "kubernetes.io/service-account-token",
                "data": encoded(token="tok-en-value", namespace="kube-system"),
            },
            {"type": "Opaque"},
        ]
        assert private.object_values(objects) == {"s3cr3t-object", "0123456789abcdef", "tok-en-value"}
