"""What travels between the order page, the gateway's page and the shop's door: one signed set of fields."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import urlencode

from core.api import Attempt, Claim, ClaimState, Forged, Money, _


class Act(StrEnum):
    """What a message does. ``CHOOSE`` only shows the page; the others report an outcome to the shop."""

    CHOOSE = "choose"
    PAID = "paid"
    PENDING = "pending"
    FAILED = "failed"
    EXPIRED = "expired"
    TWICE = "twice"
    SECOND = "second"
    LATE = "late"
    WRONG_AMOUNT = "wrong_amount"
    TOO_MUCH = "too_much"
    TAKEN_BACK = "taken_back"
    TAKE = "take"
    REPLAY = "replay"


STATES = {
    Act.PENDING: ClaimState.PENDING,
    Act.LATE: ClaimState.PENDING,
    Act.FAILED: ClaimState.FAILED,
    Act.EXPIRED: ClaimState.EXPIRED,
    Act.TAKE: ClaimState.CHARGED_BACK,
}
SECOND_TRADE = "-again"


@dataclass(frozen=True, slots=True)
class Trade:
    act: Act
    attempt: str
    order: str
    title: str
    amount: int
    currency: str
    until: int
    locale: str
    door: str
    back: str

    @classmethod
    def of(cls, attempt: Attempt) -> "Trade":
        return cls(
            act=Act.CHOOSE,
            attempt=attempt.ref,
            order=attempt.order_ref,
            title=attempt.title,
            amount=attempt.amount.amount,
            currency=attempt.amount.currency,
            until=int(attempt.expires_at.timestamp()),
            locale=attempt.locale,
            door=attempt.notify_url,
            back=attempt.return_url,
        )

    @classmethod
    def read(cls, params: Mapping[str, str], secret: bytes) -> "Trade":
        """:raises Forged: it was not signed here."""
        fields = {name: value for name, value in params.items() if name != "sign"}
        if not hmac.compare_digest(_sign(fields, secret).encode(), params.get("sign", "").encode()):
            raise Forged(_("the signature is missing or wrong"))
        try:
            numbers = {name: int(fields[name]) for name in ("amount", "until")}
            return cls(**{**fields, **numbers, "act": Act(fields["act"])})  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError):
            raise Forged(_("it is signed, but of an older version")) from None

    def signed(self, secret: bytes) -> dict[str, str]:
        fields = {name: str(value) for name, value in asdict(self).items()}
        return {**fields, "sign": _sign(fields, secret)}

    def link(self, secret: bytes) -> str:
        return f"{self.door}?{urlencode(self.signed(secret))}"

    def but(self, act: Act) -> "Trade":
        return replace(self, act=act)

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def expires_at(self) -> datetime:
        return datetime.fromtimestamp(self.until, UTC)

    def claim(self) -> Claim:
        state = STATES.get(self.act, ClaimState.PAID)
        again = SECOND_TRADE if self.act is Act.SECOND else ""
        return Claim(
            attempt_ref=self.attempt,
            state=state,
            amount=self.wrong_money() if self.act in (Act.WRONG_AMOUNT, Act.TOO_MUCH) else self.money,
            gateway_ref=number(self.attempt, self.act) + again,
            event_key=f"{self.attempt}{again}:{state}",
        )

    def wrong_money(self) -> Money:
        if self.act is Act.TOO_MUCH:
            return Money(self.amount + self.amount // 2 + 1, self.currency)
        return Money(self.amount // 2 if self.amount > 1 else self.amount + 1, self.currency)


def number(attempt: str, act: Act) -> str:
    """The gateway's number of the trade. It tells the outcome, so that a query knows it without storing anything."""
    return f"{act}-{attempt}"


def _sign(fields: Mapping[str, str], secret: bytes) -> str:
    return hmac.new(secret, urlencode(sorted(fields.items())).encode(), hashlib.sha256).hexdigest()
