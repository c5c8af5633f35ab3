"""What a notebook may ask about the lab it runs in. Standard library only; outside a lab everything stays quiet.

>>> import datalabs_lab
>>> datalabs_lab.collections()          # {} outside a lab
{}
"""

from datalabs_lab.place import collections, home, lab_id, scratch, token
from datalabs_lab.spans import span

__all__ = ["collections", "home", "lab_id", "scratch", "span", "token"]
