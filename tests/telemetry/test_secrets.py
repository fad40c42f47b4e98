"""Common secrets in captured text are removed by their form."""

from __future__ import annotations

import time

import pytest

from byteplus_trace._telemetry.secrets import without_secrets

CANARY = "cAnArY0123456789abcdef"
SECRETS = [
    f"postgres://admin:{CANARY}@db.example/shop",
    f"see https://{CANARY}@host/path",
    f"https://host/a.png?X-Tos-Algorithm=x&X-Tos-Signature={CANARY}",
    f"<https://host/a.png?sig={CANARY}&se=2026>",
    f"https://bucket/a?Expires=1&Signature={CANARY}",
    f"password={CANARY}",
    f'{{"private_key_pem": "{CANARY}", "auth": "{CANARY}"}}',
    f"DB_PASSWD: {CANARY}",
    f'{{"my_api_key": "{CANARY}"}}',
    f"client-secret = '{CANARY}'",
    f"Authorization: Bearer {CANARY}",
    f"curl -H 'authorization: basic {CANARY}=='",
    f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN PRIVATE KEY-----\n{CANARY}",
    f"the key is sk-{CANARY}.",
    f"ghp_{CANARY}",
    f"eyJhbGciOiJIUzI1NiJ9.eyJ{CANARY}.{CANARY}",
    f"kid.session-eyJhbGciOiJIUzI1NiJ9.eyJ{CANARY}.{CANARY}",
    f"postgres://admin:p@ss{CANARY}@db.example/shop",
    f"tos://bucket/a.png?X-Tos-Signature={CANARY}",
    f'{{"passphrase": "correct horse {CANARY}"}}',
    f"password='correct horse {CANARY}'",
    f'password="{CANARY}',
    f'secret = """{CANARY}"""',
    f'{{\\"password\\": \\"{CANARY}\\"}}',
]
PROSE = [
    "The secret of the river is its source.",
    "Author: Jane Doe; max_tokens: 100",
    "https://host/search?q=rivers&page=2",
    "mail jane@example.org",
    "def basic(auth): return auth",
    "",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_of_a_common_form_is_removed(text):
    found = without_secrets(f"before {text} after")

    assert CANARY not in found
    assert found.startswith("before ")
    assert "[removed]" in found


@pytest.mark.parametrize("text", PROSE)
def test_prose_stays(text):
    assert text == without_secrets(text)


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "://",
        "https://a",
        "token=",
        "token ",
        "-----BEGIN PRIVATE KEY-----",
        "bearer ",
        "eyJ",
        "?sig=",
        "eyJaaaaaaaa.",
        "eyJaaaaaaaa-",
        "http://",
        "://a@b",
        'token="aaaa ',
        "?&?&",
    ],
)
def test_it_takes_no_longer_than_the_text_is_long(unit):
    """Four times the text in less than eight times the processor's time, or in no time at all."""
    took = []
    for size in (16_384, 65_536):
        text = unit * (size // len(unit))
        began = time.process_time()
        without_secrets(text)
        took.append(time.process_time() - began)

    assert took[1] < 8 * took[0] or took[1] < 0.25
