"""
What was said in a request and in its reply, where content capture is on.

The message schema of the GenAI conventions: `[{role, parts}]`, replies with their
`finish_reason`. Three laws. Media never leave: of base64 only type, size and hash are
kept, of an address nothing after its path (signatures stand in the query), of an opaque
field, and of one that is named as a credential is, nothing at all. Every text is
bounded and all of them together share one `Room`; what was cut is said where it was
cut. Whatever was given, plain JSON values come out and nothing is raised.
"""

from .replies import Collector
from .requests import of_request

__all__ = ["Collector", "of_request"]
