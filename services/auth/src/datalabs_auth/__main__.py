"""Starts the service: `python -m datalabs_auth`."""

from datalabs_auth.app import build
from datalabs_runtime.service import main

if __name__ == "__main__":
    main("auth", build)
