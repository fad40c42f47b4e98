"""`health_store=`: where it may be written, what is refused, and with which words."""

import importlib
import json
import logging
import os
import subprocess
import sys
import time

import pytest

import byteplus_trace
from byteplus_trace import SettingError
from byteplus_trace._config import configure
from byteplus_trace._policy import store_address
from byteplus_trace._policy.store_address import StoreAddress

POLICY = {"targets": [{"name": "sg", "region": "ap-southeast-1", "api_key": "k"}]}


@pytest.mark.parametrize(
    ("written", "url", "namespace", "name"),
    [
        ("redis://host:6379/0", "redis://host:6379/0", "default", "host:6379/0 default"),
        (" redis://host ", "redis://host", "default", "host default"),
        ("redis://host/3?namespace=prod", "redis://host/3", "prod", "host/3 prod"),
        (
            "rediss://me:secret@host:6380/0?ssl_ca_certs=/ca.pem&namespace=a-b.c_1",
            "rediss://me:secret@host:6380/0?ssl_ca_certs=%2Fca.pem",
            "a-b.c_1",
            "host:6380/0 a-b.c_1",
        ),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2", "default", "/run/redis.sock default"),
        ("redis://[::1]:6379", "redis://[::1]:6379", "default", "[::1]:6379 default"),
    ],
)
def test_an_address_is_read(written, url, namespace, name):
    address = StoreAddress.of(written)

    assert (url, namespace, name) == (address.url, address.namespace, address.name)
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "must be a URL"),
        (7, "must be a URL"),
        ({"url": "redis://host"}, "must be a URL"),
        ("host:6379", "must be one of redis, rediss, unix"),
        ("http://host", "must be one of redis, rediss, unix"),
        ("valkey://me:secret@host", "Valkey speaks too"),
        ("redis+sentinel://host:26379/mymaster", "Cluster and Sentinel are not supported"),
        ("redis-cluster://host", "Cluster and Sentinel are not supported"),
        ("redis://one:6379,two:6379/0", "Cluster and Sentinel are not supported"),
        ("redis://", "names no host"),
        ("redis:///0", "names no host"),
        ("redis://host:port", "is not a URL"),
        ("redis://host:99999", "is not a URL"),
        ("redis://host:0", "the number of a database"),
        ("redis://host/name", "the number of a database"),
        ("redis://host/0?db=x", "the number of a database"),
        ("redis://host/0?namespace=", "a namespace has 1 to 64"),
        ("redis://host/0?namespace=a:b*", "a namespace has 1 to 64"),
        ("redis://host/0?name_space=prod", "Did you mean 'namespace'?"),
        ("redis://host/0?socket_timeout=60", "is not an option"),
        ("redis://:secret@host/0?decode_responses=true", "is not an option"),
        ("unix://", "names no socket"),
        ("redis://:se#cret@host", "special characters escaped"),
        ("redis://host/0#prod", "special characters escaped"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_the_fix(written, message):
    with pytest.raises(SettingError) as refused:
        configure({"health_store": written}, {})

    assert message in str(refused.value)
    assert "secret" not in str(refused.value)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(store_address, "find_spec", lambda name: None)

    with pytest.raises(SettingError, match=r"pip install 'byteplus-trace\[redis\]'"):
        configure({"health_store": "redis://host"}, {})
    assert configure({}, {}).health_store is None


def test_it_may_be_an_argument_a_variable_or_in_the_file(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"health_store": "redis://file", "policy": POLICY}))
    environ = {"BYTEPLUS_TRACE_CONFIG": str(file)}

    assert "redis://file" == configure({}, environ).health_store
    environ["BYTEPLUS_TRACE_HEALTH_STORE"] = "redis://variable"
    assert "redis://variable" == configure({}, environ).health_store
    assert "redis://argument" == configure({"health_store": "redis://argument"}, environ).health_store


def test_the_password_may_be_in_the_environment():
    written = {"health_store": "redis://:${REDIS_PASSWORD}@host"}

    assert "redis://:secret@host" == configure(written, {"REDIS_PASSWORD": "secret"}).health_store
    with pytest.raises(SettingError, match="REDIS_PASSWORD is not set"):
        configure(written, {})


def test_no_password_is_shown():
    config = configure({"health_store": "redis://me:secret@host"}, {})

    assert "secret" not in repr(config)


def test_a_wrong_one_is_refused_by_an_explicit_transport_too():
    with pytest.raises(SettingError, match="names no host"):
        byteplus_trace.ModelArkTransport(policy=POLICY, health_store="redis://")


@pytest.mark.server("redis-server")
@pytest.mark.parametrize("name", ["httpx", "httpx2"])
def test_explicit_transports_share(ark, redis_server, recorded, name, caplog):
    caplog.set_level(logging.WARNING, "byteplus_trace")
    library = importlib.import_module(name)
    make = byteplus_trace.ModelArkTransport if name == "httpx" else byteplus_trace.httpx2.ModelArkTransport
    targets = [
        {
            "name": "sg",
            "region": "ap-southeast-1",
            "base_url": ark.base_url("ap-southeast-1"),
            "api_key": "a",
        },
        {"name": "eu", "region": "eu-west-1", "base_url": ark.base_url("eu-west-1"), "api_key": "b"},
    ]
    transports = [
        make(
            policy={"targets": targets, "breaker": {"consecutive": 2}},
            health_store=redis_server.url,
            tracer_provider=recorded.provider,
            registry=recorded.registry,
        )
        for _ in range(2)
    ]
    ark.region("ap-southeast-1").refuses()

    def call(transport):
        with library.Client(transport=transport) as client:
            return client.post(
                ark.base_url("ap-southeast-1") + "/chat/completions", json={"model": "m", "messages": []}
            )

    for _ in range(2):
        assert "2" == call(transports[0]).headers["x-byteplus-trace-attempts"]
    health = transports[1]._own.router.health
    for _ in range(1_000):
        if not health.would_admit("sg", "chat"):
            break
        time.sleep(0.01)

    assert "1" == call(transports[1]).headers["x-byteplus-trace-attempts"]
    store = redis_server.url.removeprefix("redis://").replace("?namespace=", " ")
    assert 1 == recorded.series("modelark_health_store_up", store=store)
    assert 0 == recorded.series("modelark_health_store_errors_total")
    for source in ("own", "fleet"):
        assert 1 == recorded.series("modelark_breaker_openings_total", target="sg", source=source)
    for transport in transports:
        transport._own.router.stop_sharing()
    assert 0 == recorded.series("modelark_health_store_up", store=store)


# What people are shown.


def look(*arguments, environ=None):
    return subprocess.run(
        [sys.executable, "-m", "byteplus_trace", *arguments], capture_output=True, text=True, timeout=120,
        check=False, env={**os.environ, "COLUMNS": "200", **(environ or {})},
    )  # fmt: skip


@pytest.mark.server("redis-server")
def test_doctor_and_config_check_look_at_it(redis_server, tmp_path):
    file = tmp_path / "settings.json"
    url = redis_server.url.replace("redis://", "redis://default:secret@")
    file.write_text(json.dumps({"health_store": redis_server.url, "policy": POLICY}))

    def doctor(url):
        done = look("doctor", "--timeout", "0.1", environ={"BYTEPLUS_TRACE_HEALTH_STORE": url})
        (line,) = [line for line in done.stdout.splitlines() if "health store" in line]
        assert "secret" not in done.stdout + done.stderr
        return line

    def check():
        done = look("config", "check", str(file))
        assert 0 == done.returncode, done.stderr
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("health store")]
        return line

    assert doctor(redis_server.url).startswith("ok")
    assert "can be read and written" in check()
    assert "namespace test" in check()
    redis_server.client().config_set("requirepass", "another")
    assert doctor(url).startswith("warn")
    assert "cannot be used" in check()
    redis_server.kill()
    assert "refused" in doctor(url).lower()
    assert "cannot be used" in check()


def test_config_check_warns_of_a_store_that_nothing_uses(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"health_store": "redis://127.0.0.1:1"}))

    done = look("config", "check", "--strict", str(file))

    assert 1 == done.returncode
    assert "without a policy" in done.stdout


def test_config_check_warns_of_a_password_in_the_clear(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"health_store": "redis://me:secret@192.0.2.1/0", "policy": POLICY}))

    done = look("config", "check", str(file))

    assert "rediss://" in done.stdout
    assert "secret" not in done.stdout
