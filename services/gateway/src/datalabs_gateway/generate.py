"""Write docs/openapi.gen.json: `python -m datalabs_gateway.generate [FOLDER]`."""

import json
import sys
from pathlib import Path

from datalabs_gateway.api import build_api
from datalabs_gateway.openapi import build_openapi

DOCS = Path(__file__).resolve().parents[4] / "docs"
"""The repository's `docs`, seen from this file in the source tree."""


def document() -> bytes:
    """Return the document as it is committed and served."""
    return json.dumps(build_openapi(build_api()), indent=2, ensure_ascii=False).encode() + b"\n"


def main() -> None:
    """Write the file."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else DOCS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "openapi.gen.json").write_bytes(document())


if __name__ == "__main__":
    main()
