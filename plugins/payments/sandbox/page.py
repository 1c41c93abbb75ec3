"""The gateway's two small pages: choose how the payment ends, and what was reported. Plain HTML, no script."""

from html import escape

from core.api import _

from .trade import Act, Trade

STYLE = "/static/base-0/payments.sandbox/gateway.css"

PAGE = """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · {name}</title>
<link rel="stylesheet" href="{style}">
<link rel="icon" href="data:,">
</head>
<body>
<main>
<p class="name">{name}</p>
<h1>{title}</h1>
{body}
<p class="note">{note}</p>
</main>
</body>
</html>
"""

CHOICES = {
    Act.PAID: (_("Paid"), _("The whole sum arrives.")),
    Act.PENDING: (_("Pending, then paid"), _("The shop hears nothing more and finds out by asking the gateway.")),
    Act.FAILED: (_("Failed"), _("The wallet refuses; the buyer may try again or choose another way to pay.")),
    Act.EXPIRED: (_("Expired"), _("The gateway gives the payment up.")),
    Act.TWICE: (_("Paid twice"), _("The buyer pays, and then pays once more.")),
    Act.LATE: (_("Paid late"), _("The money arrives after the order has expired.")),
    Act.WRONG_AMOUNT: (_("Wrong amount"), _("Only %(sum)s arrives.")),
    Act.TOO_MUCH: (_("Too much"), _("%(sum)s arrive.")),
    Act.TAKEN_BACK: (_("Charged back"), _("The buyer pays, and then their bank takes the money back.")),
    Act.REPLAY: (_("Replay"), _("The buyer pays, and the same message comes again and again.")),
}

REPORTED = {
    Act.PAID: _("The shop was told that the sum was paid."),
    Act.PENDING: _("The shop was told that the payment is pending. It asks again in a few seconds."),
    Act.FAILED: _("The shop was told that the payment failed."),
    Act.EXPIRED: _("The shop was told that the payment expired."),
    Act.TWICE: _("The shop was told that the sum was paid. Now pay once more."),
    Act.SECOND: _("The shop was told that the sum was paid a second time."),
    Act.LATE: _("Nothing was paid yet. The money arrives soon after the order expires at %(time)s UTC."),
    Act.WRONG_AMOUNT: _("The shop was told that %(sum)s was paid."),
    Act.TOO_MUCH: _("The shop was told that %(sum)s was paid."),
    Act.TAKEN_BACK: _("The shop was told that the sum was paid. Now the bank takes it back."),
    Act.TAKE: _("The shop was told that the payer's bank took the money back."),
    Act.REPLAY: _("The shop was told that the sum was paid. Send the same message again as often as you like."),
}

NEXT = {
    Act.TWICE: (Act.SECOND, _("Pay a second time")),
    Act.TAKEN_BACK: (Act.TAKE, _("Take the money back")),
    Act.REPLAY: (Act.REPLAY, _("Send the same message again")),
}


def choices(trade: Trade, secret: bytes) -> str:
    rows = "".join(_choice(trade.but(act), secret) for act in CHOICES)
    facts = f'<p>{escape(trade.title)}</p><p class="sum">{_sum(trade)}</p>'
    return _page(trade, _("How shall this payment end?"), f"{facts}<ul>{rows}</ul>{_way_back(trade)}")


def reported(trade: Trade, secret: bytes) -> str:
    words = escape(_filled(str(REPORTED[trade.act]), trade))
    further = ""
    if trade.act in NEXT:
        act, label = NEXT[trade.act]
        further = _button(trade.but(act), secret, str(label))
    again = _link("again", trade.but(Act.CHOOSE).link(secret), str(_("Choose another outcome")))
    return _page(trade, _("Reported"), f'<p class="said">{words}</p>{further}{_way_back(trade)}{again}')


def _choice(trade: Trade, secret: bytes) -> str:
    label, meaning = CHOICES[trade.act]
    return f"<li>{_button(trade, secret, str(label), _filled(str(meaning), trade))}</li>"


def _button(trade: Trade, secret: bytes, label: str, meaning: str = "") -> str:
    fields = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in trade.signed(secret).items()
    )
    button = f'<button id="{trade.act}"><strong>{escape(label)}</strong><span>{escape(meaning)}</span></button>'
    return f'<form method="post" action="{escape(trade.door)}">{fields}{button}</form>'


def _way_back(trade: Trade) -> str:
    return _link("back", trade.back, _("Back to the order") + f" {trade.order}")


def _link(name: str, address: str, label: str) -> str:
    return f'<p><a id="{name}" href="{escape(address)}">{escape(label)}</a></p>'


def _filled(text: str, trade: Trade) -> str:
    return text.replace("%(sum)s", trade.wrong_money().text(trade.locale)).replace(
        "%(time)s", f"{trade.expires_at:%H:%M:%S}"
    )


def _sum(trade: Trade) -> str:
    return escape(trade.money.text(trade.locale))


def _page(trade: Trade, title: object, body: str) -> str:
    return PAGE.format(
        lang=escape(trade.locale),
        title=escape(str(title)),
        name=escape(str(_("Test gateway"))),
        style=STYLE,
        body=body,
        note=escape(str(_("No money moves here. This page is shown only in test mode."))),
    )
