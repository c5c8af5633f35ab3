# pathlib alone takes a shim as long to import as all else that it needs:
# ruff: noqa: PTH100, PTH120
"""One lab's supervisor: `python3 -I -S -E shim.py DIR` runs what DIR/spec.json says, once; see `supervisor.py`.

Standard library only. It outlives the launcher and the platform; only the machine, or a kill of its own, ends it early.
"""

import os
import sys

if __name__ == "__main__":
    if __package__ is None:
        sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from datalabs_launcher.local.supervisor import main

    sys.exit(main(sys.argv[1]))
