# pathlib alone takes a shim as long to import as all else that it needs:
# ruff: noqa: PTH110, PTH123
"""What a shim does: lock, start once, record, watch, end, record. Standard library only, and little of it: 5 MB, 10 ms.

Files in DIR: `spec.json` (in), `lock`, `state.json` (out, atomic and synced), `stop` (in: the grace in seconds),
`log` and `log.1`. The lock's modification time is a heartbeat: it bounds the end of what died with the machine.

How nothing is lost:
- The lock comes first, then a state `starting` with the shim's own identity, then anything runs. A second shim finds the
  lock held (exit 75) or a state (exit 76).
- The lab's pid namespace has a keeper as its process 1, which the kernel kills when the shim dies
  (PR_SET_PDEATHSIG); with it the kernel kills all of the namespace. So a lab never runs without its shim, also when
  the shim dies between the fork and the record. Where there are no namespaces the lab itself has that signal set and
  the control group or the session lists what remains.
- `ended` is written when the keeper is reaped: the kernel lets that happen only after the last process of the
  namespace is gone.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # the `signal` module imports enum: 4 ms
import fcntl
import os
import resource
import select
import time

from datalabs_launcher.local import cgroups, isolation, processes, quick_json, syscalls
from datalabs_launcher.local.record import ENDED, RUNNING, STARTING, Log, State

TYPE_CHECKING = False  # `typing` and what it imports cost the shim 8 ms
if TYPE_CHECKING:
    from typing import Any

    from datalabs_launcher.local.vm.guest import Guest

    Spec = dict[str, Any]

BUSY = 75
"""Exit code: another shim holds this attempt."""
SPENT = 76
"""Exit code: this attempt has already run."""

HEARTBEAT = 30.0
WATCHDOG = 0.5
KILL_AGAIN = 1.0
_CHUNK = 65_536
_SLEEP = "/usr/bin/sleep"
_BOUND = b"!"
_FULL = 2**20
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Supervisor:
    """One lab and its end."""

    def __init__(self, folder: str, spec: Spec, lock: int) -> None:
        self._folder, self._spec, self._lock = folder, spec, lock
        self._groups: cgroups.Groups = dict(spec["cgroups"])
        self._state = State(folder, spec.get("poke"), spec["job"])
        self._log = Log(folder, spec["log_bytes"])
        self._keeper: int | None = None
        self._pid = 0
        self._status: int | None = None
        self._asked: float | None = None
        self._kill_at: float | None = None
        self._began: tuple[float, float] | None = None
        self._over_memory = False
        self._output = -1
        self._wake = -1
        self._steps: list[list[Any]] = []
        self._guest = _guest(folder) if spec.get("guest") else None

    # -- start ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the lab; raises OSError with the reason when it cannot be."""
        self._listen()
        own = os.getpid()
        self._state.save(
            phase=STARTING,
            boot=processes.boot_id(),
            shim=own,
            shim_ticks=processes.started_ticks(own),
            created=time.time(),
        )
        limits = self._spec["limits"]
        began = time.time()
        if self._groups:
            cgroups.make(
                self._groups, memory_mib=limits["memory_mib"], pids=limits["pids"], cores=limits["cores"]
            )
        if self._spec["isolation"] == "user":
            isolation.own_user_namespace()
        network = _network_namespace() if self._spec["network"] else -1
        if self._spec["isolation"] == "none":
            syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        else:
            syscalls.unshare(syscalls.CLONE_NEWPID)
            self._keeper = self._fork_keeper()
        self._fork_lab(network)
        if network >= 0:
            os.close(network)
        self._steps.append(["isolate", began, time.time()])
        keeper = self._keeper or self._pid
        self._state.save(
            phase=RUNNING,
            started=self._begin(),
            pid=self._pid,
            pid_ticks=processes.started_ticks(self._pid),
            keeper=keeper,
            keeper_ticks=processes.started_ticks(keeper),
            steps=self._steps,
        )

    def _begin(self) -> float:
        self._began = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
        return self._began[0]

    def _end(self) -> float:
        """Return the moment of the end: as long after the start as really passed, should the clock have been set."""
        if self._began is None:
            return time.time()
        started, at = self._began
        return started + time.clock_gettime(time.CLOCK_BOOTTIME) - at

    def _listen(self) -> None:
        self._wake, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)

    def _fork_keeper(self) -> int:
        """Fork process 1 of the new pid namespace: it reaps orphans, and its death is everybody's.

        Returns when it is bound to our life; nothing runs in the namespace before that.
        """
        told, tell = os.pipe2(os.O_CLOEXEC)
        bound, bind = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                os.close(tell)
                _keep(told, bind)
            finally:
                os._exit(1)
        os.close(told)
        os.close(bind)
        if os.read(bound, 1) != _BOUND:
            raise OSError("the lab's pid namespace could not be kept")
        os.write(tell, _BOUND)
        os.close(bound)
        os.close(tell)
        return pid

    def _fork_lab(self, network: int) -> None:
        """Fork the lab's first process, connect its network while it makes its own view, and let it begin.

        Both wait for the kernel most of the time (a control group lets a process in after 10 ms), so side by side
        they take half as long.
        """
        self._output, output = os.pipe2(os.O_CLOEXEC)
        failed, fail = os.pipe2(os.O_CLOEXEC)
        told, tell = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(tell)
                self._become_lab(network, output, told, parent)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
                os.write(fail, f"{error}".encode())
            finally:
                os._exit(127)
        for fd in (output, fail, told):
            os.close(fd)
        try:
            if network >= 0:
                _connect(network, self._spec["network"])
            os.write(tell, _BOUND)
        except BrokenPipeError:
            pass  # it failed before; why stands in the other pipe
        finally:
            os.close(tell)
        if self._guest is not None:
            self._guest.started()
        # End of file is the exec itself: the descriptor is closed by it.
        text = os.read(failed, 4096).decode(errors="replace")
        os.close(failed)
        os.set_blocking(self._output, False)
        if text:
            raise OSError(text)

    def _become_lab(self, network: int, output: int, told: int, parent: int) -> None:
        spec = self._spec
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (*_SIGNALS, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        cgroups.enter(self._groups)
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")  # before the platform, when the whole machine runs out
        if network >= 0:
            syscalls.setns(network, syscalls.CLONE_NEWNET)
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.set_inheritable(1, True)
        isolation.set_limits(spec)
        if spec["isolation"] != "none":
            isolation.enter_view(spec)
        isolation.become(spec["uid"], spec["gid"], spec.get("groups", ()))
        if spec["isolation"] == "none":
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the signal was set
                os._exit(127)
        os.umask(0o022)
        if spec["packages"]:
            isolation.lay_packages(spec["packages"])
        os.chdir(spec["cwd"])
        if os.read(told, 1) != _BOUND:  # its network could not be connected
            os._exit(127)
        if self._guest is not None:
            self._guest.pass_on()
        os.execve(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - no shell is the point

    # -- watch ---------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Wait for the lab's end, keeping its log, its memory and the request to stop in hand."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.register(self._output, select.POLLIN)
        for fd in self._guest.descriptors() if self._guest is not None else ():
            poller.register(fd, select.POLLIN)
        watchdog, beat = WATCHDOG if self._watched() else HEARTBEAT, time.monotonic()
        while self._status is None:
            wait = watchdog if self._kill_at is None else min(watchdog, self._kill_at - time.monotonic())
            for fd, event in poller.poll(max(0.0, wait) * 1000):
                if not self._attend(fd, event):
                    poller.unregister(fd)
            self._reap()
            if self._kill_at is not None and time.monotonic() >= self._kill_at and self._status is None:
                self._kill()
                self._kill_at = time.monotonic() + KILL_AGAIN
            if self._watched():
                self._check_memory()
            if time.monotonic() - beat >= HEARTBEAT:
                beat = time.monotonic()
                os.utime(self._lock)

    def _attend(self, fd: int, event: int) -> bool:
        """Take in what one descriptor has; False when nothing more will come of it."""
        if fd == self._wake:
            self._heed()
            return True
        if self._guest is not None and fd != self._output:
            return self._hear(self._guest, fd)
        return self._drain() and not event & select.POLLERR  # it may close its output and live on

    def _hear(self, guest: Guest, fd: int) -> bool:
        """Take in what the machine says; one whose disk is full stands still for ever, so it is ended."""
        goes_on, news = guest.heard(fd)
        news = {name: value for name, value in news.items() if name not in self._state.values}
        if news:
            self._state.save(**news)
        if guest.full:
            self._kill()
        return goes_on

    def _heed(self) -> None:
        numbers = os.read(self._wake, 512)
        if bytes((signal.SIGTERM,)) in numbers or bytes((signal.SIGINT,)) in numbers:
            self.ask()

    def ask(self) -> None:
        """Ask the lab to end; the innermost process is our child, and the only one asked."""
        try:
            with open(f"{self._folder}/stop") as file:
                grace = float(file.read())
        except (OSError, ValueError):
            grace = float(self._spec["grace"])
        now = time.monotonic()
        first = self._asked is None
        self._asked = self._asked or time.time()
        self._kill_at = min(self._kill_at or now + grace, now + grace)
        if self._status is not None:
            return
        if self._guest is not None:
            self._guest.power_down()
        elif first:
            processes.kill(self._pid, signal.SIGTERM)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._status = status
            elif pid == self._keeper:
                self._keeper = None

    def _drain(self) -> bool:
        """Take what the lab has written; False at its end."""
        try:
            data = os.read(self._output, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._log.write(data)
        return bool(data)

    def _watched(self) -> bool:
        return not (self._groups.get("memory") or self._groups.get("unified"))

    def _everybody(self) -> list[int]:
        return [pid for pid in processes.descendants_of(os.getpid()) if pid != self._keeper]

    def _check_memory(self) -> None:
        if processes.resident_mib(self._everybody()) > self._spec["limits"]["memory_mib"]:
            self._over_memory = True
            self._kill()

    def _kill(self) -> None:
        """Kill all of the lab at once: the keeper takes its namespace along."""
        if self._keeper is not None:
            processes.kill(self._keeper, signal.SIGKILL)
        else:
            for pid in self._everybody():
                processes.kill(pid, signal.SIGKILL)

    # -- end -----------------------------------------------------------------------------------------------------

    def finish(self, error: str = "") -> None:
        """End what remains, gather the evidence, record."""
        left = self._clear()
        while self._output >= 0 and self._more():
            pass
        if self._guest is not None:
            for fd in self._guest.descriptors():
                self._hear(self._guest, fd)
        code = os.waitstatus_to_exitcode(self._status) if self._status is not None else None
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = cgroups.cpu_used(self._groups)
        self._state.save(
            phase=ENDED,
            ended=self._end(),
            exit=None if code is None else (code if code >= 0 else 128 - code),
            signal=-code if code is not None and code < 0 else None,
            asked=self._asked,
            oom_kills=cgroups.out_of_memory_kills(self._groups),
            over_memory=self._over_memory,
            refused_forks=cgroups.refused_forks(self._groups),
            full=[] if self._asked else [*self._full_places(), *(self._guest.full if self._guest else ())],
            cpu_seconds=cpu if cpu is not None else used.ru_utime + used.ru_stime,
            memory_peak_mib=cgroups.memory_peak_mib(self._groups) or used.ru_maxrss / 1024,
            error=error or (self._guest.error if self._guest else ""),
            left=left,
        )
        cgroups.remove(self._groups)

    def _clear(self) -> list[int]:
        """Kill until nobody is left and all are reaped; return who would not go."""
        deadline = time.monotonic() + 10
        while True:
            self._kill()
            self._reap()
            if self._keeper is None and not self._everybody():
                break
            if time.monotonic() > deadline:
                return self._everybody()
            time.sleep(0.002)
        cgroups.end(self._groups)
        return sorted(cgroups.members(self._groups))

    def _more(self) -> bool:
        try:
            data = os.read(self._output, _CHUNK)
        except OSError:
            return False
        self._log.write(data)
        return bool(data)

    def _full_places(self) -> list[str]:
        full = []
        for source, target, mode in self._spec["binds"]:
            try:
                place = os.statvfs(source)
            except OSError:
                continue
            if mode == "rw" and place.f_bavail * place.f_frsize < _FULL:
                full.append(target)
        return full


def _guest(folder: str) -> Guest:
    from datalabs_launcher.local.vm import guest  # noqa: PLC0415 - only virtual machines pay for it

    return guest.Guest(folder)


def _network_namespace() -> int:
    from datalabs_launcher.local import veth  # noqa: PLC0415 - only labs with a network of their own pay for it

    return veth.namespace()


def _connect(namespace: int, network: dict[str, Any]) -> None:
    from datalabs_launcher.local import veth  # noqa: PLC0415 - as above

    veth.connect(namespace, network)


def _keep(told: int, bind: int) -> None:
    """Be process 1 of a lab's namespace, bound to the shim's life."""
    syscalls.drop_capabilities()
    # Root would gain its capabilities again by the exec below, and such a gain clears the signal (commit_creds).
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # SIGCHLD ignored: orphans are reaped by the kernel
    os.write(bind, _BOUND)
    if os.read(told, 1) != _BOUND:  # the shim died before the signal above was set
        return
    os.closerange(0, 256)
    try:
        # A process that does nothing, for 0.2 MB instead of Python's 3.5; the signal set above survives the exec.
        os.execv(_SLEEP, ["sleep", "infinity"])  # noqa: S606 - a fixed program
    except OSError:
        while True:
            signal.pause()


def main(folder: str) -> int:
    """Run the attempt in `folder`; return the shim's exit code."""
    os.umask(0o077)
    lock = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return BUSY
    if os.path.exists(f"{folder}/state.json"):
        return SPENT
    with open(f"{folder}/spec.json") as file:
        spec = quick_json.loads(file.read())
    os.chdir("/")
    supervisor = Supervisor(folder, spec, lock)
    try:
        supervisor.start()
    except OSError as error:
        supervisor.finish(error=f"{error.args[-1] if error.args else error}")
        return 1
    if os.path.exists(f"{folder}/stop"):
        supervisor.ask()
    supervisor.watch()
    supervisor.finish()
    return 0
