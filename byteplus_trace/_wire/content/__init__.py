"""
The content of a request and of its reply, where content capture is on.

The message schema of the GenAI conventions: `[{role, parts}]`, replies with their
`finish_reason`. Three laws. No media are exported: of base64 only type, size and
hash are kept, of an address nothing after its path (the query may hold a signature), and
nothing at all of opaque fields and of fields named like a credential. Every text is
bounded, and all of them share one `TextBudget`; a cut is marked where it was made. For any
input the result is plain JSON values, and nothing is raised.
"""

from .replies import Collector
from .requests import of_request

__all__ = ["Collector", "of_request"]
