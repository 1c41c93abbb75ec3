from core.api import ddl_migration

ID = "2026-11-22T21:45:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "coupons and their codes"

SQL = """
-- percent counts hundredths of a percent: 1250 is 12.5 %. A limit that is empty is none.
CREATE TABLE promotions_coupon (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop            text NOT NULL,
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 120),
    kind            text NOT NULL CHECK (kind IN ('percent', 'amount', 'price')),
    percent         integer CHECK (percent BETWEEN 1 AND 10000),
    amount          bigint CHECK (amount >= 0),
    currency        char(3) NOT NULL,
    most_off        bigint CHECK (most_off > 0),
    least           bigint NOT NULL DEFAULT 0 CHECK (least >= 0),
    goods           text[] NOT NULL DEFAULT '{}',
    uses            integer CHECK (uses > 0),
    uses_per_code   integer CHECK (uses_per_code > 0),
    uses_per_buyer  integer CHECK (uses_per_buyer > 0),
    first_order     boolean NOT NULL DEFAULT false,
    alone           boolean NOT NULL DEFAULT true,
    starts_at       timestamptz,
    ends_at         timestamptz CHECK (ends_at > starts_at),
    stopped_at      timestamptz,
    made_by         text NOT NULL DEFAULT '',
    made_at         timestamptz NOT NULL DEFAULT now(),
    CHECK ((percent IS NOT NULL) = (kind = 'percent') AND (amount IS NOT NULL) = (kind <> 'percent'))
);
CREATE INDEX promotions_coupon_shop ON promotions_coupon (shop, id);
-- matched is the code without regard to small and capital letters.
CREATE TABLE promotions_coupon_code (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    coupon_id  bigint NOT NULL REFERENCES promotions_coupon,
    shop       text NOT NULL,
    code       text NOT NULL CHECK (length(code) BETWEEN 3 AND 40),
    matched    text NOT NULL,
    UNIQUE (shop, matched)
);
CREATE INDEX promotions_coupon_code_coupon ON promotions_coupon_code (coupon_id, id);
"""

forwards = ddl_migration("promotions_coupon", ID, DESCRIPTION, SQL)
