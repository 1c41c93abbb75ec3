"""Behind a proxy that speaks https: cookies of this host only, and https for good."""

import httpx

from core.app import create_app
from core.config import Config

from .conftest import served
from .sample import feature as sample
from .test_headers import assert_safe


async def test_on_https_cookies_are_bound_to_the_host_and_https_is_kept(environment: dict[str, str]):
    environment = {**environment, "VOUCHSAFE_BASE_URL": "https://shop.test", "VOUCHSAFE_TRUSTED_PROXIES": "127.0.0.1"}
    app = create_app(Config.from_env(environment), names=(), extra_features=[sample])
    forwarded = {"host": "shop.test", "x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.7"}
    async with served(app) as site, httpx.AsyncClient(base_url=site, headers=forwarded) as client:
        answer = await client.post("/sample/start", headers={"origin": "https://shop.test"})
        assert answer.status_code == 303
        assert_safe(answer)
        assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
        name, _equals, rest = answer.headers["set-cookie"].partition("=")
        assert name == "__Host-vs"
        assert set(rest.lower().split("; ")[1:]) == {"path=/", "httponly", "secure", "samesite=lax"}
        token = rest.partition(";")[0]
        plain = await client.get("/sample/mine", headers={"cookie": f"vs={token}"})
        assert plain.json() == {"session": None}
        bound = await client.get("/sample/mine", headers={"cookie": f"__Host-vs={token}"})
        assert bound.json()["session"]
        for wrong in ("http://shop.test", "https://shop.test.evil.test", "https://shop.test:444"):
            assert (await client.post("/sample/start", headers={"origin": wrong})).status_code == 403
        for name in ("lang", "colours"):
            answer = await client.post("/preferences", data={"language": "en", "colours": "dark"})
            assert f"__Host-{name}=" in answer.headers["set-cookie"]
