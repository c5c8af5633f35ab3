"""`datalabs down`."""

import time

from datalabs_standalone import control
from datalabs_standalone.failures import NotRunningError, StandaloneError
from datalabs_standalone.processes import reference
from datalabs_standalone.state import StateFolder

_EXIT_SECONDS = 60.0


def stop(state: StateFolder, *, keep_labs: bool) -> None:
    """Ask the supervisor to stop, show what it says, and wait until it is gone.

    Raises `NotRunningError` when there is none.
    """
    status = next(control.ask(state.control_socket, command="status", memory=False), None)
    if status is None:
        raise NotRunningError(f"Open Datalabs is just stopping in {state.root}.")
    supervisor = reference(int(status["pid"]))
    done = False
    for message in control.ask(state.control_socket, command="down", keep_labs=keep_labs):
        if "line" in message:
            print(message["line"])  # noqa: T201 - the command's progress
        done = done or "done" in message
    deadline = time.monotonic() + _EXIT_SECONDS
    while supervisor is not None and supervisor.alive():
        if time.monotonic() > deadline:
            raise StandaloneError(f"the supervisor (process {supervisor.pid}) does not end.")
        time.sleep(0.05)
    if not done:
        raise StandaloneError(
            "the supervisor ended without saying that all is stopped; run `datalabs up` again."
        )
    print(f"Open Datalabs has stopped (state {state.root})")  # noqa: T201 - the command's answer
