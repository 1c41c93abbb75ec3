import plugins_broken.payments.raises.part  # noqa: F401

raise RuntimeError("no luck")
