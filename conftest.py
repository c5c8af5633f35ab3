"""All tests share the harness of `libs/testing`, and one way of trying examples."""

import os

from hypothesis import settings

pytest_plugins = ["datalabs_testing.plugin"]

# No example is late on a busy machine. On CI the same examples are tried each time, so that a change is judged by what
# it changes; at a desk they differ from run to run, and new counter-examples are found there.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
