"""Files in the manners that are found in public repositories of ESA Datalabs' users."""

from pathlib import Path

import pytest
import yaml

from datalabs_catalogue import esa
from datalabs_catalogue.models import Entry
from datalabs_catalogue.reading import read_entry
from datalabs_contracts.datalabs import Kind, Runtime

DOTTED = """
title: Mars spectra
alternateName: Mars spectra
abstract: Loads and shows spectra of Mars.
contactPoint.email: somebody@example.org
creator.name: Somebody Else
version: 0.0.3
description: >
    A notebook on spectra.
mission: Mars Express
instrument: OMEGA
distribution.license: None
citation: https://doi.org/10.21105/joss.06566
domain: https://example.github.io/spectra
language: english
"""
NESTED = """
title: Star catalogue
alternateName: stars
abstract: |
  A datalab with tools
  to explore stars
distribution.license: Apache 2.0
contactPoint:
  email: help@example.int
  organisation-name: Consortium
language: english
instrument: None
mission: Gaia
keywords: Gaia, parallaxes
thumbnailUrl: https://example.org/logo.svg
citation: None
version: 1.10
domain: https://data.esa.int/esado/domainSCI
requiredDataset:
- Gaia
doi:
  notation:
"""


def read(tmp_path: Path, text: str) -> Entry:
    folder = tmp_path / "an-entry"
    folder.mkdir()
    (folder / "datalab-meta.yml").write_text(text)
    (folder / "requirements.txt").write_text(
        "# tools\n--index-url https://example.org\nastropy\nnumpy  # arrays\n"
    )
    return read_entry(folder, root=tmp_path, digest="0" * 64, sizes=["small"])


def test_dotted_keys_and_the_word_none(tmp_path: Path) -> None:
    entry = read(tmp_path, DOTTED)
    assert (entry.contact.email, entry.creator, entry.licence) == (
        "somebody@example.org",
        "Somebody Else",
        "",
    )
    assert entry.citation is not None
    assert entry.citation.doi == "10.21105/joss.06566"
    assert (entry.domain, entry.version, entry.kind) == ("", "0.0.3", Kind.NOTEBOOK)
    assert entry.specification.runtimes.order == [Runtime.CONTAINER]
    assert entry.specification.runtimes.container is not None
    assert entry.specification.runtimes.container.image == "open-datalabs/an-entry:0.0.3"


def test_keywords_as_one_text_and_no_creator(tmp_path: Path) -> None:
    entry = read(tmp_path, NESTED)
    assert entry.keywords == ["Gaia", "parallaxes"]
    assert (entry.creator, entry.domain, entry.citation) == ("Consortium", "Space science", None)
    assert entry.abstract == "A datalab with tools to explore stars"
    assert entry.version == "1.10"
    assert entry.specification.packages == ["astropy", "numpy"]
    assert entry.icon.startswith("<svg")


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Earth science", "Earth science"),
        ("https://data.esa.int/esado/domainEO", "Earth observation"),
        ("www.example.org", ""),
        ("http://example.org/x/", ""),
    ],
)
def test_domains_read_as_facets(text: str, domain: str) -> None:
    assert esa.domain_of(text) == domain


def test_our_own_part_is_left_as_it_is() -> None:
    ours = {"x-datalabs": {"parameters": {"type": "object", "properties": {"a": {"default": None}}}}}
    assert esa.normalised(yaml.safe_load(yaml.safe_dump(ours)))["x-datalabs"] == ours["x-datalabs"]
