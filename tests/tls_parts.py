"""A Temporal address that asks for certificates: real TLS, ended in front of a server that speaks none."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Authority:
    """Who signs certificates, in a folder of their files."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def path(self):
        return self.folder / "ca.pem"

    def issue(self, name):
        """Paths of a certificate for 127.0.0.1 and of its key."""
        key, certificate = signed(name, issuer=self)
        return write(self.folder / f"{name}.pem", certificate), write_key(self.folder / f"{name}.key", key)


def authority(folder, name="ca"):
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = signed(name)
    write(folder / "ca.pem", certificate)
    return Authority(folder, key, certificate)


def signed(name, issuer=None):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, builder.sign(issuer.key if issuer else key, hashes.SHA256())


def write(path, certificate):
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


def write_key(path, key):
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form))
    return path


class TlsFront:
    """Listens with TLS, demands a client's certificate, and passes what it gets to a plain address."""

    def __init__(self, trusted, target):
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*trusted.issue("server"))
        self._context.load_verify_locations(trusted.path)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.set_alpn_protocols(["h2"])
        self.passed = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0, ssl=self._context)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exception):
        self._server.close()

    async def _pass_on(self, reader, writer):
        self.passed += 1
        onward_reader, onward_writer = await asyncio.open_connection(self._host, self._port)
        both = (relay(reader, onward_writer), relay(onward_reader, writer))
        await asyncio.gather(*both)


async def relay(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
