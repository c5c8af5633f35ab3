"""Starts the service: `python -m datalabs_observer`."""

from datalabs_observer.app import build
from datalabs_runtime.service import main

if __name__ == "__main__":
    main("observer", build)
