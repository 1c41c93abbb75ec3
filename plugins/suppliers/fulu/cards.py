"""The text on a card: AES-256 in ECB mode with PKCS#7 padding, the secret's 32 signs as the key."""

import base64
import binascii

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB


class CannotOpen(Exception):
    """The text was not encrypted with this secret. Nothing of it is told."""


def opened(text: str, secret: str) -> str:
    """:raises CannotOpen: it is not base64 of our ciphertext."""
    try:
        decryptor = Cipher(AES(secret.encode("ascii")), ECB()).decryptor()  # noqa: S305  Fulu's choice
        padded = decryptor.update(base64.b64decode(text, validate=True)) + decryptor.finalize()
        unpadder = padding.PKCS7(AES.block_size).unpadder()
        return (unpadder.update(padded) + unpadder.finalize()).decode("utf-8").strip()
    except (ValueError, binascii.Error):
        raise CannotOpen from None
