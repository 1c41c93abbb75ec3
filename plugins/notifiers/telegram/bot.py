"""The Bot API: one call, and what its answer means. The token stands in the address, so no error may quote one."""

from __future__ import annotations

from typing import Any

from core.api import HttpError, PluginContext, _

from .settings import Settings

SECONDS = 15.0
LONGEST_TEXT = 4096
LONGEST_WAIT = 3600.0


class Unavailable(Exception):
    """Telegram could not be asked, or said nothing of use. ``after`` are seconds it asked us to wait."""

    def __init__(self, text: str, after: float | None = None) -> None:
        super().__init__(text)
        self.after = after


class BotRefused(Exception):
    """Telegram says no: ``status`` and its own words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Moved(Exception):
    """The group has become a supergroup with another number."""

    def __init__(self, chat: int) -> None:
        super().__init__(str(chat))
        self.chat = chat


async def call(ctx: PluginContext[Settings], method: str, **values: Any) -> Any:
    """The ``result`` of a method.

    :raises Unavailable: not now; ask again.
    :raises BotRefused: not like this.
    :raises Moved: the chat has another number now.
    """
    settings = ctx.settings
    try:
        answer = await ctx.http.post(
            f"{settings.server}/bot{settings.token.reveal()}/{method}", json=values, seconds=SECONDS
        )
    except HttpError as error:
        raise Unavailable(_without_token(str(error), settings)) from None
    try:
        said = answer.json()
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise Unavailable(str(_("The server answered with status %(status)s and no JSON.", status=answer.status)))
    if said.get("ok") is True:
        return said.get("result")
    _refuse(answer.status, said, settings)


def _refuse(status: int, said: dict[str, Any], settings: Settings) -> None:
    words = _without_token(str(said.get("description", ""))[:300], settings) or f"status {status}"
    facts = said.get("parameters")
    facts = facts if isinstance(facts, dict) else {}
    if isinstance(facts.get("migrate_to_chat_id"), int):
        raise Moved(facts["migrate_to_chat_id"])
    if status == 429 or isinstance(facts.get("retry_after"), int):
        wait = facts.get("retry_after")
        raise Unavailable(words, min(float(wait), LONGEST_WAIT) if isinstance(wait, int) else None)
    if status >= 500:
        raise Unavailable(words)
    raise BotRefused(status, words)


def _without_token(text: str, settings: Settings) -> str:
    return text.replace(settings.token.reveal(), "…")


async def send(ctx: PluginContext[Settings], text: str, chat: int | str | None = None) -> None:
    """Send ``text`` (HTML) to the merchant's chat; after it moved, to its new number.

    :raises Unavailable: not now; it may have arrived nevertheless.
    :raises BotRefused: not like this.
    """
    values: dict[str, Any] = {
        "chat_id": chat if chat is not None else ctx.settings.chat,
        "text": text,
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
    }
    if ctx.settings.silent:
        values["disable_notification"] = True
    try:
        await call(ctx, "sendMessage", **values)
    except Moved as moved:
        if chat is not None:
            raise Unavailable(str(_("The chat moves from number to number."))) from None
        ctx.log.warning("the chat %s has the number %s now: change the setting", ctx.settings.chat, moved.chat)
        await send(ctx, text, moved.chat)
