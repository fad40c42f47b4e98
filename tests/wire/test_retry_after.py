"""How long a service asks its callers to wait."""

import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byteplus_trace._wire.retry_after import retry_after

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after": email.utils.formatdate(NOW + 7, usegmt=True)}, 7.0),
        ({"retry-after": email.utils.formatdate(NOW - 7, usegmt=True)}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 +999999999999999999999"}, None),
    ],
)
def test_seconds_milliseconds_and_dates(headers, seconds):
    assert seconds == retry_after(headers, NOW)


_dates = st.from_regex(
    r"[A-Z][a-z]{2}, \d{1,2} (Jan|Oct) \d{1,5} \d{1,3}:\d\d:\d\d ([+-]\d{1,30}|GMT|)", fullmatch=True
)


@given(st.text() | _dates)
def test_whatever_a_server_writes_is_no_error(text):
    seconds = retry_after({"retry-after": text}, NOW)

    assert seconds is None or seconds >= 0
