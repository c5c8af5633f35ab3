"""The public door: REST API, live events, sign-in, who may reach which lab."""
