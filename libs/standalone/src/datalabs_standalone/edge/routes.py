"""Which host and path goes where, and how much of it is traced."""

from typing import Any

from datalabs_standalone.edge.settings import EdgeSettings

_TYPE = "type.googleapis.com/envoy."
SESSION_COOKIE = "__Host-datalabs-session"
"""What a person's requests have in common: with several gateways they all go to one."""
LAB_FILTERS = ("lab_shed", "lab_jwt", "lab_threshold", "lab_authz", "lab_doorstep", "lab_cookies")
"""The filters that only lab origins pass, in their order."""

ROUTING = ("x-lab-upstream", "x-lab-id", "x-lab-attempt", "x-lab-secret")
"""Headers that only the edge itself may set."""


def _off(*names: str) -> dict[str, Any]:
    return {name: {"@type": _TYPE + "config.route.v3.FilterConfig", "disabled": True} for name in names}


def _percent(value: float) -> dict[str, Any]:
    # Envoy decides by the request id modulo 10,000: of a million, one per cent would be every request.
    return {"numerator": round(value * 100), "denominator": "TEN_THOUSAND"}


def _sampled(value: float) -> dict[str, Any]:
    return {
        "client_sampling": _percent(100),
        "random_sampling": _percent(value),
        "overall_sampling": _percent(100),
    }


def gateway_route(prefix: str, *, sampling: float, method: str | None = None) -> dict[str, Any]:
    """Return a route to the gateway; `sampling` is a percentage, `method` a pattern of methods."""
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
        "route": {
            "cluster": "gateway",
            "timeout": "0s",
            "idle_timeout": "0s",
            "hash_policy": [{"cookie": {"name": SESSION_COOKIE}}],
        },
    }


_VISIT = {"name": "sec-fetch-mode", "string_match": {"exact": "navigate"}}
"""A page that a person opens, which belongs to the launch's trace; what it loads then comes by the hundred."""


def _lab_route(match: dict[str, Any], *, sampling: float) -> dict[str, Any]:
    return {
        "match": match,
        "tracing": _sampled(sampling),
        "route": {
            "cluster": "labs",
            "timeout": "0s",
            "idle_timeout": "0s",
            "retry_policy": {"retry_on": "reset-before-request", "num_retries": 1},
        },
        "request_body_buffer_limit": 65536,
    }


def virtual_hosts(settings: EdgeSettings) -> list[dict[str, Any]]:
    """Return the labs' hosts, the platform's, the loopback address and all that is unknown."""
    platform_filters = _off(*LAB_FILTERS, "loopback")
    hosts: list[dict[str, Any]] = [
        {
            "name": "labs",
            "domains": [f"*.{settings.labs_domain}"],
            "typed_per_filter_config": _off("loopback"),
            "routes": [
                # The entrance joins its launch's trace; the desktop's files and events are as much as any page's.
                *(
                    {
                        **gateway_route(path, sampling=sampling),
                        "typed_per_filter_config": _off(
                            "lab_jwt", "lab_authz", "lab_doorstep", "lab_cookies"
                        ),
                    }
                    for path, sampling in (("/.datalabs/enter", 100), ("/.datalabs/", 1))
                ),
                _lab_route({"prefix": "/", "headers": [_VISIT]}, sampling=100),
                _lab_route({"prefix": "/"}, sampling=settings.lab_sampling),
            ],
        },
        {
            "name": "platform",
            "domains": [settings.public_host],
            "typed_per_filter_config": platform_filters,
            "request_headers_to_remove": list(ROUTING),
            "routes": [
                gateway_route("/", sampling=100, method="POST|PUT|PATCH|DELETE"),
                gateway_route("/", sampling=1),
            ],
        },
    ]
    if settings.public_host != "127.0.0.1":
        hosts.append(
            {
                "name": "loopback",
                "domains": ["127.0.0.1"],
                "typed_per_filter_config": _off(*LAB_FILTERS),
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
