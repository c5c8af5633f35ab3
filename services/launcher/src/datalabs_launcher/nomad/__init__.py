"""Labs on a Nomad cluster."""
