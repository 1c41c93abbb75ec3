"""SHA256WithRSA, the signature of EPay V2."""

import base64
import binascii
import functools
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

ARMOUR = re.compile(r"-----[A-Z ]+-----|\s")


class NotAKey(ValueError):
    """The text is no RSA key of the kind that is asked for."""


# to read a key takes far longer than to sign with it: OpenSSL proves that it is one
@functools.lru_cache(maxsize=8)
def private_key(text: str) -> RSAPrivateKey:
    """A key as gateways show it: one line of base64, or PEM in whatever lines a form left of it."""
    try:
        key = load_der_private_key(_der(text), None)
    except (ValueError, TypeError):
        raise NotAKey from None
    if not isinstance(key, RSAPrivateKey):
        raise NotAKey
    return key


def public_key(text: str) -> RSAPublicKey:
    try:
        key = load_der_public_key(_der(text))
    except ValueError:
        raise NotAKey from None
    if not isinstance(key, RSAPublicKey):
        raise NotAKey
    return key


def _der(text: str) -> bytes:
    try:
        return base64.b64decode(ARMOUR.sub("", text), validate=True)
    except binascii.Error:
        raise NotAKey from None


def sign(text: str, key: RSAPrivateKey) -> str:
    return base64.b64encode(key.sign(text.encode(), PKCS1v15(), SHA256())).decode()


def fits(text: str, signature: str, key: RSAPublicKey) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), text.encode(), PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True
