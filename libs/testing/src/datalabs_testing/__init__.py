"""Real NATS, PostgreSQL and Envoy for tests; clock, event recorder, chaos proxy."""
