"""The nursery: one interpreter that has imported everything once and forks services and short tasks on request.

Seven interpreters started apart cost 8.4 s and 763 MB, forked from one after `gc.freeze()` 2.3 s and 120 MB (DESIGN
section 4). It is started with one end of a socket pair as its standard input; requests are JSON datagrams that carry
the descriptor of the child's log. The child is forked twice, so that it becomes a child of the supervisor (which
adopts orphans meanwhile) and lives on when the nursery is restarted.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import ModuleType

from datalabs_contracts.rpc import SERVICES
from datalabs_standalone.processes import end_with_parent, raise_open_files

MESSAGE_BYTES = 65_536
TASKS = "tasks"
"""What the nursery says when short tasks can be done already."""
ALL = "all"
"""What it says when everything is imported."""
_MODULES = {TASKS: "datalabs_standalone.tasks"} | {service: f"datalabs_{service}.app" for service in SERVICES}
"""What is imported once, tasks first: the first of them can do its work meanwhile on another core. What cannot be is tried again in the fork that needs it, whose log then says why."""
_WHEN_STARTING = (
    "anyio.streams.memory",
    "anyio.streams.tls",
    "cryptography.hazmat.backends.openssl.backend",
    "encodings.ascii",
    "encodings.idna",
    "uvicorn.protocols.http.httptools_impl",
)
"""What libraries import only when a service starts: once here instead of seven times."""
_OTHERS = ("datalabs_runtime.migrations", "datalabs_standalone.commands", "datalabs_standalone.preparation")
"""What a start imports elsewhere than here."""
COMPILE = "--compile"
_ADOPTION_SECONDS = 5.0


def main() -> None:
    """Import everything, say so, then fork until the supervisor goes away."""
    control = socket.socket(fileno=os.dup(0))
    os.set_inheritable(control.fileno(), False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    for name in _import_everything():
        if name == TASKS:
            control.send(json.dumps({"imported": TASKS}).encode())
        while _asked(control):
            if not _answer(control):
                return
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"imported": ALL}).encode())
    while _answer(control):
        pass


def _asked(control: socket.socket) -> bool:
    """Tell whether a request waits: a short task need not wait until everything is imported."""
    readable, _, _ = select.select([control], [], [], 0)
    return bool(readable)


def _answer(control: socket.socket) -> bool:
    """Do what is asked next; False when the supervisor has gone away."""
    data, descriptors, _flags, _address = socket.recv_fds(control, MESSAGE_BYTES, 1)
    if not data:
        return False
    answer = _fork(control, json.loads(data), descriptors[0])
    os.close(descriptors[0])
    control.send(json.dumps(answer).encode())
    return True


def _import_everything() -> Iterator[str]:
    """Import one module after the other and yield its name."""
    # structlog imports rich for coloured tracebacks if it can: a fifteenth of all imports, and our logs are JSON.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    for name, module in (*_MODULES.items(), *((module, module) for module in _WHEN_STARTING)):
        try:
            importlib.import_module(module)
        except Exception:  # noqa: BLE001 - one service that cannot be imported must not keep the others from living
            traceback.print_exc()
        yield name
    if sys.modules["rich"] is None:
        del sys.modules["rich"]


def _fork(
    control: socket.socket,
    request: dict[str, object],
    log: int,
) -> dict[str, object]:
    name = TASKS if request["kind"] == "task" else str(request["name"])
    if name not in _MODULES:
        return {"error": f"is not known: {name}"}
    if threading.active_count() != 1:
        return {"error": "the nursery has threads, a fork of it would hang"}
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild == 0:
            with contextlib.suppress(BaseException):
                os.close(reading)
                os.close(writing)
                control.close()
                _become(request, log, name)
            os._exit(70)  # EX_SOFTWARE; never back into the nursery's loop
        os.write(writing, str(grandchild).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    pid = int(os.read(reading, 32) or b"0")
    os.close(reading)
    return {"pid": pid} if pid else {"error": "fork failed"}


def _become(request: dict[str, object], log: int, name: str) -> None:
    """Turn this fork into the service or task; does not return before it ends."""
    status = 1
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        _wait_for_parent(int(str(request["supervisor"])))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise_open_files()
        environment = request.get("environment")
        if isinstance(environment, dict):
            os.environ.update({str(key): str(value) for key, value in environment.items()})
        gc.enable()
        _run(request, importlib.import_module(_MODULES[name]))
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
    except BaseException:  # noqa: BLE001 - the edge of the process: report, then end
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _run(request: dict[str, object], module: ModuleType) -> None:
    from setproctitle import setproctitle  # noqa: PLC0415 - rewrites the process's memory: only in the child

    name = str(request["name"])
    if request["kind"] == "task":
        setproctitle(f"datalabs task {name}")
        task: Callable[[], None] = module.TASKS[name]
        task()
        return
    from datalabs_runtime.service import main as serve  # noqa: PLC0415 - imported long since by the services

    setproctitle(f"python -m datalabs_{name}")
    serve(name, module.build)


def _wait_for_parent(supervisor: int) -> None:
    """Wait until the supervisor has become our parent, and only then ask to end with it.

    Asked earlier, the kernel would tell us of the end of the process between, which is part of the plan. It is
    SIGKILL: without NATS and PostgreSQL, which end at the same moment, there is nothing to end gracefully, and the
    next start need not wait.
    """
    deadline = time.monotonic() + _ADOPTION_SECONDS
    while os.getppid() != supervisor:
        if time.monotonic() > deadline:
            raise SystemExit(71)  # EX_OSERR: the supervisor is gone
        time.sleep(0.001)
    end_with_parent(signal.SIGKILL)
    if os.getppid() != supervisor:
        raise SystemExit(71)


def compile_all() -> None:
    """Import all that a start imports, so that Python keeps its bytecode.

    Raises `ImportError` and whatever a module raises.
    """
    for module in (*_OTHERS, *_MODULES.values(), *_WHEN_STARTING):
        importlib.import_module(module)


if __name__ == "__main__":
    if sys.argv[1:] == [COMPILE]:
        compile_all()
    else:
        main()
