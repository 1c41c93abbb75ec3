"""One form of an e-mail address, so that addresses can be compared."""

from __future__ import annotations

import re
import unicodedata

from core.refused import Refused
from core.web.i18n import _

EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[a-z0-9-]{1,63}\.)+[a-z0-9-]{2,63}")
LONGEST = 254


def read_email(text: str, field: str = "email") -> str:
    """The address in lower case. Full-width signs and blanks around it are forgiven.

    :raises Refused: it cannot be an address.
    """
    address = unicodedata.normalize("NFKC", text).strip().lower()
    if len(address) > LONGEST or not EMAIL.fullmatch(address):
        raise Refused(_("This e-mail address does not look right. Please check it."), field)
    return address
