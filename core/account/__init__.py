"""What a buyer finds about themselves, once they have shown by a mailed link that the address is theirs."""

MAIL_LINK = "account.mail_link"
