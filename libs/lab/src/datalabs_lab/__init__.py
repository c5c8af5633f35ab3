"""What a notebook may ask about the lab it runs in. Standard library only; outside a lab everything stays quiet.

>>> import datalabs_lab
>>> datalabs_lab.collections()          # {} outside a lab
{}
"""

from datalabs_lab.place import collections, home, lab_id, scratch, token
from datalabs_lab.spans import span

__all__ = ["collections", "home", "lab_id", "scratch", "span", "token"]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "datalabs_lab"}]


def _load_jupyter_server_extension(server: object) -> None:
    from datalabs_lab.jupyter import load_extension

    load_extension(server)
