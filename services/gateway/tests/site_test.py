import pytest

from datalabs_gateway.site import SiteFacts, host_name

LAB = "k3v9x2mnpq"


def site(**change: object) -> SiteFacts:
    known = {
        "name": "Site",
        "version": "1",
        "public_url": "http://localhost:8080",
        "labs_domain": "localhost",
        "labs_scheme": "http",
        "labs_port": 8080,
    }
    return SiteFacts(**(known | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "lab"),
    [
        (f"{LAB}.localhost:8080", LAB),
        (f"{LAB}.localhost", LAB),
        (f"{LAB.upper()}.localhost:1", LAB),
        ("localhost:8080", None),
        (f"{LAB}.evil.example", None),
        (f"x.{LAB}.localhost", None),
        ("kilo.localhost", None),
        ("k3v9x2mnp0.localhost", None),
        ("", None),
        ("[::1]:8080", None),
    ],
)
def test_which_lab_a_host_means(host: str, lab: str | None) -> None:
    assert site().lab_of_host(host) == lab


def test_addresses_of_labs() -> None:
    assert site().lab_origin(LAB) == f"http://{LAB}.localhost:8080"
    assert site().lab_origin(LAB, "localhost:9000") == f"http://{LAB}.localhost:9000"
    assert site().lab_origin(LAB, "localhost") == f"http://{LAB}.localhost"
    assert site().lab_origin(LAB, "evil.example:9000") == f"http://{LAB}.localhost:8080"
    elsewhere = site(
        public_url="https://datalabs.example",
        labs_domain="labs.example.net",
        labs_scheme="https",
        labs_port=443,
    )
    assert elsewhere.lab_origin(LAB, "datalabs.example") == f"https://{LAB}.labs.example.net"
    apart = site(public_url="https://datalabs.example", labs_port=8443, labs_scheme="https")
    assert apart.lab_origin(LAB, "datalabs.example") == f"https://{LAB}.localhost:8443"
    assert apart.seen_as(f"{LAB}.localhost:9") == "https://datalabs.example"


def test_own_origins() -> None:
    assert site().is_own_origin("http://localhost:8080", "anything")
    assert site().is_own_origin("http://localhost:9000", "localhost:9000")
    assert not site().is_own_origin("http://localhost:9000", "localhost:8080")
    assert not site().is_own_origin("file://localhost:9000", "localhost:9000")
    assert not site().is_own_origin("http://[", "localhost:9000")
    assert host_name("[::1]:80") == "[::1]"
