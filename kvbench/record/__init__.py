"""Owns what a run leaves behind: the schema, the run folder, the facts about the host."""
