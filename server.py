"""Vouchsafe: the command line, and the only file that joins core, plugins and themes."""

import argparse
import sys

from core import run
from core.config import Config, SetupProblem

COMMAND = [sys.executable, __file__]
APP = "core.app:create_app"


def main() -> int:
    args = parser().parse_args()
    try:
        return int(args.act(Config.from_env(), args))
    except SetupProblem as problem:
        print(f"server.py {args.command}: {problem}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="server.py", description="Vouchsafe, a shop server for digital entitlements.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, act, help: str, *, json: bool = False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(act=act)
        if json:
            sub.add_argument("--json", action="store_true", help="print the facts as JSON")
        return sub

    everything = command(
        "run", lambda c, a: run.run(c, COMMAND, demo=not a.no_demo), "Engines, shop and worker in one process tree."
    )
    one_web = command(
        "web", lambda c, a: run.web(c, COMMAND, APP, listener=a.listener, demo=not a.no_demo), "One web process."
    )
    one_web.add_argument("--listener", type=int, help=argparse.SUPPRESS)
    command("worker", worker, "One worker process.")
    prepare = command("prepare", admin("prepare"), "Migrate, seed and print what `run` must tell.")
    for sub in (everything, one_web, prepare):
        sub.add_argument("--no-demo", action="store_true", help="start an empty shop")
    command("migrate", admin("migrate"), "Bring the tables up to date.", json=True)
    demo = command("demo", admin("demo"), "Put the demo products into the shop.", json=True)
    demo.add_argument("--remove", action="store_true", help="take them out again")
    command("doctor", admin("doctor"), "Check engines, tables, disk, clock, worker, key and mail.", json=True)
    codes = command(
        "import-codes", admin("import_codes"), "Put card codes from a TXT, CSV or XLSX file into stock.", json=True
    )
    codes.add_argument("file", metavar="FILE")
    codes.add_argument("--sku", required=True, metavar="SKU_CODE")
    codes.add_argument("--batch", metavar="NAME")
    codes.add_argument("--dry-run", action="store_true", help="say what would happen and change nothing")
    staff = command("create-admin", admin("create_admin"), "Make an administrator.", json=True)
    staff.add_argument("email", metavar="EMAIL")
    staff.add_argument(
        "--password-stdin", action="store_true", required=True, help="read the password from standard input"
    )
    return top


def worker(config: Config, args: argparse.Namespace) -> int:
    from core.jobs.worker import main

    return run.worker(config, main)


def admin(name: str):
    """The command of that name, imported only when it is called."""

    def act(config: Config, args: argparse.Namespace) -> int:
        from core.admin import commands

        return getattr(commands, name)(config, args)

    return act


if __name__ == "__main__":
    sys.exit(main())
