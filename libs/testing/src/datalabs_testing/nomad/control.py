"""Routes by which another process tells the emulated cluster what shall happen; no Nomad has them."""

from aiohttp import web

from datalabs_testing.nomad.faults import NAMED
from datalabs_testing.nomad.http import NomadError, Routes, body_of

PREFIX = "/_fake"


class ControlRoutes(Routes):
    """`POST /_fake/<what>` with a JSON object; `GET /_fake` tells figures."""

    def register(self, router: web.UrlDispatcher) -> None:
        """Serve them."""
        self.add(router, "GET", PREFIX, self._figures)
        self.add(router, "POST DELETE", f"{PREFIX}/faults", self._faults)
        self.add(router, "POST", f"{PREFIX}/node/{{act}}", self._node)
        self.add(router, "POST", f"{PREFIX}/end", self._end)
        self.add(router, "POST", f"{PREFIX}/advance", self._advance)
        self.add(router, "POST", f"{PREFIX}/collect", self._collect)
        self.add(router, "POST", f"{PREFIX}/cut", self._cut)

    async def _figures(self, request: web.Request) -> web.Response:
        del request
        state = self.state
        return web.json_response(
            {
                "index": state.index,
                "jobs": len(state.jobs),
                "allocations": len(state.allocations),
                "running": sum(one.client_status == "running" for one in state.allocations.values()),
                "requests": self.fake.requests,
                "followers": state.events.followers,
            }
        )

    async def _faults(self, request: web.Request) -> web.Response:
        if request.method == "DELETE":
            self.fake.faults.clear()
            return web.json_response({})
        body = await body_of(request)
        kind = NAMED.get(str(body.pop("name", "")))
        if kind is None:
            raise NomadError(400, f"faults are: {', '.join(NAMED)}")
        try:
            self.fake.faults.add(kind(**body))
        except TypeError as error:
            raise NomadError(400, str(error)) from None
        return web.json_response({})

    async def _node(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        acts = {"down": self.fake.node_down, "up": self.fake.node_up, "lost": self.fake.node_lost}
        act = acts.get(request.match_info["act"])
        if act is None:
            raise NomadError(400, f"acts on nodes are: {', '.join(acts)}")
        act(str(body.get("name") or ""))
        return web.json_response({})

    async def _end(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        job_id = str(body.pop("job"))
        self.fake.end(job_id, **body)
        return web.json_response({})

    async def _advance(self, request: web.Request) -> web.Response:
        await self.fake.advance(float((await body_of(request))["seconds"]))
        return web.json_response({})

    async def _collect(self, request: web.Request) -> web.Response:
        del request
        self.fake.collect_garbage()
        return web.json_response({})

    async def _cut(self, request: web.Request) -> web.Response:
        del request
        self.fake.state.events.cut()
        return web.json_response({})
