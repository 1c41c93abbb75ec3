"""What the till says to people."""

from __future__ import annotations

from core.redemption.redeem import Outcome
from core.web.i18n import Text, _

SAYS: dict[str, Text] = {
    Outcome.OK: _("This code is good"),
    Outcome.MISTYPED: _("This is mistyped, or no code of this shop"),
    Outcome.UNKNOWN: _("This shop has no such code"),
    Outcome.NOT_SOLD: _("This code was not sold yet"),
    Outcome.USED: _("This code was used up"),
    Outcome.EXPIRED: _("This code has expired"),
    Outcome.VOID: _("This code was voided"),
    Outcome.NOT_ENOUGH: _("There is less on this card"),
    Outcome.AMOUNT_NEEDED: _("This is a value card: say how much to take"),
    Outcome.AMOUNT_NOT_ALLOWED: _("This code works once and takes no amount"),
    Outcome.WRONG_CURRENCY: _("This card is in another currency"),
    Outcome.IN_CHECKOUT: _("Somebody is paying for this code right now"),
}
ADVICE: dict[str, Text] = {
    Outcome.MISTYPED: _("Compare it sign by sign, or scan it."),
    Outcome.UNKNOWN: _("It is written rightly, but was never made here, or its batch was taken out."),
    Outcome.NOT_SOLD: _("It is still in stock: whoever holds it did not buy it here."),
    Outcome.NOT_ENOUGH: _("Take what is left and let the rest be paid otherwise."),
    Outcome.IN_CHECKOUT: _("Try again when the order is paid or has expired."),
}
ACTS: dict[str, Text] = {"verify": _("Look"), "redeem": _("Redeem"), "void": _("Void")}
GOOD, BAD = "good", "bad"
