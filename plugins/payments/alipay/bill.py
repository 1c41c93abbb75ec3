"""The daily bill (业务明细): a zip of CSV files in GBK, read into statement lines."""

import csv
import io
import re
import zipfile
from datetime import datetime

from core.api import GatewayUnavailable, LineKind, Money, StatementLine

from .gateway import BEIJING, TIME

CNY = "CNY"
MOST_BYTES = 50_000_000
KINDS = {"交易": LineKind.PAYMENT, "退款": LineKind.REFUND}
TRADE, OURS, KIND, DONE_AT = "支付宝交易号", "商户订单号", "业务类型", "完成时间"
AMOUNT, FEE, REQUEST = "订单金额（元）", "服务费（元）", "退款批次号/请求号"
TOTAL = re.compile(r"#(交易|退款)合计：(\d+)笔")


def read(archive: bytes) -> list[StatementLine]:
    """:raises GatewayUnavailable: it is no such bill, or not a whole one."""
    try:
        text = _details(archive)
        lines = _lines(text)
    except (zipfile.BadZipFile, UnicodeError, ValueError, KeyError, csv.Error) as error:
        raise GatewayUnavailable(f"the bill cannot be read: {type(error).__name__}") from None
    for name, number in TOTAL.findall(text):
        if int(number) != sum(line.kind is KINDS[name] for line in lines):
            raise GatewayUnavailable("the bill is not whole: its totals count other lines than it has")
    return lines


def _details(archive: bytes) -> str:
    """The text of the file with the single lines; the one beside it only sums up."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        for info in files.infolist():
            if "汇总" in _name(info) or not _name(info).endswith(".csv"):
                continue
            with files.open(info) as file:
                content = file.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise ValueError("too large")
            return content.decode("gb18030")
    raise ValueError("no details")


def _name(info: zipfile.ZipInfo) -> str:
    """Alipay writes names in GBK without saying so."""
    return info.filename if info.flag_bits & 0x800 else info.filename.encode("cp437").decode("gb18030")


def _lines(text: str) -> list[StatementLine]:
    rows = csv.reader(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    names = [cell.strip() for cell in next(rows, [])]
    found = [dict(zip(names, (cell.strip() for cell in row), strict=False)) for row in rows]
    return [_line(row) for row in found if row[KIND] in KINDS]


def _line(row: dict[str, str]) -> StatementLine:
    kind = KINDS[row[KIND]]
    amount, fee = Money.parse(row[AMOUNT], CNY), Money.parse(row[FEE] or "0", CNY)
    is_refund = kind is LineKind.REFUND
    return StatementLine(
        key=f"{row[TRADE]}:{row[REQUEST]}" if is_refund else row[TRADE],
        kind=kind,
        gateway_ref=row[TRADE],
        our_ref=our_ref(row[REQUEST] if is_refund else row[OURS]),
        # Alipay writes what leaves the merchant with a minus: a refund's amount, and a fee.
        amount=Money(-amount.amount if is_refund else amount.amount, CNY),
        at=datetime.strptime(row[DONE_AT], TIME).replace(tzinfo=BEIJING),
        fee=Money(-fee.amount, CNY),
    )


def our_number(ref: str) -> str:
    """Alipay takes letters, digits and ``_`` in our numbers."""
    return ref.replace("-", "_")


def our_ref(number: str) -> str:
    return number.replace("_", "-")
