"""Run a notebook to HTML in the home: `python -m datalabs_lab.run NOTEBOOK [--name NAME]`, for batch labs.

The notebook's cells are executed from top to bottom; the report lands under `reports/` in the home. The exit code is 0
when every cell succeeded; a failing cell's traceback is in the log and in the report, and the exit code is 1.
"""

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from datalabs_lab.place import home
from datalabs_lab.spans import span


def report_path(notebook: Path, name: str, now: datetime) -> Path:
    """Return where the report goes: named for the notebook and the moment, so that none is overwritten."""
    stem = name or notebook.stem
    safe = (
        "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in stem).strip(".-")
        or "report"
    )
    return home() / "reports" / f"{safe}-{now:%Y%m%dT%H%M%S}.html"


def run(notebook: Path, name: str, parameters: dict[str, str]) -> int:
    """Execute the notebook and write its report; returns the exit code."""
    import nbformat
    from nbclient.exceptions import CellExecutionError
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import ExecutePreprocessor

    document = nbformat.read(notebook, as_version=4)
    for key, value in parameters.items():
        os.environ[f"DATALABS_PARAMETER_{key.upper()}"] = value
    target = report_path(notebook, name, datetime.now(tz=UTC))
    target.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    code = 0
    print(f"running {notebook.name}", flush=True)  # noqa: T201 - the lab's log
    with span("lab.batch", notebook=notebook.name):
        try:
            ExecutePreprocessor(timeout=None, kernel_name="python3").preprocess(
                document, {"metadata": {"path": str(home())}}
            )
        except CellExecutionError as error:
            print(error, file=sys.stderr, flush=True)  # noqa: T201
            code = 1
        body, _ = HTMLExporter().from_notebook_node(document)
        target.write_text(body, encoding="utf-8")
    print(f"wrote {target} after {time.monotonic() - began:.1f} s", flush=True)  # noqa: T201
    return code


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Run a notebook to HTML in the home.")
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--name", default="")
    parser.add_argument("--parameter", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    parameters = dict(item.split("=", 1) for item in options.parameter)
    notebook = options.notebook
    if not notebook.is_file() and not notebook.is_absolute():
        notebook = home() / notebook
    if not notebook.is_file():
        print(f"there is no notebook {options.notebook} in the home", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    sys.exit(run(notebook, options.name, parameters))


if __name__ == "__main__":
    main()
