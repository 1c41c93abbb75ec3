"""A new plugin of every kind keeps its contract before a line is written; each mistake planted in one is found."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from core.hooks import check, scaffold
from core.hooks.check import Level
from core.hooks.manifest import KINDS

ROOT = Path(__file__).resolve().parents[2]

MISTAKES = {
    # kind and name: what is planted, where, and the tests of the contract that must notice
    ("suppliers", "buys_again"): (
        '"ref": purchase.ref,',
        '"ref": f"{purchase.ref}-{__import__(\'secrets\').token_hex(4)}",',
        {"test_the_same_reference_buys_once"},
    ),
    ("suppliers", "tries_again"): (
        '        return _answer(await self._ask("POST", "/orders", json=wanted, keep=purchase))',
        "        try:\n"
        "            return _answer(await self._ask('POST', '/orders', json=wanted, keep=purchase))\n"
        "        except SupplierUnavailable:\n"
        "            again = {**wanted, 'ref': purchase.ref + '-2'}\n"
        "            return _answer(await self._ask('POST', '/orders', json=again, keep=purchase))",
        {"test_a_purchase_without_a_usable_answer_is_not_known_and_not_bought_again"},
    ),
    ("suppliers", "ignores_cap"): (
        '"most": purchase.price_cap.plain(),',
        '"most": "99999.00",',
        {"test_nothing_is_bought_above_the_price_cap"},
    ),
    ("suppliers", "keeps_nothing"): (
        "await keep.keep(answer.content)",
        "pass",
        {"test_a_purchase_brings_what_was_bought[1]", "test_a_purchase_brings_what_was_bought[2]"},
    ),
    ("suppliers", "believes_all"): (
        'if not hmac.compare_digest(signature.encode(), request.headers.get("x-signature", "").encode()):',
        "if signature is None:",
        {
            "test_an_altered_callback_is_refused",
            "test_a_callback_for_another_merchant_is_refused",
            "test_garbage_is_refused",
        },
    ),
    ("payments", "opens_again"): (
        '"ref": attempt.ref,',
        '"ref": f"{attempt.ref}-{__import__(\'secrets\').token_hex(4)}",',
        {"test_starting_twice_opens_one_payment", "test_a_start_without_a_usable_answer_is_not_known"},
    ),
    ("payments", "believes_all"): (
        'if not hmac.compare_digest(signature.encode(), request.headers.get("x-signature", "").encode()):',
        "if signature is None:",
        {"test_an_altered_callback_is_refused", "test_a_callback_for_another_merchant_is_refused"},
    ),
    ("payments", "guesses"): (
        "        except HttpError as error:\n            raise GatewayUnavailable(str(error)) from None\n"
        "        if answer.status in (401, 402):",
        "        except HttpError as error:\n            raise GatewayRefused(str(error)) from None\n"
        "        if answer.status in (401, 402):",
        {
            "test_a_start_without_a_usable_answer_is_not_known",
            "test_an_unusable_answer_to_a_question_says_nothing",
            "test_a_refund_without_a_usable_answer_is_not_known",
        },
    ),
    ("payments", "refunds_again"): (
        '        return _refunded(await self._ask("POST", "/refunds", wanted))',
        "        try:\n"
        "            return _refunded(await self._ask('POST', '/refunds', wanted))\n"
        "        except GatewayUnavailable:\n"
        "            return _refunded(await self._ask('POST', '/refunds', {**wanted, 'ref': refund.ref + '2'}))",
        {"test_a_refund_without_a_usable_answer_is_not_known"},
    ),
    ("payments", "tells_its_key"): (
        'raise GatewayRefused(str(_("The gateway refuses: status %(status)d", status=answer.status)))',
        'raise GatewayRefused(f"refused: {key}")',
        {"test_another_merchants_key_is_refused"},
    ),
    ("notifiers", "gives_up"): (
        "raise NotifierUnavailable(str(error)) from None",
        "raise NotifierRefused(str(error)) from None",
        {
            "test_a_message_nobody_confirmed_is_sent_again_later",
            "test_with_nobody_there_it_is_sent_again_later",
        },
    ),
    ("notifiers", "new_ids"): (
        '"id": message.id,',
        "\"id\": __import__('secrets').token_hex(4),",
        {"test_a_message_arrives_whole", "test_a_message_that_comes_again_keeps_its_id"},
    ),
    ("risk", "trips"): (
        'domain = order.contact.rpartition("@")[2]',
        'domain = order.contact.split("@")[1]',
        {"test_strange_orders_do_not_break_it"},
    ),
    ("risk", "scores_too_high"): (
        "Evidence(self.settings.score,",
        "Evidence(self.settings.score * 10,",
        {"test_it_finds_what_it_is_for"},
    ),
    ("promotions", "makes_dearer"): (
        "Money(-off, basket.total.currency)",
        "Money(off, basket.total.currency)",
        {"test_what_fits_becomes_cheaper"},
    ),
    ("promotions", "changes_its_mind"): (
        "off = basket.total.amount * self.settings.percent // 100",
        "off = __import__('secrets').randbelow(basket.total.amount) + 1",
        {"test_the_same_basket_gets_the_same_answer"},
    ),
    ("channels", "believes_all"): (
        'if not hmac.compare_digest(signature.encode(), call.headers.get("x-signature", "").encode()):',
        "if signature is None:",
        {"test_an_altered_call_is_refused", "test_a_call_with_another_secret_is_refused"},
    ),
    ("channels", "sells_again"): (
        'str(wanted["reference"])',
        "__import__('secrets').token_hex(8)",
        {"test_the_same_reference_buys_once"},
    ),
    ("apps", "counts_twice"): (
        "INSERT INTO apps_counts_twice_sale (order_ref, sku_code, quantity) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        "INSERT INTO apps_counts_twice_sale AS old (order_ref, sku_code, quantity) VALUES ($1, $2, $3)"
        " ON CONFLICT (order_ref, sku_code) DO UPDATE SET quantity = old.quantity + $3",
        {"test_each_order_is_counted_once_however_often_it_is_told"},
    ),
}


def plant(folder: Path, kind: str, name: str, there: str, instead: str) -> Path:
    made = scaffold.make(kind, name, folder)
    file = made.folder / "__init__.py"
    text = file.read_text()
    assert text.count(there) >= 1, f"{name}: the new plugin does not say {there!r}"
    file.write_text(text.replace(there, instead))
    return made.folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of plugins of a merchant."""
    return tmp_path_factory.mktemp("home") / "plugins"


@pytest.fixture(scope="module")
def with_engines(engines, folder):
    """Options that let another pytest use the engines of this one."""
    file = folder.parent / "engines"
    file.write_text(json.dumps(asdict(engines)))
    return ["--engines", str(file)]


@pytest.fixture(scope="module")
def reports(folder, with_engines):
    paths = [scaffold.make(kind, "good", folder).folder for kind in KINDS]
    return {report.id: report for report in check.checked(paths, options=with_engines)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_polished_before_a_line_is_written(reports, kind):
    report = reports[f"{kind}.good"]
    assert [point for point in report.points if point.faults] == []
    assert report.level is Level.POLISHED


@pytest.fixture(scope="module")
def noticed(folder, with_engines):
    """The tests that failed, by plugin; of each only those are run that have to."""
    command = [sys.executable, "-m", "pytest", "-q", "-c", ROOT / "pyproject.toml", "--rootdir", ROOT]
    for (kind, name), (there, instead, tests) in MISTAKES.items():
        file = plant(folder, kind, name, there, instead) / "tests" / "test_contract.py"
        command += [f"{file}::TestContract::{test}" for test in tests]
    done = subprocess.run(
        [
            *command,
            *with_engines,
            "-p",
            "no:cacheprovider",
            "-p",
            "core.api.testing.report",
            "--tell",
            folder / "report",
        ],
        cwd=ROOT,
        env={**os.environ, "VOUCHSAFE_HOME": str(folder.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    results = [json.loads(line) for line in (folder / "report").read_text().splitlines()]
    return {(Path(one["file"]).parts[-4], Path(one["file"]).parts[-3], one["test"]): one for one in results}


@pytest.mark.parametrize(("kind", "name"), MISTAKES, ids=lambda word: word)
def test_a_planted_mistake_breaks_the_contract(noticed, kind, name):
    for test in MISTAKES[kind, name][2]:
        found = noticed[kind, name, test]
        assert not found["passed"], f"{test} does not notice it"
        assert "core/api/testing/" in found["why"] or "tests/test_contract.py" in found["why"], found["why"]
