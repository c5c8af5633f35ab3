"""FakeNomad: servers, scheduler and clients of a Nomad cluster in one process, on a real socket.

Nothing runs in it: tasks behave as their drivers' settings or the test say. What it cannot do stands in the README.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from aiohttp import web

from datalabs_testing.nomad.allocation_routes import AllocationRoutes
from datalabs_testing.nomad.behaviour import Behaviour, misread, of_task
from datalabs_testing.nomad.clients import Clients
from datalabs_testing.nomad.cluster_routes import ClusterRoutes
from datalabs_testing.nomad.control import ControlRoutes
from datalabs_testing.nomad.faults import Fault, Faults
from datalabs_testing.nomad.http import NomadError
from datalabs_testing.nomad.job_routes import JobRoutes
from datalabs_testing.nomad.listeners import Listeners, Listening
from datalabs_testing.nomad.nodes import Node
from datalabs_testing.nomad.records import Allocation, Job
from datalabs_testing.nomad.runs import Run
from datalabs_testing.nomad.scheduler import Pace, Planner
from datalabs_testing.nomad.state import ALLOCATIONS, EVALUATIONS, JOBS, NODES, State
from datalabs_testing.nomad.timers import Timers

HOST = "127.0.0.1"
FOREVER = 3600.0
Choose = Callable[[Allocation, Mapping[str, Any]], Behaviour | None]


class FakeNomad:
    """A cluster. `async with FakeNomad() as nomad:` then talk HTTP to `nomad.address`.

    `images`: what containers of an image do; None: every image is there and runs until it is stopped. `tokens`: secret to
    capabilities; None: no ACL. `scale`: seconds that pass here for each of the machine's; 0: only `advance` moves time.
    """

    def __init__(
        self,
        *,
        nodes: Sequence[Node] = (),
        scale: float = 1.0,
        pace: Pace | None = None,
        images: dict[str, Behaviour] | None = None,
        tokens: dict[str, set[str]] | None = None,
        event_buffer: int = 10_000,
        listening: Listening = Listening.NOTHING,
        port: int = 0,
        control: bool = False,
    ) -> None:
        self.scale = scale
        self.images = images
        self.tokens = tokens
        self.listening = listening
        self.faults = Faults()
        self.port = port
        self.requests = 0
        self.starts: Counter[str] = Counter()
        self._pace = pace or Pace()
        self._nodes = list(nodes) or [Node(name="node-1")]
        self._event_buffer = event_buffer
        self._control = control
        self._choose: list[Choose] = []
        self._behaviours: dict[str, Behaviour] = {}
        self._listeners = Listeners()
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._found()

    def _found(self) -> None:
        """Make an empty cluster."""
        self.timers = Timers(scale=self.scale)
        self.state = State(self.timers, event_buffer=self._event_buffer)
        self.planner = Planner(self.state, self._pace)
        self.clients = Clients(self.state, self.planner, self._pace, self._behave)
        self.clients.started = self._listen
        self.clients.over = self._silence

    # -- running it ----------------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where its HTTP API is."""
        return f"http://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Listen, and let the nodes join."""
        app = web.Application(client_max_size=2**26)
        groups = [JobRoutes(self), AllocationRoutes(self), ClusterRoutes(self)]
        for group in groups:
            group.register(app.router)
        if self._control:
            ControlRoutes(self).register(app.router)
        app.middlewares.append(self._serve)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await self.accept()
        for node in self._nodes:
            self.join(node)

    async def aclose(self) -> None:
        """End it."""
        self.timers.close()
        self.state.events.cut()
        await self._listeners.aclose()
        if self._runner is not None:
            await self._runner.cleanup()

    async def advance(self, seconds: float) -> None:
        """Let so much of the cluster's time pass now."""
        await self.timers.advance(seconds)
        self.state.events.add(())  # who follows looks at the time

    def real_seconds(self, seconds: float) -> float:
        """Return how long something takes on the machine's clock."""
        return seconds / self.scale if self.scale > 0 else FOREVER

    # -- what tasks do -------------------------------------------------------------------------------------------------

    def behave(self, job_id: str, behaviour: Behaviour) -> None:
        """Let the tasks of a job that is yet to come behave so."""
        self._behaviours[job_id] = behaviour

    def behave_by(self, choose: Choose) -> None:
        """Let a function say how tasks behave; None: it has no opinion."""
        self._choose.append(choose)

    def end(
        self, job_id: str, *, exit_code: int = 0, signal: int = 0, out_of_memory: bool = False, task: str = ""
    ) -> None:
        """Let what runs of a job end by itself now."""
        for run in self._runs_of(job_id):
            name = task or next(
                name for name, spec in run.specs.items() if spec["Leader"] or len(run.specs) == 1
            )
            run.end(name, exit_code=exit_code, signal=signal, out_of_memory=out_of_memory)

    def say(self, job_id: str, *lines: str, task: str = "") -> None:
        """Let what runs of a job print lines."""
        for run in self._runs_of(job_id):
            run.lines[task or next(iter(run.lines))] += lines

    def _runs_of(self, job_id: str) -> list[Run]:
        return [run for run in self.clients.runs.values() if run.allocation.job_id == job_id]

    def _behave(self, allocation: Allocation, task: Mapping[str, Any]) -> Behaviour:
        unread = misread(task.get("Config"))
        if unread:
            return Behaviour(invalid=unread)
        if task["Driver"] != "mock_driver":
            for choose in self._choose:
                found = choose(allocation, task)
                if found is not None:
                    return found
            if allocation.job_id in self._behaviours:
                return self._behaviours[allocation.job_id]
        return of_task(task, self.images)

    def _listen(self, run: Run, task: str) -> None:
        if run.specs[task]["Leader"] or len(run.specs) == 1:
            self.starts[run.allocation.job_id] += 1
        ports = run.allocation.resources["Shared"]["Ports"]
        if self.listening is Listening.NOTHING or not ports:
            return
        after = run.behaviours[task].listens_after
        if after is None:
            return

        def listen() -> None:
            if not run.over and not run.vanished:
                self._listeners.open(run.allocation.id, ports)

        self.timers.after(after, listen)

    def _silence(self, run: Run) -> None:
        self._listeners.close(run.allocation.id)

    # -- what happens to the cluster -----------------------------------------------------------------------------------

    def join(self, node: Node) -> Node:
        """Let a node join."""
        with self.state.write("NodeRegistration", NODES) as change:
            self.state.put_node(change, node)
        self.planner.forget_nodes()
        self.planner.unblock()
        return node

    def node(self, name: str = "") -> Node:
        """Return a node by its name, the first one without."""
        return next(one for one in self.state.nodes.values() if name in {"", one.name})

    def node_down(self, name: str = "") -> None:
        """Cut a node off: it goes on by itself and is missed when its heartbeat is overdue."""
        self.clients.node_down(self.node(name))

    def node_lost(self, name: str = "") -> None:
        """Let a node's machine die."""
        self.clients.node_lost(self.node(name))

    def node_up(self, name: str = "") -> None:
        """Let a node be heard again."""
        self.clients.node_up(self.node(name))

    def evict(self, job_id: str) -> None:
        """Let somebody more important take the place of a job's allocations."""
        for run in self._runs_of(job_id):
            allocation = run.allocation
            with self.state.write("PlanResult", ALLOCATIONS) as change:
                allocation.desired_status = "evict"
                allocation.desired_description = "Preempted by alloc ID"
                allocation.preempted_by = allocation.id
                self.state.put_allocation(change, allocation)
            self.clients.stop(allocation)

    @contextlib.contextmanager
    def suffering(self, fault: Fault) -> Iterator[Fault]:
        """Let something go wrong for as long as the block lasts."""
        self.faults.add(fault)
        try:
            yield fault
        finally:
            self.faults.remove(fault)

    async def refuse(self) -> None:
        """Refuse connections and cut those that are open: nobody is there. What runs goes on."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        self.cut_connections()

    async def accept(self) -> None:
        """Take connections (again)."""
        assert self._runner is not None
        if self._site is None:
            self._site = web.TCPSite(self._runner, HOST, self.port, reuse_address=True)
            await self._site.start()
            assert self._runner.addresses
            self.port = self._runner.addresses[0][1]

    def cut_connections(self) -> None:
        """Cut everything that is open."""
        server = self._runner.server if self._runner is not None else None
        for connection in list(server.connections) if server is not None else ():
            if isinstance(connection.transport, asyncio.Transport):
                connection.transport.abort()

    async def restart(self) -> None:
        """Restart the servers: connections break, the buffer of events is empty, the tables are as they were."""
        await self.refuse()
        self.state.events.cut(forget=True)
        await self.accept()

    async def reset(self) -> None:
        """Put another, empty cluster in its place: no jobs, and an index that begins anew."""
        self.timers.close()
        self.state.events.cut(forget=True)
        self.cut_connections()
        await self._listeners.aclose()
        self._found()
        for node in self._nodes:
            node.allocations, node.cores_taken, node.ports_taken, node.devices_taken = {}, set(), set(), {}
            node.cpu_taken = node.memory_taken = node.disk_taken = 0
            self.join(node)

    def collect_garbage(self) -> None:
        """Forget jobs that have ended, their allocations and evaluations, whatever their age; nobody is told.

        A service that has ended by itself is kept until somebody stops it.
        """
        kinds = {"batch", "sysbatch"}
        dead = [
            job
            for job in self.state.jobs.values()
            if job.status == "dead" and (job.stop or job.spec["Type"] in kinds)
        ]
        for job in dead:
            self._forget(job)

    def collect_job(self, job_id: str, namespace: str = "default") -> None:
        """Forget one ended job early."""
        self._forget(self.state.jobs[(namespace, job_id)])

    def _forget(self, job: Job) -> None:
        with self.state.write("JobBatchDeregister", JOBS, EVALUATIONS) as change:
            self.state.drop_job(change, job)
        self.state.drop_evaluations(job.key)
        for allocation in job.allocations.values():
            self.clients.logs.pop(allocation.id, None)

    # -- requests ------------------------------------------------------------------------------------------------------

    @web.middleware
    async def _serve(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        self.requests += 1
        return await self._work(request, handler)

    async def _work(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        striking = self.faults.striking(request)
        for fault in striking:
            answer = await fault.before(request)
            if answer is not None:
                return answer
        try:
            found: web.StreamResponse = await handler(request)
        except NomadError as error:
            found = error.answer()
        except web.HTTPConflict as error:
            found = web.Response(
                status=error.status,
                text=error.text,
                content_type="application/json",
                headers={"X-Nomad-Index": error.headers["X-Nomad-Index"]},
            )
        except web.HTTPNotFound:
            found = web.Response(status=404, text="")
        for fault in striking:
            found = await fault.after(request, found)
        return found
