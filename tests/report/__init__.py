"""Suites that try to make us hurt a call, and count what they did: `python -m tests.report [NAME ...]`."""
