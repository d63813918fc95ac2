"""Rules between keys: what a config asks that its task, its metric or its other keys do not admit."""
