from core.api.testing import History, RiskRuleContract, an_order


class TestContract(RiskRuleContract):
    plugin = "risk.caps"

    def settings(self, other_side):
        return {"per_contact": 3, "per_address": 5}

    def harmless(self):
        return (
            an_order(),
            an_order(history=History(contact_orders=2, address_orders=4)),
            an_order(ip="127.0.0.1", history=History(address_orders=100)),
        )

    def suspicious(self):
        return (an_order(history=History(contact_orders=3)), an_order(history=History(address_orders=5)))
