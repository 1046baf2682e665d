"""What the commands of the command line do, apart from `run`."""
