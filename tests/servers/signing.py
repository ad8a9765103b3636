"""A signer like Sigstore's: a root, an authority below it, and certificates that live for ten minutes."""

import base64
import datetime
import hashlib
import json

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Signing:
    """``authorities`` is the PEM of root and intermediate."""

    def __init__(self):
        self.now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=30)
        root_key, self._key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
        root = self._made("root", root_key, "root", root_key, 3650).sign(root_key, hashes.SHA384())
        self._ca = self._made("intermediate", self._key, "root", root_key, 3650).sign(root_key, hashes.SHA384())
        pem = serialization.Encoding.PEM
        self.authorities = self._ca.public_bytes(pem) + root.public_bytes(pem)

    def _made(self, name, key, issuer, _issuer_key, days, ca=True):
        builder = x509.CertificateBuilder().subject_name(_name(name)).issuer_name(_name(issuer))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        start = self.now - datetime.timedelta(days=1) if ca else self.now
        builder = builder.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=days))
        return builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)

    def sign(self, content, identity, issuer, usage=ExtendedKeyUsageOID.CODE_SIGNING, at=None):
        """Return (signature in base64, certificate in PEM)."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.now = at or self.now
        builder = self._made("signer", key, "intermediate", self._key, 0.007, ca=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(identity)]), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        der = b"\x0c" + bytes([len(issuer)]) + issuer.encode()
        builder = builder.add_extension(x509.UnrecognizedExtension(ISSUER, der), critical=False)
        certificate = builder.sign(self._key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)
        return base64.b64encode(key.sign(content, ec.ECDSA(hashes.SHA256()))), certificate

    def sign_image(self, registry, name, digest, identity, issuer):
        """Put a signature of the image with ``digest`` beside it, as cosign does."""
        said = {"critical": {"image": {"docker-manifest-digest": digest}, "type": "cosign container image signature"}}
        payload = json.dumps(said).encode()
        signature, certificate = self.sign(payload, identity, issuer)
        notes = {
            "dev.cosignproject.cosign/signature": signature.decode(),
            "dev.sigstore.cosign/certificate": certificate.decode(),
        }
        layer = {"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": registry.put(payload)}
        manifest = {"schemaVersion": 2, "config": {}, "layers": [{**layer, "size": len(payload), "annotations": notes}]}
        registry.images[f"{name}:{digest.replace(':', '-')}.sig"] = registry.put(json.dumps(manifest).encode())
        return hashlib.sha256(payload).hexdigest()
