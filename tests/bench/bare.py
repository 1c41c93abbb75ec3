"""The bare program: what a purchase costs when nothing but the purchase is there.

Three handlers, one statement each, no sessions, no CSRF, no plugins, no limits, no themes.
Run as a program, with the number of an inherited socket, it is one web process of it.
"""

import hashlib
import hmac
import os
import secrets
import sys
from html import escape
from pathlib import Path
from random import randrange
from urllib.parse import parse_qsl

import asyncpg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from litestar import Litestar, Request, Response, get, post

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core import run
from core.config import Config

SKU = "BENCH"
PRICE = 1990
PAYEE = "1001"
PAYEE_KEY = "bench-merchant-key"
DATA_KEY = bytes(range(32))

SCHEMA = """
create table sku (id int primary key, code text not null unique, price bigint not null);
create table shop_order (
    id bigint generated always as identity primary key, ref text not null unique, contact text not null,
    amount bigint not null, currency text not null, state text not null,
    created_at timestamptz not null default now(), paid_at timestamptz);
create table order_line (
    id bigint generated always as identity primary key, order_id bigint not null, sku_id int not null,
    quantity int not null, price bigint not null);
create index on order_line (order_id);
create table order_event (
    id bigint generated always as identity primary key, order_id bigint not null, kind text not null,
    at timestamptz not null default now());
create index on order_event (order_id);
create table attempt (
    id bigint generated always as identity primary key, ref text not null unique, order_id bigint not null,
    method text not null, payee text not null, amount bigint not null, currency text not null, state text not null);
create table payment_event (
    id bigint generated always as identity primary key, attempt_id bigint not null, method text not null,
    provider_id text not null, raw text not null, at timestamptz not null default now(),
    unique (method, provider_id));
create table posting (
    id bigint generated always as identity primary key, order_id bigint not null, account text not null,
    amount bigint not null, currency text not null);
create table job (
    id bigint generated always as identity primary key, name text not null, args jsonb not null,
    run_at timestamptz not null default now());
create table code (
    id bigint generated always as identity primary key, sku_id int not null, state text not null default 'free',
    order_id bigint, nonce bytea not null, sealed bytea not null);
create index on code (sku_id, id) where state = 'free';
create index on code (order_id) where order_id is not null;
"""

# While no code is sold the planner takes "codes of an order" for a small set and would walk all of it;
# the scalar subquery in SETTLE and the laterals in READ leave it only the way by order id.
PLACE = """
with after as (
    select id from code where sku_id = $1 and state = 'free' and id >= $2
    order by sku_id, id limit 1 for update skip locked
), before as (
    select id from code where sku_id = $1 and state = 'free' and id < $2 and not exists (select from after)
    order by sku_id, id limit 1 for update skip locked
), claim as (
    select id from after union all select id from before
), placed as (
    insert into shop_order (ref, contact, amount, currency, state)
    select $3, $4, price, 'CNY', 'pending' from sku where id = $1 and exists (select from claim)
    returning id, amount
), line as (
    insert into order_line (order_id, sku_id, quantity, price) select id, $1, 1, amount from placed
), event as (
    insert into order_event (order_id, kind) select id, 'placed' from placed
), attempted as (
    insert into attempt (ref, order_id, method, payee, amount, currency, state)
    select $3 || '-1', id, 'epay', $5, amount, 'CNY', 'pending' from placed
)
update code set state = 'reserved', order_id = placed.id from claim, placed
where code.id = claim.id returning code.id
"""

SETTLE = """
with attempted as (
    update attempt set state = 'paid'
    where ref = $1 and state = 'pending' and payee = $2 and amount = $3 and currency = 'CNY'
    returning id, order_id, amount
), noted as (
    insert into payment_event (attempt_id, method, provider_id, raw) select id, 'epay', $4, $5 from attempted
), paid as (
    update shop_order set state = 'delivered', paid_at = now() from attempted where shop_order.id = attempted.order_id
    returning shop_order.id
), event as (
    insert into order_event (order_id, kind) select id, 'paid' from paid
), handed as (
    update code set state = 'delivered' where order_id = (select order_id from attempted) and state = 'reserved'
), posted as (
    insert into posting (order_id, account, amount, currency)
    select order_id, account, sign * amount, 'CNY' from attempted, (values
        ('gateway', 1), ('receivable', -1), ('receivable', 1), ('sales', -1)) as side (account, sign)
), queued as (
    insert into job (name, args) select 'orders.paid', jsonb_build_object('order', id) from paid
)
select id from paid
"""

READ = """
select o.ref, o.contact, o.amount, o.paid_at, c.id, c.nonce, c.sealed
from shop_order o
cross join lateral (select sku_id from order_line where order_id = o.id offset 0) l
cross join lateral (select * from code where order_id = o.id and sku_id = l.sku_id offset 0) c
where o.ref = $1 and c.state = 'delivered'
"""

PRODUCT = b"<!doctype html><html><head><title>Product</title></head><body><h1>Product</h1></body></html>"

PAGE = "\n".join(
    ["<!doctype html>", '<html lang="en">', "<head><title>Order {ref}</title></head>", "<body>"]
    + ["<h1>Order {ref}</h1>", "<p>{contact}</p>", "<p>{amount}</p>", "<p>{paid_at}</p>", "<code>{code}</code>"]
    + [f"<p>Line {number} of the page</p>" for number in range(39)]
    + ["</body>", "</html>"]
)

cipher = AESGCM(DATA_KEY)


def seal(text: str) -> tuple[bytes, bytes]:
    nonce = os.urandom(12)
    return nonce, cipher.encrypt(nonce, text.encode(), b"code")


def sign(params: dict[str, str], key: str) -> str:
    text = "&".join(f"{k}={v}" for k, v in sorted(params.items()) if v and k not in ("sign", "sign_type"))
    return hashlib.md5((text + key).encode(), usedforsecurity=False).hexdigest()


class _Connection(asyncpg.Connection):
    def get_reset_query(self) -> str:
        # Nothing here keeps session state, so the reset after each use is a wasted round trip.
        return ""


class Bare:
    """What the handlers share: a pool, and where the codes of the one SKU begin and end."""

    pool: asyncpg.Pool
    first: int
    last: int

    async def start(self, app: Litestar) -> None:
        # A shop this young has no statistics: left to itself the planner reads whole tables.
        settings = {"enable_seqscan": "off"}
        self.pool = await asyncpg.create_pool(
            os.environ["DATABASE_URL"], min_size=2, max_size=16, server_settings=settings, connection_class=_Connection
        )
        row = await self.pool.fetchrow("select coalesce(min(id), 0) as first, coalesce(max(id), 0) as last from code")
        self.first, self.last = row["first"], row["last"]

    async def stop(self, app: Litestar) -> None:
        await self.pool.close()


bare = Bare()


@get("/p/{slug:str}", media_type="text/html")
async def product(slug: str) -> bytes:
    return PRODUCT


@post("/checkout")
async def place(request: Request) -> Response:
    form = dict(parse_qsl((await request.body()).decode()))
    if form["sku"] != SKU or form["quantity"] != "1" or form["method"] != "epay":
        return Response("not for sale", status_code=422)
    ref = secrets.token_hex(10)
    start = randrange(bare.first, bare.last + 1)
    if await bare.pool.fetchval(PLACE, 1, start, ref, form["contact"], PAYEE) is None:
        return Response("sold out", status_code=409)
    return Response(b"", status_code=303, headers={"Location": f"/o/{ref}"})


@get("/pay/epay/notify", media_type="text/plain")
async def settle(request: Request) -> Response:
    raw = request.scope["query_string"].decode()
    claim = dict(parse_qsl(raw, strict_parsing=True))
    if not hmac.compare_digest(sign(claim, PAYEE_KEY), claim["sign"]) or claim["trade_status"] != "TRADE_SUCCESS":
        return Response("fail", status_code=400)
    yuan, _, cents = claim["money"].partition(".")
    amount = int(yuan) * 100 + int((cents + "00")[:2])
    paid = await bare.pool.fetchval(SETTLE, claim["out_trade_no"], claim["pid"], amount, claim["trade_no"], raw)
    return Response("success" if paid else "fail")


@post("/o/{ref:str}/reveal", media_type="text/html")
async def read(ref: str) -> Response:
    row = await bare.pool.fetchrow(READ, ref)
    if row is None:
        return Response("not found", status_code=404)
    code = cipher.decrypt(row["nonce"], row["sealed"], b"code").decode()
    page = PAGE.format(
        ref=row["ref"],
        contact=escape(row["contact"]),
        amount=f"{row['amount'] / 100:.2f}",
        paid_at=row["paid_at"],
        code=escape(code),
    )
    return Response(page, status_code=200)


async def prepare(url: str, codes: list[str]) -> None:
    """An empty database becomes a shop with one SKU and these codes."""
    connection = await asyncpg.connect(url)
    await connection.execute(SCHEMA)
    await connection.execute("insert into sku values (1, $1, $2)", SKU, PRICE)
    await connection.copy_records_to_table(
        "code", columns=["sku_id", "nonce", "sealed"], records=[(1, *seal(code)) for code in codes]
    )
    await connection.execute("analyze code")
    await connection.close()


def app() -> Litestar:
    return Litestar(
        [product, place, settle, read],
        on_startup=[bare.start],
        on_shutdown=[bare.stop],
        openapi_config=None,
        logging_config=None,
    )


def main() -> int:
    """One web process on an inherited socket, served by the very lines that serve the shop."""
    return run.web(Config.from_env(), [], app, listener=int(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
