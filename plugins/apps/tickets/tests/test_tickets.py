"""Tickets keep to their order, their limits and their states, whoever writes at once."""

import asyncio
import io
from datetime import UTC, datetime, timedelta

import PIL.Image
import pytest

from core.api import FormError, Money, OrderView, Refused, RemovedView, Upload
from core.api.testing import Contract
from plugins.apps import tickets as plugin
from plugins.apps.tickets import pictures, replies, tickets
from plugins.apps.tickets.tickets import Image, New, Wanted, Who

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
WANG, LI = Who(1, "Wang"), Who(2, "Li")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


FORGOTTEN = OrderView(
    ref="V1",
    shop="main",
    test=False,
    contact_kind="erased",
    contact="",
    locale="en",
    total=Money(1990, "CNY"),
    payment_state="paid",
    fulfilment_state="delivered",
    lines=(),
    placed_at=NOW,
    expires_at=NOW,
    paid_at=NOW,
    delivered_at=NOW,
)


def new(ref: str = "V1", reason: str = "invalid", **more) -> New:
    return New("main", ref, reason, "zh-CN", **{"text": "it says no", **more})


def upload(body: bytes, name: str = "a.png") -> Upload:
    return Upload(name, "image/png", io.BytesIO(body), len(body))


class TestTickets(Contract):
    plugin = "apps.tickets"

    @pytest.fixture
    async def db(self, machine):
        db = machine.loaded.context.db
        for table in ("apps_tickets_ticket", "apps_tickets_hour", "apps_tickets_reply"):
            await db.execute(f"DELETE FROM {table}")
        return db

    async def opened(self, db, at: datetime = NOW, **more) -> int:
        return await db.transaction(tickets.open_one, new(**more), at)

    async def answered(
        self, db, ticket_id: int, text: str = "try this", *, who: Who = WANG, solve: bool = False
    ) -> int:
        said = await tickets.messages(db, ticket_id)
        seen = max(one["id"] for one in said)
        return await db.transaction(tickets.reply, ticket_id, text, who, NOW, seen=seen, solve=solve)

    async def state(self, db, ticket_id: int) -> tuple:
        row = await tickets.one(db, "main", ticket_id)
        return row["state"], row["place"], row["holder"], row["helped"]

    async def test_an_answer_hands_it_over_and_a_word_of_the_buyer_opens_it_again(self, db):
        ticket = await self.opened(db)
        assert await self.state(db, ticket) == ("open", 1, None, None)
        await self.answered(db, ticket)
        assert await self.state(db, ticket) == ("waiting", 1, 1, None)
        _message, news = await db.transaction(tickets.answer, ticket, "still no", [], NOW, 30)
        assert news
        assert await self.state(db, ticket) == ("open", 1, 1, None)
        _message, news = await db.transaction(tickets.answer, ticket, "and this", [], NOW, 30)
        assert not news
        await self.answered(db, ticket, who=LI, solve=True)
        assert await self.state(db, ticket) == ("solved", None, 1, None)
        await db.transaction(tickets.judge, ticket, helped=True, at=NOW)
        assert await self.state(db, ticket) == ("solved", None, 1, True)
        await db.transaction(tickets.answer, ticket, "again", [], NOW + timedelta(days=30), 30)
        assert await self.state(db, ticket) == ("open", 1, 1, None)

    async def test_what_was_solved_long_ago_stays_so(self, db):
        ticket = await self.opened(db)
        await db.transaction(tickets.judge, ticket, helped=False, at=NOW)
        with pytest.raises(Refused, match="closed long ago"):
            await db.transaction(tickets.answer, ticket, "hello", [], NOW + timedelta(days=31), 30)
        assert await self.state(db, ticket) == ("solved", None, None, False)
        assert len(await tickets.messages(db, ticket)) == 3

    async def test_three_are_open_for_an_order_however_many_are_asked_at_once(self, db):
        given = await asyncio.gather(*(self.opened(db) for _ in range(8)), return_exceptions=True)
        assert sorted(type(one).__name__ for one in given) == ["Refused"] * 5 + ["int"] * 3
        assert await db.fetchval("SELECT count(*) FROM apps_tickets_ticket WHERE order_ref = 'V1'") == 3
        solved = next(one for one in given if isinstance(one, int))
        await db.transaction(tickets.judge, solved, helped=True, at=NOW)
        another = await self.opened(db)
        with pytest.raises(Refused, match="open already"):
            await db.transaction(tickets.answer, solved, "mine too", [], NOW, 30)
        assert (await self.state(db, solved))[0] == "solved"
        assert (await self.state(db, another))[0] == "open"
        assert isinstance(await self.opened(db, ref="V2"), int)

    async def test_the_database_keeps_the_three_when_nobody_looks(self, db):
        """The control: whatever the code thinks, a fourth place is no place and one is not taken twice."""
        await self.opened(db)
        insert = (
            "INSERT INTO apps_tickets_ticket (shop, order_ref, reason, place, locale, opened_at, waiting_since)"
            " VALUES ('main', 'V1', 'other', $1, 'en', now(), now())"
        )
        for place, named in ((1, "apps_tickets_ticket_order_ref_place_key"), (4, "place_check"), (None, "check")):
            with pytest.raises(Exception, match=named):
                await db.execute(insert, place)
        assert await db.fetchval("SELECT count(*) FROM apps_tickets_ticket") == 1

    async def test_a_buyer_writes_twenty_times_an_hour(self, db):
        ticket = await self.opened(db)
        for number in range(19):
            await db.transaction(tickets.answer, ticket, str(number), [], NOW, 30)
        with pytest.raises(Refused, match="a lot for an hour"):
            await db.transaction(tickets.answer, ticket, "more", [], NOW, 30)
        with pytest.raises(Refused, match="a lot for an hour"):
            await self.opened(db)
        assert len(await tickets.messages(db, ticket)) == 21
        await db.transaction(tickets.answer, ticket, "later", [], NOW + timedelta(hours=1), 30)

    async def test_an_answer_waits_when_something_was_written_meanwhile(self, db):
        ticket = await self.opened(db)
        seen = (await tickets.messages(db, ticket))[-1]["id"]
        await db.transaction(tickets.answer, ticket, "it works after all", [], NOW, 30)
        with pytest.raises(Refused, match="written meanwhile"):
            await db.transaction(tickets.reply, ticket, "a new code", WANG, NOW, seen=seen, solve=False)
        assert [one["text"] for one in await tickets.messages(db, ticket) if one["author"] == "staff"] == []
        assert await self.state(db, ticket) == ("open", 1, None, None)

    async def test_one_takes_it_and_the_other_is_told(self, db):
        ticket = await self.opened(db)
        given = await asyncio.gather(
            *(db.transaction(tickets.give_to, ticket, who, 0, NOW) for who in (WANG, LI)), return_exceptions=True
        )
        [refused] = [one for one in given if one is not None]
        row = await tickets.one(db, "main", ticket)
        assert str(refused.text) == f"{row['holder_name']} has it now."
        await db.transaction(tickets.give_to, ticket, None, row["holder"], NOW)
        assert (await tickets.one(db, "main", ticket))["holder"] is None

    async def test_two_of_one_order_become_one(self, db):
        first = await self.opened(db)
        second = await self.opened(db, text="and another", images=[Image("image/png", PNG)])
        await self.answered(db, first)
        elsewhere = await self.opened(db, ref="V2")
        for pair in ((second, elsewhere), (second, second)):
            with pytest.raises(Refused, match="Only two questions about one order"):
                await db.transaction(tickets.merge, "main", *pair, WANG, NOW)
        await db.transaction(tickets.merge, "main", second, first, WANG, NOW)
        said = await tickets.messages(db, first)
        assert [one["text"] for one in said if one["author"] == "buyer"] == ["it says no", "and another"]
        assert [len(one["images"]) for one in said if one["text"] == "and another"] == [1]
        assert (await self.state(db, first))[0] == "open"
        rows, total = await tickets.found(db, "main", Wanted(state="all"), 1, 10)
        assert ([row["id"] for row in rows], total) == ([first, elsewhere], 2)
        with pytest.raises(Refused, match="merged into another"):
            await db.transaction(tickets.set_state, second, "open", WANG, NOW)

    async def test_the_list_says_who_waits_longest_and_finds_by_what_is_asked(self, db):
        late = await self.opened(db, at=NOW - timedelta(hours=30))
        fresh = await self.opened(db, ref="V2", reason="other")
        await self.answered(db, fresh, who=LI)
        other = New("second", "V9", "other", "en")
        await db.transaction(tickets.open_one, other, NOW)

        async def found(**wanted) -> list[int]:
            rows, total = await tickets.found(db, "main", Wanted(**wanted), 1, 10)
            assert total == len(rows)
            return [row["id"] for row in rows]

        assert await found() == [late, fresh]
        assert await found(state="waiting") == [fresh]
        assert await found(holder=0) == [late]
        assert await found(holder=2) == [fresh]
        assert await found(reason="other") == [fresh]
        assert await found(q="v2") == [fresh]
        assert await found(q=f"#{late}") == [late]
        assert await found(late=NOW - timedelta(hours=24)) == [late]
        figures = await tickets.figures(db, "main", NOW - timedelta(hours=24))
        assert (figures["open"], figures["late"], figures["waiting"]) == (1, 1, 1)

    async def test_notes_and_their_pictures_are_for_staff(self, db):
        ticket = await self.opened(db, images=[Image("image/png", PNG)])
        await db.transaction(tickets.note, ticket, "a bad batch", WANG, NOW)
        said = await tickets.messages(db, ticket)
        note, shown = said[-1], said[1]["images"][0]
        await db.execute(
            "INSERT INTO apps_tickets_image (message_id, place, type, body) VALUES ($1, 1, 'image/png', $2)",
            note["id"],
            PNG,
        )
        hidden = await db.fetchval("SELECT id FROM apps_tickets_image WHERE message_id = $1", note["id"])
        assert (await tickets.image(db, ticket, shown, notes=False)).body == PNG
        assert await tickets.image(db, ticket, hidden, notes=False) is None
        assert (await tickets.image(db, ticket, hidden, notes=True)).body == PNG
        assert await tickets.image(db, ticket + 1, shown, notes=True) is None

    async def test_time_closes_the_silent_and_forgets_the_old(self, db, machine):
        ctx, now = machine.loaded.context, machine.loaded.context.clock.now()
        silent, kept = await self.opened(db), await self.opened(db, ref="V2", images=[Image("image/png", PNG)])
        await self.answered(db, silent)
        await db.execute("UPDATE apps_tickets_ticket SET waiting_since = $1", now - timedelta(days=8))
        await plugin.close_silent(ctx, {})
        assert [(await self.state(db, one))[0] for one in (silent, kept)] == ["solved", "open"]
        await db.transaction(tickets.judge, kept, helped=True, at=now - timedelta(days=91))
        await db.execute(
            "UPDATE apps_tickets_ticket SET solved_at = $2 WHERE id = $1", silent, now - timedelta(days=366)
        )
        await plugin.forget(ctx, {})
        assert await tickets.one(db, "main", silent) is None
        assert await db.fetchval("SELECT count(*) FROM apps_tickets_image") == 0
        assert len(await tickets.messages(db, kept)) == 3

    async def test_a_buyer_who_is_forgotten_leaves_nothing_that_was_said(self, db, machine):
        gone, kept = await self.opened(db, ref="V1"), await self.opened(db, ref="V2")
        await db.transaction(tickets.answer, gone, "call me", [Image("image/png", PNG)], NOW, 30)
        for _twice in range(2):
            await machine.tell("buyer_forgotten", order=FORGOTTEN)
        assert await tickets.one(db, "main", gone) is None
        tried = await self.opened(db, ref="V3")
        for _twice in range(2):
            await machine.tell("order_removed", removed=RemovedView("V3", "main"))
        assert await tickets.one(db, "main", tried) is None
        assert await tickets.one(db, "main", kept) is not None
        left = "SELECT count(*) FILTER (WHERE ticket_id <> $1), (SELECT count(*) FROM apps_tickets_image)"
        assert tuple(await db.fetchrow(f"{left} FROM apps_tickets_message", kept)) == (0, 0)

    async def test_canned_replies_know_their_names(self, db):
        saved = await db.transaction(replies.save, "main", None, "New code", "{product}: {code} {other")
        for title, text, said in (("New code", "x", "has this title"), ("Other", "{price}", "Nobody knows {price}")):
            with pytest.raises(Refused, match=said):
                await db.transaction(replies.save, "main", None, title, text)
        [row] = await replies.listed(db, "main")
        assert replies.filled(row["text"], {"product": "Music", "code": "••••1"}) == "Music: ••••1 {other"
        assert await replies.one(db, "second", saved) is None
        await db.transaction(replies.add_usual, "main")
        await db.transaction(replies.add_usual, "main")
        assert len(await replies.listed(db, "main")) == 4
        for _title, text in replies.USUAL:
            replies.check(str(text))

    async def test_a_picture_keeps_neither_its_place_nor_its_camera(self):
        photo, held = io.BytesIO(), PIL.Image.new("RGB", (2000, 40), "red")
        exif = PIL.Image.Exif()
        exif[0x010F] = "Secret camera"
        exif[0x0112] = 6  # lies on its side
        exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)  # where it was taken
        held.save(photo, "JPEG", exif=exif, comment=b"from my flat")
        [kept] = await pictures.read([upload(photo.getvalue(), "a.html")])
        assert kept.type == "image/webp"
        shown = PIL.Image.open(io.BytesIO(kept.body))
        assert (shown.format, shown.size, dict(shown.getexif())) == ("WEBP", (32, 1600), {})
        assert b"Secret" in photo.getvalue() and b"flat" in photo.getvalue() and b"Exif" in photo.getvalue()
        assert not any(word in kept.body for word in (b"Secret", b"flat", b"Exif", b"EXIF", b"XMP "))
        wrong = {
            "is no picture": [upload(b"<html><script>alert(1)</script>")],
            "At most three": [upload(PNG)] * 4,
            "larger than 2 MB": [upload(PNG + b"\0" * pictures.LARGEST)],
        }
        for said, files in wrong.items():
            with pytest.raises(FormError) as error:
                await pictures.read(files)
            assert said in str(error.value.fields["images"])
