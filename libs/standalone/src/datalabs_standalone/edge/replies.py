"""What Envoy answers by itself: local replies as readable pages and problem documents."""

from typing import Any

from datalabs_standalone.edge import pages
from datalabs_standalone.edge.settings import EdgeSettings


def _header_filter(name: str, match: dict[str, Any]) -> dict[str, Any]:
    return {"header_filter": {"header": {"name": name, "string_match": match}}}


def _mapper(filters: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
    # Envoy's and_filter wants two at least.
    every = {"and_filter": {"filters": filters}} if len(filters) > 1 else filters[0]
    return {"filter": every, "body_format_override": body}


def local_replies(settings: EdgeSettings) -> dict[str, Any]:
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
