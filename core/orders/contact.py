"""How a buyer is reached: an e-mail address or a phone number, in one form each so that it can be compared."""

from __future__ import annotations

import re
import unicodedata

from core.refused import Refused
from core.web.i18n import _

EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[a-z0-9-]{1,63}\.)+[a-z0-9-]{2,63}")
PHONE = re.compile(r"\+?[0-9]{5,16}")


def read_contact(text: str) -> tuple[str, str]:
    """``(kind, contact)`` with kind ``email`` or ``phone``. Full-width signs and blanks are forgiven."""
    cleaned = unicodedata.normalize("NFKC", text).strip()
    if "@" in cleaned:
        address = cleaned.lower()
        if len(address) <= 254 and EMAIL.fullmatch(address):
            return "email", address
        raise Refused(_("This e-mail address does not look right. Please check it."), "contact")
    number = re.sub(r"[ ().-]", "", cleaned)
    if PHONE.fullmatch(number):
        return "phone", number
    raise Refused(_("Enter an e-mail address or a phone number."), "contact")
