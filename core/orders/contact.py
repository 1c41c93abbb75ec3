"""How a buyer is reached: an e-mail address or a phone number, in one form each so that it can be compared."""

from __future__ import annotations

import re
import unicodedata

from core.people.email import read_email
from core.refused import Refused
from core.web.i18n import _

PHONE = re.compile(r"\+?[0-9]{5,16}")


def read_contact(text: str) -> tuple[str, str]:
    """``(kind, contact)`` with kind ``email`` or ``phone``. Full-width signs and blanks are forgiven."""
    cleaned = unicodedata.normalize("NFKC", text).strip()
    if "@" in cleaned:
        return "email", read_email(cleaned, "contact")
    number = re.sub(r"[ ().-]", "", cleaned)
    if PHONE.fullmatch(number):
        return "phone", number
    raise Refused(_("Enter an e-mail address or a phone number."), "contact")


def masked_contact(contact: str) -> str:
    """For logs that are never changed: enough to know it again, too little to write to it."""
    name, at, domain = contact.partition("@")
    if at:
        return f"{name[0]}•••@{domain}"
    return f"•••{name[-2:]}"
