"""A web process that is told to stop."""

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import Start, TestEngines
from tests.payments.real_shop import Buyer, RealShop

SEED = "UPDATE shops_shop SET test_mode = true, revision = revision + 1"


def test_open_order_pages_are_not_waited_for(engines: TestEngines, database: str, start: Start, tmp_path: Path) -> None:
    name = urlsplit(database).path[1:]
    engines.sql(SEED, name)
    web = start("web", "--no-demo")
    shop = RealShop(web.url, web.environ, lambda statement: engines.sql(statement, name))
    with shop.opened:
        shop.stock("STOPS", ["STOPS-CODE-0001"], tmp_path)
        buyer = Buyer(shop, shop.client())
        ref = buyer.place("STOPS", "sandbox")
        with buyer.http.stream("GET", f"{web.url}/o/{ref}/events") as stream:
            lines = stream.iter_lines()
            assert "event: open" in (next(lines), next(lines))
            web.stop()
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
    assert "graceful" not in web.output
