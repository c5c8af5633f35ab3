"""One allocation on its client: its tasks, what happens to them, and how they end."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from datalabs_testing.nomad.behaviour import KILLED, SIGNALS, Behaviour, is_prestart, once, started_in
from datalabs_testing.nomad.environment import environment_of
from datalabs_testing.nomad.records import (
    COMPLETE,
    DEAD,
    FAILED,
    PENDING,
    RUNNING,
    Allocation,
    TaskEvent,
    TaskState,
)
from datalabs_testing.nomad.timers import Timer

if TYPE_CHECKING:
    from datalabs_testing.nomad.clients import Clients

DEFAULT_SIGNAL = {"docker": "SIGTERM", "qemu": "SIGTERM"}
"""What a task gets on a stop when its job names nothing; other drivers send SIGINT."""
SHELL = 128
"""A command that a signal ends exits with this plus the signal's number."""


class Run:
    """An allocation that runs, or is about to, or has ended and was not yet reported."""

    def __init__(self, clients: "Clients", allocation: Allocation) -> None:
        self.allocation = allocation
        self.tasks: dict[str, TaskState] = {}
        self.lines: dict[str, list[str]] = {}
        self.healthy: bool | None = None
        self.begun = False
        self.stopping = False
        self.vanished = False
        self._clients = clients
        self._timers: list[Timer] = []
        group = next(one for one in allocation.spec["TaskGroups"] if one["Name"] == allocation.group)
        self.group: Mapping[str, Any] = group
        self.specs: dict[str, Mapping[str, Any]] = {one["Name"]: one for one in group["Tasks"]}
        self.behaviours: dict[str, Behaviour] = {}

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether nothing of it runs any more."""
        return bool(self.tasks) and all(task.state == DEAD for task in self.tasks.values())

    def status(self) -> str:
        """Return the client's status."""
        tasks = self.tasks.values()
        if any(task.failed for task in tasks):
            return FAILED if self.over else RUNNING
        if self.over:
            return COMPLETE
        return RUNNING if any(task.state == RUNNING for task in tasks) else PENDING

    # -- what happens ----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Receive it and start its tasks, those before the main ones first."""
        self.begun = True
        self._later(self._clients.pace.receive, self._receive)

    def _receive(self) -> None:
        for name, spec in self.specs.items():
            behaviour = self._clients.behaves(self.allocation, spec)
            self.behaviours[name] = once(behaviour) if is_prestart(spec) else behaviour
            self.tasks[name] = TaskState()
            self.lines[name] = []
            self._event(name, "Received", "Task received by client")
        before = [name for name, spec in self.specs.items() if is_prestart(spec)]
        for name in before or self.specs:
            self._set_up(name)
        self._changed()

    def _set_up(self, name: str) -> None:
        text = "Building Task Directory"
        self._event(name, "Task Setup", text, {"message": text}, message=text)
        self._later(self._clients.pace.setup, lambda: self._prepare(name))

    def _prepare(self, name: str) -> None:
        behaviour, spec = self.behaviours[name], self.specs[name]
        if behaviour.invalid:
            self._fail(name, "Failed Validation", behaviour.invalid, "validation_error")
        elif behaviour.start_error:
            if spec["Driver"] == "docker":
                image = {"image": str(spec["Config"].get("image", ""))}
                self._event(name, "Driver", "Downloading image", image)
                self._changed()
            self._later(self._clients.pace.pull, lambda: self._refuse(name))
        else:
            seconds = behaviour.start_seconds
            if seconds is None:
                seconds = 0.0 if self._clients.pace.instant else started_in(spec["Driver"])
            self._later(seconds, lambda: self._start(name))

    def _refuse(self, name: str) -> None:
        self._fail(name, "Driver Failure", self.behaviours[name].start_error, "driver_error")

    def _fail(self, name: str, kind: str, text: str, detail: str) -> None:
        self._event(name, kind, text, {detail: text})
        self._not_again(name, "Policy allows no restarts")

    def _start(self, name: str) -> None:
        behaviour, task = self.behaviours[name], self.tasks[name]
        task.state = RUNNING
        task.started_at = self._now()
        self._event(name, "Started", "Task started by client")
        if not self.specs[name]["LogConfig"]["Disabled"]:
            self.lines[name] += behaviour.lines
            if behaviour.says:
                environment = self._environment(name)
                self.lines[name] += [f"{one} is {environment.get(one, '')}" for one in behaviour.says]
        self._changed()
        self._clients.started(self, name)
        if self.allocation.spec["Type"] == "service" and not is_prestart(self.specs[name]):
            healthy = (self.group.get("Update") or {}).get("MinHealthyTime", 0) / 1e9
            self._later(healthy, self._well)
        if behaviour.runs_for is not None:
            self._later(behaviour.runs_for, lambda: self.end(name))

    def _well(self) -> None:
        if self.healthy is None and self.status() == RUNNING:
            self.healthy = True
            self._changed()

    def end(
        self,
        name: str,
        *,
        exit_code: int | None = None,
        signal: int | None = None,
        out_of_memory: bool | None = None,
    ) -> None:
        """Let a task end by itself, as it behaves unless told otherwise."""
        if self.tasks[name].state != RUNNING or self.stopping:
            return
        behaviour = self.behaviours[name]
        code = behaviour.exit_code if exit_code is None else exit_code
        number = behaviour.signal if signal is None else signal
        memory = behaviour.out_of_memory if out_of_memory is None else out_of_memory
        self._terminated(name, code, number, out_of_memory=memory)
        task = self.tasks[name]
        good = code == 0 and number == 0 and not memory
        if good and (self.allocation.spec["Type"] in {"batch", "sysbatch"} or is_prestart(self.specs[name])):
            self._finish(name, failed=False)
            if is_prestart(self.specs[name]):
                self._after_prestart()
            return
        policy = self.specs[name]["RestartPolicy"]
        if task.restarts < policy["Attempts"]:
            self._again(name, policy["Delay"])
            return
        reason = (
            "Policy allows no restarts"
            if not policy["Attempts"]
            else f'Exceeded allowed attempts {policy["Attempts"]} in interval {duration(policy["Interval"])} and mode is "fail"'
        )
        self._not_again(name, reason)

    def _after_prestart(self) -> None:
        before = [name for name, spec in self.specs.items() if is_prestart(spec)]
        if all(self.tasks[name].state == DEAD and not self.tasks[name].failed for name in before):
            for name in self.specs:
                if name not in before:
                    self._set_up(name)

    def _again(self, name: str, delay: int) -> None:
        task = self.tasks[name]
        task.state = PENDING
        task.restarts += 1
        task.last_restart = self._now()
        details = {"start_delay": str(delay), "restart_reason": "Restart within policy"}
        self._event(name, "Restarting", f"Task restarting in {duration(delay)}", details)
        self._changed()
        self._later(delay / 1e9, lambda: self._prepare(name))

    def _not_again(self, name: str, reason: str) -> None:
        self._event(
            name, "Not Restarting", reason, {"restart_reason": reason, "fails_task": "true"}, fails=True
        )
        self._finish(name, failed=True)
        for other, task in self.tasks.items():
            if other != name and task.state != DEAD:
                self._event(
                    other, "Sibling Task Failed", f'Task\'s sibling "{name}" failed', {"failed_sibling": name}
                )
                self._kill(other)

    def stop(self) -> None:
        """End all that runs, politely first."""
        if self.stopping or self.over:
            return
        self.stopping = True
        for timer in self._timers:
            timer.cancel()
        if not self.tasks:
            self._receive_only()
        for name, task in self.tasks.items():
            if task.state == RUNNING:
                self._kill(name)
            elif task.state != DEAD:
                self._finish(name, failed=False)

    def _receive_only(self) -> None:
        self.tasks = {name: TaskState() for name in self.specs}
        self.lines.update({name: [] for name in self.specs})

    def _kill(self, name: str) -> None:
        spec, behaviour = self.specs[name], self.behaviours[name]
        if self.tasks[name].state != RUNNING:
            self._finish(name, failed=False)
            return
        patience = min(spec["KillTimeout"], int(self._clients.pace.max_kill_timeout * 1e9))
        text = f"Sent interrupt. Waiting {duration(patience)} before force killing"
        self._event(name, "Killing", text, {"kill_timeout": duration(patience)})
        signal = spec["KillSignal"] or DEFAULT_SIGNAL.get(spec["Driver"], "SIGINT")
        number, wait = SIGNALS.get(signal, 2), behaviour.stop_seconds
        if behaviour.ignores_stop or wait > patience / 1e9:
            number, wait = KILLED, patience / 1e9
        self._later(wait, lambda: self._killed(name, number))

    def _killed(self, name: str, number: int) -> None:
        if self.tasks[name].state != RUNNING:
            return
        behaviour = self.behaviours[name]
        if number != KILLED and behaviour.stop_code is not None:
            self._terminated(name, behaviour.stop_code, 0, out_of_memory=False)
        else:
            self._terminated(name, 0, number, out_of_memory=False)
        self._event(name, "Killed", "Task successfully killed")
        self._finish(name, failed=False)

    def vanish(self) -> None:
        """Be gone without a word: its machine died."""
        self.vanished = True
        for timer in self._timers:
            timer.cancel()
        for name, task in self.tasks.items():
            if task.state == RUNNING:
                self._event(
                    name,
                    "Failed Restoring Task",
                    "failed to restore task; will not run until server is contacted",
                )
                task.failed, task.state, task.finished_at = True, DEAD, self._now()
        self._clients.over(self)

    def signalled(self, name: str, number: int, called: str) -> None:
        """Send a task a signal; those that end programs end it."""
        self._event(name, "Signaling", "Task being sent a signal", {"signal": called})
        if self.stopping and number == KILLED:
            self._killed(name, number)
        elif number == KILLED or (number and not self.behaviours[name].ignores_stop):
            self.end(name, exit_code=0, signal=number)

    def restart(self) -> None:
        """Start its tasks anew because somebody asked for it."""
        reason = "User requested running tasks to restart"
        for name, task in self.tasks.items():
            if task.state == RUNNING:
                self._event(name, "Restart Signaled", reason, {"restart_reason": reason})
                self._terminated(name, 0, 0, out_of_memory=False)
                task.restarts += 1
                self._event(
                    name, "Restarting", "Task restarting in 0s", {"start_delay": "0", "restart_reason": ""}
                )
                self._start(name)

    def reconnected(self) -> None:
        """Note that the servers heard of it again."""
        for name in self.tasks:
            self._event(name, "Reconnected", "Client reconnected")

    # -- inside ------------------------------------------------------------------------------------------------------

    def _environment(self, name: str) -> dict[str, str]:
        state, job = self._clients.state, self.allocation.spec
        node = state.nodes[self.allocation.node_id]
        return environment_of(
            self.specs[name],
            attribute=node.attribute,
            variable=lambda path: state.variables.get((job["Namespace"], path), {}).get("Items", {}),
            own={"NOMAD_JOB_ID": job["ID"], "NOMAD_TASK_DIR": "/local", "NOMAD_ALLOC_DIR": "/alloc"},
        )

    def _terminated(self, name: str, code: int, number: int, *, out_of_memory: bool) -> None:
        shown = number
        if number and self.specs[name]["Driver"] != "mock_driver":
            code = SHELL + number
            shown = 0 if self.specs[name]["Driver"] == "docker" else number
        message = "OOM Killed" if out_of_memory else self.behaviours[name].message
        details = {
            "exit_code": str(code),
            "signal": str(shown),
            "oom_killed": "true" if out_of_memory else "false",
        }
        text = f"Exit Code: {code}"
        if shown:
            text += f", Signal: {shown}"
        if message:
            details["exit_message"] = message
            text += f', Exit Message: "{message}"'
        self._event(name, "Terminated", text, details, exit_code=code, signal=shown, message=message)

    def _finish(self, name: str, *, failed: bool) -> None:
        task = self.tasks[name]
        task.state, task.failed, task.finished_at = DEAD, failed, self._now()
        if self.specs[name]["Leader"]:
            for other, one in self.tasks.items():
                if other != name and one.state == RUNNING:
                    self._event(other, "Leader Task Dead", "Leader Task in Group dead")
                    self._kill(other)
        if self.over:
            if self.allocation.spec["Type"] == "service":
                self.healthy = bool(self.healthy)
            self._clients.over(self)
        self._changed(urgent=True)

    def _event(
        self, name: str, kind: str, display: str, details: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        self.tasks[name].add(TaskEvent(kind, self._now(), display, details or {}, **more))

    def _changed(self, *, urgent: bool = False) -> None:
        self._clients.changed(self, urgent=urgent)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        def act() -> None:
            if not self.vanished:
                call()

        self._timers = [timer for timer in self._timers if timer.call is not None]
        self._timers.append(self._clients.state.timers.after(seconds, act))

    def _now(self) -> int:
        return self._clients.state.timers.now_ns()


def duration(ns: int) -> str:
    """Return a duration as Go writes it."""
    seconds = ns / 1e9
    if seconds < 1:
        return f"{seconds * 1000:g}ms" if seconds else "0s"
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    text = f"{rest:g}s"
    if hours:
        return f"{hours:g}h{minutes:g}m{text}"
    return f"{minutes:g}m{text}" if minutes else text
