"""Every message that crosses a service border: models, subjects, streams, errors."""
