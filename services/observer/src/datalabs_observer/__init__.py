"""What operators watch: event history, traces, dead letters, health."""
