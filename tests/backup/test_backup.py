"""A backup of a shop that sells becomes the same shop again, or nothing at all."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core import engine_place
from core.backup import archive, restore
from core.vault import sealed_file
from core.vault.cipher import Secret
from tests.backup.conftest import CODES, SKU
from tests.canary.test_no_plaintext import forms_of
from tests.faults.shop import SETTINGS, Books, Browser, notice, tell
from tests.run.conftest import until

PASSPHRASE = "seven slow herons wade"
TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"


def buy(url: str) -> tuple[Browser, str, str]:
    """A browser, its order and the code it was shown."""
    browser = Browser()
    browser.open_counter(url, SKU)
    ref = browser.send(url)
    assert tell(url, notice(f"{ref}-1")).content == b"success"
    return browser, ref, browser.reveal(url, ref)[0]


def facts(done) -> dict[str, tuple[str, str]]:
    return {one["name"]: (one["state"], one["text"]) for one in json.loads(done.stdout)["found"]}


class Crowd:
    """Buyers that come one after another until the door closes."""

    def __init__(self, url: str) -> None:
        self.url, self.open, self.sold = url, True, []
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while self.open:
            browser, ref, code = buy(self.url)
            browser.http.close()
            self.sold.append((ref, code))

    def __enter__(self) -> "Crowd":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False
        self.thread.join()


@pytest.fixture(scope="module")
def taken(web, room):
    """A buyer from before the backup, and the backup that was made while others bought."""
    early = buy(web.url)
    with Crowd(web.url) as crowd:
        until(lambda: crowd.sold)
        file = room.backup("shop.backup", "--with-keys", str(room.folder / "keys.sealed"))
        during = len(crowd.sold)
    yield early, file, during
    early[0].http.close()


def name_of(database: str) -> str:
    return urlsplit(database).path[1:]


def test_a_backup_made_while_the_shop_sells_is_the_same_shop_again(taken, web, room, start, engines, sql):
    (browser, ref, code), file, during = taken
    assert during > 1
    home, database = room.folder / "again", room.new_database()
    done = room.restore(file, home, database, "--keys", str(room.folder / "keys.sealed"), "--nothing-sold-since")
    assert done.returncode == 0, done.stderr
    found = facts(done)
    assert {state for state, _text in found.values()} == {"ok"}
    assert found["key"][1] == "the master key opens 1 batches"

    there = lambda statement: engines.sql(statement, name_of(database))  # noqa: E731
    assert Books(there).problems() == []
    by_state = dict(row.split("|") for row in there("SELECT state, count(*) FROM vault_code GROUP BY 1").splitlines())
    assert sum(map(int, by_state.values())) == len(CODES)
    sold_then = int(by_state["delivered"])
    assert 1 < sold_then <= int(sql("SELECT count(*) FROM vault_code WHERE state = 'delivered'"))
    assert there("SELECT count(*) FROM payments_event WHERE state = 'paid'") == str(sold_then)

    restored = start("web", "--no-demo", VOUCHSAFE_HOME=str(home), DATABASE_URL=database, **SETTINGS)
    assert browser.reveal(restored.url, ref) == [code]
    assert (home / "master.key").read_bytes() == (Path(web.environ["VOUCHSAFE_HOME"]) / "master.key").read_bytes()
    again, _ref, new_code = buy(restored.url)
    again.http.close()
    assert new_code in CODES
    assert new_code != code


def test_what_may_have_been_sold_since_is_set_aside_until_somebody_decides(taken, room, engines):
    _early, file, _during = taken
    database = room.new_database()
    done = room.restore(file, room.folder / "held", database)
    assert done.returncode == 0, done.stderr
    there = lambda statement: engines.sql(statement, name_of(database))  # noqa: E731
    by_state = dict(row.split("|") for row in there("SELECT state, count(*) FROM vault_code GROUP BY 1").splitlines())
    assert "free" not in by_state
    aside = int(by_state["quarantined"])
    assert aside > 1
    assert facts(done)["held"] == (
        "warn",
        f"{aside} free codes are set aside, for some may have been sold after the backup: look at Stock, Set aside",
    )
    assert there("SELECT count(*), count(batch_id), count(held_by) FROM vault_hold") == "1|1|0"
    assert there("SELECT actor, act, detail ->> 'aside' FROM audit_entry WHERE act = 'codes.held'") == (
        f"system|codes.held|{aside}"
    )


def test_into_a_data_folder_with_its_own_engines(taken, room):
    _early, file, _during = taken
    home = room.folder / "a whole shop"  # a space means other things in an address than in a path
    done = room.restore(file, home, "", "--keys", str(room.folder / "keys.sealed"), "--nothing-sold-since")
    assert done.returncode == 0, done.stderr
    assert {state for state, _text in facts(done).values()} == {"ok"}
    assert not (home / "restore-unfinished").exists()
    doctor = room.call("doctor", "--json", VOUCHSAFE_HOME=str(home), DATABASE_URL="", REDIS_URL="")
    checks = {check["name"]: check["state"] for check in json.loads(doctor.stdout)["checks"]}
    assert (checks["tables"], checks["key"], checks["database"]) == ("ok", "ok", "ok")


def test_without_the_key_the_codes_stay_closed(taken, room):
    _early, file, _during = taken
    done = room.restore(file, room.folder / "keyless", room.new_database(), "--nothing-sold-since")
    assert done.returncode == 0, done.stderr
    found = facts(done)
    assert found["key"][0] == "warn"
    assert found["closed"] == ("ok", "nothing opens without it")
    assert not (room.folder / "keyless" / "master.key").exists()


def test_no_code_and_no_key_is_in_it(taken, web, room):
    _early, file, _during = taken
    opened = dict.fromkeys(("manifest", "files"), b"")
    dump = room.folder / "inside.dump"
    with dump.open("wb") as output:
        for name, content in restore.entries(file, room.key):
            if name.startswith("database/"):
                output.write(content.read())
            else:
                opened["manifest" if name == "manifest.json" else "files"] += content.read()
    script = subprocess.run(
        [engine_place.postgres_program("pg_restore"), "-f", "-", str(dump)], capture_output=True, check=True
    )
    key = (Path(web.environ["VOUCHSAFE_HOME"]) / "master.key").read_bytes().strip()
    places = {**opened, "dump": script.stdout, "sealed": file.read_bytes()}
    assert b"COPY public.vault_code" in places["dump"]
    assert len(places["dump"]) > 100_000
    found = [
        (name, how)
        for name, inside in places.items()
        for how, form in [*forms_of("CANARY-8W3N").items(), ("key", key)]
        if form in inside
    ]
    assert found == []


# -- what does not open touches nothing -------------------------------------------------


def refused(room, engines, file, words, *options):
    home, database = room.folder / "untouched", room.new_database()
    done = room.restore(file, home, database, *options)
    assert done.returncode == 1
    assert words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not home.exists()
    assert engines.sql(TABLES, name_of(database)) == "0"


def test_under_a_passphrase(web, room):
    file = room.folder / "passphrase.backup"
    done = room.call("backup", str(file), "--passphrase-stdin", text=f"{PASSPHRASE}\n")
    assert done.returncode == 0, done.stderr
    with file.open("rb") as source:
        with pytest.raises(sealed_file.CannotOpen, match="the passphrase is wrong"):
            sealed_file.key_for(source, Secret("seven slow herons wait"))
        source.seek(0)
        key = sealed_file.key_for(source, Secret(PASSPHRASE))
    assert restore.check_file(file, key)["rows"]["vault_code"] == len(CODES)
    with pytest.raises(restore.RestoreFailed, match="another key"):
        restore.check_file(file, room.key)


def test_another_key(taken, room, engines):
    secret, _public = sealed_file.new_key()
    other = room.folder / "other.key"
    other.write_text(secret.reveal())
    refused(room, engines, taken[1], "it was sealed to another key", "--key-file", str(other))


@pytest.mark.parametrize("where", ["start", "key", "middle", "end"])
def test_one_changed_bit(taken, room, where):
    body = bytearray(taken[1].read_bytes())
    body[{"start": 3, "key": 100, "middle": len(body) // 2, "end": len(body) - 1}[where]] ^= 1
    file = room.folder / f"flipped-{where}.backup"
    file.write_bytes(body)
    with pytest.raises(restore.RestoreFailed, match="cannot be opened"):
        restore.check_file(file, room.key)


@pytest.mark.parametrize("left", ["1", "half", "chunk", "all but 1"])
def test_a_file_that_was_cut(taken, room, left):
    body = taken[1].read_bytes()
    size = {"1": 1, "half": len(body) // 2, "chunk": len(body) // 65552 * 65552, "all but 1": len(body) - 1}[left]
    file = room.folder / "cut.backup"
    file.write_bytes(body[:size])
    with pytest.raises(restore.RestoreFailed, match="cannot be opened"):
        restore.check_file(file, room.key)


def test_a_cut_file_touches_nothing(taken, room, engines):
    file = room.folder / "short.backup"
    file.write_bytes(taken[1].read_bytes()[:-20])
    refused(room, engines, file, "damaged")


def test_a_backup_of_a_newer_version_is_left_alone(web, room, sql):
    sql("INSERT INTO migration (name, app_name, ran_on) VALUES ('2031-01-01T00:00:00:000000', 'vault', now())")
    try:
        file = room.backup("newer.backup")
    finally:
        sql("DELETE FROM migration WHERE name = '2031-01-01T00:00:00:000000'")
    with pytest.raises(restore.RestoreFailed, match=r"newer version of Vouchsafe \(1 migrations"):
        restore.check_file(file, room.key)


def test_never_over_a_shop(taken, room, web, engines, sql):
    before = sql("SELECT count(*) FROM orders_order")
    home = room.folder / "lived-in"
    home.mkdir()
    (home / "note").write_text("mine")
    done = room.restore(taken[1], home, room.new_database())
    assert (done.returncode, "is not empty" in done.stderr) == (1, True)
    assert [path.name for path in home.iterdir()] == ["note"]
    done = room.restore(taken[1], room.folder / "fresh", web.environ["DATABASE_URL"])
    assert (done.returncode, "The database is not empty" in done.stderr) == (1, True)
    assert not (room.folder / "fresh").exists()
    assert sql("SELECT count(*) FROM orders_order") >= before


# -- killed in the middle ---------------------------------------------------------------


def test_what_cannot_be_read_to_its_end_is_said_and_leaves_nothing(room):
    def pieces():
        yield b"so far it went well"
        raise archive.BackupFailed("pg_dump: no right to read it")

    file = room.folder / "half" / "vouchsafe.backup"
    file.parent.mkdir()
    with pytest.raises(archive.BackupFailed, match="no right to read it"):
        archive.write(file, archive.Stream(pieces()), room.public_key)
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize("point", ["backup.half", "backup.before_name"])
def test_a_killed_backup_leaves_nothing_that_looks_whole(web, room, point):
    file = room.folder / f"{point}.backup"
    done = room.call("backup", str(file), "--to", room.public_key, VOUCHSAFE_CRASH_AT=point)
    assert done.returncode == -signal.SIGKILL
    assert not file.exists()
    drafts = list(room.folder.glob(".*.part"))
    assert len(drafts) == 1
    assert room.backup(f"{point}.backup") == file
    assert list(room.folder.glob(".*.part")) == []
    assert restore.check_file(file, room.key)["format"] == 1


@pytest.mark.parametrize("point", ["restore.half", "restore.unpacked"])
def test_a_killed_restore_does_not_start_as_a_shop(taken, room, engines, point):
    home, database = room.folder / f"killed-{point}", room.new_database()
    done = room.restore(taken[1], home, database, VOUCHSAFE_CRASH_AT=point)
    assert done.returncode == -signal.SIGKILL
    begun = room.call("prepare", VOUCHSAFE_HOME=str(home), DATABASE_URL=database)
    assert begun.returncode == 1
    assert "did not finish" in begun.stderr
    if point != "restore.unpacked":
        assert engines.sql(TABLES, name_of(database)) == "0"


# -- sealed to a key, by plan -----------------------------------------------------------


def test_by_plan_only_so_many_stay(web, room, sql):
    key_file = room.folder / "new.key"
    made = json.loads(room.call("backup", "--new-key", str(key_file), "--json").stdout)
    assert key_file.stat().st_mode & 0o777 == 0o600
    done = room.call("backup", "--planned", "--json")
    assert (done.returncode, "--to PUBLIC_KEY" in done.stderr) == (1, True)

    sql(f"UPDATE backup_plan SET public_key = '{made['public_key']}', keep = 1")
    for number in range(2):
        done = room.call("backup", "--planned", "--json")
        assert done.returncode == 0, done.stderr
        old = Path(json.loads(done.stdout)["file"])
        new = old.rename(old.with_name(f"{number}.backup"))  # two of one second would have one name
        sql(f"UPDATE backup_file SET path = '{new}' WHERE path = '{old}'")
    (newest,) = (Path(web.environ["VOUCHSAFE_HOME"]) / "backups").iterdir()
    assert newest.name == "1.backup"
    assert sql("SELECT state FROM backup_file WHERE planned ORDER BY id").splitlines() == ["removed", "done"]
    assert restore.check_file(newest, Secret(key_file.read_text()))["format"] == 1


def test_the_worker_makes_one_when_it_is_due(web, room, sql, start):
    sql("UPDATE backup_plan SET keep = 50; UPDATE backup_file SET started_at = now() - interval '2 days'")
    before = int(sql("SELECT count(*) FROM backup_file WHERE state = 'done'"))
    worker = start("worker", **SETTINGS)
    until(lambda: int(sql("SELECT count(*) FROM backup_file WHERE state = 'done'")) == before + 1)
    worker.stop()
    newest = Path(sql("SELECT path FROM backup_file ORDER BY id DESC LIMIT 1"))
    assert newest.parent == Path(web.environ["VOUCHSAFE_HOME"]) / "backups"
    assert newest.stat().st_mode & 0o777 == 0o600
    assert os.path.getsize(newest) == int(sql("SELECT size FROM backup_file ORDER BY id DESC LIMIT 1"))
