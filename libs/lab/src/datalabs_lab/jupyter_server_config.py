"""The configuration file that Jupyter executes; `c` is its name for the configuration."""

from datalabs_lab.jupyter import configure

configure(c)  # type: ignore[name-defined]  # noqa: F821 - Jupyter defines it
