"""Search spaces: ranges and choices for the keys of a config."""
