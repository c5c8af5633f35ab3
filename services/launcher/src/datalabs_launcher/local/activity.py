"""Is a lab in use, by its own signs? CPU, which costs nothing to read; programs; then what it says of its kernels.

`last_activity` of a Jupyter kernel is frozen while a cell runs, so it is never used; a kernel that nobody ever connected
to stays `starting` and is idle (reference/process-labs.md section 5).
"""

import aiohttp

from datalabs_launcher.local import processes

BUSY_CORES = 0.01
"""Above a hundredth of a core a lab computes; an idle JupyterLab stays well below."""
_SECONDS = 3.0


def computes(cores: float | None) -> bool:
    """Return whether that much CPU means work."""
    return cores is not None and cores >= BUSY_CORES


def occupied(pids: list[int]) -> bool:
    """Return whether somebody's work waits in a lab: a program in a terminal's foreground, or a child of a kernel.

    A shell at its prompt is in the foreground itself, so a terminal that was left open is no work.
    """
    for pid in pids:
        try:
            _, _, group, session, terminal, foreground, *_ = processes.stat_of(pid)
        except (OSError, ValueError):
            continue
        if pid == int(session) and terminal != "0" and foreground not in {group, "-1"}:
            return True
        if _is_kernel(pid) and any(_lives(child) for child in processes.children_of(pid)):
            return True
    return False


def _is_kernel(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - as in `processes`
            words = file.read(4096).split(b"\0")
    except OSError:
        return False
    return any(word.endswith(b".json") and b"/kernel-" in word for word in words)


def _lives(pid: int) -> bool:
    try:
        return processes.stat_of(pid)[0] != processes.ZOMBIE
    except OSError:
        return False


async def kernels_busy(address: str, port: int, *, host: str, secret: str) -> bool | None:
    """Ask a Jupyter server whether a kernel runs a cell; None when it does not say."""
    headers = {"Host": host, "X-Lab-Secret": secret}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session,
            session.get(
                f"http://{address}:{port}/api/kernels", headers=headers, allow_redirects=False
            ) as answer,
        ):
            if answer.status != 200:  # noqa: PLR2004 - HTTP's OK
                return None
            kernels = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    return any(kernel.get("execution_state") == "busy" for kernel in kernels)
