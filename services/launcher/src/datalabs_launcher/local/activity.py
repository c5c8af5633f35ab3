"""Is a lab in use, by its own signs? Its CPU first, which costs nothing to read; then what it says of its kernels.

`last_activity` of a Jupyter kernel is frozen while a cell runs, so it is never used; a kernel that nobody ever connected
to stays `starting` and is idle (reference/process-labs.md section 5).
"""

import aiohttp

BUSY_CORES = 0.01
"""Above a hundredth of a core a lab computes; an idle JupyterLab stays well below."""
_SECONDS = 3.0


def computes(cores: float | None) -> bool:
    """Return whether that much CPU means work."""
    return cores is not None and cores >= BUSY_CORES


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
