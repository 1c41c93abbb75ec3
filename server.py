"""Vouchsafe: the command line, and the only file that joins core, plugins and themes."""

import argparse
import io
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

from core import run
from core.config import Config, SetupProblem
from core.terminal import _, language

COMMAND = [sys.executable, __file__]
Act = Callable[[Config, argparse.Namespace], int]
Add = Callable[..., argparse.Action]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main() -> int:
    os.umask(0o077)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a name or an arrow that the terminal's character set lacks ends no command
        sys.stdout.reconfigure(errors="backslashreplace")
    args = parser().parse_args()
    try:
        return args.act(Config.from_env(), args)  # type: ignore[no-any-return]
    except SetupProblem as problem:
        print(f"server.py {args.command}: {problem}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="server.py", description=_("Vouchsafe, a shop server for digital entitlements."))
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in (serving, keeping, backing_up, making_plugins, making_themes, letting_in):
        group(commands)
    return top


def command(commands: Commands, name: str, act: Act, help: str) -> Add:
    sub = commands.add_parser(name, help=help, description=help)
    sub.set_defaults(act=act)
    return sub.add_argument


def flag(add: Add, name: str, help: str, **options: Any) -> None:
    add(name, action="store_true", help=help, **options)


def serving(commands: Commands) -> None:
    add = command(commands, "run", everything, _("Start engines, shop and worker in one process tree."))
    flag(add, "--no-demo", _("start an empty shop"))
    add = command(commands, "web", web, _("Start one web process."))
    flag(add, "--no-demo", _("start an empty shop"))
    add("--go", type=int, help=argparse.SUPPRESS)
    add("--listener", type=int, help=argparse.SUPPRESS)
    command(commands, "worker", worker, _("Start one worker process."))
    add = command(
        commands, "prepare", admin("prepare"), _("Migrate, seed on the first start, print what `run` must tell.")
    )
    flag(add, "--no-demo", _("leave the shop empty"))
    add = command(commands, "migrate", admin("migrate"), _("Bring the tables up to date."))
    flag(add, "--json", _("print the facts as JSON"))


def keeping(commands: Commands) -> None:
    add = command(commands, "demo", admin("demo"), _("Put the demo products into the shop."))
    flag(add, "--remove", _("take them out again"))
    flag(add, "--json", _("print the facts as JSON"))
    add = command(commands, "doctor", admin("doctor"), _("Check engines, tables, disk, clock, worker, key and mail."))
    flag(add, "--audit", _("read the whole audit log and name the first entry that is not as it was"))
    flag(add, "--json", _("print the facts as JSON"))
    add = command(
        commands, "import-codes", admin("import_codes"), _("Put card codes from a TXT, CSV or XLSX file into stock.")
    )
    add("file", metavar="FILE")
    add("--sku", required=True, metavar="SKU_CODE")
    add("--batch", metavar="NAME", help=_("how the batch is called in the admin"))
    add("--cost", metavar="AMOUNT", help=_("what one code cost, such as 19.90; for the profit in the books"))
    add("--columns", metavar="N,N", help=_("which columns make the code, where no header names them"))
    flag(add, "--dry-run", _("say what would happen and change nothing"))
    flag(add, "--json", _("print the facts as JSON"))
    help = _("Bring codes and secrets under a new key while the shop sells.")
    add = command(commands, "rotate-keys", admin("rotate_keys"), help)
    flag(add, "--master", _("renew the master key instead, or move the keyring to the provider that is set up now"))
    flag(add, "--to-file", _("move the keyring from a transit engine back to a key file"))
    flag(add, "--json", _("print the facts as JSON"))


def backing_up(commands: Commands) -> None:
    add = command(commands, "backup", admin("backup"), _("Back the shop up into one sealed file while it sells."))
    add(
        "file",
        metavar="FILE",
        nargs="?",
        help=_("where to; by default a new file in the folder backups of the data folder"),
    )
    add("--to", metavar="PUBLIC_KEY", help=_("seal it to this key; by default to the key set in the admin"))
    flag(add, "--passphrase-stdin", _("seal it under a passphrase read from standard input"))
    add("--with-keys", metavar="KEYS_FILE", help=_("put the master key into a sealed file of its own as well"))
    add("--new-key", metavar="KEY_FILE", help=_("only make a key that backups can be sealed to"))
    flag(add, "--planned", argparse.SUPPRESS)
    flag(add, "--json", _("print the facts as JSON"))
    add = command(
        commands, "restore", admin("restore"), _("Make the shop of a backup in an empty data folder and look it over.")
    )
    add("file", metavar="FILE")
    add("--key-file", metavar="KEY_FILE", help=_("the secret half of the key it was sealed to"))
    flag(add, "--passphrase-stdin", _("read the passphrase from standard input"))
    add("--keys", metavar="KEYS_FILE", help=_("what --with-keys made: put the master key back too"))
    flag(add, "--nothing-sold-since", _("the shop sold nothing after the backup: put its codes on sale at once"))
    flag(add, "--json", _("print the facts as JSON"))


def making_plugins(commands: Commands) -> None:
    add = command(
        commands, "new-plugin", developer("new_plugin"), _("Make a plugin that works and keeps its contract.")
    )
    add("kind", metavar="KIND", help=_("suppliers, payments, risk, promotions, notifiers, channels, bridges or apps"))
    add("name", metavar="NAME", help=_("small letters, digits and _; with the kind it is the plugin's id"))
    add(
        "--into",
        metavar="DIR",
        help=_(
            "a new folder, which becomes a repository of its own, or a folder of plugins;"
            " by default the folder plugins of the data folder"
        ),
    )
    flag(add, "--json", _("print the facts as JSON"))
    add = command(
        commands, "check-plugin", developer("check_plugin"), _("Say how good a plugin is: runs, safe or polished.")
    )
    add("path", metavar="PATH", nargs="+", help=_("the plugin's folder or repository"))
    flag(add, "--contract-only", _("of its tests, run only those of the contract"))
    flag(add, "--words", _("first bring new texts into its catalogues"))
    flag(add, "--json", _("print the facts as JSON"))


def making_themes(commands: Commands) -> None:
    add = command(commands, "check-theme", theming("check_theme"), _("Say what is wrong with a theme, in four levels."))
    add("theme", metavar="PATH|ID", help=_("the theme's folder, or the id of one that is installed"))
    flag(add, "--json", _("print the facts as JSON"))
    add = command(commands, "new-theme", theming("new_theme"), _("Make a theme that inherits another."))
    add("id", metavar="ID", help=_("small letters, digits, - and _"))
    add("--inherits", metavar="THEME", default="market", help=_("the theme below it; market unless it is said"))
    add("--into", metavar="DIR", default=".", help=_("where its folder is made; here by default"))
    add(
        "--copy",
        metavar="TEMPLATE",
        action="append",
        default=[],
        help=_("a template to change, such as catalog/home.html"),
    )


def letting_in(commands: Commands) -> None:
    add = command(commands, "create-admin", admin("create_admin"), _("Make an administrator."))
    add("email", metavar="EMAIL")
    flag(add, "--password-stdin", _("read the password from standard input"), required=True)
    flag(add, "--json", _("print the facts as JSON"))


def everything(config: Config, args: argparse.Namespace) -> int:
    return run.run(config, COMMAND, demo=not args.no_demo)


def web(config: Config, args: argparse.Namespace) -> int:
    from core import app

    app.core_features(app.FEATURES)
    run.wait_for_go(args.go)
    shop = lambda: app.create_app(load_plugins=with_plugins)  # noqa: E731
    return run.web(config, COMMAND, shop, listener=args.listener, demo=not args.no_demo)


def worker(config: Config, args: argparse.Namespace) -> int:
    from core.jobs import worker
    from core.web import i18n

    @asynccontextmanager
    async def jobs_and_plugins(config: Config) -> AsyncIterator[None]:
        async with with_plugins(config) as plugins, worker.core_jobs(config):
            # jobs speak to merchants too: what went wrong with a mail is told in their language
            i18n.load(
                [
                    i18n.FOLDER,
                    config.home / "locales",
                    *(folder for one in plugins.features() if (folder := one.part("locales"))),
                ]
            )
            yield

    return run.worker(config, lambda: worker.main(prepare=jobs_and_plugins))


@asynccontextmanager
async def with_plugins(config: Config) -> AsyncIterator[Any]:
    """The keys of the vault and the plugins, as the web and the worker both need them."""
    from core.hooks import runtime
    from core.vault import keyring

    plugins = runtime.Runtime.from_config(config)
    runtime.use(plugins)
    async with keyring.following(config), plugins.following():
        yield plugins


@contextmanager
def speaking(config: Config) -> Iterator[None]:
    """What the shop itself says, in the language of the terminal too."""
    if not language():
        yield
        return
    from core.web import i18n

    i18n.load([i18n.FOLDER, config.home / "locales"])
    with i18n.speaking(language()):
        yield


def admin(name: str) -> Act:
    """The command of that name, imported only when it is called."""

    def act(config: Config, args: argparse.Namespace) -> int:
        from core.admin import commands

        with speaking(config):
            return int(getattr(commands, name)(config, args))

    return act


def developer(name: str) -> Act:
    """The same for the commands of plugin authors."""

    def act(config: Config, args: argparse.Namespace) -> int:
        from core.hooks import commands

        with speaking(config):
            return int(getattr(commands, name)(config, args))

    return act


def theming(name: str) -> Act:
    """The same for the commands of those who make themes."""

    def act(config: Config, args: argparse.Namespace) -> int:
        from core import app
        from core.site import commands

        with speaking(config):
            return int(getattr(commands, name)(app.themes_alone(config), args))

    return act


if __name__ == "__main__":
    sys.exit(main())
