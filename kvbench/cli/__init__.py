"""The command line: one file a command, found through the entry-point group `kvbench.commands`."""
