"""What the demo shop can sell: believable products of invented brands, a pack for each kind of shop."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from core.catalog.service import Words
from core.web.i18n import Text, _


@dataclass(frozen=True)
class Sku:
    code: str
    title: Words
    price: int
    period: str = "none"
    face_value: int | None = None


@dataclass(frozen=True)
class Product:
    slug: str
    category: tuple[str, Words]
    picture: str
    title: Words
    summary: Words
    description: Words
    delivery_note: Words
    skus: tuple[Sku, ...]
    buyer_fields: list[dict[str, Any]] = field(default_factory=list)


MUSIC = Product(
    slug="starlight-music",
    category=("memberships", {"en": "Memberships", "zh-CN": "会员"}),
    picture="music.webp",
    title={"en": "Starlight Music membership", "zh-CN": "星光音乐会员"},
    summary={
        "en": "Every song without ads, also offline. Works worldwide.",
        "zh-CN": "全曲库无广告畅听，可离线下载，全球通用。",
    },
    description={
        "en": (
            "### What you get\n\n- 40 million songs in lossless quality\n- Offline on up to five devices\n"
            "- No automatic renewal: it simply ends\n\nThe time is **added** to what your account still has."
        ),
        "zh-CN": (
            "### 会员权益\n\n- 四千万首无损音乐\n- 最多五台设备离线下载\n- 不自动续费，到期即止\n\n"
            "有效期会**累加**到账户现有时长之后。"
        ),
    },
    delivery_note={
        "en": "1. Open the Starlight app, **Me → Redeem**.\n2. Paste the code.\n\nUse it within 12 months.",
        "zh-CN": "1. 打开星光音乐 App，进入 **我的 → 兑换中心**。\n2. 粘贴兑换码并确认。\n\n请在 12 个月内使用。",
    },
    skus=(
        Sku("DEMO-MUSIC-1M", {"en": "1 month", "zh-CN": "月卡"}, 1500, "month"),
        Sku("DEMO-MUSIC-3M", {"en": "3 months", "zh-CN": "季卡"}, 3900, "season"),
        Sku("DEMO-MUSIC-1Y", {"en": "1 year", "zh-CN": "年卡"}, 12800, "year"),
    ),
)


COMET = Product(
    slug="comet-games-card",
    category=("games", {"en": "Games", "zh-CN": "游戏"}),
    picture="game.webp",
    title={"en": "Comet Games gift card", "zh-CN": "彗星游戏点卡"},
    summary={
        "en": "Top up your Comet wallet for games, passes and skins.",
        "zh-CN": "为彗星平台钱包充值，购买游戏、通行证与皮肤。",
    },
    description={
        "en": "The full amount lands in your Comet wallet and never expires.\n\n> China region accounts only.",
        "zh-CN": "面值即时到账彗星钱包，永久有效。\n\n> 仅限国区账号使用。",
    },
    delivery_note={
        "en": "Sign in at **comet.example/redeem**, paste the code, done. Each code works once.",
        "zh-CN": "登录 **comet.example/redeem**，粘贴卡密即可到账。每个卡密仅能使用一次。",
    },
    skus=(
        Sku("DEMO-COMET-50", {"en": "Card of 50", "zh-CN": "50 元"}, 4850, face_value=5000),
        Sku("DEMO-COMET-100", {"en": "Card of 100", "zh-CN": "100 元"}, 9600, face_value=10000),
    ),
)


NIMBUS = Product(
    slug="nimbus-drive",
    category=("tools", {"en": "Tools", "zh-CN": "工具"}),
    picture="cloud.webp",
    title={"en": "Nimbus Drive, 200 GB for a year", "zh-CN": "云朵网盘 200GB 年卡"},
    summary={
        "en": "Room for all your photos, encrypted on the way and at rest.",
        "zh-CN": "给照片和文件一个家，传输与存储全程加密。",
    },
    description={
        "en": "200 GB more for an existing or new account, for twelve months from the day you redeem it.",
        "zh-CN": "为新老账户增加 200GB 空间，自兑换之日起十二个月有效。",
    },
    delivery_note={
        "en": "Open **nimbus.example → Settings → Add storage** and paste the code.",
        "zh-CN": "打开 **nimbus.example → 设置 → 扩容**，粘贴兑换码。",
    },
    skus=(Sku("DEMO-NIMBUS-200", {"en": "200 GB, 1 year", "zh-CN": "200GB · 一年"}, 9900, "year"),),
    buyer_fields=[
        {
            "key": "account",
            "label": {"en": "Your Nimbus account", "zh-CN": "您的云朵账号"},
            "kind": "email",
            "required": True,
            "help": {
                "en": "Only noted on the order, so that support can find you.",
                "zh-CN": "仅记录在订单上，方便客服查找。",
            },
        }
    ],
)


GIFT = Product(
    slug="aurora-gift-card",
    category=("games", {"en": "Games", "zh-CN": "游戏"}),
    picture="store.webp",
    title={"en": "Aurora Store gift card", "zh-CN": "极光商店礼品卡"},
    summary={
        "en": "Apps, films and books from the Aurora Store. A present that always fits.",
        "zh-CN": "可购买极光商店内的应用、影视与图书，送礼自用皆宜。",
    },
    description={
        "en": "Redeem it in any Aurora account of the same region. The value stays until it is spent.",
        "zh-CN": "可充值到任意同区极光账号，余额长期有效，用完为止。",
    },
    delivery_note={
        "en": "1. Open the Aurora Store, **Account → Redeem**.\n2. Paste the code and confirm.",
        "zh-CN": "1. 打开极光商店，进入 **账户 → 兑换**。\n2. 粘贴兑换码并确认。",
    },
    skus=(
        Sku("DEMO-AURORA-30", {"en": "Card of 30", "zh-CN": "30 元"}, 2920, face_value=3000),
        Sku("DEMO-AURORA-100", {"en": "Card of 100", "zh-CN": "100 元"}, 9700, face_value=10000),
    ),
)

MOBILE = Product(
    slug="lumen-mobile-credit",
    category=("top-ups", {"en": "Top-ups", "zh-CN": "充值"}),
    picture="phone.webp",
    title={"en": "Lumen Mobile credit", "zh-CN": "流明手机话费"},
    summary={
        "en": "Credit for every Lumen number, day and night.",
        "zh-CN": "流明移动全国号码话费充值，全天候到账。",
    },
    description={
        "en": "Give the number, pay, and enter the voucher in the Lumen app. It pays plans and add-ons as usual.",
        "zh-CN": "填写手机号并付款，在流明 App 中输入充值券即可到账，可正常抵扣套餐与流量包。",
    },
    delivery_note={
        "en": "Open the Lumen app, **Top up → Voucher**, and enter the code. It is on the number within a minute.",
        "zh-CN": "打开流明 App，进入 **充值 → 充值券**，输入卡密，一分钟内到账。",
    },
    skus=(
        Sku("DEMO-LUMEN-50", {"en": "Credit of 50", "zh-CN": "50 元话费"}, 4980, face_value=5000),
        Sku("DEMO-LUMEN-100", {"en": "Credit of 100", "zh-CN": "100 元话费"}, 9950, face_value=10000),
    ),
    buyer_fields=[
        {
            "key": "number",
            "label": {"en": "Number to top up", "zh-CN": "充值号码"},
            "kind": "text",
            "required": True,
            "help": {"en": "Please check it twice.", "zh-CN": "请仔细核对。"},
        }
    ],
)

GEMS = Product(
    slug="orbit-quest-gems",
    category=("top-ups", {"en": "Top-ups", "zh-CN": "充值"}),
    picture="gems.webp",
    title={"en": "Orbit Quest gems", "zh-CN": "星轨远征 钻石"},
    summary={
        "en": "Gems for skins, passes and new heroes.",
        "zh-CN": "星轨远征游戏钻石，兑换皮肤、通行证与新角色。",
    },
    description={
        "en": "All servers. First-time bonuses of the game count as usual.",
        "zh-CN": "全服通用，游戏内首充奖励照常生效。",
    },
    delivery_note={
        "en": "In the game open **Settings → Gift code** and paste the code. The gems come by in-game mail.",
        "zh-CN": "进入游戏 **设置 → 礼包码** 粘贴兑换码，钻石通过游戏邮件发放。",
    },
    skus=(
        Sku("DEMO-ORBIT-300", {"en": "300 gems", "zh-CN": "300 钻石"}, 2800),
        Sku("DEMO-ORBIT-980", {"en": "980 gems", "zh-CN": "980 钻石"}, 8800),
    ),
)


@dataclass(frozen=True)
class Pack:
    """``title`` and ``hint`` are how the set-up asks for it."""

    title: Text
    hint: Text
    products: tuple[Product, ...]


def _in(category: tuple[str, Words], *products: Product) -> tuple[Product, ...]:
    return tuple(replace(product, category=category) for product in products)


EVERYTHING = "everything"
PACKS = {
    "cards": Pack(_("Card codes"), _("Gift cards, game cards, licence keys"), _in(COMET.category, COMET, GIFT)),
    "topups": Pack(
        _("Top-ups"), _("Phone credit, game currency; asks for an account"), _in(MOBILE.category, MOBILE, GEMS)
    ),
    "memberships": Pack(_("Memberships"), _("By month, season or year"), _in(MUSIC.category, MUSIC, NIMBUS)),
    EVERYTHING: Pack(_("A bit of everything"), _("One of each to try"), (MUSIC, COMET, NIMBUS)),
}
PRODUCTS = (MUSIC, COMET, NIMBUS, GIFT, MOBILE, GEMS)
"""Every product that a pack may bring."""
