"""Frameworks over us, each in an environment of its own: `python -m tests.frameworks [NAME ...]`."""
