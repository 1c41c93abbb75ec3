from core.api import Pages, Plugin


class FillsNothing(Plugin):
    pages = Pages(slots={"home.middle": lambda ctx, visit, subject: None})


plugin = FillsNothing()
