import hashlib
import hmac
import pickle
import random

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from core.vault import aead, cipher, keys
from core.vault.cipher import BatchCipher, DecryptError, OneKey, Secret, VaultLocked


def test_hkdf_is_that_of_rfc_5869() -> None:
    made = HKDF(SHA256(), 42, bytes.fromhex("000102030405060708090a0b0c"), bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"))
    assert made.derive(bytes([11] * 22)).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


@pytest.fixture
def batch() -> BatchCipher:
    wrapped, version = cipher.new_batch_key(1, 2, 3)
    return cipher.open_batch(wrapped, version, 1, 2, 3)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.integers(1, 2**63 - 1))
def test_what_was_sealed_opens(text: str, code_id: int) -> None:
    batch = BatchCipher(bytes(32), 1, 2, 3)
    blob = batch.seal(code_id, text)
    assert batch.open(code_id, blob).reveal() == text
    assert (len(blob) - 2 - 12 - 16) % 32 == 0


def test_lengths_tell_nothing_within_32_bytes(batch: BatchCipher) -> None:
    assert {len(batch.seal(1, "A" * size)) for size in range(31)} == {2 + 12 + 32 + 16}
    assert len(batch.seal(1, "A" * 31)) == 2 + 12 + 64 + 16


def test_every_flipped_bit_fails_alike(batch: BatchCipher) -> None:
    blob = batch.seal(9, "ABCD-EFGH-1234-WXYZ")
    for bit in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptError) as failure:
            batch.open(9, bytes(flipped))
        assert str(failure.value) == "this sealed value cannot be opened"
        assert failure.value.__cause__ is None
    for length in range(len(blob)):
        with pytest.raises(DecryptError):
            batch.open(9, blob[:length])


def test_a_blob_moved_anywhere_else_fails() -> None:
    key = bytes(32)
    blob = BatchCipher(key, 1, 2, 3).seal(4, "CODE")
    assert BatchCipher(key, 1, 2, 3).open(4, blob).reveal() == "CODE"
    for shop, sku, batch, code in ((9, 2, 3, 4), (1, 9, 3, 4), (1, 2, 9, 4), (1, 2, 3, 9), (2, 1, 3, 4), (1, 3, 2, 4)):
        with pytest.raises(DecryptError):
            BatchCipher(key, shop, sku, batch).open(code, blob)
    with pytest.raises(DecryptError):
        BatchCipher(bytes([1] * 32), 1, 2, 3).open(4, blob)


def test_a_data_key_opens_only_for_its_own_batch() -> None:
    wrapped, version = cipher.new_batch_key(1, 2, 3)
    cipher.open_batch(wrapped, version, 1, 2, 3)
    for where in ((0, 1, 2, 3), (version, 9, 2, 3), (version, 1, 9, 3), (version, 1, 2, 9)):
        with pytest.raises(DecryptError):
            cipher.open_batch(wrapped, *where)
    with pytest.raises(VaultLocked, match="has not learned of version 2"):
        cipher.open_batch(wrapped, version + 1, 1, 2, 3)
    assert cipher.new_batch_key(1, 2, 3)[0] != wrapped


def test_another_master_key_opens_nothing(master_key: keys.MasterKey) -> None:
    wrapped, version = cipher.new_batch_key(1, 2, 3)
    secret = cipher.seal_secret("mail", b"password")
    keys.use(keys.MasterKey(bytes([7] * 32)))
    try:
        with pytest.raises(DecryptError):
            cipher.open_batch(wrapped, version, 1, 2, 3)
        with pytest.raises(DecryptError):
            cipher.open_secret("mail", secret)
    finally:
        keys.use(master_key)


def test_a_secret_opens_only_for_its_purpose() -> None:
    blob = cipher.seal_secret("plugin/payments.epay/key", b"hunter2")
    assert cipher.open_secret("plugin/payments.epay/key", blob) == b"hunter2"
    assert b"hunter2" not in blob
    with pytest.raises(DecryptError):
        cipher.open_secret("plugin/payments.epay/pid", blob)
    with pytest.raises(DecryptError):
        cipher.open_secret("plugin/payments.epay/key", b"")


def test_pieces_cannot_be_swapped() -> None:
    key = OneKey(bytes(32))
    blob = key.seal("piece", 0, b"data")
    assert key.open("piece", 0, blob) == b"data"
    for place, number in (("piece", 1), ("reject", 0)):
        with pytest.raises(DecryptError):
            key.open(place, number, blob)


def test_nonces_never_repeat(batch: BatchCipher) -> None:
    blobs = batch.seal_many(range(50_000), ["X"] * 50_000)
    assert len({blob[2:14] for blob in blobs}) == 50_000


def test_the_fingerprint_is_hmac_sha256() -> None:
    key = aead.derived(bytes(range(32)), "vault/code index")
    for code in ("", "A", "卡密-1234", "x" * 5000):
        message = bytes([1]) + (7).to_bytes(8, "big") + code.encode()
        assert cipher.fingerprint(7, code) == hmac.digest(key, message, hashlib.sha256)
    assert cipher.fingerprint(7, "A") != cipher.fingerprint(8, "A")


def test_two_spellings_of_one_code_have_one_fingerprint() -> None:
    spellings = ["AB-12", " AB-12\t", "ＡＢ－１２", "A\u200bB-12", "\ufeffAB-12", "AB\u00ad-12\u3000"]
    assert len({cipher.fingerprint(1, text) for text in spellings}) == 1
    assert cipher.fingerprint(1, "ab-12") != cipher.fingerprint(1, "AB-12")


def test_half_a_sign_is_refused_without_showing_the_code(batch: BatchCipher) -> None:
    for act in (lambda: batch.seal(1, "CANARY\ud800"), lambda: cipher.fingerprint(1, "CANARY\ud800")):
        with pytest.raises(ValueError, match="half a sign") as failure:
            act()
        assert "CANARY" not in repr(failure.value)
        assert failure.value.__suppress_context__


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("CANARY")
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{[secret]}"):
        assert "CANARY" not in shown
    assert not hasattr(secret, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret.reveal() == "CANARY"


def test_random_bytes_never_open(batch: BatchCipher) -> None:
    noise = random.Random(1)
    for _ in range(500):
        with pytest.raises(DecryptError):
            batch.open(1, noise.randbytes(noise.randrange(120)))
