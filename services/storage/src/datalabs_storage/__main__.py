"""Starts the service: `python -m datalabs_storage`."""

from datalabs_runtime.service import main
from datalabs_storage.app import build

if __name__ == "__main__":
    main("storage", build)
