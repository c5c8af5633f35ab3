"""All tests share the harness of `libs/testing`."""

pytest_plugins = ["datalabs_testing.plugin"]
