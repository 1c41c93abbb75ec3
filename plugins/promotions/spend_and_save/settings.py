"""The tiers, for which goods, and when."""

from __future__ import annotations

from datetime import datetime

from pydantic import ValidationInfo, field_validator

from core.api import CategorySlug, Money, PluginSettings, ProductSlug, Scope, SkuCode, _, setting


class Tier(PluginSettings):
    """From so much on, so much off."""

    least: Money = setting(_("From this sum on"))
    off: Money = setting(_("So much off"))


class SpendAndSaveSettings(PluginSettings):
    tiers: tuple[Tier, ...] = setting(_("Tiers"), help=_("The highest one that is reached counts; they do not add up."))
    categories: tuple[CategorySlug, ...] = setting(_("Only these categories"), default=())
    products: tuple[ProductSlug, ...] = setting(_("Only these products"), default=())
    skus: tuple[SkuCode, ...] = setting(
        _("Only these SKUs"), help=_("Nothing chosen in all three: it is for all goods."), default=()
    )
    starts: str | None = setting(
        _("From when"),
        help=_("Day, time and offset from UTC, such as 2026-11-11 00:00+08:00."),
        default=None,
        max_length=40,
    )
    ends: str | None = setting(_("Until"), default=None, max_length=40)
    stacks: bool = setting(
        _("Counts together with coupons"),
        help=_("Else it is used alone, and only when it takes off more than the others together."),
        default=True,
    )

    @field_validator("tiers")
    @classmethod
    def _make_sense(cls, tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
        if not tiers:
            raise ValueError(str(_("Write at least one tier.")))
        if any(not 0 < tier.off.amount <= tier.least.amount for tier in tiers):
            raise ValueError(str(_("Each tier takes something off, and no more than it begins with.")))
        if len({tier.least.amount for tier in tiers}) < len(tiers):
            raise ValueError(str(_("Two tiers begin with the same sum.")))
        return tiers

    @field_validator("starts", "ends")
    @classmethod
    def _is_a_moment(cls, text: str | None, info: ValidationInfo) -> str | None:
        moment = _moment(text)
        if text and (moment is None or moment.tzinfo is None):
            raise ValueError(str(_("Write a day, a time and the offset from UTC, such as 2026-11-11 00:00+08:00.")))
        starts = _moment(info.data.get("starts"))
        if info.field_name == "ends" and moment and starts and moment <= starts:
            raise ValueError(str(_("The end comes after the beginning.")))
        return text

    @property
    def scope(self) -> Scope:
        names = [
            *(f"category:{slug}" for slug in self.categories),
            *(f"product:{slug}" for slug in self.products),
            *(f"sku:{code}" for code in self.skus),
        ]
        return Scope(frozenset(names))

    def runs_at(self, at: datetime) -> bool:
        starts, ends = _moment(self.starts), _moment(self.ends)
        return (starts is None or starts <= at) and (ends is None or at < ends)


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
