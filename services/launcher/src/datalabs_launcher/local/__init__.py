"""The `local` scheduler: labs on this machine, each with a shim of its own (DESIGN section 6)."""
