"""What runs jobs: processes of this machine, or the machines of a Ray cluster. One file an engine."""
