"""Envoy's configuration as a pure function of settings; nothing in it changes when labs come and go."""

import json
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from datalabs_standalone.edge import pages

_TYPE = "type.googleapis.com/envoy."
_HTTP = _TYPE + "extensions.filters.http."
_MAX_CONNECTIONS = 100_000
"""Circuit breakers default to 1,024 connections for all labs together; the 1,025th would hang."""

_KEEPALIVE_SECONDS = (60, 15, 4)
"""TCP keep-alive: idle time, interval, probes; a half-open tab is gone after two minutes."""

_LAB_FILTERS = ("lab_entrance", "lab_jwt", "lab_token", "lab_authz", "lab_doorstep")


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    """All that the edge depends on.

    `port` is where browsers come in; `api_listener` is a second address, for labs in network namespaces of their own,
    which reaches the API and nothing else. `lab_sampling` is a percentage of lab requests that are traced.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    scheme: str = "http"
    public_host: str = "localhost"
    public_url: str = "http://localhost:8080"
    labs_domain: str = "localhost"
    api_listener: tuple[str, int] | None = None
    gateway_socket: Path
    observer_socket: Path
    admin_socket: Path
    route_jwks: Path
    edge_key: bytes
    lab_sampling: float = 1.0


def _lua(*names: str, **values: str) -> dict[str, Any]:
    folder = files("datalabs_standalone.edge")
    code = "\n".join(folder.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in names)
    for name, value in values.items():
        code = code.replace(f"@{name}@", value)
    return {
        "@type": _HTTP + "lua.v3.Lua",
        "default_source_code": {"inline_string": code},
    }


def _off(*names: str) -> dict[str, Any]:
    return {name: {"@type": _TYPE + "config.route.v3.FilterConfig", "disabled": True} for name in names}


def _pipe_cluster(name: str, path: Path) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "circuit_breakers": _breakers(),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(path)}}}}]}],
        },
    }


def _breakers() -> dict[str, Any]:
    bound = {
        "max_connections": _MAX_CONNECTIONS,
        "max_pending_requests": _MAX_CONNECTIONS,
        "max_requests": _MAX_CONNECTIONS,
        "max_retries": 1000,
    }
    return {"thresholds": [{"priority": "DEFAULT", **bound}]}


def _clusters(settings: EdgeSettings) -> list[dict[str, Any]]:
    idle, interval, probes = _KEEPALIVE_SECONDS
    return [
        _pipe_cluster("gateway", settings.gateway_socket),
        _pipe_cluster("observer", settings.observer_socket),
        {
            "name": "labs",
            "type": "ORIGINAL_DST",
            "lb_policy": "CLUSTER_PROVIDED",
            "connect_timeout": "2s",
            "circuit_breakers": _breakers(),
            "original_dst_lb_config": {"use_http_header": True, "http_header_name": "x-lab-upstream"},
            "upstream_connection_options": {
                "tcp_keepalive": {
                    "keepalive_time": idle,
                    "keepalive_interval": interval,
                    "keepalive_probes": probes,
                }
            },
        },
    ]


def _tracing(settings: EdgeSettings) -> dict[str, Any]:
    def from_token(tag: str, claim: str) -> dict[str, Any]:
        return {
            "tag": tag,
            "metadata": {
                "kind": {"request": {}},
                "metadata_key": {
                    "key": "envoy.filters.http.jwt_authn",
                    "path": [{"key": "lab"}, {"key": claim}],
                },
            },
        }

    return {
        "random_sampling": {"value": settings.lab_sampling},
        "spawn_upstream_span": True,
        "custom_tags": [
            from_token("datalabs.launch_trace_id", "trace"),
            from_token("datalabs.lab.id", "lab"),
            {"tag": "datalabs.host", "request_header": {"name": ":authority"}},
        ],
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": _TYPE + "config.trace.v3.OpenTelemetryConfig",
                "http_service": {
                    "http_uri": {"uri": "http://observer/v1/traces", "cluster": "observer", "timeout": "1s"}
                },
                "service_name": "edge",
            },
        },
    }


def _percent(value: float) -> dict[str, Any]:
    return {"numerator": round(value * 10_000), "denominator": "MILLION"}


def _sampled(value: float) -> dict[str, Any]:
    return {
        "client_sampling": _percent(100),
        "random_sampling": _percent(value),
        "overall_sampling": _percent(100),
    }


def _gateway_route(prefix: str, *, sampling: float, method: str | None = None) -> dict[str, Any]:
    match: dict[str, Any] = {"prefix": prefix}
    if method is not None:
        match["headers"] = [
            {
                "name": ":method",
                "string_match": {"safe_regex": {"regex": method}},
            }
        ]
    return {
        "match": match,
        "tracing": _sampled(sampling),
        # Live events run for hours; what else takes long is bounded by the gateway's own deadlines.
        "route": {"cluster": "gateway", "timeout": "0s", "idle_timeout": "0s"},
    }


def _virtual_hosts(settings: EdgeSettings) -> list[dict[str, Any]]:
    platform_filters = _off(*_LAB_FILTERS, "loopback")
    hosts: list[dict[str, Any]] = [
        {
            "name": "labs",
            "domains": [f"*.{settings.labs_domain}"],
            "typed_per_filter_config": _off("loopback"),
            "routes": [
                {
                    **_gateway_route("/.datalabs/", sampling=100),
                    "typed_per_filter_config": _off("lab_jwt", "lab_token", "lab_authz", "lab_doorstep"),
                },
                {
                    "match": {"prefix": "/"},
                    "tracing": _sampled(settings.lab_sampling),
                    "route": {
                        "cluster": "labs",
                        "timeout": "0s",
                        "idle_timeout": "0s",
                        "retry_policy": {"retry_on": "reset-before-request", "num_retries": 1},
                    },
                    "request_body_buffer_limit": 65536,
                },
            ],
        },
        {
            "name": "platform",
            "domains": [settings.public_host],
            "typed_per_filter_config": platform_filters,
            "request_headers_to_remove": ["x-lab-upstream", "x-lab-id", "x-lab-attempt", "x-lab-secret"],
            "routes": [
                _gateway_route("/", sampling=100, method="POST|PUT|PATCH|DELETE"),
                _gateway_route("/", sampling=1),
            ],
        },
    ]
    if settings.public_host != "127.0.0.1":
        hosts.append(
            {
                "name": "loopback",
                "domains": ["127.0.0.1"],
                "typed_per_filter_config": _off(*_LAB_FILTERS),
                "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 404}}],
            }
        )
    hosts.append(
        {
            "name": "unknown",
            "domains": ["*"],
            "typed_per_filter_config": platform_filters,
            "routes": [
                {
                    "match": {"prefix": "/"},
                    "direct_response": {
                        "status": 421,
                        "body": {"inline_string": "This host name is not served here.\n"},
                    },
                }
            ],
        }
    )
    return hosts


def _filters(settings: EdgeSettings) -> list[dict[str, Any]]:
    scheme = settings.scheme
    return [
        {"name": "loopback", "typed_config": _lua("loopback", SCHEME=scheme, HOST=settings.public_host)},
        {"name": "lab_entrance", "typed_config": _lua("entrance", SCHEME=scheme)},
        {
            "name": "lab_jwt",
            "typed_config": {
                "@type": _HTTP + "jwt_authn.v3.JwtAuthentication",
                "providers": {
                    "lab": {
                        "issuer": "datalabs",
                        "from_cookies": ["__Host-lab"],
                        "payload_in_metadata": "lab",
                        "local_jwks": {"filename": str(settings.route_jwks)},
                        "clock_skew_seconds": 1,
                        "jwt_cache_config": {"jwt_cache_size": 1000},
                    }
                },
                "rules": [
                    {
                        "match": {"prefix": "/"},
                        "requires": {
                            "requires_any": {
                                "requirements": [{"provider_name": "lab"}, {"allow_missing_or_failed": {}}]
                            }
                        },
                    }
                ],
            },
        },
        {"name": "lab_token", "typed_config": _lua("token")},
        {
            "name": "lab_authz",
            "typed_config": {
                "@type": _HTTP + "ext_authz.v3.ExtAuthz",
                "filter_enabled_metadata": {
                    "filter": "datalabs",
                    "path": [{"key": "pass"}],
                    "value": {"string_match": {"exact": "yes"}},
                    "invert": True,
                },
                "allowed_headers": {
                    "patterns": [
                        {"exact": name}
                        for name in (
                            "cookie",
                            "accept",
                            "upgrade",
                            "sec-fetch-mode",
                            "sec-fetch-dest",
                            "traceparent",
                        )
                    ]
                },
                "status_on_error": {"code": "ServiceUnavailable"},
                "http_service": {
                    "server_uri": {"uri": "http://gateway", "cluster": "gateway", "timeout": "5s"},
                    "path_prefix": "/edge/authorize",
                    "authorization_response": {
                        "allowed_upstream_headers": {
                            "patterns": [
                                {"exact": name} for name in ("x-lab-upstream", "x-lab-id", "x-lab-attempt")
                            ]
                        },
                        "allowed_client_headers": {
                            "patterns": [
                                {"exact": name}
                                for name in (
                                    "location",
                                    "set-cookie",
                                    "content-type",
                                    "cache-control",
                                    "retry-after",
                                )
                            ]
                        },
                        "allowed_client_headers_on_success": {"patterns": [{"exact": "set-cookie"}]},
                    },
                },
            },
        },
        {
            "name": "lab_doorstep",
            "typed_config": _lua("sha256", "doorstep", EDGE_KEY_HEX=settings.edge_key.hex()),
        },
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": _HTTP + "router.v3.Router"},
        },
    ]


def _header_filter(name: str, match: dict[str, Any]) -> dict[str, Any]:
    return {"header_filter": {"header": {"name": name, "string_match": match}}}


def _mapper(filters: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
    # Envoy's and_filter wants two at least.
    every = {"and_filter": {"filters": filters}} if len(filters) > 1 else filters[0]
    return {"filter": every, "body_format_override": body}


def _local_replies(settings: EdgeSettings) -> dict[str, Any]:
    """Say what happened when Envoy answers by itself: a lab that does not listen, a gateway that is away."""
    no_upstream = {"response_flag_filter": {"flags": ["UF", "UH", "UC", "UT", "LH", "UO"]}}
    authz_away = {"response_flag_filter": {"flags": ["UAEX"]}}
    away = {"status_code_filter": {"comparison": {"op": "EQ", "value": _runtime(503, "edge.away")}}}
    lab_host = _header_filter(":authority", {"contains": "." + settings.labs_domain})
    for_reader = _header_filter("accept", {"contains": "text/html"})
    link = settings.public_url + "/labs"

    def html(**words: Any) -> dict[str, Any]:
        return {
            "text_format_source": {"inline_string": pages.page(**words)},
            "content_type": "text/html; charset=utf-8",
        }

    def document(code: str, title: str) -> dict[str, Any]:
        return {
            "json_format": pages.problem(status=503, code=code, title=title),
            "content_type": "application/problem+json",
        }

    lab_gone = "This lab does not answer"
    platform_away = "The platform is starting again"
    return {
        "mappers": [
            _mapper(
                [lab_host, authz_away, away, for_reader],
                html(
                    title=platform_away,
                    text="Your lab and your files are safe. This page asks again by itself.",
                    code="service_unavailable",
                    again=True,
                ),
            ),
            _mapper([lab_host, authz_away, away], document("service_unavailable", platform_away)),
            _mapper(
                [lab_host, no_upstream, for_reader],
                html(
                    title=lab_gone,
                    text="It may just have ended or be busy. Your files are safe in your home. "
                    "This page asks again by itself; its state is on My Datalabs.",
                    code="lab_not_ready",
                    link=link,
                    again=True,
                ),
            ),
            _mapper([lab_host, no_upstream], document("lab_not_ready", lab_gone)),
            _mapper(
                [no_upstream, for_reader],
                html(
                    title=platform_away,
                    text="Running labs go on and your files are safe. This page asks again by itself.",
                    code="service_unavailable",
                    again=True,
                ),
            ),
            _mapper([no_upstream], document("service_unavailable", platform_away)),
        ]
    }


def _runtime(value: int, key: str) -> dict[str, Any]:
    return {"default_value": value, "runtime_key": key}


def _manager(
    settings: EdgeSettings, name: str, hosts: list[dict[str, Any]], filters: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": _TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "stream_idle_timeout": "0s",
            "request_headers_timeout": "30s",
            "common_http_protocol_options": {
                "idle_timeout": "3600s",
                "headers_with_underscores_action": "ALLOW",
            },
            "normalize_path": True,
            "use_remote_address": True,
            "server_name": "datalabs",
            "tracing": _tracing(settings),
            "local_reply_config": _local_replies(settings),
            "route_config": {"ignore_port_in_host_matching": True, "virtual_hosts": hosts},
            "http_filters": filters,
        },
    }


def _listener(
    name: str, address: str, port: int, manager: dict[str, Any], *, freebind: bool = False
) -> dict[str, Any]:
    # SOL_SOCKET/SO_KEEPALIVE, then IPPROTO_TCP/TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT; accepted sockets inherit them.
    options = [(1, 9, 1), *zip((6, 6, 6), (4, 5, 6), _KEEPALIVE_SECONDS, strict=True)]
    listener: dict[str, Any] = {
        "name": name,
        "address": {"socket_address": {"address": address, "port_value": port}},
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "socket_options": [
            {"level": level, "name": option, "int_value": value, "state": "STATE_PREBIND"}
            for level, option, value in options
        ],
        "filter_chains": [{"filters": [manager]}],
    }
    if freebind:
        listener["freebind"] = True
    return listener


def build_config(settings: EdgeSettings) -> dict[str, Any]:
    """Return Envoy's bootstrap configuration; it holds the edge key, so its file must be mode 0600."""
    listeners = [
        _listener(
            "edge",
            settings.host,
            settings.port,
            _manager(settings, "edge", _virtual_hosts(settings), _filters(settings)),
        )
    ]
    if settings.api_listener is not None:
        address, port = settings.api_listener
        hosts = [
            {
                "name": "api",
                "domains": ["*"],
                "request_headers_to_remove": ["cookie"],
                "routes": [
                    _gateway_route("/api/v1/", sampling=1),
                    {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
                ],
            }
        ]
        router = _filters(settings)[-1:]
        listeners.append(
            _listener("labs_api", address, port, _manager(settings, "labs_api", hosts, router), freebind=True)
        )
    return {
        "admin": {"address": {"pipe": {"path": str(settings.admin_socket), "mode": 0o600}}},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _TYPE
                        + "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": _MAX_CONNECTIONS,
                    },
                }
            ]
        },
        "static_resources": {"listeners": listeners, "clusters": _clusters(settings)},
    }


def write_config(settings: EdgeSettings, path: Path) -> None:
    """Write the configuration for `envoy -c`, readable by its owner only, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(build_config(settings), out, indent=1)
    temporary.rename(path)
