"""Envoy's configuration as a pure function of settings; nothing in it changes when labs come and go."""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from datalabs_standalone.edge.replies import local_replies
from datalabs_standalone.edge.routes import ROUTING, gateway_route, virtual_hosts
from datalabs_standalone.edge.settings import EdgeSettings

_TYPE = "type.googleapis.com/envoy."
_HTTP = _TYPE + "extensions.filters.http."
_MAX_CONNECTIONS = 100_000
"""Circuit breakers default to 1,024 connections for all labs together; the 1,025th would hang."""

_KEEPALIVE_SECONDS = (60, 15, 4)
"""TCP keep-alive: idle time, interval, probes; a half-open tab is gone after two minutes."""


def _lua(*names: str, **values: str) -> dict[str, Any]:
    folder = files("datalabs_standalone.edge")
    code = "\n".join(folder.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in names)
    for name, value in values.items():
        code = code.replace(f"@{name}@", value)
    return {
        "@type": _HTTP + "lua.v3.Lua",
        "default_source_code": {"inline_string": code},
    }


def _pipe_cluster(name: str, *paths: Path) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "lb_policy": "RING_HASH" if len(paths) > 1 else "ROUND_ROBIN",
        "connect_timeout": "2s",
        "circuit_breakers": _breakers(),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(path)}}}} for path in paths]}
            ],
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
        _pipe_cluster("gateway", settings.gateway_socket, *settings.other_gateways),
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


_PASS = {"filter": "datalabs", "path": [{"key": "pass"}]}
"""Set by the threshold for a token that counts."""


def _unless(predicate: dict[str, Any], lua: dict[str, Any]) -> dict[str, Any]:
    """Leave a Lua filter out where there is nothing for it to do: it costs a request 10 to 20 µs by being there."""
    skip = {
        "name": "skip",
        "typed_config": {"@type": _TYPE + "extensions.filters.common.matcher.action.v3.SkipFilter"},
    }
    return {
        "@type": _TYPE + "extensions.common.matching.v3.ExtensionWithMatcher",
        "extension_config": {"name": "lua", "typed_config": lua},
        "xds_matcher": {
            "matcher_list": {"matchers": [{"predicate": predicate, "on_match": {"action": skip}}]}
        },
    }


_PASSED = {
    "single_predicate": {
        "input": {
            "name": "pass",
            "typed_config": {
                "@type": _TYPE + "extensions.matching.common_inputs.network.v3.DynamicMetadataInput",
                **_PASS,
            },
        },
        "custom_match": {
            "name": "yes",
            "typed_config": {
                "@type": _TYPE + "extensions.matching.input_matchers.metadata.v3.Metadata",
                "value": {"string_match": {"exact": "yes"}},
            },
        },
    }
}
_SETS_NO_COOKIE = {
    "not_matcher": {
        "single_predicate": {
            "input": {
                "name": "set-cookie",
                "typed_config": {
                    "@type": _TYPE + "type.matcher.v3.HttpResponseHeaderMatchInput",
                    "header_name": "set-cookie",
                },
            },
            "value_match": {"safe_regex": {"google_re2": {}, "regex": ".*"}},
        }
    }
}


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


def _filters(settings: EdgeSettings) -> list[dict[str, Any]]:
    scheme, key = settings.scheme, {"EDGE_KEY_HEX": settings.edge_key.hex()}
    return [
        {"name": "loopback", "typed_config": _lua("loopback", SCHEME=scheme, HOST=settings.public_host)},
        {
            "name": "lab_shed",
            "typed_config": {
                "@type": _HTTP + "header_mutation.v3.HeaderMutation",
                "mutations": {
                    "request_mutations": [{"remove": name} for name in (*ROUTING, "authorization")]
                },
            },
        },
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
        {
            "name": "lab_threshold",
            "typed_config": _lua("sha256", "ours", "inward", "threshold", SCHEME=scheme, **key),
        },
        {
            "name": "lab_authz",
            "typed_config": {
                "@type": _HTTP + "ext_authz.v3.ExtAuthz",
                "filter_enabled_metadata": {
                    **_PASS,
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
            "typed_config": _unless(_PASSED, _lua("sha256", "ours", "inward", "doorstep", **key)),
        },
        {"name": "lab_cookies", "typed_config": _unless(_SETS_NO_COOKIE, _lua("ours", "outward"))},
        {
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": _HTTP + "router.v3.Router",
                "suppress_envoy_headers": True,
                # Counters by upstream and status cost a request 5 µs; the listener's own count all the same.
                "dynamic_stats": False,
            },
        },
    ]


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
            "local_reply_config": local_replies(settings),
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


_WATCHDOG = {"miss_timeout": "5s", "megamiss_timeout": "10s"}
"""They only count threads that stall, and wake each thread twice within the shorter time: by default ten times a second."""


def build_config(settings: EdgeSettings) -> dict[str, Any]:
    """Return Envoy's bootstrap configuration; it holds the edge key, so its file must be mode 0600."""
    listeners = [
        _listener(
            "edge",
            settings.host,
            settings.port,
            _manager(settings, "edge", virtual_hosts(settings), _filters(settings)),
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
                    gateway_route("/api/v1/", sampling=1),
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
        "watchdogs": {"main_thread_watchdog": _WATCHDOG, "worker_watchdog": _WATCHDOG},
        "static_resources": {"listeners": listeners, "clusters": _clusters(settings)},
    }


def write_config(settings: EdgeSettings, path: Path) -> None:
    """Write the configuration for `envoy -c`, readable by its owner only, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(build_config(settings), out, indent=1)
    temporary.rename(path)
