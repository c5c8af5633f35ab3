"""Starts the service: `python -m datalabs_catalogue`."""

from datalabs_catalogue.app import build
from datalabs_runtime.service import main

if __name__ == "__main__":
    main("catalogue", build)
