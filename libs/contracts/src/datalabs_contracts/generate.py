"""Write what is made from the contracts: AsyncAPI, the list of problem codes, the schema of `datalab-meta.yml`."""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datalabs_contracts import asyncapi
from datalabs_contracts.metadata import DatalabMeta
from datalabs_contracts.problems import CATALOGUE, PROBLEM_BASE, PROBLEM_MEDIA_TYPE


def problems_page() -> str:
    """Return the list of problem codes as Markdown."""
    rows = "".join(
        f"| `{code}` | {status} | {title} |\n"
        for code, (status, title) in sorted(CATALOGUE.items(), key=lambda item: (item[1][0], item[0]))
    )
    return f"""\
# Problem codes

Every refusal is an RFC 9457 problem document (`{PROBLEM_MEDIA_TYPE}`) with a stable `code`; its `type` is
`{PROBLEM_BASE}<code>`. A code never changes its meaning. Programs decide by `code`, people read `title` and `detail`.
`trace_id` names the trace of the request, `errors` the wrong fields by JSON pointer, `retry_after` the seconds after
which a repetition may succeed.

| code | status | title |
|---|---|---|
{rows}"""


def metadata_schema() -> dict[str, Any]:
    """Return the JSON Schema of `datalab-meta.yml`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://open-datalabs.org/schemas/datalab-meta.json",
        **DatalabMeta.model_json_schema(by_alias=True, mode="validation"),
    }


def files() -> dict[str, str]:
    """Return every generated file's text by name."""
    return {
        "asyncapi.gen.json": _json(asyncapi.document(version("datalabs-contracts"))),
        "problems.gen.md": problems_page(),
        "datalab-meta.schema.gen.json": _json(metadata_schema()),
    }


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    """Write the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs"))
