"""The cluster's certificate authority and what it signs.

Keys are EC P-256. Leaves are issued anew when they are missing, damaged, near their end, or signed
by another authority, so a half-written folder repairs itself.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY_DAYS = 3650
_LEAF_DAYS = 365
_RENEW_BEFORE = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Subject:
    """Whom a certificate is for.

    Attributes:
        file: name of the files, without suffix.
        common_name: the user's or server's name.
        organization: the user's group, or "".
        names: DNS names and addresses a server answers under; empty for a mere client.
    """

    file: str
    common_name: str
    organization: str = ""
    names: tuple[str, ...] = ()


class Authority:
    """One certificate authority in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key, self.certificate = self._load_or_create()

    @property
    def certificate_file(self) -> Path:
        """The authority's certificate, PEM."""
        return self.folder / "ca.crt"

    def issue(self, subject: Subject) -> tuple[Path, Path]:
        """Returns the certificate's and the key's file, issuing them where needed."""
        certificate_file = self.folder / f"{subject.file}.crt"
        key_file = self.folder / f"{subject.file}.key"
        if not self._is_good(certificate_file, key_file, subject):
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = self._sign(subject, key.public_key())
            write_atomically(key_file, _key_pem(key))
            write_atomically(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
        return certificate_file, key_file

    def _load_or_create(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key_file = self.folder / "ca.key"
        loaded = _load_pair(self.certificate_file, key_file)
        if loaded is not None:
            return loaded
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "driftstack-node")])
        certificate = (
            _builder(name, name, key.public_key(), _AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_atomically(key_file, _key_pem(key))
        write_atomically(self.certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
        return key, certificate

    def _is_good(self, certificate_file: Path, key_file: Path, subject: Subject) -> bool:
        pair = _load_pair(certificate_file, key_file)
        if pair is None:
            return False
        certificate = pair[1]
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (InvalidSignature, ValueError):
            return False
        soon = datetime.datetime.now(datetime.UTC) + _RENEW_BEFORE
        return (
            certificate.not_valid_after_utc > soon
            and certificate.subject == _name(subject)
            and _alternative_names(certificate) == set(subject.names)
        )

    def _sign(self, subject: Subject, public_key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = _builder(_name(subject), self.certificate.subject, public_key, _LEAF_DAYS)
        if subject.names:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            names = [_general_name(name) for name in subject.names]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False).sign(self._key, hashes.SHA256())


def signing_key(folder: Path, file: str) -> tuple[Path, Path]:
    """A key pair for service account tokens: the private key's file and the public one's."""
    private_file, public_file = folder / f"{file}.key", folder / f"{file}.pub"
    key = _load_key(private_file)
    if key is None:
        key = ec.generate_private_key(ec.SECP256R1())
        write_atomically(private_file, _key_pem(key))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if not public_file.exists() or public_file.read_bytes() != public:
        write_atomically(public_file, public)
    return private_file, public_file


def write_atomically(file: Path, data: bytes, mode: int = 0o600) -> None:
    """Writes a file so that a reader sees the old content or the new, never half."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.chmod(mode)
    temporary.replace(file)


def _builder(
    name: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    # An hour back: clocks of virtual machines jump.
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=days))
    )


def _name(subject: Subject) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)]
    if subject.organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.organization))
    return x509.Name(attributes)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _alternative_names(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in names}


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # SEC 1 form: the API server's token signer reads it, and so does everything else here.
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _load_key(file: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _load_pair(
    certificate_file: Path, key_file: Path
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None:
    key = _load_key(key_file)
    if key is None:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    except (OSError, ValueError):
        return None
    return (key, certificate) if certificate.public_key() == key.public_key() else None
