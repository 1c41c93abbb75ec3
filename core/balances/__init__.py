"""What buyers keep with the shop: their page, and the console's. The money itself is moved by ``core.ledger``."""

MAIL_LINK = "balances.mail_link"
