"""Processes that work for the server, each killed where it exceeds its time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from picojoule.errors import PicojouleError

LONGEST_LINE = 256 * 1024 * 1024  # bytes of one answer
START_TIME = 60.0  # seconds for an interpreter to start on a busy machine


class RefusedError(PicojouleError):
    """What the process said no to: the client's fault."""

    def __init__(self, detail: dict[str, Any]) -> None:
        self.detail = detail
        super().__init__(detail["message"])


class TooLongError(PicojouleError):
    """The work took longer than it may, and was ended."""


class DiedError(PicojouleError):
    """The process died of something: memory, or a bug."""


class Process:
    """One process that answers requests, one after the other."""

    def __init__(self, memory: int, modules: tuple[str, ...]) -> None:
        self._arguments = (
            *("-m", "picojoule.server.child", str(memory), str(os.getpid())),
            *modules,
        )
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Start it, if it is not there, and wait until it is ready."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                await self._start()

    async def _start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LONGEST_LINE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the server, which ends its processes itself
        )
        try:
            async with asyncio.timeout(START_TIME):
                await self._line()
        except TimeoutError:
            await self.kill()
            raise DiedError("a process did not start") from None
        except BaseException:
            await self.kill()
            raise

    async def ask(
        self,
        request: dict[str, Any],
        seconds: float,
        progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """The answer to *request*; whatever happens else, the process is ended.

        Raises:
            RefusedError, TooLongError, DiedError: as they say.
        """
        await self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            async with asyncio.timeout(seconds):
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                await self._process.stdin.drain()
                while True:
                    record = await self._line()
                    if "progress" not in record:
                        break
                    if progress is not None:
                        progress(record["progress"])
        except TimeoutError:
            await self.kill()
            raise TooLongError(f"took longer than {seconds:g} s and was ended") from None
        except OSError:
            await self.kill()
            raise DiedError("the process ended, of too much memory or a bug") from None
        except BaseException:
            await self.kill()
            raise
        if "refused" in record:
            raise RefusedError(record["refused"])
        answer: dict[str, Any] = record["answer"]
        return answer

    async def _line(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise DiedError("the process ended, of too much memory or a bug")
        record: dict[str, Any] = json.loads(line)
        return record

    async def kill(self) -> None:
        """End it at once."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class Pool:
    """At most *size* processes; *once*: each serves one request, so that nothing of it stays."""

    def __init__(
        self, size: int, memory: int, modules: tuple[str, ...] = (), *, once: bool = False
    ) -> None:
        self._free: asyncio.Queue[Process] = asyncio.Queue()
        self._all = [Process(memory, modules) for _ in range(size)]
        self._once = once
        self._warming: set[asyncio.Task[None]] = set()
        for process in self._all:
            self._free.put_nowait(process)

    def warm(self) -> None:
        """Start the processes without waiting for them."""
        for process in self._all:
            self._later(process)

    def _later(self, process: Process) -> None:
        async def start() -> None:
            with contextlib.suppress(PicojouleError, OSError):
                await process.start()

        task = asyncio.create_task(start())
        self._warming.add(task)
        task.add_done_callback(self._warming.discard)

    @asynccontextmanager
    async def process(self) -> AsyncIterator[Process]:
        """A free process; waits for one."""
        process = await self._free.get()
        try:
            yield process
        finally:
            if self._once:
                await process.kill()
            self._free.put_nowait(process)

    async def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The answer of a free process, as :meth:`Process.ask` gives it."""
        async with self.process() as process:
            return await process.ask(request, seconds)

    async def close(self) -> None:
        """End all processes."""
        for task in list(self._warming):
            task.cancel()
        for process in self._all:
            await process.kill()
