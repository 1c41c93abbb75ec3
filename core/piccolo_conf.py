"""Where Piccolo finds the database and the apps whose tables it migrates."""

from piccolo.conf.apps import AppRegistry

from core.db import engine

DB = engine

APP_REGISTRY = AppRegistry(
    apps=[
        "core.admin.piccolo_app",
        "core.audit.piccolo_app",
        "core.backup.piccolo_app",
        "core.catalog.piccolo_app",
        "core.checkout.piccolo_app",
        "core.hooks.piccolo_app",
        "core.jobs.piccolo_app",
        "core.ledger.piccolo_app",
        "core.lists.piccolo_app",
        "core.messages.piccolo_app",
        "core.orders.piccolo_app",
        "core.partners.piccolo_app",
        "core.payments.piccolo_app",
        "core.people.piccolo_app",
        "core.redemption.piccolo_app",
        "core.review.piccolo_app",
        "core.shops.piccolo_app",
        "core.site.piccolo_app",
        "core.supply.piccolo_app",
        "core.vault.piccolo_app",
        "core.web.piccolo_app",
    ]
)
