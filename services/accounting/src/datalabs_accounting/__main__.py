"""Starts the service: `python -m datalabs_accounting`."""

from datalabs_accounting.app import build
from datalabs_runtime.service import main

if __name__ == "__main__":
    main("accounting", build)
