"""Which text is sent: the merchant's own where there is one, else the shop's default."""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core import db
from core.db import Tx
from core.messages import markup
from core.messages.events import EVENTS, MAIL
from core.refused import Refused
from core.web.i18n import LOCALES, _, known
from core.web.merchant_text import BadTemplate

FOLDER = Path(__file__).parent / "templates" / "messages" / "mail"
LONGEST_SUBJECT = 200
LONGEST_BODY = 10_000


@dataclass(frozen=True, slots=True)
class Template:
    event: str
    locale: str
    subject: str
    body: str
    changed_at: datetime | None = None


@functools.cache
def default(event: str, locale: str) -> Template:
    """The first line of the file is the subject, the rest the body. What is in no other language is English."""
    own = FOLDER / f"{event}.{locale}.md"
    file = own if own.is_file() else FOLDER / f"{event}.en.md"
    subject, _newline, body = file.read_text("utf-8").partition("\n")
    return Template(event, locale, subject.strip(), body.strip("\n") + "\n")


async def template(shop_id: int, event: str, locale: str) -> Template:
    locale = known(locale) or "en"
    row = await db.fetchrow(
        "SELECT subject, body, updated_at FROM messages_template"
        " WHERE shop_id = $1 AND event = $2 AND channel = $3 AND locale = $4",
        shop_id,
        event,
        MAIL,
        locale,
    )
    return Template(event, locale, row["subject"], row["body"], row["updated_at"]) if row else default(event, locale)


async def changed(shop_id: int) -> set[tuple[str, str]]:
    """Event and language of each text the merchant has changed."""
    rows = await db.fetch(
        "SELECT event, locale FROM messages_template WHERE shop_id = $1 AND channel = $2", shop_id, MAIL
    )
    return {(row["event"], row["locale"]) for row in rows}


async def save(tx: Tx, shop_id: int, template: Template) -> None:
    _must_exist(template.event, template.locale)
    await tx.execute(
        "INSERT INTO messages_template (shop_id, event, channel, locale, subject, body) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (shop_id, event, channel, locale) DO UPDATE SET subject = $5, body = $6, updated_at = now()",
        shop_id,
        template.event,
        MAIL,
        template.locale,
        template.subject,
        template.body,
    )


async def reset(tx: Tx, shop_id: int, event: str, locale: str) -> None:
    _must_exist(event, locale)
    await tx.execute(
        "DELETE FROM messages_template WHERE shop_id = $1 AND event = $2 AND channel = $3 AND locale = $4",
        shop_id,
        event,
        MAIL,
        locale,
    )


def _must_exist(event: str, locale: str) -> None:
    if event not in EVENTS or locale not in LOCALES:
        raise Refused(_("There is no such text."))


def changes(template: Template) -> list[tuple[str, str]]:
    """Line by line how the text differs from the default: ``-`` gone, ``+`` new, a blank where it is the same."""
    before = default(template.event, template.locale)
    old, new = (f"{one.subject}\n\n{one.body}".splitlines() for one in (before, template))
    return [(line[0], line[2:]) for line in difflib.ndiff(old, new) if line[0] != "?"]


@dataclass(frozen=True, slots=True)
class Written:
    """A message with everything filled in."""

    subject: str
    body: markup.Body


def write(template: Template, context: dict[str, object]) -> Written:
    """:raises BadTemplate: with the reason, for the merchant."""
    if "\n" in template.subject or len(template.subject) > LONGEST_SUBJECT:
        raise BadTemplate(_("The subject is one line of at most %(number)s signs.", number=LONGEST_SUBJECT))
    if len(template.body) > LONGEST_BODY:
        raise BadTemplate(_("The text may have at most %(number)s signs.", number=LONGEST_BODY))
    # A subject is shown on lock screens and in lists: it never gets the codes.
    subject = markup.line(template.subject, {**context, "codes": []})
    if not subject:
        raise BadTemplate(_("The subject is empty."))
    return Written(subject, markup.body(template.body, context))
