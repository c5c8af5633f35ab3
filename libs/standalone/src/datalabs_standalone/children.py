"""The supervisor's child processes: whoever ends is reaped at once and its keeper told."""

import asyncio
import os
import signal


class Children:
    """Reaps every child on SIGCHLD and resolves the future of who asked for it."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._unclaimed: dict[int, int] = {}

    def watch(self) -> None:
        """Begin; called in the running loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)
        self._reap()  # who ended before the handler was there sent its signal to nobody

    def close(self) -> None:
        """Stop watching."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)

    def exit_of(self, pid: int) -> asyncio.Future[int]:
        """Return the future of a child's exit code (negative: the signal that killed it)."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if pid in self._unclaimed:  # it ended before its starter could ask
            future.set_result(self._unclaimed.pop(pid))
        else:
            self._waiting[pid] = future
        return future

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            future = self._waiting.pop(pid, None)
            if future is None:
                self._unclaimed[pid] = code
            elif not future.done():
                future.set_result(code)


def how_it_ended(code: int) -> str:
    """Return an exit code in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
