"""Alembic runs the migrations of this service from here."""

from datalabs_runtime.migrations import run_env

run_env("launcher")
