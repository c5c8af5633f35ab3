"""Container labs on this machine's Docker engine: another member of the federation, beside the processes in `local/`."""
