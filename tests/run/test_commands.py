"""The real `server.py` from outside: every command, its exit code and its facts."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests import warm

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "run",
    "web",
    "worker",
    "migrate",
    "demo",
    "doctor",
    "import-codes",
    "rotate-keys",
    "create-admin",
    "backup",
    "restore",
)
PASSWORD = "four quiet otters dance"


@pytest.fixture(scope="module")
def shop(engines, tmp_path_factory):
    """Calls `server.py` on an empty database of its own and one data folder; the first time that a command does its
    work, it begins from nothing."""
    name = f"commands_{os.getpid()}"
    engines.sql(f"CREATE DATABASE {name}")
    home = tmp_path_factory.mktemp("commands") / "data"
    begun = set()

    def call(*arguments, text="", **environ):
        environment = {
            **os.environ,
            "VOUCHSAFE_HOME": str(home),
            "DATABASE_URL": engines.url_of(name),
            "REDIS_URL": engines.redis_url,
            **environ,
        }
        if arguments[0] in begun:
            return warm.run(*arguments, env=environment, cwd=home.parent, text=text)
        if "--help" not in arguments:
            begun.add(arguments[0])
        return subprocess.run(
            [sys.executable, str(ROOT / "server.py"), *arguments],
            input=text,
            capture_output=True,
            text=True,
            env=environment,
            cwd=home.parent,
        )

    call.home = home
    call.sql = lambda statement: engines.sql(statement, name)
    yield call
    engines.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("command", COMMANDS)
def test_help(shop, command):
    done = shop(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: server.py {command}")


def test_an_unknown_command_is_refused(shop):
    done = shop("sell-everything")
    assert done.returncode == 2
    assert "invalid choice: 'sell-everything'" in done.stderr


def test_migrate_then_nothing_to_do(shop):
    first = shop("migrate", "--json")
    assert first.returncode == 0, first.stderr
    assert {"orders", "vault", "people"} <= set(json.loads(first.stdout)["changed"])
    again = shop("migrate")
    assert (again.returncode, again.stdout) == (0, "All tables are up to date.\n")


def test_create_admin(shop):
    shop("migrate")
    done = shop("create-admin", "Owner@Example.com", "--password-stdin", "--json", text=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["email"] == "Owner@Example.com"
    assert (
        shop.sql("SELECT email, role, left(password_hash, 9) FROM people_staff") == "owner@example.com|owner|$argon2id"
    )
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("email", "password"), [("second@example.com", "short"), ("second@example.com", ""), ("nobody", PASSWORD)]
)
def test_create_admin_refuses_and_adds_nobody(shop, email, password):
    shop("migrate")
    before = shop.sql("SELECT count(*) FROM people_staff")
    done = shop("create-admin", email, "--password-stdin", text=f"{password}\n")
    assert done.returncode == 1
    assert done.stderr.startswith("server.py create-admin: ")
    assert "Traceback" not in done.stderr
    assert shop.sql("SELECT count(*) FROM people_staff") == before


def test_import_codes_takes_a_file_and_says_what_it_did(shop, tmp_path):
    shop("migrate")
    product = shop.sql("INSERT INTO catalog_product (shop_id, slug, title) VALUES (1, 'mine', '{}') RETURNING id")
    sku = "MINE-1"
    shop.sql(
        "INSERT INTO catalog_sku (shop_id, product_id, code, title, price, currency)"
        f" VALUES (1, {product}, '{sku}', '{{}}', 100, 'CNY')"
    )
    before = int(shop.sql("SELECT count(*) FROM vault_code"))
    file = tmp_path / "codes.txt"
    file.write_text("".join(f"CLI-{number:04}-ABCD-WXYZ\n" for number in range(25)))
    dry = shop("import-codes", str(file), "--sku", sku, "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert shop.sql("SELECT count(*) FROM vault_code") == str(before)
    cheap = shop("import-codes", str(file), "--sku", sku, "--cost", "cheap")
    assert (cheap.returncode, cheap.stderr.count("\n")) == (1, 1)
    assert shop.sql("SELECT count(*) FROM vault_code") == str(before)
    done = shop("import-codes", str(file), "--sku", sku, "--batch", "From the shell", "--cost", "2.50", "--json")
    assert done.returncode == 0, done.stderr
    assert shop.sql("SELECT count(*) FROM vault_code") == str(before + 25)
    assert shop.sql("SELECT name, unit_cost FROM vault_batch ORDER BY id DESC LIMIT 1") == "From the shell|250"
    assert "CLI-0001-ABCD-WXYZ" not in dry.stdout + done.stdout + dry.stderr + done.stderr


@pytest.mark.parametrize(("file", "sku"), [("absent.txt", "x"), ("codes.txt", "NO-SUCH-SKU")])
def test_import_codes_names_what_is_wrong(shop, tmp_path, file, sku):
    shop("migrate")
    (tmp_path / "codes.txt").write_text("ONE-CODE-1234\n")
    before = shop.sql("SELECT count(*) FROM vault_code")
    done = shop("import-codes", str(tmp_path / file), "--sku", sku)
    assert done.returncode == 1
    assert done.stderr.startswith("server.py import-codes: ")
    assert done.stderr.count("\n") == 1
    assert shop.sql("SELECT count(*) FROM vault_code") == before


def test_demo_comes_and_goes(shop):
    assert shop("demo").returncode == 0
    assert int(shop.sql("SELECT count(*) FROM catalog_product WHERE slug <> 'mine'")) == 3
    assert shop("demo", "--remove", "--json").returncode == 0
    assert int(shop.sql("SELECT count(*) FROM catalog_product WHERE slug <> 'mine'")) == 0


def test_a_new_key_is_never_made_beside_old_stock(shop):
    shop("demo")
    key = shop.home / "master.key"
    kept = key.read_bytes()
    key.unlink()
    done = shop("prepare", "--no-demo")
    assert done.returncode == 0
    assert json.loads(done.stdout)["key_problem"] == (
        f"the master key file {key} cannot be read: No such file or directory"
    )
    assert not key.exists()
    key.write_bytes(b"ab" * 32)
    key.chmod(0o600)
    assert "sealed with another master key" in shop("demo").stderr
    key.write_bytes(kept)
    assert json.loads(shop("prepare", "--no-demo").stdout)["key_problem"] == ""


def test_a_database_that_does_not_answer(shop):
    done = shop("migrate", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 1
    assert done.stderr.startswith("server.py migrate: The database does not answer (")
    assert done.stderr.count("\n") == 1


def test_a_worker_without_a_database_says_so_in_one_line(shop):
    done = shop("worker", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("server.py worker: The database does not answer (")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "name, value",
    [
        ("DATABASE_URL", "postgresql://shop:pass#word@db.example.com/shop"),
        ("DATABASE_URL", "postgresql://shop:pass/word@db.example.com/shop"),
        ("DATABASE_URL", "postgresql://shop@[::1/shop"),
        ("REDIS_URL", "redis://127.0.0.1:port/0"),
        ("VOUCHSAFE_BASE_URL", "http://[shop"),
        ("VOUCHSAFE_BASE_URL", "https://shop.example.com:99999"),
        ("DATABASE_URL", "postgresql://shop@127.0.0.1/shop?sslmode=always"),
    ],
)
def test_an_address_that_is_none_is_named(shop, name, value):
    done = shop("migrate", **{name: value})
    assert done.returncode == 1
    assert name in done.stderr and "word" not in done.stderr.replace("password", "")
    assert done.stderr.count("\n") == 1


# ── doctor ───────────────────────────────────────────────────────────────────────────────────────────────────


def states(done):
    return {check["name"]: check["state"] for check in json.loads(done.stdout)["checks"]}


def test_doctor_without_a_worker(shop):
    shop("prepare", "--no-demo")
    # killed while its clock was wrong
    shop.sql("INSERT INTO jobs_worker (name, beat_at) VALUES ('dead', now() + interval '2 hours')")
    done = shop("doctor", "--json")
    assert done.returncode == 1
    assert states(done) == {
        "disk": "ok",
        "address": "ok",
        "key": "ok",
        "valkey": "ok",
        "database": "ok",
        "clock": "ok",
        "tables": "ok",
        "callback": "ok",
        "stream": "ok",
        "dns": "ok",
        "keyring": "ok",
        "stock": "ok",
        "unlocked": "ok",
        "worker": "fail",
        "jobs": "ok",
        "audit": "ok",
        "backup": "warn",
        "ledger": "ok",
        "suppliers": "ok",
        "notes": "ok",
        "scheduled": "ok",
        "key copy": "warn",
        "mode": "warn",
        "mail": "warn",
    }


def test_doctor_of_a_shop_that_was_never_started(shop, engines, tmp_path):
    engines.sql("CREATE DATABASE never_started")
    done = shop(
        "doctor", "--json", DATABASE_URL=engines.url_of("never_started"), VOUCHSAFE_HOME=str(tmp_path / "nothing")
    )
    engines.sql("DROP DATABASE never_started WITH (FORCE)")
    assert done.returncode == 1
    found = states(done)
    assert (found["disk"], found["key"], found["tables"]) == ("ok", "fail", "fail")
    assert "worker" not in found
    assert not (tmp_path / "nothing" / "master.key").exists()


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_doctor_names_an_engine_that_is_away(shop, name):
    url = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1"}[name]
    done = shop("doctor", "--json", **{name: url})
    assert done.returncode == 1
    assert states(done)[{"DATABASE_URL": "database", "REDIS_URL": "valkey"}[name]] == "fail"


@pytest.fixture
def starting():
    """The address of a PostgreSQL that goes over what was written before a crash."""
    fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            while True:
                try:
                    line, _address = server.accept()
                except OSError:
                    return
                with line:
                    line.recv(8192)
                    line.sendall(b"E" + (len(fields) + 4).to_bytes(4) + fields)

        threading.Thread(target=refuse, daemon=True).start()
        yield f"postgresql://somebody@127.0.0.1:{server.getsockname()[1]}/shop?sslmode=disable"
        server.shutdown(socket.SHUT_RDWR)


def test_who_finds_postgresql_recovering_is_told_to_come_back(shop, starting):
    done = shop("doctor", "--json", DATABASE_URL=starting)
    (database,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "database"]
    assert "starting up" in database["text"]
    assert database["advice"] == "Ask again in a moment."
    done = shop("migrate", DATABASE_URL=starting)
    assert done.stderr.endswith("(the database system is starting up). Try again in a moment.\n")


def test_doctor_examines_the_machine_when_engines_of_our_own_do_not_start(shop, tmp_path):
    cluster = tmp_path / "engines/postgres"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("9")
    done = shop("doctor", "--json", DATABASE_URL="", REDIS_URL="", VOUCHSAFE_HOME=str(tmp_path))
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert (done.returncode, checks["engines"]["state"]) == (1, "fail")
    assert str(cluster.parent) in checks["engines"]["text"]
    assert {"disk", "address", "key"} < checks.keys()


def test_doctor_sees_a_key_others_can_read(shop):
    shop("prepare", "--no-demo")
    key = shop.home / "master.key"
    key.chmod(0o644)
    done = shop("doctor")
    key.chmod(0o600)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("fail  key ")]
    assert f"chmod 600 {key}" in line


# ── the whole shop ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def real(tiny):
    tiny.command = [sys.executable, str(ROOT / "server.py")]
    return tiny


def test_first_start_second_start_and_doctor_beside_it(real, home, capsys):
    began = time.monotonic()
    first = real.start(home).ready()
    first_seconds = time.monotonic() - began
    output = first.output
    assert re.search(r"/admin/setup\?token=[\w-]{43}\n", output)
    assert f"BACK UP {home}/master.key NOW" in output
    assert (home / "master.key").stat().st_mode & 0o777 == 0o600
    assert "<html" in first.get("/")
    first.wait_for("is ready")
    doctor = real.start(home, ["doctor", "--json"])
    assert doctor.process.wait(30) == 0, doctor.output
    memory = sum(rss(pid) for pid in first.processes())
    assert first.end(signal.SIGINT) == 0
    assert first.processes() == set()

    began = time.monotonic()
    second = real.start(home).ready()
    second_seconds = time.monotonic() - began
    assert "BACK UP" not in second.output
    with capsys.disabled():
        print(
            f"\nfirst start {first_seconds:.1f} s, second {second_seconds:.1f} s, {memory >> 20} MB for all processes"
        )


def rss(pid: int) -> int:
    """Memory of one process, shared pages counted once among those that share them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def test_no_demo_starts_an_empty_shop(real, home, engines):
    run = real.start(home, ["run", "--no-demo"]).ready()
    assert "<html" in run.get("/")
    url = f"postgresql://vouchsafe@/vouchsafe?host={(home / 'engines/sockets').resolve()}"
    psql = [f"{engines.programs}/psql", "-XAtq", url, "-c", "SELECT count(*) FROM catalog_product"]
    assert subprocess.run(psql, capture_output=True, check=True).stdout == b"0\n"


def test_the_shop_works_again_after_each_engine_was_killed(real, used_home):
    run = real.start(used_home).ready()
    for part, name in (("valkey-server", "Valkey"), ("bin/postgres -D", "PostgreSQL")):
        for pid in run.processes(part):
            os.kill(pid, signal.SIGKILL)
        run.wait_for(f"{name} runs again.")
        run.wait_for_page("/")


def test_nothing_secret_is_in_the_arguments_of_a_process(real, used_home):
    run = real.start(used_home).ready()
    token = re.search(r"token=([\w-]+)", run.output)[1]
    key = (used_home / "master.key").read_text().strip()
    for pid in run.processes():
        command = Path(f"/proc/{pid}/cmdline").read_text()
        assert token not in command
        assert key not in command
