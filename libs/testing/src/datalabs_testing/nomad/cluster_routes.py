"""Routes of the cluster itself: nodes, events, variables, namespaces, the scheduler's settings, the agent."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from datalabs_testing.nomad.events import ALL, Wish
from datalabs_testing.nomad.faults import HalfWrittenChunk, SilentStream
from datalabs_testing.nomad.http import MANAGEMENT, NomadError, Page, Routes, body_of, number, read, written
from datalabs_testing.nomad.nodes import Node
from datalabs_testing.nomad.quick_json import dumps
from datalabs_testing.nomad.state import NAMESPACES, NODES, SCHEDULER, VARIABLES, namespace, scheduler_config

HEARTBEAT = 30.0
"""Seconds between the signs of life on an idle event stream."""


class ClusterRoutes(Routes):
    """Everything that is neither a job nor an allocation."""

    def register(self, router: web.UrlDispatcher) -> None:
        """Serve them."""
        self.add(router, "GET", "/v1/event/stream", self._stream, "read-job")
        self.add(router, "GET", "/v1/nodes", self._nodes, "node-read")
        self.add(router, "POST PUT", "/v1/node/{id}/eligibility", self._eligibility, "node-write")
        self.add(router, "GET", "/v1/node/{id}/allocations", self._on_node, "node-read")
        self.add(router, "GET", "/v1/node/{id}", self._node, "node-read")
        self.add(router, "GET", "/v1/vars", self._variables, "variables")
        self.add(router, "GET PUT POST DELETE", "/v1/var/{path:.+}", self._variable, "variables")
        self.add(router, "GET", "/v1/namespaces", self._namespaces, "list-jobs")
        self.add(router, "GET PUT POST DELETE", "/v1/namespace/{name}", self._namespace, "list-jobs")
        self.add(router, "GET", "/v1/node/pools", self._pools, "node-read")
        path = "/v1/operator/scheduler/configuration"
        self.add(router, "GET PUT POST", path, self._scheduler, "operator-read")
        self.add(router, "PUT POST", "/v1/system/gc", self._collect, MANAGEMENT)
        self.add(router, "GET", "/v1/status/leader", self._leader)
        self.add(router, "GET", "/v1/status/peers", self._peers)
        self.add(router, "GET", "/v1/regions", self._regions)
        self.add(router, "GET", "/v1/agent/health", self._health)
        self.add(router, "GET", "/v1/agent/self", self._self, "agent-read")
        self.add(router, "GET", "/v1/volumes", self._volumes, "host-volume-read")

    # -- events --------------------------------------------------------------------------------------------------------

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        wish = self._wish(request)
        events = self.state.events
        cursor = events.start(number(request, "index"))
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(b"{}\n")
        events.followers += 1
        heard = self.state.timers.now()
        try:
            while not cursor.ended:
                line = cursor.read(wish)
                if line is None:
                    if cursor.ended:
                        break
                    if self.state.timers.now() - heard >= HEARTBEAT:
                        line = "{}\n"
                    else:
                        await cursor.wait(self.fake.real_seconds(HEARTBEAT))
                        continue
                heard = self.state.timers.now()
                if self.fake.faults.of_stream(request, SilentStream):
                    continue
                if self.fake.faults.of_stream(request, HalfWrittenChunk):
                    await answer.write(line.encode()[: len(line) // 2])
                    if request.transport is not None:
                        request.transport.abort()
                    break
                await answer.write(line.encode())
        finally:
            events.followers -= 1
        return answer

    def _wish(self, request: web.Request) -> Wish:
        topics: dict[str, set[str]] = {}
        for one in request.query.getall("topic", [ALL]):
            topic, _, key = one.partition(":")
            topics.setdefault(topic, set()).add(key or ALL)
        # "*" means the namespaces of this moment: those made later are not seen
        wanted = self.namespaces(request) or frozenset(self.state.namespaces)
        return Wish({topic: frozenset(keys) for topic, keys in topics.items()}, wanted)

    # -- nodes ---------------------------------------------------------------------------------------------------------

    async def _nodes(self, request: web.Request) -> web.Response:
        index = await self.blocking(request, (NODES,), NODES)
        resources = request.query.get("resources") == "true"
        prefix = request.query.get("prefix", "")

        def rows() -> Iterable[Page]:
            for node in sorted(self.state.nodes.values(), key=lambda one: one.id):
                if node.id.startswith(prefix):
                    yield _node_page(node, resources=resources)

        return self.listing(request, index, rows())

    async def _node(self, request: web.Request) -> web.Response:
        index = await self.blocking(request, (NODES, request.match_info["id"]), NODES)
        return read(self._known(request).full(), index)

    async def _on_node(self, request: web.Request) -> web.Response:
        node = self._known(request)
        found = [{**one.full(), "Job": one.spec} for one in node.allocations.values()]
        return read(found, self.state.index_of("allocs"))

    async def _eligibility(self, request: web.Request) -> web.Response:
        node = self._known(request)
        body = await body_of(request)
        wanted = body.get("Eligibility")
        if wanted not in {"eligible", "ineligible"}:
            raise NomadError(500, f'invalid scheduling eligibility "{wanted}"')
        with self.state.write("NodeUpdateEligibility", NODES) as change:
            node.eligible = wanted == "eligible"
            self.state.put_node(change, node)
        self.fake.planner.unblock()
        return written({"EvalIDs": None, "NodeModifyIndex": self.state.index}, self.state.index)

    async def _pools(self, request: web.Request) -> web.Response:
        del request
        return read(list(self.state.pools.values()), self.state.index)

    def _known(self, request: web.Request) -> Node:
        found = self.state.nodes.get(request.match_info["id"])
        if found is None:
            raise NomadError(404, "node not found", index=self.state.index_of(NODES))
        return found

    # -- variables -----------------------------------------------------------------------------------------------------

    async def _variables(self, request: web.Request) -> web.Response:
        index = await self.blocking(request, (VARIABLES,), VARIABLES)
        prefix, wanted = request.query.get("prefix", ""), self.namespaces(request)
        found = [
            {name: value for name, value in one.items() if name != "Items"}
            for (space, path), one in sorted(self.state.variables.items())
            if path.startswith(prefix) and (not wanted or space in wanted)
        ]
        return read(found, index)

    async def _variable(self, request: web.Request) -> web.Response:
        key = (self.namespace(request), request.match_info["path"])
        if request.method == "GET":
            index = await self.blocking(request, (VARIABLES,), VARIABLES)
            found = self.state.variables.get(key)
            if found is None:
                raise NomadError(404, "variable not found", index=index)
            return read(found, index)
        self._expect(request, key)
        if request.method == "DELETE":
            with self.state.write("VarApplyState", VARIABLES):
                self.state.variables.pop(key, None)
            return web.Response(status=204, headers={"X-Nomad-Index": str(self.state.index)})
        return await self._put_variable(request, key)

    def _expect(self, request: web.Request, key: tuple[str, str]) -> None:
        if "cas" not in request.query:
            return
        text = request.query["cas"]
        if not text.isdigit():
            raise NomadError(400, f'can not parse cas: strconv.ParseUint: parsing "{text}": invalid syntax')
        found = self.state.variables.get(key)
        if (found or {}).get("ModifyIndex", 0) != int(text):
            raise web.HTTPConflict(
                text=dumps(found),
                content_type="application/json",
                headers={"X-Nomad-Index": str(self.state.index)},
            )

    async def _put_variable(self, request: web.Request, key: tuple[str, str]) -> web.Response:
        body = await body_of(request)
        items = body.get("Items")
        if not items:
            raise NomadError(400, "variable missing required Items object")
        if key[0] not in self.state.namespaces:
            raise NomadError(500, f'variable is in nonexistent namespace "{key[0]}"')
        now = self.state.timers.now_ns()
        before = self.state.variables.get(key)
        with self.state.write("VarApplyState", VARIABLES) as change:
            self.state.variables[key] = {
                "CreateIndex": before["CreateIndex"] if before else change.index,
                "CreateTime": before["CreateTime"] if before else now,
                "Items": {str(name): str(value) for name, value in items.items()},
                "ModifyIndex": change.index,
                "ModifyTime": now,
                "Namespace": key[0],
                "Path": key[1],
            }
        text = dumps(self.state.variables[key])
        headers = {"X-Nomad-Index": str(self.state.index)}
        return web.Response(text=text, content_type="application/json", headers=headers)

    # -- namespaces and settings ---------------------------------------------------------------------------------------

    async def _namespaces(self, request: web.Request) -> web.Response:
        index = await self.blocking(request, (NAMESPACES,), NAMESPACES)
        return read([one for _, one in sorted(self.state.namespaces.items())], index)

    async def _namespace(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if request.method == "GET":
            if name not in self.state.namespaces:
                raise NomadError(404, "Namespace not found")
            return read(self.state.namespaces[name], self.state.index_of(NAMESPACES))
        if request.method == "DELETE":
            if name not in self.state.namespaces:
                raise NomadError(500, "namespace not found")
            with self.state.write("NamespaceDelete", NAMESPACES):
                del self.state.namespaces[name]
        else:
            body = await body_of(request)
            with self.state.write("NamespaceUpsert", NAMESPACES) as change:
                self.state.namespaces[name] = namespace(
                    name, str(body.get("Description") or ""), change.index
                )
        return web.Response(headers={"X-Nomad-Index": str(self.state.index)})

    async def _scheduler(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            index = self.state.index_of(SCHEDULER)
            more = {"Index": index, "KnownLeader": True, "LastContact": 0, "NextToken": ""}
            return read({**more, "SchedulerConfig": self.state.scheduler}, index)
        body = await body_of(request)
        before = self.state.scheduler
        cas = request.query.get("cas")
        if cas is not None and int(cas) != before["ModifyIndex"]:
            return written({"Updated": False}, self.state.index)
        with self.state.write("SchedulerConfig", SCHEDULER) as change:
            self.state.scheduler = scheduler_config(
                body, created=before["CreateIndex"], modified=change.index
            )
        answer = {"Updated": True, "Index": self.state.index}
        headers = {"X-Nomad-Index": str(self.state.index)}
        return web.Response(text=dumps(answer), content_type="application/json", headers=headers)

    async def _collect(self, request: web.Request) -> web.Response:
        del request
        self.fake.collect_garbage()
        return web.Response()

    # -- the agent -----------------------------------------------------------------------------------------------------

    async def _leader(self, request: web.Request) -> web.Response:
        del request
        return web.json_response("127.0.0.1:4647")

    async def _peers(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(["127.0.0.1:4647"])

    async def _regions(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(["global"])

    async def _health(self, request: web.Request) -> web.Response:
        del request
        well = {"message": "ok", "ok": True}
        return web.json_response({"client": well, "server": well})

    async def _self(self, request: web.Request) -> web.Response:
        del request
        config: dict[str, Any] = {"Region": "global", "Datacenter": "dc1", "Version": {"Version": "2.0.5"}}
        return web.json_response({"config": config, "member": {"Name": "fake.global"}, "stats": {}})

    async def _volumes(self, request: web.Request) -> web.Response:
        del request
        return read(list(self.state.volumes.values()), self.state.index)


def _node_page(node: Node, *, resources: bool) -> Page:
    return Page(node.full, lambda: dumps(node.stub(resources=resources)), node.id)
