"""The commands, as a person runs them."""

import gzip
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from byteplus_trace import SettingError, _cli
from byteplus_trace._cli import COMMANDS, main
from byteplus_trace._cli.calls import BY_NAME
from byteplus_trace._cli.chaos import CYCLE, PHASES, phase_at
from byteplus_trace._cli.checks import Surroundings, _key, _multiprocess, _providers, examine

# Nothing of this process's settings: what a person has who just installed the package.
BARE = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
NOBODY = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


def command(*words, **environ):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "byteplus_trace", *words],
        env={**BARE, **NOBODY, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def demo(*words, **environ):
    ended = command("demo", *words, **environ)
    assert (0, "") == (ended.returncode, ended.stderr)
    return ended.stdout


@pytest.fixture(scope="module")
def shown():
    """Both scenes, with a setting around that has no business in them."""
    return demo(BYTEPLUS_TRACE_METRICS_PORT="no port")


def on_a_terminal(columns, *words):
    """What a command writes to a terminal that is so wide, its colours taken out."""
    import termios  # of POSIX only

    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    written = bytearray()
    with subprocess.Popen(
        [sys.executable, "-m", "byteplus_trace", *words],
        env={**BARE, **NOBODY, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        # Linux says EIO where the other side has closed, others that there is no more.
        with suppress(OSError):
            while piece := os.read(ours, 65536):
                written += piece
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", written.decode()).replace("\r\n", "\n")


def rows(shown):
    """The lines of the tables and trees, numbers and gaps evened out."""
    found = re.findall(r"^(?:  a |[│ ]*[├└]─ ).+$", shown, re.MULTILINE)
    assert len(found) > 20
    return [re.sub(r"[\d.,]+", "0", re.sub(" +", " ", line)) for line in found]


SECOND_SCENE = "A region goes down"


@pytest.fixture
def calls(shown):
    return shown.partition(SECOND_SCENE)[0]


@pytest.fixture
def outage(shown):
    return shown.partition(SECOND_SCENE)[2]


class TestMain:
    def test_without_a_command_there_is_usage_and_a_failure(self, capsys):
        with pytest.raises(SystemExit) as ended:
            main([])

        assert 2 == ended.value.code
        assert "usage: byteplus-trace" in capsys.readouterr().err

    def test_help_names_every_command(self, capsys):
        with pytest.raises(SystemExit) as ended:
            main(["--help"])

        assert 0 == ended.value.code
        told = capsys.readouterr().out
        assert all(name in told for name in COMMANDS)

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_has_help(self, name, capsys):
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])

        assert 0 == ended.value.code
        assert f"usage: byteplus-trace {name}" in capsys.readouterr().out

    def test_help_loads_no_command(self):
        loads = "import sys; from byteplus_trace._cli import main\ntry: main(['--help'])\nexcept SystemExit: print([m for m in ('openai', 'rich', 'httpx', 'opentelemetry.sdk') if m in sys.modules])"
        found = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)

        assert found.stdout.endswith("[]\n")

    @pytest.mark.parametrize(
        ("raised", "status", "told"),
        [
            (ModuleNotFoundError("", name="openai"), 1, "pip install 'byteplus-trace[demo]'"),
            (ModuleNotFoundError("", name="rich.table"), 1, "pip install 'byteplus-trace[demo]'"),
            (ModuleNotFoundError("", name="grafana_foundation_sdk"), 1, "pip install 'byteplus-trace[dashboards]'"),
            (SettingError("Region 'eu-wst' is not known."), 2, "byteplus-trace: Region 'eu-wst' is not known."),
            (KeyboardInterrupt(), 130, ""),
        ],
        ids=["openai", "rich", "grafana", "setting", "ctrl-c"],
    )  # fmt: skip
    def test_a_foreseeable_fault_is_a_sentence_and_a_status(self, raised, status, told, monkeypatch, capsys):
        class Failing:
            @staticmethod
            def add_arguments(parser):
                pass

            @staticmethod
            def run(args):
                raise raised

        monkeypatch.setattr(_cli, "import_module", lambda name: Failing)

        assert status == main(["demo"])
        assert told in capsys.readouterr().err

    def test_another_missing_module_is_a_bug_and_not_hidden(self, monkeypatch):
        def missing(name):
            raise ModuleNotFoundError("No module named 'elsewhere'", name="elsewhere")

        monkeypatch.setattr(_cli, "import_module", missing)

        with pytest.raises(ModuleNotFoundError):
            main(["demo"])


class TestDemo:
    def test_every_kind_of_call_is_a_span_with_its_attempt(self, calls):
        spans = re.findall(r"^[├└]─ (\w+) ([\w-]+) +[\d,]+ ms  (\w+)$", calls, re.MULTILINE)

        assert [
            ("chat", "seed-2-0-pro-260328", "ok"),
            ("chat", "seed-1-8-251228", "ok"),
            ("embeddings", "skylark-embedding-vision-251215", "ok"),
            ("embeddings", "skylark-embedding-vision-251215", "ok"),
            ("generate_content", "seedream-4-0-250828", "ok"),
            ("chat", "seed-2-0-pro-260328", "ok"),
            ("chat", "seed-2-0-pro-260328", "ok"),
            ("chat", "seed-9-9-pro", "error"),
        ] == spans
        attempts = re.findall(r"└─ POST, initial, 200 +[\d,]+ ms  ap-southeast-1$", calls, re.MULTILINE)
        assert 7 == len(attempts)

    def test_it_tells_tokens_first_chunk_images_cost_and_errors(self, calls):
        assert re.search(r"tokens: \d+ in \(\d+ cached\), \d+ out \(\d+ reasoning\) · about \$", calls)
        assert re.search(r"└─ chat seed-1-8-251228 .*\n.* first chunk after [\d,]+ ms", calls)
        assert "1 image generated" in calls
        assert re.search(r" error ModelNotOpen\n.* request 02", calls)

    def test_the_series_agree_with_the_spans(self, calls):
        assert "chat error 1   chat ok 4   embeddings ok 2   generate_content ok 1" in calls
        assert "sum by (type) (modelark_tokens_total)" in calls
        assert "demo 8" in calls

    def test_it_says_what_to_type_next(self, shown):
        (directory,) = re.findall(r"^  byteplus-trace dashboards (\w+)$", shown, re.MULTILINE)
        assert f"docker compose -f {directory}/compose.yaml up" in shown
        assert "byteplus_trace.instrument(metrics_port=9464)" in shown

    def test_it_is_plain_and_at_most_80_columns_wide(self, shown):
        assert "\x1b" not in shown
        assert 80 >= max(map(len, shown.splitlines()))

    @pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
    @pytest.mark.parametrize("columns", [80, 200])
    def test_on_a_terminal_no_row_is_broken(self, columns, outage):
        """The same rows as in a pipe, but for the numbers in them."""
        assert rows(outage) == rows(on_a_terminal(columns, "demo", "--only", "outage"))

    def test_without_an_sdk_for_spans_it_says_why_there_is_nothing_to_show(self):
        ended = command("demo", OTEL_SDK_DISABLED="true")

        assert 1 == ended.returncode
        assert "OTEL_SDK_DISABLED" in ended.stdout

    def test_where_somebody_takes_spans_they_go_there_and_each_trace_is_named(self):
        taken = []

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self):
                taken.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
            Thread(target=receiver.serve_forever, daemon=True).start()
            endpoint = f"http://127.0.0.1:{receiver.server_port}"
            shown = demo("--only", "calls", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
            receiver.shutdown()

        (trace_id,) = re.findall(r"a streamed response .*([0-9a-f]{32})$", shown, re.MULTILINE)
        assert any(bytes.fromhex(trace_id) in each for each in map(plain, taken))


def plain(body):
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


class TestOutage:
    @pytest.mark.parametrize(
        "line",
        [
            r"a streamed chat +rescued_fallback +sg timeout, eu 200 +closed",
            r"a chat, answered 503 +rescued_fallback +sg 503, sg 503, eu 200 +closed",
            r"a chat, refused +rescued_fallback +sg connect, eu 200 +open",
            r"a chat +ok +\(sg breaker_open\), eu 200 +open",
            r"an image, refused +rescued_fallback +sg connect, eu 200 +closed",
            r"an image, cut off +APIConnectionError +sg ReadError +closed",
            r"the first chat +ok +sg probe 200 +closed",
            r"the next chat +ok +sg 200 +closed",
        ],
    )
    def test_each_act_ends_as_the_policy_promises(self, line, outage):
        assert re.search(line, outage), outage

    def test_an_image_that_may_have_been_made_is_not_sent_twice(self, outage):
        assert "Images that reached sg: 1." in outage
        assert re.search(r"generate_content raised \d", outage)


class TestDoctor:
    def test_a_bare_environment_has_warnings_and_no_failure(self):
        ended = command("doctor", "--offline")

        assert 0 == ended.returncode, ended.stdout
        assert "httpx calls" in ended.stdout
        assert "a call to the loopback was seen" in ended.stdout
        assert "0 to mend" in ended.stdout

    def test_settings_that_instrument_would_refuse_are_a_failure(self, tmp_path):
        config = tmp_path / "policy.toml"
        config.write_text('max_models = "many"\n')
        ended = command("doctor", "--offline", BYTEPLUS_TRACE_CONFIG=str(config))

        assert 1 == ended.returncode
        assert re.search(r"FAIL  settings +max_models='many' must be a whole number", ended.stdout)

    def test_a_key_is_found_and_never_shown(self):
        ended = command(
            "doctor", "--offline", ARK_API_KEY="5ecre7-0000", OTEL_EXPORTER_OTLP_HEADERS="a=5ecre7"
        )

        assert re.search(r"ok    ARK_API_KEY +set", ended.stdout)
        assert "5ecre7" not in ended.stdout + ended.stderr
        assert "0000" not in ended.stdout

    @pytest.mark.parametrize(
        ("key", "status", "found"),
        [
            ("", "warn", "not set"),
            ("Bearer k", "warn", "set, beginning with 'Bearer '"),
            ("k\n", "warn", "set, with blanks around it"),
            ("k", "ok", "set"),
        ],
    )
    def test_the_form_of_a_key_is_looked_at(self, key, status, found):
        (finding,) = _key(Surroundings({"ARK_API_KEY": key}))

        assert (status, found) == (finding.status, finding.found)

    @pytest.mark.parametrize(
        ("endpoint", "told"),
        [
            ("http://me:hunter2@127.0.0.1:9", "http://127.0.0.1:9"),
            ("http://me:hunter2@127.0.0.1:9/?token=hunter3", "http://127.0.0.1:9/"),
            ("http://127.0.0.1:9/v1#hunter2", "http://127.0.0.1:9/v1"),
            ("http://me:hunter/2@127.0.0.1:9", "http://127.0.0.1:9"),
            ("http://me:hunter#2@127.0.0.1:9", "(not shown)"),
            ("http://me:hunter2@[", "http://["),
        ],
    )
    def test_what_may_be_secret_in_an_endpoint_is_left_out(self, endpoint, told):
        variables, spans = _providers(Surroundings({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}))

        assert f"OTEL_EXPORTER_OTLP_ENDPOINT={told}" == variables.found
        assert f"nobody listens at {told}" == spans.found

    def test_a_secret_inside_a_variable_is_not_shown(self):
        variables, _ = _providers(Surroundings({"OTEL_RESOURCE_ATTRIBUTES": "a=b,api.key=hunter2"}))

        assert "OTEL_RESOURCE_ATTRIBUTES=(set)" == variables.found

    @pytest.mark.parametrize(
        ("variables", "said"),
        [
            ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER='zipkin': no exporter of that name"),
            ({"OTEL_BSP_MAX_QUEUE_SIZE": "1"}, "OTEL_BSP_* variables cannot be followed"),
            ({"BYTEPLUS_TRACE_METADATA_LABELS": "model"}, "'model' cannot be a label"),
            ({"BYTEPLUS_TRACE_BASE_URLS": "ark.example=eu-west-1"}, "'ark.example' is not a base URL"),
        ],
    )
    def test_what_instrument_refuses_is_a_failure(self, variables, said):
        ended = command("doctor", "--offline", **variables)

        assert 1 == ended.returncode, ended.stdout
        assert said in " ".join(ended.stdout.split())

    def test_an_empty_exporter_is_the_usual_one(self):
        *_, spans = _providers(Surroundings({"OTEL_TRACES_EXPORTER": "", **NOBODY}))

        assert "nobody listens at http://127.0.0.1:9" == spans.found

    def test_a_directory_for_several_processes_has_to_be_there_and_empty(self, tmp_path):
        def look(directory):
            return next(_multiprocess(Surroundings({"PROMETHEUS_MULTIPROC_DIR": str(directory)}))).status

        assert "ok" == look(tmp_path)
        (tmp_path / "counter_1.db").touch()
        assert "warn" == look(tmp_path)
        assert "fail" == look(tmp_path / "elsewhere")

    def test_a_check_that_breaks_is_itself_a_finding(self, monkeypatch):
        def _broken_check(_around):
            raise OSError("no such luck")

        monkeypatch.setattr("byteplus_trace._cli.checks.CHECKS", (_broken_check,))
        (finding,) = examine(Surroundings({}))

        assert ("warn", "broken check") == (finding.status, finding.subject)


def metrics(url):
    with urllib.request.urlopen(url, timeout=5) as reply:
        return reply.read().decode()


class Traffic:
    """`traffic` in a process of its own, from when its series can be read."""

    def __init__(self, *words):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "byteplus_trace", "traffic", "--metrics-port", "0", *words],
            env={**BARE, **NOBODY, "OTEL_TRACES_EXPORTER": "none"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        for line in self.process.stdout:
            if line.startswith("Series: "):
                self.url = line.split()[1]
                return self
        raise AssertionError(self.process.communicate())

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def until(self, pattern):
        for _ in range(100):
            told = metrics(self.url)
            if re.search(pattern, told, re.MULTILINE):
                return told
            time.sleep(0.05)
        raise AssertionError(told)


class TestTraffic:
    def test_two_seconds_of_it_move_the_series(self):
        with Traffic("--duration", "2", "--rate", "20") as traffic:
            told = traffic.until(r'^modelark_operations_total\{.*operation="chat".*team=".*\} [1-9]')
            out, err = traffic.process.communicate(timeout=20)

        assert "modelark_tokens_total" in told
        assert "modelark_breaker_state" in told
        assert 0 == traffic.process.returncode, err
        assert "Traceback" not in err
        assert re.search(r"^\d+ calls: .*ok \d+", out, re.MULTILINE)

    @pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
    def test_ctrl_c_is_its_ordinary_end(self):
        with Traffic() as traffic:
            traffic.until(r"^modelark_operations_total\{.*\} [1-9]")
            traffic.process.send_signal(signal.SIGINT)
            out, err = traffic.process.communicate(timeout=20)

        assert 0 == traffic.process.returncode, err
        assert "Traceback" not in err
        assert " calls: " in out

    def test_a_busy_port_is_said_in_words(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            ended = command("traffic", "--duration", "1", "--metrics-port", str(taken.getsockname()[1]))

        assert 1 == ended.returncode
        assert "Metrics are not served" in ended.stderr
        assert "Traceback" not in ended.stderr

    @pytest.mark.parametrize("words", [["--rate", "0"], ["--duration", "-1"], ["--rate", "many"]])
    def test_a_rate_and_a_duration_are_above_0(self, words, capsys):
        with pytest.raises(SystemExit) as ended:
            main(["traffic", *words])

        assert 2 == ended.value.code
        assert words[0] in capsys.readouterr().err

    def test_the_phases_come_round(self):
        assert PHASES[0] is phase_at(0)
        assert PHASES[-1] is phase_at(CYCLE - 0.01)
        assert PHASES[0] is phase_at(CYCLE)
        assert CYCLE <= 30

    def test_every_kind_of_call_that_a_phase_asks_for_exists(self):
        assert [] == [name for phase in PHASES for name in phase.more_of if name not in BY_NAME]
