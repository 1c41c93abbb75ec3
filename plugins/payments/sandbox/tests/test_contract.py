"""The test gateway is part of the plugin; a buyer presses the buttons of its page."""

import html
import re
from urllib.parse import urlencode, urlsplit

import pytest

from core.api import CallbackRequest
from core.api.testing import FakeGateway, PaymentMethodContract

FORM = re.compile(r'<form method="post" action="[^"]+">(.*?)</form>', re.DOTALL)


class Page(FakeGateway):
    """What a browser does with the page behind the link."""

    answers_questions = False

    def __init__(self):
        super().__init__()
        self.link = ""
        self.door = None

    async def pay(self, attempt, started):
        self.link = started.step.url

    async def callback(self, attempt):
        query = urlsplit(self.link).query.encode()
        page = await self.door(CallbackRequest("GET", query, b"", {}, "127.0.0.1"))
        form = next(form for form in FORM.findall(page.body.decode()) if 'id="paid"' in form)
        fields = {name: html.unescape(value) for name, value in re.findall(r'name="([^"]+)" value="([^"]*)"', form)}
        return CallbackRequest("POST", b"", urlencode(fields).encode(), {}, "127.0.0.1")


class TestContract(PaymentMethodContract):
    plugin = "payments.sandbox"

    @pytest.fixture
    async def other_side(self):
        async with Page() as page:
            yield page

    @pytest.fixture
    def method(self, machine, other_side):
        method = self.the_one(machine.runtime.payment_methods)
        other_side.door = method.parse_callback
        return method

    async def test_its_page_stands_behind_the_door_of_the_whole_shop(self, method, shop):
        started = await method.start(self.attempt(method))
        parts = urlsplit(started.step.url)
        page = await shop.get(f"{parts.path}?{parts.query}")
        assert (page.status_code, 'id="paid"' in page.text) == (200, True)
        forged = await shop.get(f"{parts.path}?{parts.query.replace('amount=1990', 'amount=1')}")
        assert forged.status_code == 400
