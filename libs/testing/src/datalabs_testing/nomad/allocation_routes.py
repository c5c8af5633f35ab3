"""Routes of allocations: what they are, what they use, what they said."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from datalabs_testing.nomad.behaviour import SIGNALS
from datalabs_testing.nomad.http import NomadError, Page, Routes, body_of, frame, number, read, written
from datalabs_testing.nomad.quick_json import dumps
from datalabs_testing.nomad.records import RUNNING, Allocation
from datalabs_testing.nomad.runs import Run
from datalabs_testing.nomad.state import ALLOCATIONS, EVALUATIONS, allocation_text

ID_LENGTH = 36
MIB = 2**20
MHZ_A_CORE = 1000


class AllocationRoutes(Routes):
    """`/v1/allocations`, `/v1/allocation/…`, `/v1/client/…`."""

    def register(self, router: web.UrlDispatcher) -> None:
        """Serve them."""
        self.add(router, "GET", "/v1/allocations", self._allocations, "read-job")
        self.add(router, "POST PUT", "/v1/allocation/{id}/stop", self._stop, "alloc-lifecycle")
        self.add(router, "GET", "/v1/allocation/{id}/checks", self._checks, "read-job")
        self.add(router, "GET", "/v1/allocation/{id}", self._allocation, "read-job")
        self.add(router, "GET", "/v1/client/allocation/{id}/stats", self._stats, "read-job")
        self.add(router, "GET", "/v1/client/allocation/{id}/checks", self._checks, "read-job")
        self.add(router, "POST PUT", "/v1/client/allocation/{id}/signal", self._signal, "alloc-lifecycle")
        self.add(router, "POST PUT", "/v1/client/allocation/{id}/restart", self._restart, "alloc-lifecycle")
        self.add(router, "GET", "/v1/client/fs/logs/{id}", self._logs, "read-logs")

    async def _allocations(self, request: web.Request) -> web.Response:
        index = await self.blocking(request, (ALLOCATIONS,), ALLOCATIONS)
        wanted = self.namespaces(request)
        prefix = request.query.get("prefix", "")
        more = request.query.get("resources") == "true"
        states = request.query.get("task_states", "true") != "false"

        def rows() -> Iterable[Page]:
            for one in list(self.state.allocations.values()):
                if (not wanted or one.namespace in wanted) and one.id.startswith(prefix):
                    yield _page(one, resources=more, states=states)

        return self.listing(request, index, rows())

    async def _allocation(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if len(name) != ID_LENGTH:
            raise NomadError(500, "alloc lookup failed: index error: UUID must be 36 characters")
        await self.blocking(request, (ALLOCATIONS, name), ALLOCATIONS)
        found = self.state.allocations.get(name)
        if found is None:
            raise NomadError(404, "alloc not found", index=self.state.index_of(ALLOCATIONS))
        return read({**found.full(), "Job": found.spec}, found.modify_index)

    async def _stop(self, request: web.Request) -> web.Response:
        allocation = self._known(request)
        job = self.state.jobs[(allocation.namespace, allocation.job_id)]
        evaluation = self.fake.planner.new(job, "alloc-stop")
        with self.state.write("AllocationUpdateDesiredStatus", ALLOCATIONS, EVALUATIONS) as change:
            allocation.desired_status, allocation.desired_description = "stop", "alloc was stopped"
            self.state.put_allocation(change, allocation)
            self.state.put_evaluation(change, evaluation)
        self.fake.clients.stop(allocation)
        self.fake.planner.enqueue(evaluation)
        return written({"EvalID": evaluation.id}, self.state.index)

    async def _checks(self, request: web.Request) -> web.Response:
        self._known(request)
        return web.json_response(None)

    async def _stats(self, request: web.Request) -> web.Response:
        run = self._running(request)
        now = self.state.timers.now_ns()
        tasks = {
            name: {"Pids": None, "ResourceUsage": _usage(run, [name]), "Timestamp": now}
            for name, task in run.tasks.items()
            if task.state == RUNNING
        }
        usage = {"ResourceUsage": _usage(run, list(tasks)), "Tasks": tasks, "Timestamp": now}
        return web.Response(text=dumps(usage), content_type="application/json")

    async def _signal(self, request: web.Request) -> web.Response:
        run = self._running(request)
        body = await body_of(request)
        name = body.get("Task") or next(iter(run.tasks))
        if run.tasks.get(name) is None or run.tasks[name].state != RUNNING:
            raise NomadError(500, f'Task "{name}" not running')
        run.signalled(name, SIGNALS.get(str(body.get("Signal")), 0), str(body.get("Signal")))
        return web.json_response({"Index": 0})

    async def _restart(self, request: web.Request) -> web.Response:
        self._running(request).restart()
        return web.json_response({"Index": 0})

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        allocation = self._known(request)
        query = request.query
        lines = self.fake.clients.logs.get(allocation.id)
        task, kind = query.get("task", ""), query.get("type", "")
        if not task:
            raise NomadError(400, "must provide task name")
        if kind not in {"stdout", "stderr"}:
            raise NomadError(400, "must provide log type (stdout/stderr)")
        group = next(one for one in allocation.spec["TaskGroups"] if one["Name"] == allocation.group)
        spec = next((one for one in group["Tasks"] if one["Name"] == task), None)
        if spec is None:
            raise NomadError(400, f'unknown task name "{task}"')
        if lines is None or spec["LogConfig"]["Disabled"] or allocation.tasks is None:
            raise NomadError(404, f'log entry for task "{task}" and log type "{kind}" not found')
        text = "".join(f"{line}\n" for line in lines.get(task, ())) if kind == "stdout" else ""
        offset = number(request, "offset")
        data = text.encode()
        begin = max(0, len(data) - offset) if query.get("origin") == "end" else offset
        data = data[begin:]
        if query.get("plain") == "true":
            return web.Response(body=data, content_type="text/plain")
        return web.Response(text=frame(data, f"alloc/logs/{task}.{kind}.0") if data else "")

    def _known(self, request: web.Request) -> Allocation:
        name = request.match_info["id"]
        found = self.state.allocations.get(name)
        if found is None:
            raise NomadError(404, f'Unknown allocation "{name}"')
        return found

    def _running(self, request: web.Request) -> Run:
        allocation = self._known(request)
        run = self.fake.clients.runs.get(allocation.id)
        if run is None or not self.fake.clients.reachable(allocation):
            raise NomadError(404, f'Unknown allocation "{allocation.id}"')
        return run


def _page(allocation: Allocation, *, resources: bool, states: bool) -> Page:
    def text() -> str:
        if states:
            return allocation_text(allocation, resources=resources)
        more = {"AllocatedResources": allocation.resources} if resources else {}
        return dumps({**allocation.brief(), **more})

    return Page(allocation.brief, text, f"{allocation.create_index}.{allocation.id}")


def _usage(run: Run, names: list[str]) -> dict[str, Any]:
    """Return what tasks use: CPU as a rate, in percent of one core and in MHz."""
    cores = sum(run.behaviours[name].cores for name in names)
    memory = int(sum(run.behaviours[name].memory_mib for name in names) * MIB)
    return {
        "CpuStats": {
            "Measured": ["Throttled Periods", "Throttled Time", "Percent"],
            "Percent": cores * 100,
            "SystemMode": 0.0,
            "ThrottledPeriods": 0,
            "ThrottledTime": 0,
            "TotalTicks": cores * MHZ_A_CORE,
            "UserMode": cores * 100,
        },
        "DeviceStats": [],
        "MemoryStats": {
            "Cache": 0,
            "KernelMaxUsage": 0,
            "KernelUsage": 0,
            "MappedFile": 0,
            "MaxUsage": memory,
            "Measured": ["RSS", "Cache", "Swap", "Usage", "Max Usage"],
            "RSS": memory,
            "Swap": 0,
            "Usage": memory,
        },
    }
