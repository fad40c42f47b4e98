"""
Exceptions that outlive their call: what they say, without what they hold.

An exception holds its traceback, which holds the frames of every function that it passed,
and those hold requests, replies and whatever else the functions were working on.
"""

from __future__ import annotations

MOST_CAUSES = 16
LONGEST_TEXT = 1_000


def remembered(error: BaseException, causes: int = MOST_CAUSES) -> BaseException:
    """
    An exception of the same class that says the same, to be raised later.

    It has no traceback. Of the arguments only numbers and texts are kept, cut to 1,000
    characters, and of the causes sixteen, each as bare as itself.
    """
    bare = _bare(error, causes)
    if causes > 0 and error.__cause__ is not None:
        bare.__cause__ = remembered(error.__cause__, causes - 1)
    elif causes > 0 and error.__context__ is not None:
        bare.__context__ = remembered(error.__context__, causes - 1)
    bare.__suppress_context__ = error.__suppress_context__
    return bare


def _bare(error: BaseException, causes: int) -> BaseException:
    if isinstance(error, BaseExceptionGroup):
        return error.derive([remembered(each, causes - 1) for each in error.exceptions[:MOST_CAUSES]])
    facts = [each for each in error.args if each is None or isinstance(each, str | int | float)]
    facts = [each[:LONGEST_TEXT] if isinstance(each, str) else each for each in facts]
    try:
        return type(error)(*facts)
    except Exception:  # its class wants other arguments than it kept
        return type(error).__new__(type(error), *facts)
