"""Alembic's entry for the gateway."""

from datalabs_runtime.migrations import run_env

run_env("gateway")
