"""The guide for plugin authors is true: its examples run, and it lists every hook exactly as it is."""

import ast
import hashlib
import hmac
import inspect
import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiohttp import web

from core import api
from core.api import Attempt, CallbackRequest, Check, Claim, ClaimState, Forged, Money, OutgoingMessage, Refusal
from core.hooks import manifest, specs
from core.hooks.manager import State, hooks_in, way_of
from core.hooks.runtime import ROOT, Runtime

GUIDE = (ROOT / "docs" / "plugins.md").read_text()
FILES = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", GUIDE, re.DOTALL)
EXAMPLES = sorted({".".join(path.split("/")[1:3]) for path, _code in FILES})


def code_blocks() -> int:
    return len(re.findall(r"^```\w", GUIDE, re.MULTILINE))


def test_every_example_belongs_to_a_file_that_is_tried_here():
    assert code_blocks() == len(FILES)
    assert EXAMPLES == ["notifiers.acmepush", "payments.acmepay", "risk.throwaway"]


# -- the examples run -------------------------------------------------------------------


@pytest.fixture(scope="module")
async def acme():
    """The other side of the examples."""
    seen = []

    async def answer(request):
        seen.append((request.path, await request.text()))
        if request.path == "/payments":
            return web.json_response({"id": "A1", "page": "https://acme.example/pay/A1"}, status=201)
        if request.path == "/me":
            return web.Response(status=200 if request.headers["x-key"] == "right" else 403)
        return web.json_response({"number": "M1"})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://127.0.0.1:{}".format(*runner.addresses[0][1:]), seen
    await runner.cleanup()


@pytest.fixture
async def examples(operator, acme, tmp_path, monkeypatch):
    for path, code in FILES:
        file = tmp_path / path.replace("plugins/", "plugins_of_the_guide/", 1)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    await operator.enables("risk.throwaway")
    await operator.saves("payments.acmepay", {"gateway": acme[0]}, {"key": "right"})
    await operator.saves("notifiers.acmepush", {"server": acme[0]}, {})
    folder = tmp_path / "plugins_of_the_guide"
    runtime = Runtime(folder=folder, package=folder.name, environ={}, allowed_hosts=["127.0.0.1"])
    await runtime.start()
    assert {one.id: (one.state, one.reason) for one in runtime.plugins} == dict.fromkeys(EXAMPLES, (State.ACTIVE, ""))
    yield runtime
    await runtime.close()


async def test_the_example_of_a_guard(examples, order):
    await examples.ask("check_order", order=order)
    with pytest.raises(Refusal, match="Please use another e-mail address") as caught:
        await examples.ask("check_order", order=replace(order, contact="x@mailinator.com"))
    assert caught.value.field == "contact"


ATTEMPT = Attempt(
    ref="V1-1",
    order_ref="V1",
    amount=Money(1990, "CNY"),
    title="A month",
    option="",
    locale="en",
    client_ip="203.0.113.7",
    device="pc",
    notify_url="https://shop.example/pay/acmepay/notify",
    return_url="https://shop.example/pay/acmepay/return",
    created_at=datetime(2026, 11, 22, tzinfo=UTC),
    expires_at=datetime(2026, 11, 22, 1, tzinfo=UTC),
)


async def test_the_example_of_a_payment_method(examples, acme):
    method = examples.payment_methods["acmepay"]
    started = await method.start(ATTEMPT)
    assert (started.step.url, started.gateway_ref) == ("https://acme.example/pay/A1", "A1")
    assert json.loads(acme[1][-1][1]) == {"ref": "V1-1", "sum": "19.90", "notify": ATTEMPT.notify_url}
    body = json.dumps({"ref": "V1-1", "state": "paid", "sum": "19.90", "currency": "CNY", "id": "A1"}).encode()
    signature = hmac.new(b"right", body, hashlib.sha256).hexdigest()
    request = CallbackRequest("POST", b"", body, {"x-signature": signature}, "203.0.113.7")
    assert await method.parse_callback(request) == Claim("V1-1", ClaimState.PAID, Money(1990, "CNY"), "A1", "A1:paid")
    with pytest.raises(Forged):
        await method.parse_callback(replace(request, body=body.replace(b"19.90", b"0.01")))


@pytest.mark.parametrize(("key", "answer"), [("right", Check.OK), ("wrong", Check.CREDENTIALS_WRONG)])
async def test_the_example_of_a_test_button(examples, acme, key, answer):
    loaded = examples.plugin("payments.acmepay")
    settings = loaded.plugin.Settings(gateway=acme[0], key=key)
    result = await loaded.plugin.check(settings, examples.context_to_try("payments.acmepay", settings))
    assert result.answer is answer


async def test_the_example_of_a_notifier(examples, acme):
    message = OutgoingMessage("7", "a@b.example", "Hello", "Your order", "<p>Your order</p>", "en", "Shop")
    receipt = await examples.notifiers["acmepush"].send(message)
    assert receipt.reference == "M1"
    assert json.loads(acme[1][-1][1]) == {"id": "7", "to": "a@b.example", "text": "Your order"}


# -- nothing is left out ----------------------------------------------------------------

HOOKS = hooks_in(specs)


def signature(hook):
    return f"{hook}({', '.join(inspect.signature(getattr(specs, hook)).parameters)})"


def test_the_guide_lists_every_hook_with_its_exact_arguments_and_no_other():
    assert re.findall(r"^### `(.+)`$", GUIDE, re.MULTILINE) == [signature(hook) for hook in HOOKS]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented_used_by_a_plugin_that_ships_and_tested(hook):
    text = inspect.getdoc(getattr(specs, hook))
    assert next(iter(inspect.signature(getattr(specs, hook)).parameters)) == "ctx"
    assert "Added in api 1." in text
    for parameter in inspect.signature(getattr(specs, hook)).parameters:
        assert f":param {parameter}:" in text
    users = re.split(r",\s+", re.search(r"Used by: (.+)\.$", text, re.DOTALL)[1])
    assert users == [plugin for plugin in shipped() if hook in hooks_of(plugin)]
    tested = "\n".join(path.read_text() for path in (ROOT / "tests" / "hooks").glob("test_*.py"))
    assert f"def test_hook_{hook}(" in tested
    assert {"collect": ":returns:", "ask": ":raises Refusal:", "notify": "Called after the commit"}[
        way_of(hook)
    ] in text


def shipped():
    return [one.id for one in manifest.discover(ROOT / "plugins")]


def hooks_of(plugin):
    tree = ast.parse((ROOT / "plugins" / plugin.replace(".", "/") / "__init__.py").read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {one.name for one in functions if any(ast.unparse(mark) == "hookimpl" for mark in one.decorator_list)}


def test_the_guide_names_everything_a_context_a_manifest_and_a_setting_can_hold():
    for name in api.PluginContext.__dataclass_fields__:
        assert f"| `ctx.{name}` |" in GUIDE, name
    rows = GUIDE[GUIDE.index("## The manifest") : GUIDE.index("## What it may import")]
    for name in manifest.Manifest.__struct_fields__:
        assert f"`{name}`" in rows or f"`[{name}]`" in rows, name
    for word in (*manifest.KINDS, *manifest.PERMISSIONS):
        assert f"`{word}`" in rows, word
    for kind in ("str", "Secret", "int", "bool", 'Literal["a", "b"]', "tuple[str, ...]", "Money", "Url"):
        assert f"| `{kind}` |" in GUIDE, kind


def test_the_door_defines_nothing():
    source = ast.parse((ROOT / "core" / "api" / "__init__.py").read_text())
    assert {type(node) for node in source.body} == {ast.Expr, ast.ImportFrom, ast.Assign}
    assert sorted(api.__all__) == api.__all__
    imported = {
        name.asname or name.name for node in source.body if isinstance(node, ast.ImportFrom) for name in node.names
    }
    assert imported == set(api.__all__)
