"""The dashboard's files."""

from pathlib import Path
from typing import Any

import pytest

INDEX = b'<!doctype html><script>let a = 1</script><script src="/assets/app-1a2b.js"></script>'


@pytest.fixture
def built(stage: Any) -> Path:
    folder: Path = stage.folder / "dashboard"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_bytes(INDEX)
    (folder / "assets" / "app-1a2b.js").write_bytes(b"console.log(1);" * 200)
    (folder / "assets" / "style-1a2b.css").write_bytes(b"a{}" * 600)
    (folder / "assets" / "style-1a2b.css.br").write_bytes(b"brotli")
    (folder / "favicon.svg").write_bytes(b"<svg/>")
    return folder


async def test_a_page_says_that_nothing_is_built(stage: Any) -> None:
    answer = await stage.client().get("/")
    assert answer.status_code == 503
    assert "not built" in answer.text
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.usefixtures("built")
async def test_pages_and_assets(stage: Any) -> None:
    client = stage.client()
    for path in ("/", "/labs/k3v9x2mnpq", "/launch/jupyterlab?size=small", "/index.html"):
        page = await client.get(path)
        assert page.content == INDEX
        assert page.headers["cache-control"] == "no-cache"
        policy = page.headers["content-security-policy"]
        assert "script-src 'self' 'sha256-" in policy
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
    asset = await client.get("/assets/app-1a2b.js")
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert asset.headers["content-type"].startswith("text/javascript")
    again = await client.get("/assets/app-1a2b.js", headers={"if-none-match": asset.headers["etag"]})
    assert again.status_code == 304
    icon = await client.get("/favicon.svg")
    assert icon.headers["content-type"] == "image/svg+xml"
    assert (await client.head("/")).headers["content-length"] == str(len(INDEX))


async def test_compression(stage: Any, built: Path) -> None:
    client = stage.client()
    zipped = await client.get("/assets/app-1a2b.js", headers={"accept-encoding": "gzip"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert int(zipped.headers["content-length"]) < 200
    assert zipped.content == (built / "assets" / "app-1a2b.js").read_bytes()
    async with client.stream("GET", "/assets/style-1a2b.css", headers={"accept-encoding": "br"}) as answer:
        assert b"".join([part async for part in answer.aiter_raw()]) == b"brotli"
    plain = await client.get("/assets/style-1a2b.css", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers


@pytest.mark.usefixtures("built")
async def test_what_is_not_there(stage: Any) -> None:
    client = stage.client()
    for path in (
        "/assets/gone.js",
        "/robots.txt",
        "/edge/authorize",
        "/api/v2/labs",
        "/%2e%2e/datalabs.toml",
    ):
        answer = await client.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["code"] == "not_found"
    assert (await client.post("/")).json()["code"] == "method_not_allowed"


async def test_a_new_build_is_taken_up(stage: Any, built: Path) -> None:
    client = stage.client()
    await client.get("/")
    (built / "assets" / "app-9z9z.js").write_bytes(b"2")
    fresh = built / "index.new"
    fresh.write_bytes(b"<p>new</p>")
    fresh.rename(built / "index.html")
    assert (await client.get("/")).content == b"<p>new</p>"
    assert (await client.get("/assets/app-9z9z.js")).content == b"2"
