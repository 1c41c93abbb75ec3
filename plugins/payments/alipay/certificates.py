"""The certificates of Alipay's certificate mode, and the serial numbers that name them in requests."""

import hashlib
import re

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import Certificate, ObjectIdentifier, load_der_x509_certificate
from cryptography.x509.oid import NameOID

from .signature import NotAKey, der

BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
ISSUER = (
    ("CN", NameOID.COMMON_NAME),
    ("OU", NameOID.ORGANIZATIONAL_UNIT_NAME),
    ("O", NameOID.ORGANIZATION_NAME),
    ("C", NameOID.COUNTRY_NAME),
)
SIGNED_WITH_RSA = "1.2.840.113549.1.1."


class NotACertificate(ValueError):
    """The text holds no certificate that can be used here."""


def read(text: str) -> list[Certificate]:
    """Every certificate of a PEM file."""
    try:
        found = [load_der_x509_certificate(der(block)) for block in BLOCK.findall(text)]
    except (ValueError, NotAKey):
        raise NotACertificate from None
    if not found:
        raise NotACertificate
    return found


def public_key(text: str) -> RSAPublicKey:
    """The key that Alipay's certificate vouches for; the first of the file is Alipay's own."""
    key = read(text)[0].public_key()
    if not isinstance(key, RSAPublicKey):
        raise NotACertificate
    return key


def serial(text: str) -> str:
    """The number of the first certificate of a file."""
    return _serial(read(text)[0])


def root_serial(text: str) -> str:
    """The numbers of the root certificates that sign with RSA; the file has others too."""
    numbers = [_serial(one) for one in read(text) if _is_rsa(one.signature_algorithm_oid)]
    if not numbers:
        raise NotACertificate
    return "_".join(numbers)


def _is_rsa(algorithm: ObjectIdentifier) -> bool:
    return algorithm.dotted_string.startswith(SIGNED_WITH_RSA)


def _serial(certificate: Certificate) -> str:
    names = {short: certificate.issuer.get_attributes_for_oid(oid) for short, oid in ISSUER}
    issuer = ",".join(f"{short}={found[0].value!s}" for short, found in names.items() if found)
    return hashlib.md5(f"{issuer}{certificate.serial_number}".encode(), usedforsecurity=False).hexdigest()
