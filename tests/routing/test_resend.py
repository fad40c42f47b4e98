"""What an SDK sends again after an exception is known by who sends it, and what."""

import threading

import pytest

from byteplus_trace._routing.resend import REMEMBERED, REMEMBERED_FOR_SECONDS, Key, Prior, Resends
from byteplus_trace._routing.steps import Failure

PRIOR = Prior(2, 1_030.0, Failure("timeout", reached=True), blocked=True)
KEY = Key(threading.get_ident(), "https://ark.example/api/v3/images/generations", b"digest")


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def resends(clock):
    return Resends(clock)


def test_the_same_request_of_the_same_caller_is_recalled(resends):
    resends.remember(KEY, PRIOR)

    assert PRIOR == resends.recall(KEY)


@pytest.mark.parametrize(
    "other", [{"caller": "another task"}, {"url": "https://ark.example/"}, {"digest": b"other"}]
)
def test_another_request_is_not(resends, other):
    resends.remember(KEY, PRIOR)

    assert resends.recall(KEY._replace(**other)) is None


def test_it_is_recalled_once(resends):
    resends.remember(KEY, PRIOR)
    resends.recall(KEY)

    assert resends.recall(KEY) is None


def test_it_is_forgotten_after_a_while(resends, clock):
    resends.remember(KEY, PRIOR)
    clock.now += REMEMBERED_FOR_SECONDS + 1

    assert resends.recall(KEY) is None


def test_the_registry_is_bounded_and_keeps_no_expired_exception_alive(resends, clock):
    for at in range(REMEMBERED + 5):
        resends.remember(KEY._replace(digest=bytes([at % 256, at // 256])), PRIOR)
    assert REMEMBERED == len(resends.ended)
    clock.now += REMEMBERED_FOR_SECONDS + 1

    resends.remember(KEY, PRIOR)

    assert 1 == len(resends.ended)


def test_what_expired_is_forgotten_without_another_failure(resends, clock):
    resends.remember(KEY, PRIOR)
    clock.now += REMEMBERED_FOR_SECONDS + 1

    resends.recall(KEY._replace(caller="another task"))

    assert {} == resends.ended
