import asyncpg
import redis.asyncio


async def test_engines_answer(engines, database, redis_url):
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("SHOW fsync") == "on"
    assert await connection.fetchval("SHOW synchronous_commit") == "on"
    assert await connection.fetchval("SHOW full_page_writes") == "on"
    assert await connection.fetchval("SHOW data_checksums") == "on"
    assert await connection.fetchval("SHOW listen_addresses") == ""
    assert await connection.fetchval("SHOW server_encoding") == "UTF8"
    await connection.close()
    async with redis.asyncio.from_url(redis_url) as client:
        assert await client.ping()
        assert (await client.config_get("port"))["port"] == "0"
        assert (await client.config_get("save"))["save"] == ""
