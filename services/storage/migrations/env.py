"""Alembic's entry for storage."""

from datalabs_runtime.migrations import run_env

run_env("storage")
