"""What the shop's own jobs are called where people read of them."""

from __future__ import annotations

from core.web.i18n import Text, _

TITLES: dict[str, Text] = {
    "account.mail_link": _("Mail the link to an account"),
    "admin.look_outside": _("Look at the shop from outside now"),
    "admin.outside": _("Look at the shop from outside"),
    "audit.chain": _("Close the audit log's chain"),
    "backup.take": _("Make a backup"),
    "backup.when_due": _("Look whether a backup is due"),
    "balances.mail_link": _("Mail the link to a balance"),
    "checkout.ask_gateways": _("Ask gateways about unpaid orders"),
    "checkout.expire": _("End unpaid orders"),
    "checkout.finish_stuck": _("Deliver what was left undelivered"),
    "checkout.look_for_partner_news": _("Look for news for partners"),
    "checkout.send_gifts": _("Send gifts on their day"),
    "checkout.tell_sale": _("Tell a partner about its order"),
    "checkout.tell_stand": _("Tell a partner about prices and stock"),
    "fulfilment.ask_suppliers": _("Ask suppliers about purchases"),
    "fulfilment.buy": _("Buy from a supplier"),
    "fulfilment.lost_purchases": _("Take up purchases that were left"),
    "fulfilment.low_stock": _("Look for SKUs that run low"),
    "hooks.fact": _("Tell a plugin what it did not hear"),
    "hooks.tell": _("Tell the plugins"),
    "jobs.purge": _("Forget old jobs"),
    "ledger.keep": _("Keep the books"),
    "lists.forget": _("Forget old acts on many rows"),
    "lists.run": _("Act on many rows, or export them"),
    "messages.send": _("Send a message"),
    "orders.mail_links": _("Mail the links to orders"),
    "payments.forget_calls": _("Forget old calls of gateways"),
    "payments.refund": _("Send a refund to the gateway"),
    "payments.refunds_left": _("Take up refunds that were left"),
    "payments.statements": _("Fetch statements of gateways"),
    "people.sweep": _("Forget ended sessions"),
    "redemption.forget_looks": _("Forget old looks at own codes"),
    "redemption.issue": _("Make own codes"),
    "review.forget_refused": _("Forget old refused orders"),
    "supply.forget_answers": _("Forget old answers of suppliers"),
    "supply.sync": _("Fetch a supplier's catalogue"),
    "supply.sync_due": _("Look whether a catalogue is due"),
    "vault.burn": _("Burn codes that were seen"),
    "vault.check_import": _("Check a file of codes"),
    "vault.import": _("Import codes"),
    "vault.keys": _("Bring codes under the newest key"),
    "vault.tidy": _("Remove unfinished imports"),
    "web.sweep": _("Forget used-up limits"),
}


def title_of(job: str) -> Text | str:
    """The jobs of plugins are called by their own names."""
    return TITLES.get(job, job)
