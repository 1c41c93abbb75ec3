"""What the command line does on a shop's data. Each act gives its facts; `server.py` prints them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from core import db, embedded, engine_place
from core.audit import owner
from core.backup.unfinished import check_finished
from core.config import Config, SetupProblem
from core.refused import Refused
from core.terminal import _
from core.vault import keyring
from core.vault.providers import KeyAway

Facts = dict[str, Any]


def prepare(config: Config, args: argparse.Namespace) -> int:
    """The child of `run` and `web`: everything that must be done before the first request."""
    print(json.dumps(_on_database(config, _prepare, demo=not args.no_demo)))
    return 0


async def _prepare(config: Config, *, demo: bool) -> Facts:
    from core.people.setup import new_setup_link

    await _migrate(config)
    made, problem = False, ""
    try:
        made = await keyring.unlock(config, create=True)
    except KeyAway as away:
        problem = str(away)
        _say(
            _(
                "The vault has no key: %(problem)s. Orders and payments go on, no code is shown until it is back.",
                problem=problem,
            )
        )
    if demo and not problem:
        await _seed_on_first_start()
    return {"setup_link": await new_setup_link(config.base_url), "key_made": made, "key_problem": problem}


async def _seed_on_first_start() -> None:
    from core.admin import demo as demo_shop

    if await demo_shop.is_first_start():
        await demo_shop.seed()


async def _load_key(config: Config) -> None:
    """For a command that cannot do without the vault."""
    try:
        await keyring.unlock(config, create=True)
    except KeyAway as away:
        raise SetupProblem(_("The vault has no key: %(why)s.", why=away)) from None


async def _migrate(config: Config) -> list[str]:
    """Bring the tables up to date. Those of the audit log belong to another role, but for as long as it takes."""
    missing = await db.missing_migrations()
    if any(app == "audit" for app, _ in missing):
        await owner.take_back(config)
    changed = await db.migrate() if missing else []
    await owner.hand_over(config)
    return changed


def migrate(config: Config, args: argparse.Namespace) -> int:
    async def act(config: Config) -> Facts:
        return {"changed": await _migrate(config)}

    facts = _on_database(config, act)
    changed = ", ".join(facts["changed"])
    return _tell(
        args,
        facts,
        _("Brought up to date: %(changed)s.", changed=changed) if changed else _("All tables are up to date."),
    )


def demo(config: Config, args: argparse.Namespace) -> int:
    async def act(config: Config) -> Facts:
        from core.admin import demo as demo_shop

        await db.migrate()
        await _load_key(config)
        await (demo_shop.remove() if args.remove else demo_shop.seed())
        return {"demo": not args.remove}

    facts = _on_database(config, act)
    return _tell(
        args, facts, _("The demo products are gone.") if args.remove else _("The demo products are in the shop.")
    )


def create_admin(config: Config, args: argparse.Namespace) -> int:
    password = sys.stdin.readline().rstrip("\n")

    async def act(config: Config) -> Facts:
        from core.people.staff import create_admin as create

        await db.migrate()
        return {"id": await create(args.email, password), "email": args.email}

    facts = _on_database(config, act)
    return _tell(
        args,
        facts,
        _(
            "%(email)s is an administrator. Sign in at %(address)s",
            email=args.email,
            address=f"{config.base_url}/admin",
        ),
    )


def import_codes(config: Config, args: argparse.Namespace) -> int:
    from core.vault import import_command

    file = Path(args.file)
    if not file.is_file():
        raise SetupProblem(_("There is no file %(file)s.", file=file))

    async def act(config: Config) -> Facts:
        await db.migrate()
        await _load_key(config)
        async with keyring.following(config):
            return await import_command.run(
                file, sku=args.sku, batch=args.batch, cost=args.cost, columns=args.columns, dry_run=args.dry_run
            )

    facts = _on_database(config, act)
    return _tell(args, facts, import_command.summary(facts))


def rotate_keys(config: Config, args: argparse.Namespace) -> int:
    from core.vault import keys, rotate

    async def act(config: Config) -> Facts:
        await db.migrate()
        await _load_key(config)
        async with keyring.following(config, shown=False):
            keys.current().check_opens_codes()
            if args.master or args.to_file:
                return await rotate.rotate_master(config, _say, to_file=args.to_file)
            return await rotate.rotate(config, _say)

    facts = _on_database(config, act)
    return _tell(args, facts, rotate.summary(facts))


def backup(config: Config, args: argparse.Namespace) -> int:
    from core.backup import command

    if args.new_key:
        facts = command.new_key(Path(args.new_key))
        text = _("The secret half is in %(file)s: keep it away from this machine. Public half:", file=facts["key_file"])
        return _tell(args, facts, f"{text}\n{facts['public_key']}")
    to = command.recipient(args)

    async def act(config: Config) -> Facts:
        return await command.take(config, args, to)

    facts = _on_database(config, act)
    lines = [_("%(file)s: %(size)s bytes in %(seconds)s s", **facts)]
    if args.with_keys:
        lines.append(_("%(file)s holds the master key: keep it elsewhere.", file=facts["keys_file"]))
    return _tell(args, facts, "\n".join(lines))


def restore(config: Config, args: argparse.Namespace) -> int:
    from core.backup import command

    found = command.restored(config, args, _say)
    sound = all(one.state != "fail" for one in found)
    facts = {"sound": sound, "found": [one.facts() for one in found]}
    end = _("The shop is back.") if sound else _("Something is wrong: the shop does not start like this.")
    _tell(args, facts, "\n".join([*(one.line() for one in found), end]))
    return 0 if sound else 1


def doctor(config: Config, args: argparse.Namespace) -> int:
    from core.admin import doctor as checks  # half a second that the start of a shop need not wait

    try:
        with embedded.addresses(config, _say) as whole:
            found = asyncio.run(checks.examine_audit(whole) if args.audit else checks.examine(whole))
    except engine_place.EngineError as problem:
        found = checks.without_engines(config, problem)
    _tell(args, {"checks": [check.facts() for check in found]}, "\n".join(check.line() for check in found))
    return 1 if any(check.state == "fail" for check in found) else 0


# ── how an act runs ──────────────────────────────────────────────────────────────────────────────────────────


def _on_database(config: Config, act: Callable[..., Awaitable[Facts]], **options: Any) -> Facts:
    """Run `act` on the shop's database: the one given, that of a running shop, or one started for the moment."""

    async def whole(config: Config) -> Facts:
        async with open_database(config):
            return await act(config, **options)

    check_finished(config)
    with embedded.addresses(config, _say) as config:
        try:
            return asyncio.run(whole(config))
        except Refused as refusal:
            raise SetupProblem(str(refusal.text)) from None


@contextlib.asynccontextmanager
async def open_database(config: Config) -> AsyncIterator[None]:
    try:
        await db.open_pool(config.database_url or "", size=2)
    except db.CANNOT_OPEN as error:
        raise db.cannot_open(error) from None
    try:
        yield
    finally:
        await db.close_pool()


def _tell(args: argparse.Namespace, facts: Facts, text: str) -> int:
    print(json.dumps(facts, ensure_ascii=False) if args.json else text)
    return 0


def _say(text: str) -> None:
    """Standard output is for the facts alone."""
    print(text, file=sys.stderr)
