"""Ask all risk rules about an order that is about to be placed, and weigh what they found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from core import clock, db
from core.hooks import runtime
from core.hooks.views import OrderToCheck
from core.orders.history import telling_address
from core.review.risk import Action, Evidence, RiskRule
from core.shops.service import Shop, ShopSettings
from core.web.i18n import _, kept

SECONDS = 2.0
KEPT_DAYS = 90
"""How long it is remembered who was refused what."""
MOST_FINDINGS = 20


class Decision(StrEnum):
    ALLOW = "allow"
    REVIEW = "review"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Finding:
    """One evidence and the rule it came from."""

    rule: str
    title: Mapping[str, str]
    evidence: Evidence

    def row(self) -> dict[str, Any]:
        """As it is stored."""
        data = {name: value if isinstance(value, int) else str(value) for name, value in self.evidence.data.items()}
        return {
            "rule": self.rule,
            "title": _storable(self.title),
            "score": self.evidence.score,
            "action": self.evidence.action.value,
            "reason": _storable(kept(self.evidence.reason)),
            "data": _storable(data),
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    decision: Decision
    score: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def held(self) -> bool:
        return self.decision is Decision.REVIEW

    def rows(self) -> list[dict[str, Any]] | None:
        """The evidence as it is stored; None without any."""
        return [finding.row() for finding in self.findings] or None


NOTHING_FOUND = Verdict(Decision.ALLOW)


async def assess(order: OrderToCheck, shop: Shop) -> Verdict:
    """What all rules together say. A rule that fails or is too slow asks for a review."""
    rules: Mapping[str, RiskRule] = runtime.current().risk_rules_in(shop.id)
    if not rules:
        return NOTHING_FOUND
    asked = [asyncio.create_task(_ask(rule, order)) for rule in rules.values()]
    try:
        # not gather with a time limit: a rule that does not hear its cancellation must not keep the buyer
        await asyncio.wait(asked, timeout=SECONDS)
        answers = [_answer(key, task) for key, task in zip(rules, asked, strict=True)]
    finally:
        for task in asked:
            task.cancel()
    return weigh([finding for findings in answers for finding in findings], shop.settings)


def weigh(findings: Sequence[Finding], settings: ShopSettings) -> Verdict:
    """The strictest word counts, unless somebody vouches for the buyer."""
    counting = [one.evidence for one in findings if one.evidence.action is not Action.NOTE]
    actions = {evidence.action for evidence in counting}
    score = sum(evidence.score for evidence in counting)
    if Action.ALLOW in actions:
        decision = Decision.ALLOW
    elif Action.REFUSE in actions or score >= settings.risk_refuse:
        decision = Decision.REFUSE
    elif Action.REVIEW in actions or score >= settings.risk_review:
        decision = Decision.REVIEW
    else:
        decision = Decision.ALLOW
    return Verdict(decision, score, tuple(findings))


async def _ask(rule: RiskRule, order: OrderToCheck) -> list[Finding] | BaseException:
    try:
        findings = [Finding(rule.key, dict(rule.title), evidence) for evidence in await rule.assess(order)]
        for finding in findings:
            _check(finding.evidence)
            json.dumps(finding.row())
        return findings[:MOST_FINDINGS]
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything
        return error


def _storable(value: Any) -> Any:
    """A rule may quote what a buyer or another server said, in whatever signs."""
    if isinstance(value, Mapping):
        return {db.storable(str(name)): _storable(one) for name, one in value.items()}
    return db.storable(value) if isinstance(value, str) else value


def _check(evidence: Evidence) -> None:
    if not isinstance(evidence, Evidence) or not isinstance(evidence.action, Action):
        raise TypeError(f"a rule gives Evidence, not {type(evidence).__name__}")
    if type(evidence.score) is not int or not 0 <= evidence.score <= 100:
        raise ValueError(f"a score is a whole number from 0 to 100, not {evidence.score}")


def _answer(key: str, task: asyncio.Task[list[Finding] | BaseException]) -> list[Finding]:
    reason = _("This rule failed.")
    if not task.done():
        error: BaseException = TimeoutError(f"it took longer than {SECONDS:g} s")
        reason = _("This rule took too long to answer.")
    elif task.cancelled():
        error = asyncio.CancelledError("it cancelled itself")
    else:
        answer = task.result()
        if not isinstance(answer, BaseException):
            return answer
        error = answer
    delivered = runtime.current().delivered("register_risk_rules")[key]
    runtime.current().count_failure(delivered.plugin, f"assess of {key}", error)
    return [Finding(key, {"en": key}, Evidence(0, reason, Action.REVIEW, {"error": type(error).__name__}))]


# -- orders that were not placed --------------------------------------------------------

KEEP_REFUSED = """
WITH refused AS (
    INSERT INTO review_refused (shop_id, key, at, contact, ip, device, agent, total, currency, lines, score)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (shop_id, key, contact) DO UPDATE SET tries = review_refused.tries + 1
    RETURNING id, tries
)
INSERT INTO review_evidence (refused_id, rule, title, score, action, reason, data)
SELECT refused.id, found.* FROM refused, jsonb_to_recordset($12) AS found (
    rule text, title jsonb, score int, action text, reason jsonb, data jsonb) WHERE refused.tries = 1
"""


async def keep_refused(shop_id: int, key: str, order: OrderToCheck, verdict: Verdict) -> None:
    """Remember who was refused what and why, for the merchant to look whether the rules are right."""
    await db.execute(
        KEEP_REFUSED,
        shop_id,
        key,
        clock.now(),
        order.contact,
        telling_address(order.ip) or None,
        order.device,
        order.agent[:300],
        order.total.amount,
        order.total.currency,
        [{"sku": line.sku_code, "title": line.product_title, "quantity": line.quantity} for line in order.lines],
        verdict.score,
        verdict.rows() or [],
    )


async def sweep() -> None:
    """Forget refusals of long ago; for a timer."""
    await db.execute("DELETE FROM review_refused WHERE at < $1", clock.now() - timedelta(days=KEPT_DAYS))
