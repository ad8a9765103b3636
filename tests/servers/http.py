"""What both servers share: a log of requests, faults by path, TLS."""

import base64
import contextlib
import datetime
import ipaddress
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CHUNK = 1 << 20


class Handler(BaseHTTPRequestHandler):
    """One request; ``self.server.owner`` answers it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.owner.answer(self)

    do_HEAD = do_POST = do_GET

    def log_message(self, *_words):
        pass

    def send(self, status, body=b"", **headers):
        """Answer with bytes or a file, spoilt as the faults say."""
        owner = self.server.owner
        owner.note(self, status)
        size = body.stat().st_size if isinstance(body, Path) else len(body)
        fault = next((what for part, what in owner.faults.items() if part in self.path), "")
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command == "HEAD":
            return
        if isinstance(body, Path) and not fault:
            with body.open("rb") as source:
                while data := source.read(CHUNK):
                    self.wfile.write(data)
            return
        data = body.read_bytes() if isinstance(body, Path) else body
        if fault == "change":
            data = bytes([data[0] ^ 1]) + data[1:]
        elif fault == "cut":
            data = data[: len(data) // 2]
            self.close_connection = True
        elif fault == "stall":
            self.wfile.write(data[: len(data) // 2])
            owner.stopped.wait(30)
            return
        self.wfile.write(data)


class Server:
    """A server on a free port of this machine until the ``with`` block ends."""

    def __init__(self, login=None, certificate=None, host="127.0.0.1", port=0):
        self.login = login
        self.faults = {}
        self.requests = []
        self.stopped = threading.Event()
        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.owner = self
        self._server.daemon_threads = True
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self.port = self._server.server_address[1]
        self.url = f"{self.scheme}://{host}:{self.port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_error):
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def note(self, handler, status):
        """Keep a line of the log: method, path, user, status."""
        self.requests.append((handler.command, handler.path, self.user(handler), status))

    def user(self, handler):
        """Return the name under which a request came, "" without the right password."""
        scheme, text = handler.headers.get("Authorization", "").partition(" ")[::2]
        if scheme != "Basic" or not self.login:
            return ""
        with contextlib.suppress(ValueError):
            name, password = base64.b64decode(text).decode().partition(":")[::2]
            return name if (name, password) == self.login else ""
        return ""


def certificates(folder, *addresses):
    """Make a CA and a server certificate for ``addresses``; return (CA's file, server's file with its key)."""
    now = datetime.datetime.now(datetime.UTC)

    def made(name, key, issuer, issuer_key, *, ca, names=()):
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        # Without these three, Python 3.13 refuses a chain.
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
        builder = builder.add_extension(usage, critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    def called(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = made(called("test CA"), ca_key, called("test CA"), ca_key, ca=True)
    names = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    server = made(called("test server"), key, called("test CA"), ca_key, ca=False, names=names)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "server.pem").write_bytes(server.public_bytes(pem) + private)
    return folder / "ca.pem", folder / "server.pem"
