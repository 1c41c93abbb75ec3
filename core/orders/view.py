"""An order as its buyer sees it: typed values for the page, and in which phase of its life it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from core import clock
from core.catalog import notes
from core.catalog.service import Words
from core.money import Money
from core.orders.gifts import GiftView, gift_view
from core.vault.cipher import open_secret

TOKEN_PURPOSE = "order-token"  # noqa: S105 - the name of a purpose
ACCOUNT = "account_"
"""How the keys of a top-up's questions begin."""


@dataclass(frozen=True, slots=True)
class MaskedCode:
    id: int
    mask: str
    burn_at: datetime | None
    """Shown already, and until then to that browser only."""
    burned_at: datetime | None
    reported: bool = False
    """Its buyer said that it does not work."""
    replaced_by: int | None = None
    """The code that was given for it."""

    @property
    def burned(self) -> bool:
        """Erased, or about to be: the timer comes by once a minute."""
        return self.burned_at is not None or (self.burn_at is not None and self.burn_at <= clock.now())

    @property
    def gone(self) -> bool:
        """Not to be shown any more."""
        return self.burned or self.replaced_by is not None


@dataclass(frozen=True, slots=True)
class Happened:
    """Something a buyer should know of the codes: ``staff_revealed`` or ``burned``."""

    kind: str
    at: datetime


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Money that went back, or is on its way. ``way`` is ``source``, ``balance`` or ``hand``."""

    amount: Money
    way: str
    done: bool


@dataclass(frozen=True, slots=True)
class DiscountView:
    """What a promotion took off; ``amount`` is below zero. ``code`` is what the buyer entered for it."""

    title: Words
    amount: Money
    code: str


@dataclass(frozen=True, slots=True)
class LineView:
    id: int
    product_title: Words
    sku_title: Words
    sku_code: str
    quantity: int
    unit_price: Money
    total: Money
    answers: list[tuple[Words, Words]]
    """What the buyer was asked, and said."""
    delivery_note: Words
    burn_hours: int
    """How long a shown code is kept; 0 is for ever."""
    codes: list[MaskedCode]
    source: str = "codes"
    """``codes`` lay in the vault; a ``supplier`` delivers after payment, or a person makes them by ``hand``."""
    account: tuple[tuple[Words, Words], ...] = ()
    """Of the answers, those that say where a top-up goes: it cannot be taken back."""


@dataclass(frozen=True, slots=True)
class OrderView:
    id: int
    ref: str
    contact: str
    payment_state: str
    fulfilment_state: str
    total: Money
    test: bool
    created_at: datetime
    expires_at: datetime
    paid_at: datetime | None
    delivered_at: datetime | None
    lines: list[LineView]
    attempts: list[dict[str, Any]]
    last_event: int
    to_codes: list[Happened]
    refunds: list[GivenBack]
    missing: Money | None
    """What the buyer may still pay when too little came."""
    discounts: list[DiscountView] = field(default_factory=list)
    held: bool = False
    """A person looks at it before anything is delivered."""
    gift: GiftView | None = None
    sealed: bytes = field(default=b"", repr=False)
    """The token of its link."""
    from_balance: bool = False
    """Whether this browser may pay it from its buyer's balance."""

    @property
    def link(self) -> str:
        """The address that opens it in any browser; lets in whoever has it."""
        return (
            f"/o/{self.ref}?k={open_secret(TOKEN_PURPOSE, self.sealed).decode()}" if self.sealed else f"/o/{self.ref}"
        )

    def without_keys(self) -> OrderView:
        """The same for eyes other than the buyer's: no link in it lets anybody in."""
        return replace(self, sealed=b"", gift=replace(self.gift, path="/gift") if self.gift else None)

    @property
    def subtotal(self) -> Money:
        return Money(sum(line.total.amount for line in self.lines), self.total.currency)

    @property
    def mark(self) -> str:
        """Changes whenever the page would."""
        sent = "-sent" if self.gift and self.gift.sent_at else ""
        return f"{self.last_event}-{self.phase}{sent}"

    @property
    def phase(self) -> str:
        """``unpaid expired cancelled review preparing delivered refunded``: which page the buyer needs."""
        if self.fulfilment_state == "delivered":
            return "delivered"
        if self.payment_state == "refunded" or self.fulfilment_state == "void":
            return "refunded"
        if self.payment_state == "mismatch" or self.fulfilment_state == "review":
            return "review"
        if self.payment_state == "paid":
            return "preparing"
        if self.payment_state == "unpaid" and self.expires_at <= clock.now():
            # The timer has not come by yet, but nobody can pay this any more in time.
            return "expired"
        return self.payment_state

    @property
    def is_paid(self) -> bool:
        """Whether the money came as it should; a wrong amount leaves this step open."""
        return self.paid_at is not None and (self.payment_state != "mismatch" or self.phase == "delivered")

    @property
    def was_prepared(self) -> bool:
        """Whether somebody has (or had) to bring the goods in: what lies in the vault is there at once."""
        return self.waits_for != "codes" or self.phase in ("preparing", "review")

    @property
    def lives(self) -> bool:
        """Whether the page may still change by itself."""
        return self.phase not in ("delivered", "refunded")

    @property
    def gift_lives(self) -> bool:
        """Whether only what became of the gift may still change by itself; codes that are shown stay."""
        return self.phase == "delivered" and self.gift is not None and self.gift.opened_at is None

    @property
    def codes(self) -> list[MaskedCode]:
        return [code for line in self.lines for code in line.codes]

    @property
    def account(self) -> list[tuple[Words, Words]]:
        """Where its top-ups go."""
        return [answer for line in self.lines for answer in line.account]

    @property
    def waits_for(self) -> str:
        """Who brings the goods of a paid order in: ``codes`` is the shop itself, else ``supplier`` or ``hand``."""
        return max((line.source for line in self.lines), key=("codes", "supplier", "hand").index, default="codes")

    @property
    def kept_codes(self) -> list[MaskedCode]:
        """Those that can still be shown to somebody."""
        return [code for code in self.codes if not code.gone]

    @property
    def all_burned(self) -> bool:
        return bool(self.codes) and not self.kept_codes

    @property
    def replacements(self) -> set[int]:
        """Codes that were given for others."""
        return {code.replaced_by for code in self.codes if code.replaced_by is not None}

    @property
    def burn_at(self) -> datetime | None:
        """When the next of the shown codes is erased."""
        return min((code.burn_at for code in self.kept_codes if code.burn_at), default=None)

    @property
    def burn_hours(self) -> int:
        """After how many hours a code that is shown now will be erased; 0 for never."""
        hours = [
            line.burn_hours for line in self.lines if any(not code.gone and code.burn_at is None for code in line.codes)
        ]
        return min((one for one in hours if one), default=0)

    @property
    def contact_hint(self) -> str:
        """Enough to recognise it, not enough to use it."""
        return notes.contact_hint(self.contact)

    def sold(self, line: LineView, link: str, contact: str = "") -> notes.Sold:
        """What the line's delivery note may name."""
        return notes.Sold(
            ref=self.ref,
            placed=self.created_at,
            product=line.product_title,
            sku=line.sku_title,
            quantity=line.quantity,
            contact=contact,
            link=link,
            test=self.test,
        )


def order_view(row: dict[str, Any]) -> OrderView:
    currency = row["currency"]
    return OrderView(
        id=row["id"],
        ref=row["ref"],
        contact=row["contact"],
        payment_state=row["payment_state"],
        fulfilment_state=row["fulfilment_state"],
        total=Money(row["total"], currency),
        test=row["test"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        paid_at=row["paid_at"],
        delivered_at=row["delivered_at"],
        lines=[_line(line, currency) for line in row["lines"] or []],
        attempts=row["attempts"] or [],
        last_event=row["last_event"],
        to_codes=[Happened(one["kind"], datetime.fromisoformat(one["at"])) for one in row["to_codes"] or []],
        refunds=[
            GivenBack(Money(one["amount"], one["currency"]), one["way"], one["done"]) for one in row["refunds"] or []
        ],
        discounts=[
            DiscountView(one["title"], Money(one["amount"], currency), one["code"]) for one in row["discounts"] or []
        ],
        held=row["held"],
        gift=gift_view(row["gift"]),
        sealed=row["token_sealed"],
        missing=Money(row["missing"], currency) if row["missing"] and row["missing"] > 0 else None,
    )


def _line(line: dict[str, Any], currency: str) -> LineView:
    return LineView(
        id=line["id"],
        product_title=line["product_title"],
        sku_title=line["sku_title"],
        sku_code=line["sku_code"],
        quantity=line["quantity"],
        unit_price=Money(line["unit_price"], currency),
        total=Money(line["total"], currency),
        answers=answers_of(line["fields"], line["asked"] or {}),
        delivery_note=line["delivery_note"],
        burn_hours=line["burn_hours"],
        codes=[_code(code) for code in line["codes"] or []],
        source=line["source"],
        account=tuple(answers_of(_of_account(line["fields"]), line["asked"] or {})),
    )


def _code(code: dict[str, Any]) -> MaskedCode:
    burn_at, burned_at = _moment(code["burn_at"]), _moment(code["burned_at"])
    return MaskedCode(code["id"], code["mask"], burn_at, burned_at, code["reported"], code["replaced_by"])


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _of_account(answers: dict[str, str]) -> dict[str, str]:
    return {key: answer for key, answer in answers.items() if key.startswith(ACCOUNT)}


def answers_of(answers: dict[str, str], asked: dict[str, Any]) -> list[tuple[Words, Words]]:
    """In the words of the question. One that the product asks no more still has its key."""
    found = [(key, asked.get(key) or {}, answer) for key, answer in answers.items() if answer]
    return [
        (field.get("label") or {"en": key}, (field.get("choices") or {}).get(answer) or {"en": answer})
        for key, field, answer in found
    ]
