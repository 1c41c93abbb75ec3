import asyncio

from core import tasks


async def deaf(times):
    """Loses its first cancellations, as code does that is cancelled together with the result it waited for."""
    while times:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            times -= 1
    await asyncio.Event().wait()


async def begun(*works):
    started = [asyncio.create_task(work) for work in works]
    await asyncio.sleep(0)
    return started


async def test_a_task_that_loses_a_cancellation_is_cancelled_again():
    deaf_task, plain = await begun(deaf(2), deaf(0))
    await tasks.end(deaf_task, plain)
    assert deaf_task.cancelled() and plain.cancelled()


async def test_a_task_that_never_hears_is_left_after_the_bound():
    (task,) = await begun(deaf(10))
    await tasks.end(task, within=0.3)
    assert not task.done()
    await tasks.end(task)


async def test_what_has_ended_already_is_no_matter(caplog):
    async def broken():
        raise ValueError("the wheel")

    done, failed = await begun(asyncio.sleep(0), broken())
    await asyncio.wait([done, failed])
    with caplog.at_level("INFO", "vouchsafe.tasks"):
        await tasks.end(done, failed)
    assert caplog.messages == ["a task ended with ValueError"]
