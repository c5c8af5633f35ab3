"""The only modules that speak SQL; they take and return models, their callers own the transactions."""
