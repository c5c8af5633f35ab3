"""Starts the gateway."""

from datalabs_gateway.app import build
from datalabs_runtime.service import main

if __name__ == "__main__":
    main("gateway", build)
