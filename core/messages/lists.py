"""The list of messages."""

from __future__ import annotations

from core import db
from core.jobs import ring
from core.messages import service
from core.messages.events import EVENTS, MAIL
from core.refused import Refused
from core.web.i18n import Text, _
from core.web.lists import Act, Cell, Choice, Column, Day, Doing, Listing, Nothing, badge

STATES: dict[str, tuple[Text, str]] = {
    "queued": (_("Waiting"), "busy"),
    "sending": (_("Being sent"), "busy"),
    "sent": (_("Sent"), "good"),
    "failed": (_("Failed"), "bad"),
    "held": (_("Held"), "warning"),
}


async def send(doing: Doing, key: int) -> None:
    if service.notifier_for(MAIL, doing.scope.shop_id) is None:
        raise Refused(_("No plugin that sends mails is switched on and set up."))
    jobs = await db.transaction(service.send_again, doing.scope.shop_id, key)
    if not jobs:
        raise Refused(_("There is no such message."))
    await ring(*jobs)


MESSAGES = Listing(
    name="messages",
    title=_("Messages"),
    path="/admin/messages",
    right="messages.read",
    key="message.id",
    source="FROM messages_message message WHERE message.shop_id = {shop}",
    rows="SELECT message.id AS row_key, message.*, o.ref AS order_ref FROM messages_message message"
    " LEFT JOIN orders_order o ON o.id = message.order_id WHERE message.id = ANY({keys})",
    order="message.id DESC",
    columns=(
        Column("to", _("To"), lambda row: Cell(row["recipient"], f"/admin/messages/{row['id']}")),
        Column("kind", _("Kind"), lambda row: EVENTS[row["event"]].title if row["event"] in EVENTS else row["event"]),
        Column(
            "order",
            _("Order"),
            lambda row: Cell(row["order_ref"], f"/admin/orders/{row['order_ref']}") if row["order_ref"] else None,
        ),
        Column("state", _("State"), lambda row: badge(STATES, row["state"])),
        Column("problem", _("Problem"), lambda row: row["error"]),
        Column("written", _("Written"), lambda row: row["created_at"], "message.id"),
        Column("sent", _("Sent"), lambda row: row["sent_at"]),
    ),
    hint=_("Address or order no."),
    search="message.id IN (SELECT id FROM messages_message WHERE shop_id = {shop} AND recipient = {q}"
    " UNION ALL SELECT one.id FROM messages_message one JOIN orders_order o ON o.id = one.order_id"
    " WHERE o.ref = upper({q}))",
    filters=(
        Choice("state", _("State"), STATES, "message.state = {value}"),
        Choice("event", _("Kind"), {key: one.title for key, one in EVENTS.items()}, "message.event = {value}"),
        Day("since", _("From the day"), "message.created_at >= {value}"),
        Day("until", _("Up to the day"), "message.created_at < {value}", after=True),
    ),
    acts=(
        Act(
            "send",
            _("Send again"),
            "messages.send",
            _("Each of these messages is sent, whatever became of it before."),
            send,
            "message.state <> 'sending'",
            _("they are being sent at this moment"),
        ),
    ),
    label=lambda row: row["recipient"],
    empty=Nothing(
        _("No messages yet"),
        _("A mail is written for each paid order whose buyer left an address."),
        "/admin/messages/texts",
        _("See the texts"),
        "mail",
    ),
)

LISTS = (MESSAGES,)
