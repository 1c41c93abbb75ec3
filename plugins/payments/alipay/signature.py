"""RSA2, the signature of Alipay: SHA256WithRSA over the parameters as they are sent or were received."""

import base64
import binascii
import functools
import re
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

ARMOUR = re.compile(r"-----[A-Z ]+-----|\s")
NOT_IN_NOTICES = frozenset({"sign", "sign_type"})


class NotAKey(ValueError):
    """The text is no RSA key of the kind that is asked for."""


# to read a key takes far longer than to sign with it: OpenSSL proves that it is one
@functools.lru_cache(maxsize=8)
def private_key(text: str) -> RSAPrivateKey:
    """A key as Alipay's tool writes it: one line of base64, or PEM in whatever lines a form left of it."""
    try:
        key = load_der_private_key(der(text), None)
    except (ValueError, TypeError):
        raise NotAKey from None
    if not isinstance(key, RSAPrivateKey):
        raise NotAKey
    return key


def public_key(text: str) -> RSAPublicKey:
    try:
        key = load_der_public_key(der(text))
    except ValueError:
        raise NotAKey from None
    if not isinstance(key, RSAPublicKey):
        raise NotAKey
    return key


def der(text: str) -> bytes:
    try:
        return base64.b64decode(ARMOUR.sub("", text), validate=True)
    except binascii.Error:
        raise NotAKey from None


def request_text(params: Mapping[str, str]) -> str:
    """What a request signs: everything that is not empty, the kind of the signature too."""
    return "&".join(f"{name}={params[name]}" for name in sorted(params) if params[name] and name != "sign")


def notice_text(params: Mapping[str, str]) -> str:
    """What a notice signs: everything but the signature and its kind."""
    return "&".join(f"{name}={params[name]}" for name in sorted(params) if name not in NOT_IN_NOTICES)


def notice_fits(params: Mapping[str, str], key: RSAPublicKey) -> bool:
    """Alipay's own libraries differ on whether an empty parameter is signed; it says nothing in either case."""
    filled = {name: value for name, value in params.items() if value}
    return any(fits(text, params.get("sign", ""), key) for text in {notice_text(params), notice_text(filled)})


def sign(text: str, key: RSAPrivateKey) -> str:
    return base64.b64encode(key.sign(text.encode(), PKCS1v15(), SHA256())).decode()


def fits(text: str, signature: str, key: RSAPublicKey) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), text.encode(), PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True
