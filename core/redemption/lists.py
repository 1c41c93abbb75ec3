"""Lists of own codes: their batches, what was redeemed, and the keys of programs."""

from __future__ import annotations

from typing import Any

from core import clock
from core.money import Money
from core.people import api_keys
from core.redemption import words
from core.web.i18n import _
from core.web.lists import Badge, Cell, Choice, Column, Day, Listing, Many, Nothing


def _batch(row: Any) -> Cell:
    mark: tuple[Badge, ...] = ()
    if row["state"] == "undone":
        mark = (Badge(_("Undone")),)
    elif row["state"] == "importing" and row["job_state"] in ("failed", "cancelled"):
        mark = (Badge(_("stopped"), "bad"),)
    elif row["state"] == "importing":
        mark = (Badge(_("being made"), "busy"),)
    return Cell(row["name"], f"/admin/own-codes/{row['id']}", row["note"], mark)


OWN = Listing(
    name="own-codes",
    title=_("Own codes"),
    about=_("Codes that this shop makes and redeems itself: gift cards, vouchers, tickets."),
    path="/admin/own-codes",
    right="stock.read",
    key="own.batch_id",
    source="FROM redemption_batch own JOIN vault_batch batch ON batch.id = own.batch_id WHERE own.shop_id = {shop}",
    rows="SELECT own.batch_id AS row_key, batch.id, batch.name, batch.note, batch.state, batch.created_at, own.*,"
    " sku.code AS sku_code, job.state AS job_state FROM redemption_batch own"
    " JOIN vault_batch batch ON batch.id = own.batch_id JOIN catalog_sku sku ON sku.id = batch.sku_id"
    " LEFT JOIN jobs_job job ON job.id = own.job_id WHERE own.batch_id = ANY({keys})",
    order="own.batch_id DESC",
    columns=(
        Column("batch", _("Batch"), _batch),
        Column("sku", _("SKU"), lambda row: row["sku_code"]),
        Column("codes", _("Codes"), lambda row: row["made"], kind="number"),
        Column(
            "worth",
            _("Worth"),
            lambda row: _("one use") if row["face_value"] is None else Money(row["face_value"], row["currency"]),
            kind="number",
        ),
        Column("use", _("Use"), lambda row: _("On paper") if row["on_paper"] else _("For sale")),
        Column("until", _("Good until"), lambda row: row["expires_on"]),
        Column("made", _("Made"), lambda row: row["created_at"], "own.batch_id"),
    ),
    hint=_("Name of the batch"),
    search="batch.name ILIKE {like} OR batch.note ILIKE {like}",
    filters=(
        Choice(
            "use",
            _("Use"),
            {"paper": _("On paper"), "sale": _("For sale")},
            {"paper": "own.on_paper", "sale": "NOT own.on_paper"},
        ),
    ),
    label=lambda row: row["name"],
    empty=Nothing(
        _("No codes of your own yet"),
        _("Make some to sell them in the shop, or to print and hand them out."),
        "/admin/own-codes/new",
        _("Make codes"),
        "ticket",
    ),
)


def _outcome(row: Any) -> Badge:
    good = row["outcome"] == "ok"
    return Badge(_("good") if good else words.SAYS.get(row["outcome"], row["outcome"]), "good" if good else "bad")


def _amount(row: Any) -> Money | None:
    currency = (row["answer"].get("card") or {}).get("currency")
    return Money(row["amount"], currency) if row["amount"] and currency else None


def _mask(row: Any) -> Cell | None:
    mask = (row["answer"].get("card") or {}).get("mask")
    return Cell(mask, code=True) if mask else None


LOG = Listing(
    name="redemptions",
    title=_("What was redeemed"),
    about=_("Every try at a till or by a program. Codes are not kept here, only their last signs."),
    path="/admin/redemptions",
    right="codes.redeem",
    key="one.id",
    source="FROM redemption_try one WHERE one.shop_id = {shop}",
    rows="SELECT one.id AS row_key, one.at, one.act, one.outcome, one.amount, one.answer, one.place, one.caller,"
    " coalesce(nullif(staff.name, ''), staff.email, key.name, one.caller) AS who FROM redemption_try one"
    " LEFT JOIN people_staff staff ON one.caller = 'staff:' || staff.id"
    " LEFT JOIN people_api_key key ON one.caller = 'key:' || key.id WHERE one.id = ANY({keys})",
    order="one.id DESC",
    columns=(
        Column("when", _("When"), lambda row: row["at"], "one.id"),
        Column("act", _("Act"), lambda row: words.ACTS[row["act"]]),
        Column("outcome", _("Outcome"), _outcome),
        Column("code", _("Code"), _mask),
        Column("amount", _("Amount"), _amount, kind="number"),
        Column("place", _("Place"), lambda row: row["place"]),
        Column("who", _("Who"), lambda row: row["who"]),
    ),
    hint=_("Place"),
    search="one.place ILIKE {like}",
    filters=(
        Choice("act", _("Every act"), words.ACTS, "one.act = {value}"),
        Choice("outcome", _("Every outcome"), words.SAYS, "one.outcome = {value}"),
        Day("since", _("From the day"), "one.at >= {value}"),
        Day("until", _("Up to the day"), "one.at < {value}", after=True),
    ),
    empty=Nothing(
        _("Nothing yet"), _("Tries show up here as soon as there are any."), "/admin/redeem", _("Redeem"), "history"
    ),
)


def _key(row: Any) -> Cell:
    if row["revoked_at"]:
        return Cell(row["name"], badges=(Badge(_("withdrawn"), "bad"),))
    over = row["expires_at"] and row["expires_at"] <= clock.now()
    return Cell(row["name"], badges=(Badge(_("over"), "bad"),) if over else ())


KEYS = Listing(
    name="api-keys",
    title=_("API keys"),
    about=_("With a key a program of yours, such as a till, looks at codes and redeems them."),
    path="/admin/api-keys",
    right="keys.manage",
    key="key.id",
    source="FROM people_api_key key WHERE key.shop_id = {shop}",
    rows="SELECT key.id AS row_key, key.id, key.name, key.shown, key.scopes, key.created_at, key.last_used_at,"
    " key.expires_at, key.revoked_at, staff.email AS made_by FROM people_api_key key"
    " LEFT JOIN people_staff staff ON staff.id = key.created_by WHERE key.id = ANY({keys})",
    order="key.revoked_at IS NOT NULL, key.id DESC",
    columns=(
        Column("name", _("Name"), _key, "key.name"),
        Column("key", _("API key"), lambda row: Cell(f"vs_••••{row['shown']}", code=True)),
        Column("scopes", _("Good for"), lambda row: Many([api_keys.SCOPES.get(one, one) for one in row["scopes"]])),
        Column("made", _("Made"), lambda row: row["created_at"], "key.id"),
        Column("by", _("By"), lambda row: row["made_by"], shown=False),
        Column("used", _("Last used"), lambda row: row["last_used_at"], "key.last_used_at"),
        Column("until", _("Good until"), lambda row: row["expires_at"] or _("for ever")),
        Column("do", "", draw="redemption/_withdraw.html"),
    ),
    filters=(
        Choice(
            "state",
            _("State"),
            {"good": _("Good"), "withdrawn": _("Withdrawn")},
            {"good": "key.revoked_at IS NULL", "withdrawn": "key.revoked_at IS NOT NULL"},
        ),
    ),
    label=lambda row: row["name"],
    empty=Nothing(_("No keys yet"), _("Make one for each program, so that each can be withdrawn alone."), icon="key"),
)

LISTS = (OWN, LOG, KEYS)
