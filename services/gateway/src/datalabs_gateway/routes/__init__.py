"""HTTP in: one module per part of the public interface; each handler is a context, one call and a reply."""
