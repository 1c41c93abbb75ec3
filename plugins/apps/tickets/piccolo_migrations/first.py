from core.api import ddl_migration

ID = "2026-11-23T01:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "tickets, what is said in them, pictures, canned replies"

SQL = """
-- place counts the unsolved tickets of an order: there are three at most. waiting_since says since when it waits for
-- whoever the state names (open: staff; waiting: the buyer).
CREATE TABLE apps_tickets_ticket (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop           text NOT NULL,
    order_ref      text NOT NULL,
    line_id        bigint,
    code_id        bigint,
    code_mask      text NOT NULL DEFAULT '' CHECK (length(code_mask) <= 40),
    about          text NOT NULL DEFAULT '' CHECK (length(about) <= 300),
    reason         text NOT NULL
        CHECK (reason IN ('invalid', 'used', 'region', 'not_received', 'paid_nothing', 'other')),
    state          text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'waiting', 'solved')),
    place          smallint CHECK (place BETWEEN 1 AND 3),
    locale         text NOT NULL,
    device         text NOT NULL DEFAULT '' CHECK (length(device) <= 300),
    evidence       jsonb NOT NULL DEFAULT '{}',
    holder         bigint,
    holder_name    text NOT NULL DEFAULT '',
    opened_at      timestamptz NOT NULL,
    waiting_since  timestamptz NOT NULL,
    answered_at    timestamptz,
    solved_at      timestamptz,
    buyer_seen     bigint NOT NULL DEFAULT 0,
    helped         boolean,
    merged_into    bigint REFERENCES apps_tickets_ticket ON DELETE CASCADE,
    UNIQUE (order_ref, place),
    CHECK ((state = 'solved') = (place IS NULL)),
    CHECK ((state = 'solved') = (solved_at IS NOT NULL)),
    CHECK (merged_into IS NULL OR state = 'solved')
);
CREATE INDEX apps_tickets_ticket_order ON apps_tickets_ticket (order_ref);
CREATE INDEX apps_tickets_ticket_list ON apps_tickets_ticket (shop, state, waiting_since);
CREATE INDEX apps_tickets_ticket_solved ON apps_tickets_ticket (solved_at) WHERE solved_at IS NOT NULL;
-- author: buyer and staff speak to each other, a note is for staff alone, an event has no words but its kind.
CREATE TABLE apps_tickets_message (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id   bigint NOT NULL REFERENCES apps_tickets_ticket ON DELETE CASCADE,
    author      text NOT NULL CHECK (author IN ('buyer', 'staff', 'note', 'event')),
    kind        text NOT NULL DEFAULT '',
    staff_id    bigint,
    staff_name  text NOT NULL DEFAULT '',
    text        text NOT NULL DEFAULT '' CHECK (length(text) <= 4200),
    at          timestamptz NOT NULL,
    CHECK ((author = 'event') = (kind <> '')),
    CHECK (author NOT IN ('staff', 'note') OR staff_id IS NOT NULL)
);
CREATE INDEX apps_tickets_message_ticket ON apps_tickets_message (ticket_id, id);
CREATE TABLE apps_tickets_image (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id  bigint NOT NULL REFERENCES apps_tickets_message ON DELETE CASCADE,
    place       smallint NOT NULL CHECK (place BETWEEN 1 AND 3),
    type        text NOT NULL CHECK (type IN ('image/png', 'image/jpeg', 'image/webp', 'image/gif')),
    body        bytea NOT NULL CHECK (octet_length(body) BETWEEN 1 AND 2097152),
    UNIQUE (message_id, place)
);
CREATE TABLE apps_tickets_reply (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop   text NOT NULL,
    title  text NOT NULL CHECK (length(title) BETWEEN 1 AND 80),
    text   text NOT NULL CHECK (length(text) BETWEEN 1 AND 4000),
    UNIQUE (shop, title)
);
-- What a buyer writes about an order within an hour.
CREATE TABLE apps_tickets_hour (
    order_ref  text NOT NULL,
    hour       timestamptz NOT NULL,
    posts      smallint NOT NULL CHECK (posts BETWEEN 1 AND 20),
    PRIMARY KEY (order_ref, hour)
);
"""

forwards = ddl_migration("apps_tickets", ID, DESCRIPTION, SQL)
