"""A real redis-server, and all that may be wrong with it: what is shared, what is said, and that nobody waits."""

import gc
import logging
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from random import Random

import pytest

from byteplus_trace import Breaker, Policy, Target
from byteplus_trace._edge import health_store
from byteplus_trace._policy.store_address import StoreAddress
from byteplus_trace._routing.health import Health

pytestmark = pytest.mark.server("redis-server")


class Reports:
    def __init__(self):
        self.up = None
        self.errors = []

    def health_store_up(self, store, up):
        self.up = up

    def health_store_error(self, store, reason, amount=1):
        if amount:
            self.errors.append(reason)


class Process:
    """What a process would have: a `Health` that shares through the store."""

    def __init__(self, url):
        self.policy = Policy(
            targets=[
                Target("sg", region="ap-southeast-1", api_key="secret-of-sg"),
                Target("eu", region="eu-west-1", api_key="secret-of-eu"),
            ],
            breaker=Breaker(consecutive=3, open=0.5),
        )
        self.health = Health(self.policy, time.monotonic, Random(1))
        self.reports = Reports()
        self.sharing = health_store.share(self.health, self.policy, StoreAddress.of(url), self.reports)

    def fail(self, times=3):
        for _ in range(times):
            self.health.failed("sg", "chat", "connect")


@pytest.fixture
def process(redis_server):
    """process(url of the store): several, of which each shares."""
    made = []

    def make(url=None):
        made.append(Process(url or redis_server.url))
        return made[-1]

    yield make
    health_store.leave(*(each.sharing for each in made))
    assert not [thread for thread in threading.enumerate() if "health-store" in thread.name]


def eventually(look, seconds=10.0):
    until = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < until, "it does not come true"
        time.sleep(0.01)


def stands(reports, up):
    eventually(lambda: reports.up is up)


# What is shared.


def test_openings_probes_cooldowns_keys_and_objects_are_shared(process):
    one, other = process(), process()

    one.fail()
    one.health.cool(("target", "eu"), 30)
    one.health.bury("a digest", "sg")
    one.health.pin("resp_1", "eu")

    eventually(lambda: other.health.reopens_at("sg", "chat"))
    eventually(lambda: other.health.cool_until(("target", "eu")))
    eventually(lambda: other.health.dead_until("a digest"))
    eventually(lambda: other.health.pinned("resp_1") == "eu")
    late = process()
    assert "no" == late.health.admit("sg", "chat"), "it was read before the first call"
    assert "eu" == late.health.pinned("resp_1")

    def probing():
        return [each for each in (one, other, late) if each.health.admit("sg", "chat") == "probe"]

    found = []
    eventually(lambda: found.extend(probing()) or found)
    time.sleep(0.2)
    assert [] == probing(), "one probe in the whole fleet"
    found[0].health.succeeded("sg", "chat", probe=True)
    for each in (one, other, late):
        eventually(lambda each=each: each.health.admit("sg", "chat") == "yes")


def test_the_counts_are_those_of_all(process):
    several = [process() for _ in range(3)]
    for each in several:
        each.fail(1)

    for each in several:
        eventually(lambda each=each: each.health.reopens_at("sg", "chat"))


def test_a_namespace_is_a_world_of_its_own(process, redis_server):
    one, other = process(), process(redis_server.url.replace("namespace=test", "namespace=staging"))
    one.fail()
    eventually(lambda: redis_server.client().keys("byteplus-trace:test:breaker:*"))
    time.sleep(0.1)

    assert 0 == other.health.reopens_at("sg", "chat")
    assert not redis_server.client().keys("byteplus-trace:staging:breaker:*")


def test_everything_has_a_time_to_live_and_no_key_is_in_it(process, redis_server):
    one, client = process(), redis_server.client()
    one.fail()
    one.health.cool(("target", "eu"), 30)
    one.health.bury("a digest", "sg")
    one.health.pin("resp_1", "eu")
    eventually(lambda: client.exists("byteplus-trace:test:pins", "byteplus-trace:test:barred") == 2)
    eventually(lambda: client.keys("*breaker*"))

    keys = client.keys("*")
    assert [] == [key for key in keys if not key.startswith(b"byteplus-trace:test:")]
    assert [] == [key for key in keys if client.ttl(key) < 0]
    everything = repr([*keys, *(client.dump(key) for key in keys), client.get(client.keys("*breaker*")[0])])
    assert "secret" not in everything
    assert "resp_1" not in everything


def test_two_stores_have_one_thread(process, fleet_of_processes):
    process()
    with fleet_of_processes.Redis() as second:
        other = process(second.url)
        stands(other.reports, True)
        assert 1 == sum("health-store" in thread.name for thread in threading.enumerate())
        health_store.leave(other.sharing)


def test_the_documented_user_may_do_all_that_is_needed(process, redis_server):
    page = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text(encoding="utf-8")
    (rule,) = re.findall(r"^ACL SETUSER .*$", page, re.MULTILINE)
    redis_server.client().execute_command(*rule.replace(">PASSWORD", ">secret").split())
    url = redis_server.url.replace("redis://", "redis://byteplus-trace:secret@")

    one, other = process(url), process(url)
    test_openings_probes_cooldowns_keys_and_objects_are_shared(process=lambda: process(url))

    assert [[], []] == [one.reports.errors, other.reports.errors]
    assert health_store.trouble_with(StoreAddress.of(url)) is None


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_over_tls(process, fleet_of_processes, tmp_path, monkeypatch):
    # The suite shares one context, which would trust the second store's certificate for the first's sake.
    monkeypatch.setattr(ssl, "create_default_context", ssl.create_default_context.__wrapped__)
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = (
        "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
        "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no",
    )  # fmt: skip
    with fleet_of_processes.Redis(*options):
        trusted = process(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}")
        stands(trusted.reports, True)
        untrusted = process(f"rediss://127.0.0.1:{port}/0")
        eventually(lambda: "connection" in untrusted.reports.errors)
        assert untrusted.reports.up is False
        health_store.leave(trusted.sharing, untrusted.sharing)

    assert [] == trusted.reports.errors


# What may be wrong.


def lines(caplog):
    return [record.getMessage() for record in caplog.records if "health store" in record.getMessage()]


def lives_alone(process):
    """Its breaker opens, is probed and closes by what it sees itself."""
    process.fail()
    assert "no" == process.health.admit("sg", "chat")
    eventually(lambda: process.health.admit("sg", "chat") == "probe")
    process.health.succeeded("sg", "chat", probe=True)
    assert "yes" == process.health.admit("sg", "chat")


def spoilt(server, how):
    client = server.client()
    match how:
        case "killed":
            server.kill()
        case "frozen":
            server.freeze()
        case "full":
            client.config_set("maxmemory", "1")
        case "read-only":
            client.replicaof("127.0.0.1", "1")
        case "password":
            client.config_set("requirepass", "another")
            client.client_kill_filter(skipme=True, _type="normal")
            client.client_kill_filter(skipme=True, _type="pubsub")
        case "foreign content":
            client.delete("byteplus-trace:test:barred")
            client.set("byteplus-trace:test:barred", "somebody else's")


def mended(server, how):
    match how:
        case "killed":
            server.start()
        case "frozen":
            server.thaw()
        case "full":
            server.client().config_set("maxmemory", "0")
        case "read-only":
            server.client().replicaof("NO", "ONE")
        case "password":
            import redis

            redis.Redis(port=server.port, password="another").config_set("requirepass", "")
        case "foreign content":
            server.client().delete("byteplus-trace:test:barred")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("killed", "connection"),
        ("frozen", "timeout"),
        ("full", "full"),
        ("read-only", "read_only"),
        ("password", "refused"),
        ("foreign content", "content"),
    ],
)
def test_a_store_that_fails_costs_what_it_would_have_known(process, redis_server, caplog, how, reason):
    caplog.set_level(logging.INFO, "byteplus_trace")
    one, other = process(), process()
    stands(one.reports, True)

    spoilt(redis_server, how)
    stands(one.reports, False)
    eventually(lambda: reason in one.reports.errors)
    lives_alone(one)
    assert "yes" == other.health.admit("sg", "chat")
    mended(redis_server, how)
    stands(one.reports, True)

    one.fail()
    eventually(lambda: other.health.reopens_at("sg", "chat"))
    gone, back = lines(caplog)
    assert "cannot be used" in gone
    assert "Calls go on" in gone
    assert "is back" in back


def test_a_store_that_is_absent_at_the_start(process, redis_server, caplog):
    redis_server.kill()
    began = time.monotonic()
    one = process()
    assert time.monotonic() - began < 2
    stands(one.reports, False)
    lives_alone(one)
    redis_server.start()
    stands(one.reports, True)

    assert ["cannot be used", "is back"] == [
        phrase for line in lines(caplog) for phrase in ("cannot be used", "is back") if phrase in line
    ]


def test_a_store_that_restarts_empty_closes_nothing_and_knows_again(process, redis_server):
    one, other = process(), process()
    one.health.cool(("target", "eu"), 60)
    eventually(lambda: other.health.cool_until(("target", "eu")))
    redis_server.kill()
    stands(other.reports, False)
    redis_server.start()
    stands(other.reports, True)

    assert other.health.cool_until(("target", "eu"))
    late = process()
    eventually(lambda: late.health.cool_until(("target", "eu")))


class Slow:
    """A proxy that holds everything up."""

    def __init__(self, port, seconds):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}/0?namespace=test"
        self.port, self.seconds = port, seconds
        self.sockets = [self.listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        try:
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                self.sockets += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()
        except OSError:
            pass

    def _pass(self, source, sink):
        try:
            while part := source.recv(65_536):
                time.sleep(self.seconds)
                sink.sendall(part)
        except OSError:
            pass
        finally:
            sink.close()

    def close(self):
        for each in self.sockets:
            each.close()


def test_a_slow_store_is_late_and_no_more(process, redis_server):
    slow = Slow(redis_server.port, 0.15)
    one, other = process(slow.url), process()
    stands(one.reports, True)
    stands(other.reports, True)
    other.fail()

    began = time.monotonic()
    for _ in range(1_000):
        one.health.admit("sg", "chat")
    assert time.monotonic() - began < 0.5
    eventually(lambda: one.health.reopens_at("sg", "chat"))
    health_store.leave(one.sharing)
    slow.close()


HOSTILE = [
    b"", b"\xff", b"not JSON", b"[" * 5_000, b"{}", b"[[]]", b'[["breaker"]]',
    b'[["breaker","https://ark.ap-southeast.bytepluses.com/api/v3","chat","",1e99,false,1,1,"x","w"]]',
    b'[["a kind of tomorrow",1,2,3]]', b"a" * 1_000_000,
]  # fmt: skip


def test_what_is_not_understood_is_counted_and_harms_nothing(process, redis_server, caplog):
    one, other, client = process(), process(), redis_server.client()
    stands(one.reports, True)
    prefix = "byteplus-trace:test:"
    for text in HOSTILE:
        client.publish(prefix + "news", text)
        client.zadd(prefix + "barred", {text: 1e15})
        client.zadd(prefix + "barred", {text + b"-": float("inf")})
        client.xadd(prefix + "pins", {"pin": text})
    client.xadd(prefix + "pins", {"other": "x"})
    for subject in one.sharing.subjects:
        client.set(f"{prefix}breaker:{subject.operation} {subject.credential} {subject.place}", b"[1,2]")
    eventually(lambda: one.reports.errors.count("content") > 20)

    assert set(one.reports.errors) == {"content"}
    assert one.reports.up
    assert "yes" == one.health.admit("sg", "chat")
    one.fail()
    eventually(lambda: other.health.reopens_at("sg", "chat"))
    assert [] == lines(caplog)


def test_a_server_of_a_cluster_is_refused_in_words(process):
    from redis.exceptions import MovedError

    assert "cluster" == health_store.reason_of(MovedError("3999 127.0.0.1:6381"))


def test_every_reason_begins_at_zero():
    from redis import exceptions

    for error in (
        exceptions.ConnectionError("x"),
        exceptions.TimeoutError("x"),
        exceptions.ResponseError("OOM command not allowed when used memory > 'maxmemory'."),
        exceptions.ResponseError(
            "Command # 1 (SET a 1) of pipeline caused error: WRONGTYPE Operation against a key"
        ),
        exceptions.ResponseError("ERR something new"),
        OSError("x"),
        TimeoutError("x"),
    ):
        assert health_store.reason_of(error) in health_store.REASONS
    assert "content" == health_store.reason_of(
        exceptions.ResponseError("Command # 1 (SET a 1) of pipeline caused error: WRONGTYPE Operation")
    )


# Who touches it.


def test_no_socket_of_the_store_is_touched_on_a_calling_thread(process, redis_server, monkeypatch):
    from redis.connection import Connection

    gc.collect()  # connections of other tests close here, and not in this one
    touched = []
    for name in ("connect", "disconnect", "send_packed_command", "can_read", "read_response"):
        real = getattr(Connection, name)

        def seen(self, *args, _name=name, _real=real, **options):
            # One that is closed already touches no socket where the collector closes it once more.
            if _name != "disconnect" or self._sock is not None:
                touched.append(threading.current_thread().name)
            return _real(self, *args, **options)

        monkeypatch.setattr(Connection, name, seen)
    one = process()
    stands(one.reports, True)
    for how in ("well", "frozen", "killed"):
        if how != "well":
            spoilt(redis_server, how)
        for at in range(50):
            one.health.failed("sg", "chat", "connect")
            one.health.admit("sg", "chat")
            one.health.admit("sg", "chat", insist=True)
            one.health.released("sg", "chat")
            one.health.pin(f"resp_{at}", "sg")
            one.health.pinned(f"other_{at}")
            one.health.cool(("target", "sg"), 5)
            time.sleep(0.005)
    health_store.leave(one.sharing)

    assert {"byteplus-trace-health-store"} == set(touched)


def test_a_policy_that_is_forgotten_shares_no_more(process, redis_server):
    one = Process(redis_server.url)
    stands(one.reports, True)
    del one
    gc.collect()

    eventually(lambda: not [t for t in threading.enumerate() if "health-store" in t.name])
    eventually(lambda: 1 == len(redis_server.client().client_list()))
