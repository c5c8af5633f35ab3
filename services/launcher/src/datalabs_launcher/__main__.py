"""`python -m datalabs_launcher [SETTINGS FILE]`."""

from datalabs_launcher.app import build
from datalabs_runtime.service import main

if __name__ == "__main__":
    main("launcher", build)
