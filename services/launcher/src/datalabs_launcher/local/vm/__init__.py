"""Virtual machine labs on this machine."""
