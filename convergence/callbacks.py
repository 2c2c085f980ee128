"""Calling what a user handed in: sync or async, never for longer than it may take."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

R = TypeVar("R")

#: How long a cancelled coroutine may take to clean up, in seconds.
CLEAN_UP_S = 0.1


async def call(function: Callable[..., Any], *arguments: Any, limit_s: float) -> Any:
    """Return what ``function`` returns, awaited if it is awaitable; raises TimeoutError after ``limit_s``.

    A coroutine function runs on this loop and is cancelled when its time is over. Any other runs in a thread
    of its own, so that it holds up nobody; one that hangs stays behind and ends with the process.
    """
    async with asyncio.timeout(limit_s):
        if not inspect.iscoroutinefunction(function):
            result = await _in_thread(function, *arguments)
            if not inspect.isawaitable(result):
                return result
        else:
            result = function(*arguments)
        return await _shielded(result)


async def _shielded(work: Awaitable[R]) -> R:
    """Await ``work``, but not its refusal to be cancelled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=CLEAN_UP_S)
        raise


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = function(*arguments)
        except BaseException as error:  # noqa: BLE001  (it belongs to who awaits)
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody awaits any more
            loop.call_soon_threadsafe(settle, result, failure)

    # A daemon: the pool's threads are joined at exit, and one that hangs would hang the process.
    threading.Thread(target=run, name="convergence-callback", daemon=True).start()
    return await future
