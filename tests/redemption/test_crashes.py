"""kill -9 while a code is redeemed: sent again under the same id, it is done once, and the answer says so."""

import re
import signal

import httpx
import pytest

from core import db
from core.people import api_keys
from core.vault import keys
from tests import stocked
from tests.conftest import ROOT
from tests.redemption.own import a_code, new_id, tries, voucher

KEY = {"VOUCHSAFE_MASTER_KEY": "11" * 32}
POINTS = ("redemption.taken", "redemption.written")


@pytest.fixture(scope="module")
async def healthy(start, pool):
    keys.use(keys.MasterKey(bytes.fromhex(KEY["VOUCHSAFE_MASTER_KEY"])))
    return start("web", "--no-demo", **KEY)


@pytest.fixture(scope="module")
async def headers(healthy):
    token = await api_keys.make(1, "Counter", list(api_keys.SCOPES), None, await stocked.staff_member())
    return {"authorization": f"Bearer {token}"}


def test_every_named_point_is_tried():
    text = (ROOT / "core/redemption/redeem.py").read_text()
    assert set(re.findall(r'crash_point\("([^"]+)"\)', text)) == set(POINTS)


@pytest.mark.parametrize(("point", "done_before"), [(POINTS[0], 0), (POINTS[1], 1)])
async def test_a_killed_redemption_is_done_once(point, done_before, healthy, headers, start):
    doomed = start("web", "--no-demo", VOUCHSAFE_CRASH_AT=point, **KEY)
    code = await a_code(face_value=1000)
    body = {"request_id": new_id(), "code": code, "amount": 400, "currency": "CNY"}
    before = await tries("ok")
    async with httpx.AsyncClient(headers=headers, timeout=30) as till:
        with pytest.raises(httpx.TransportError):
            await till.post(f"{doomed.url}/api/v1/redemptions", json=body)
        assert doomed.process.wait(10) == -signal.SIGKILL
        # PostgreSQL ends what the dead process had begun
        await db.fetchval("SELECT balance FROM redemption_voucher ORDER BY code_id DESC LIMIT 1 FOR UPDATE")
        assert await tries("ok") == before + done_before
        again = [(await till.post(f"{healthy.url}/api/v1/redemptions", json=body)).json() for _ in range(2)]
    assert again[0] == again[1]
    assert (again[0]["outcome"], again[0]["amount"], again[0]["card"]["balance"]) == ("ok", 400, 600)
    assert (await voucher(code))["balance"] == 600
    assert await tries("ok") == before + 1
