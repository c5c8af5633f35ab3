import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalabs_catalogue.errors import BrokenIconError
from datalabs_catalogue.icons import drawn, sanitised
from datalabs_contracts.datalabs import Kind

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 8 8"'


def svg(inner: str, attributes: str = "") -> bytes:
    return f"{HEAD} {attributes}>{inner}</svg>".encode()


def test_a_drawing_stays() -> None:
    drawing = '<defs><linearGradient id="g"><stop offset="0" stop-color="#fff"/></linearGradient></defs>'
    text = sanitised(svg(drawing + '<circle r="4" fill="url(#g)" style="opacity:.5"/><use xlink:href="#g"/>'))
    assert 'fill="url(#g)"' in text
    assert 'style="opacity:.5"' in text
    assert 'href="#g"' in text
    assert text.startswith("<svg xmlns=")


@pytest.mark.parametrize(
    ("inner", "gone"),
    [
        ("<script>alert(1)</script>", "alert"),
        ('<rect onload="alert(1)" width="1"/>', "alert"),
        ('<rect ONCLICK="alert(1)"/>', "alert"),
        ('<a href="javascript:alert(1)"><rect/></a>', "alert"),
        ('<use href="https://example.org/x.svg#a"/>', "example"),
        ('<use xlink:href="data:image/svg+xml;base64,AAAA"/>', "AAAA"),
        ("<foreignObject><p xmlns='http://www.w3.org/1999/xhtml'>x</p></foreignObject>", "foreignObject"),
        ("<style>@import 'https://example.org'</style>", "example"),
        ('<rect style="fill:url(https://example.org)"/>', "example"),
        ('<rect style="background:url( //example.org )"/>', "example"),
        ('<rect fill="u\\72l(https://example.org)"/>', "example"),
        ('<image href="https://example.org/x.png"/>', "example"),
        ('<set attributeName="href" to="javascript:alert(1)"/>', "alert"),
        ('<animate attributeName="href" values="javascript:alert(1)"/>', "alert"),
        ('<rect xmlns:e="urn:x" e:href="javascript:alert(1)"/>', "alert"),
        ('<x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>', "alert"),
    ],
)
def test_what_acts_or_fetches_goes(inner: str, gone: str) -> None:
    assert gone not in sanitised(svg(inner + '<rect width="8" height="8"/>'))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture",
        b"<html xmlns='http://www.w3.org/1999/xhtml'/>",
        b"<svg/>",
        b'<!DOCTYPE svg [<!ENTITY a "aaaa">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
        svg("<g>" * 100 + "</g>" * 100),
        svg("<!-- " + "x" * 70_000 + " -->"),
        b"\xff\xfe\x00<",
    ],
)
def test_what_is_no_small_svg_is_refused(content: bytes) -> None:
    with pytest.raises(BrokenIconError):
        sanitised(content)


def test_the_usual_document_type_of_drawing_programs_is_fine() -> None:
    doctype = (
        b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
    )
    assert "<circle" in sanitised(doctype + svg('<circle r="1"/>'))


@given(st.text(max_size=40), st.sampled_from(Kind))
def test_every_title_gets_an_icon_that_is_clean_itself(title: str, kind: Kind) -> None:
    assert "<rect" in sanitised(drawn(title, kind).encode())


@given(st.binary(max_size=300))
def test_no_input_escapes(content: bytes) -> None:
    try:
        text = sanitised(content)
    except BrokenIconError:
        return
    assert "<script" not in text.lower()
