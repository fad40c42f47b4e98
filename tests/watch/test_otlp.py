"""Bodies of OTLP become spans within bounds, and nothing that is sent does harm."""

import gzip
import json
import zlib

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from byteplus_trace._watch import otlp
from byteplus_trace._watch.otlp import JSON, PROTOBUF, RefusedError


def refused_with(read, *arguments):
    """The status with which a body is refused; 400 for one that is read, too."""
    try:
        read(*arguments)
    except RefusedError as refused:
        return refused.status
    return 400


def as_json(request):
    """As OTLP writes JSON: ids in hexadecimal digits."""
    document = json_format.MessageToDict(request)
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                number = int(span["name"].rpartition(" ")[2])
                span["traceId"], span["spanId"] = f"{number:032x}", f"{number:016x}"
                if "parentSpanId" in span:
                    span["parentSpanId"] = f"{1:016X}"
    return json.dumps(document).encode()


def test_protobuf_and_json_say_the_same(make):
    request = make.request(make.call(name="chat 1"), make.attempt(2, 1, trace=2) | {"name": "POST 2"})

    from_protobuf = otlp.spans_of(request.SerializeToString(), PROTOBUF)

    assert from_protobuf == otlp.spans_of(as_json(request), JSON)
    assert ["chat 1", "POST 2"] == [span.name for span in from_protobuf.spans]
    assert "0" * 15 + "1" == from_protobuf.spans[1].parent_id
    assert "shop" == from_protobuf.spans[0].service


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "GZIP", "deflate"])
def test_a_body_may_be_compressed(encoding):
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding.lower(), bytes)(b"spans")

    assert b"spans" == otlp.decompressed(packed, encoding)


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"spans", "gzip", 400),
        (gzip.compress(b"spans" * 100)[:-9], "gzip", 400),
        (b"spans", "br", 415),
        (b"x" * 101, "", 413),
        (gzip.compress(b"x" * 10_000_000), "gzip", 413),
    ],
    ids=["not gzip", "cut", "brotli", "too large", "a bomb"],
)
def test_a_body_that_cannot_be_read_is_refused(body, encoding, status):
    with pytest.raises(RefusedError) as refused:
        otlp.decompressed(body, encoding, most=100 if status == 413 else otlp.BODY)

    assert status == refused.value.status


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/octet-stream", "application/x-protobuf-not", "multipart/form-data; a=b"],
)
def test_a_body_that_is_neither_protobuf_nor_json_is_refused(kind):
    with pytest.raises(RefusedError) as refused:
        otlp.media_type(kind)

    assert 415 == refused.value.status


def test_a_media_type_may_have_parameters():
    assert JSON == otlp.media_type("Application/JSON; charset=utf-8")


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
@pytest.mark.parametrize(
    "body",
    [
        b"\xff" * 40,
        b"{",
        b'{"resourceSpans": 3}',
        b"[" * 100_000,
        b'"\xff"',
    ],
    ids=["noise", "begun", "a number", "deep", "not UTF-8"],
)
def test_a_broken_body_is_refused_without_an_echo(body, kind):
    with pytest.raises(RefusedError) as refused:
        otlp.spans_of(body, kind)

    assert (400, f"The body is not the {kind} of an OTLP request.") == (
        refused.value.status,
        refused.value.reason,
    )


@given(body=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    for kind in (PROTOBUF, JSON):
        for read in (otlp.spans_of, otlp.readings_of):
            assert 400 == refused_with(read, body, kind)


def test_a_body_that_is_cut_or_changed_anywhere_is_read_or_refused(make):
    whole = make.request(make.call(), make.attempt(2, 1)).SerializeToString()
    for at in range(len(whole)):
        for body in (
            whole[:at],
            whole[:at] + b"\xff" + whole[at + 1 :],
            whole[:at] + b"\x00" + whole[at + 1 :],
        ):
            assert 400 == refused_with(otlp.spans_of, body, PROTOBUF)


def test_a_span_without_valid_ids_is_rejected_and_counted(make):
    request = make.request(make.call(1), make.call(2), make.call(3), make.call(4))
    spans = request.resource_spans[0].scope_spans[0].spans
    spans[0].trace_id = b"\0" * 16
    spans[1].span_id = b"short"
    spans[2].parent_span_id = b"much too long for an id"

    decoded = otlp.spans_of(request.SerializeToString(), PROTOBUF)

    assert (1, 3) == (len(decoded.spans), decoded.rejected)
    assert b"without valid ids" in otlp.response("traces", JSON, decoded.rejected)


def test_a_body_has_so_many_spans_at_most(make, monkeypatch):
    monkeypatch.setattr(otlp, "SPANS", 2)

    decoded = otlp.spans_of(make.request(*map(make.call, range(1, 6))).SerializeToString(), PROTOBUF)

    assert (2, 3) == (len(decoded.spans), decoded.rejected)


def test_a_megabyte_in_an_attribute_is_cut(make):
    (span,) = make.spans(make.call(user="x" * 1_000_000, **{"gen_ai.input.messages": "y" * 400_000}))

    assert otlp.TEXT + 1 == len(span.attributes["user.id"])
    assert 400_000 == len(span.attributes["gen_ai.input.messages"])
    assert 1 == span.shortened


def test_all_texts_of_a_span_together_have_a_bound(make):
    (span,) = make.spans(make.call(**{f"k{at}": "x" * 20_000 for at in range(200)}))

    assert sum(len(value) for value in span.attributes.values() if isinstance(value, str)) <= otlp.SPAN + 300


@pytest.mark.parametrize("what", ["events", "attributes", "lists", "nested"])
def test_a_million_of_anything_is_bounded(make, what):
    from byteplus_trace._watch.spans import packed

    call = make.call()
    if what == "events":
        call["events"] = [("e", {})] * 300_000
    elif what == "attributes":
        call["attributes"] |= {f"k{at}": at for at in range(100_000)}
    elif what == "lists":
        call["attributes"] |= {f"k{at}": [1] * 1000 for at in range(300)}
    else:
        lists = 1
        for _ in range(20):
            lists = [lists]
        wide = [[["x"] * 256] * 256] * 10
        call["attributes"] |= {"deep": lists, "wide": wide}

    (span,) = make.spans(call)

    assert span.shortened
    assert len(packed(span)) < 3 * otlp.SPAN


def test_a_span_that_ends_before_it_starts_took_no_time(make):
    request = make.request(make.call())
    request.resource_spans[0].scope_spans[0].spans[0].end_time_unix_nano = 5

    (span,) = otlp.spans_of(request.SerializeToString(), PROTOBUF).spans

    assert 0 == span.seconds


def test_an_attribute_without_a_value_is_none(make):
    (span,) = make.spans(make.call(empty=None, raw=b"123", flag=True, map={"a": [1, 2.5]}))

    assert (None, "(3 bytes)", True, {"a": [1, 2.5]}) == tuple(
        span.attributes[name] for name in ("empty", "raw", "flag", "map")
    )


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_a_request_that_is_taken_is_answered_in_its_own_form(signal):
    assert b"" == otlp.response(signal, PROTOBUF)
    assert {} == json.loads(otlp.response(signal, JSON))


def test_a_refusal_is_a_status_with_its_reason():
    assert {"message": "too large"} == json.loads(otlp.refusal("too large", JSON))
    assert b"\x12\x09too large" == otlp.refusal("too large", PROTOBUF)
    assert b"\x12\xac\x02" + b"x" * 300 == otlp.refusal("x" * 300, PROTOBUF)
