"""The Docker engine of this machine: the only module that knows its SDK. Calls run in threads of their own.

Whatever keeps the engine from answering is `SchedulerAwayError`; that something is not there is None; that the engine
will not do a thing is `EngineRefusedError` with its own words.
"""

import asyncio
import contextlib
import functools
import io
import socket
import tarfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.errors
import requests

from datalabs_launcher.scheduler import SchedulerAwayError

Answer = TypeVar("Answer")
Document = dict[str, Any]

THREADS = 16
EVENTS = ("create", "start", "die", "oom", "destroy")
"""The engine's events that change what is true of a lab."""
_NOT_FOUND, _CONFLICT, _NOT_MODIFIED = 404, 409, 304


class EngineRefusedError(Exception):
    """The engine answered, and will not do it; `status` is HTTP's."""

    def __init__(self, text: str, *, status: int) -> None:
        super().__init__(text)
        self.status = status

    @property
    def conflict(self) -> bool:
        """Whether the name is taken."""
        return self.status == _CONFLICT


class Engine:
    """Speaks to the engine on a Unix socket."""

    def __init__(self, path: Path, *, timeout: float) -> None:
        self._socket, self._timeout = path, timeout
        self._client: Any = None
        self._in_doubt = True
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="engine")
        self._connecting = threading.Lock()

    def close(self) -> None:
        """Let go of it."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    async def _do(self, call: Callable[[Any], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, call)

    def _call(self, call: Callable[[Any], Answer]) -> Answer:
        try:
            return call(self._connected())
        except docker.errors.APIError as error:
            text = str(error.explanation or error)
            raise EngineRefusedError(text, status=error.status_code or 0) from error
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            self._in_doubt = True
            raise SchedulerAwayError(f"The container engine does not answer: {error}") from error

    def _connected(self) -> Any:
        with self._connecting:
            if self._in_doubt:
                look(self._socket)
                self._in_doubt = False
            if self._client is None:
                self._client = docker.APIClient(
                    base_url=f"unix://{self._socket}", timeout=self._timeout, version="auto"
                )
            return self._client

    async def _or_none(self, call: Callable[[Any], Answer]) -> Answer | None:
        try:
            return await self._do(call)
        except EngineRefusedError as refused:
            if refused.status == _NOT_FOUND:
                return None
            raise

    # -- the engine ------------------------------------------------------------------------------------------------

    async def information(self) -> Document:
        """Return what the engine says of itself; also the way to ask whether it is there."""
        return await self._do(lambda client: dict(client.info()))

    # -- containers ------------------------------------------------------------------------------------------------

    async def create(self, name: str, document: Document) -> str:
        """Make a container and return its id; raises `EngineRefusedError`, with `conflict` when the name is taken."""
        made = await self._do(lambda client: client.create_container_from_config(document, name))
        return str(made["Id"])

    async def start(self, name: str) -> None:
        """Start a container; that it runs already is fine."""
        try:
            await self._do(lambda client: client.start(name))
        except EngineRefusedError as refused:
            if refused.status != _NOT_MODIFIED:
                raise

    async def inspect(self, name: str) -> Document | None:
        """Return all that the engine knows of a container; None when there is none."""
        return await self._or_none(lambda client: dict(client.inspect_container(name)))

    async def list(self, label: str) -> list[str]:
        """Return the names of all containers with a label, ended ones too."""
        found = await self._do(lambda client: client.containers(all=True, filters={"label": label}))
        return [str(one["Names"][0]).lstrip("/") for one in found if one["Names"]]

    async def signal(self, name: str, signal: str) -> None:
        """Send a signal to a container's main process; that it is gone or does not run is fine."""
        with contextlib.suppress(EngineRefusedError):
            await self._do(lambda client: client.kill(name, signal))

    async def remove(self, name: str) -> None:
        """Remove a container with all that it wrote, killing it first; that it is gone or going is fine."""
        try:
            await self._do(lambda client: client.remove_container(name, v=True, force=True))
        except EngineRefusedError as refused:
            if refused.status not in {_NOT_FOUND, _CONFLICT}:
                raise

    async def logs(self, name: str, *, lines: int) -> bytes:
        """Return the last lines of a container's log files."""
        found = await self._or_none(
            lambda client: client.logs(name, stdout=True, stderr=True, tail=lines, timestamps=False)
        )
        return bytes(found or b"")

    async def usage(self, name: str) -> Document | None:
        """Return the engine's own counts of CPU and memory."""
        return await self._or_none(lambda client: dict(client.stats(name, stream=False, one_shot=True)))

    # -- images ----------------------------------------------------------------------------------------------------

    async def image(self, name: str) -> Document | None:
        """Return what is known of an image that is here; None when it is not."""
        return await self._or_none(lambda client: dict(client.inspect_image(name)))

    async def pull(self, name: str) -> AsyncIterator[Document]:
        """Fetch an image, telling of progress; raises `EngineRefusedError` when it cannot be had."""
        repository, tag = split_name(name)
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[Document | Exception | None] = asyncio.Queue()

        def _tell(item: Document | Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody listens
                loop.call_soon_threadsafe(told.put_nowait, item)

        def _pull(client: Any) -> None:
            for message in client.pull(repository, tag=tag, stream=True, decode=True):
                _tell(dict(message))

        def _work() -> None:
            try:
                self._call(_pull)
                _tell(None)
            except (EngineRefusedError, SchedulerAwayError) as error:
                _tell(error)

        self._threads.submit(_work)
        while (item := await told.get()) is not None:
            if isinstance(item, Exception):
                raise item
            if "error" in item:
                raise EngineRefusedError(str(item["error"]), status=0)
            yield item

    async def file_of(self, image: str, path: str) -> bytes | None:
        """Return a file of an image, without running anything of it; None when it has no such file."""
        return await self._do(functools.partial(_file_of, image=image, path=path))

    # -- networks --------------------------------------------------------------------------------------------------

    async def network(self, name: str) -> Document | None:
        """Return what is known of a network; None when there is none of exactly that name."""
        return await self._or_none(lambda client: dict(client.inspect_network(name)))

    async def networks(self, label: str) -> Sequence[Document]:
        """Return what is known of all networks with a label."""
        return await self._do(lambda client: [dict(one) for one in client.networks(filters={"label": label})])

    async def create_network(self, name: str, **about: Any) -> None:
        """Make a network."""
        await self._do(lambda client: client.create_network(name, check_duplicate=True, **about))

    async def remove_network(self, name: str) -> None:
        """Remove a network; one that is in use stays."""
        with contextlib.suppress(EngineRefusedError):
            await self._do(lambda client: client.remove_network(name))

    # -- news ------------------------------------------------------------------------------------------------------

    def events(self, label: str, *, opened: Callable[[], None], tell: Callable[[str], None]) -> "EventStream":
        """Begin to listen to what happens to containers with a label; `tell` gets a container's name.

        Both are called on the loop of the caller, `opened` once the engine has begun to send.
        """
        return EventStream(self._socket, label, opened=opened, tell=tell)


class EventStream:
    """One connection that the engine sends its events on; `over` is set when it ends, however that comes."""

    def __init__(
        self, path: Path, label: str, *, opened: Callable[[], None], tell: Callable[[str], None]
    ) -> None:
        self.over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._socket, self._label, self._opened, self._tell = path, label, opened, tell
        self._stream: Any = None
        self._closed = False
        threading.Thread(target=self._listen, name="engine events", daemon=True).start()

    def _on_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody listens
            self._loop.call_soon_threadsafe(call, *arguments)

    def _listen(self) -> None:
        filters = {"type": "container", "event": list(EVENTS), "label": self._label}
        try:
            look(self._socket)
            # No time limit: nothing happens for hours. A dead engine closes its socket.
            client = docker.APIClient(base_url=f"unix://{self._socket}", timeout=None, version="auto")
            with contextlib.closing(client), contextlib.ExitStack() as ending:
                stream = client.events(decode=True, filters=filters)
                ending.callback(stream._response.close)  # noqa: SLF001 - `close` of a stream leaves its file open
                self._stream = stream
                if not self._closed:
                    self._on_loop(self._opened)
                    for event in stream:
                        self._on_loop(self._tell, str(event["Actor"]["Attributes"].get("name", "")))
        except (docker.errors.DockerException, requests.RequestException, OSError, ValueError):
            pass  # told by `over`: whoever listens begins again and compares all
        finally:
            self._on_loop(self.over.set)

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        if self._stream is not None:
            with contextlib.suppress(Exception):  # closing a socket under its reader fails in many ways
                self._stream.close()


def look(path: Path) -> None:
    """Raise OSError when nobody listens there; the SDK would leave a socket open for each of its own failed tries."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
        tried.connect(str(path))


def split_name(name: str) -> tuple[str, str | None]:
    """Return repository and tag (or digest) of an image's name; a registry's port is no tag."""
    if "@" in name:
        repository, digest = name.split("@", 1)
        return repository, digest
    head, slash, last = name.rpartition("/")
    repository, colon, tag = last.partition(":")
    return f"{head}{slash}{repository}", tag if colon else "latest"


def _file_of(client: Any, *, image: str, path: str) -> bytes | None:
    made = client.create_container_from_config({"Image": image, "Cmd": ["true"], "NetworkDisabled": True})
    try:
        stream, _ = client.get_archive(made["Id"], path)
        archive = io.BytesIO(b"".join(stream))
    except docker.errors.NotFound:
        return None
    finally:
        client.remove_container(made["Id"], v=True, force=True)
    with tarfile.open(fileobj=archive) as packed:
        return next(_contents(packed), None)


def _contents(packed: tarfile.TarFile) -> Iterator[bytes]:
    for member in packed:
        file = packed.extractfile(member) if member.isfile() else None
        if file is not None:
            yield file.read()
