"""What the import says to people: why a line is not taken, why a file or a wish is refused."""

from __future__ import annotations

from core.vault.code_text import Problem
from core.web.i18n import Text, _

PROBLEMS: dict[str, Text] = {
    Problem.DUPLICATE_IN_FILE: _("stands in the file more than once"),
    Problem.DUPLICATE_IN_STOCK: _("is in stock already"),
    Problem.ALREADY_SOLD: _("was sold already"),
    Problem.EMPTY: _("the column of the code is empty"),
    Problem.TOO_FEW_COLUMNS: _("has too few columns"),
    Problem.TOO_MANY_COLUMNS: _("has more columns than the others; is the separator part of a code?"),
    Problem.TOO_LONG: _("is too long"),
    Problem.CONTROL_SIGNS: _("holds control characters"),
    Problem.UNREADABLE: _("cannot be read in this encoding"),
    Problem.OPEN_QUOTE: _("a quotation mark is not closed"),
    Problem.LOST_DIGITS: _("is a number that lost digits in a spreadsheet; store the column as text"),
    Problem.NOT_TEXT: _("is a date, an error or a truth value, not text"),
    Problem.BAD_DATE: _("the expiry date is not like 2027-01-31"),
    Problem.EXPIRED: _("has expired already"),
}

REFUSALS: dict[str, Text] = {
    "not_text": _("This is neither a text file nor a spreadsheet. Use TXT, CSV, XLSX, XLS or ODS."),
    "page": _("This is a web page under the name of a spreadsheet. Open it in one and save it as XLSX or CSV."),
    "too_big": _("This file is too big, or asks for more memory than it may. Split it, or save it as CSV."),
    "broken": _("This spreadsheet is damaged and cannot be opened. Save it anew, or as CSV."),
    "locked": _("This spreadsheet is protected by a password. Save it without one."),
    "empty": _("There is nothing in this file."),
    "no_such_sheet": _("The file has no sheet of that name."),
    "incomplete": _("Parts of the upload are missing. Upload the file again."),
    "bad_mapping": _("These columns do not fit together. Check separator, columns and width."),
    "which_columns": _("No header says which columns make the code. Name them (--columns 1,2) or use the admin."),
    "no_such_import": _("This import does not exist, or its file was already removed."),
    "no_such_sku": _("There is no such SKU in this shop."),
    "busy": _("This import is being worked on. Wait until it is done."),
    "no_such_batch": _("There is no such batch in this shop."),
    "undone": _("This batch was undone already."),
    "in_use": _("This batch cannot be undone: some of its codes were redeemed."),
    "written_off": _("This batch cannot be undone: some of its codes were written off, and the books have their cost."),
}


def undo_refused(reserved: int, delivered: int) -> Text:
    return _(
        "This batch cannot be undone: %(delivered)s of its codes were delivered, %(reserved)s are reserved.",
        delivered=delivered,
        reserved=reserved,
    )
