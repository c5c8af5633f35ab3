"""What every service needs to run: settings, broker, database, outbox, identity, telemetry."""
