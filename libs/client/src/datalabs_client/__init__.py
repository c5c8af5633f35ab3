"""The typed Python client and the `datalabs` command line."""
