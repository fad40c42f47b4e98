"""Which requests are ModelArk's, and which calls they are."""

import json

import pytest

from byteplus_trace._recognise import Place, Places, recognise

SG = "ark.ap-southeast.bytepluses.com"
CHAT = {"model": "seed-1-6-250915", "messages": []}


def recognised(url, *places, method="POST", headers=None, body=CHAT, metadata=None):
    """The call at that URL, given these places as (base URL, region)."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    host, _, port = (
        authority.rpartition(":") if authority.rpartition(":")[2].isdigit() else (authority, "", "")
    )
    return recognise(
        Places(Place.at(*place) for place in places),
        method=method,
        scheme=scheme,
        host=host.strip("[]"),
        port=int(port) if port else None,
        path=slash + path,
        headers=headers or {},
        body=json.dumps(body).encode() if body is not None else None,
        capture=False,
        metadata=metadata or {},
    )


def call_at(url, *places, **options):
    return recognised(url, *places, **options).call


def test_a_call_to_a_public_host():
    call = call_at(f"https://{SG}/api/v3/chat/completions")

    assert ("chat", "chat_completions") == (call.operation, call.api)
    assert ("ap-southeast-1", "byteplus.modelark") == (call.region, call.provider)
    assert (SG, 443, "/chat/completions") == (call.host, call.port, call.path)
    assert f"https://{SG}/api/v3/chat/completions" == call.url
    assert "seed-1-6-250915" == call.model


def test_a_call_to_volcengine_has_its_provider():
    call = call_at("https://ark.cn-beijing.volces.com/api/v3/responses", body={"model": "m", "input": "hi"})

    assert ("volcengine.ark", "cn-beijing") == (call.provider, call.region)


@pytest.mark.parametrize("base", ["/api/v3", "/api/coding/v3", "/api/compatible", "/anything/else", ""])
def test_on_a_public_host_any_base_path_will_do(base):
    assert "chat" == call_at(f"https://{SG}{base}/chat/completions").operation


def test_another_host_is_not_ours():
    assert recognised("https://api.openai.com/v1/chat/completions") is None


# Base URLs of one's own.

PRIVATE = ("https://ark.private.example/ark/api/v3", "eu-west-1")


def test_a_base_url_stands_for_its_region():
    call = call_at("https://ark.private.example/ark/api/v3/chat/completions", PRIVATE)

    assert ("eu-west-1", "chat_completions") == (call.region, call.api)


@pytest.mark.parametrize(
    "url",
    [
        "https://ark.private.example/other/chat/completions",
        "https://ark.private.example/ark/api/v30/chat/completions",
        "https://ark.private.example/ark/api",
        "http://ark.private.example/ark/api/v3/chat/completions",
        "https://ark.private.example:8443/ark/api/v3/chat/completions",
        "https://private.example/ark/api/v3/chat/completions",
    ],
)
def test_beside_a_base_url_nothing_is_ours(url):
    assert recognised(url, PRIVATE) is None


def test_of_two_base_urls_the_more_exact_one_counts():
    places = (
        ("http://proxy.example:8080/", "ap-southeast-1"),
        ("http://proxy.example:8080/eu", "eu-west-1"),
        ("http://proxy.example:8080/eu/beijing/", "cn-beijing"),
    )

    for path, region in {
        "/chat/completions": "ap-southeast-1",
        "/eu/chat/completions": "eu-west-1",
        "/europe/chat/completions": "ap-southeast-1",
        "/eu/beijing/chat/completions": "cn-beijing",
    }.items():
        assert region == call_at(f"http://proxy.example:8080{path}", *places).region


def test_a_base_url_may_be_given_in_capitals_and_with_its_usual_port():
    call = call_at(
        "https://ark.private.example/v3/chat/completions", ("HTTPS://ARK.Private.Example:443/v3", "eu-west-1")
    )

    assert "https://ark.private.example/v3/chat/completions" == call.url


@pytest.mark.parametrize(
    "host", ["xn--ark-.example", "xn--ark.example", "xn--\u00fc.example", "xn--.example"]
)
def test_a_host_that_is_written_as_no_name_is_stands_for_no_other(host):
    assert recognised(f"https://{host}/v3/chat/completions", ("https://ark.example/v3", "eu-west-1")) is None
    assert recognised(f"https://{host}/v3/chat/completions", (f"https://{host}/v3", "eu-west-1")) is not None


def test_the_path_of_an_api_that_is_not_known_is_what_follows_the_base_url():
    assert (
        "/some/future/api" == call_at("https://ark.private.example/ark/api/v3/some/future/api", PRIVATE).path
    )
    assert "/api/v3/x" == call_at("https://ark.private.example/api/v3/x", ("https://ark.private.example", "eu-west-1")).path  # fmt: skip
    assert "/some/future/api" == call_at(f"https://{SG}/api/coding/v3/some/future/api").path


def test_an_address_of_numbers_and_colons_keeps_its_brackets():
    call = call_at("http://[::1]:8080/api/v3/chat/completions", ("http://[::1]:8080/api/v3", "eu-west-1"))

    assert ("::1", 8080) == (call.host, call.port)
    assert "http://[::1]:8080/api/v3/chat/completions" == call.url


# Portkey's gateway.

GATEWAY = "https://api.portkey.ai/v1/chat/completions"


@pytest.mark.parametrize("provider", ["byteplus", "@byteplus", "@byteplus-prod"])
def test_behind_portkeys_gateway_the_provider_says_that_a_call_is_ours(provider):
    found = recognised(GATEWAY, headers={"x-portkey-provider": provider})

    assert found.behind_gateway
    assert "chat_completions" == found.call.api
    assert "api.portkey.ai" == found.call.host


@pytest.mark.parametrize("model", ["@byteplus/seed-1-6", "@byteplus-prod/seed-1-6"])
def test_behind_portkeys_gateway_the_model_says_that_a_call_is_ours(model):
    assert model == call_at(GATEWAY, body={**CHAT, "model": model}).model


@pytest.mark.parametrize(
    "provider", ["", "openai", "@openai", "bytepluses", "byteplus-other", "not-byteplus"]
)
def test_behind_portkeys_gateway_others_are_not_ours(provider):
    assert recognised(GATEWAY, headers={"x-portkey-provider": provider}) is None
    assert recognised(GATEWAY, headers={"x-portkey-provider": provider}, body=None) is None


def test_behind_portkeys_gateway_the_header_names_the_region():
    headers = {"x-portkey-provider": "byteplus", "x-portkey-byteplus-region": "eu-west-1"}

    assert "eu-west-1" == call_at(GATEWAY, headers=headers).region
    assert "ap-southeast-1" == call_at(GATEWAY, headers={"x-portkey-provider": "byteplus"}).region
    later = {"x-portkey-provider": "byteplus", "x-portkey-byteplus-region": "us-east-1"}
    assert "us-east-1" == call_at(GATEWAY, headers=later).region


@pytest.mark.parametrize("region", ["mars", "x" * 500, "EU-WEST-1; drop"])
def test_a_region_header_that_names_none_makes_no_label_of_its_own(region):
    headers = {"x-portkey-provider": "byteplus", "x-portkey-byteplus-region": region}

    assert "unknown" == call_at(GATEWAY, headers=headers).region


# Metadata.


def with_metadata(header=None, scope=None, **headers):
    sent = {**({"x-portkey-metadata": header} if header is not None else {}), **headers}
    return recognised(f"https://{SG}/api/v3/chat/completions", headers=sent, metadata=scope or {})


def test_the_header_wins_over_the_scope():
    found = with_metadata('{"_user": "u-8", "env": "prod"}', {"user": "u-7", "team": "search"})

    assert {"user": "u-8", "team": "search", "env": "prod"} == found.call.metadata
    assert 0 == found.cut_metadata


def test_portkeys_trace_id_is_a_key():
    assert {"trace_id": "t-1"} == with_metadata(**{"x-portkey-trace-id": "t-1"}).call.metadata


@pytest.mark.parametrize("header", ["", "{", "[1]", "null", '"text"', "\x00"])
def test_a_header_that_says_nothing_readable_says_nothing(header):
    assert {"team": "a"} == with_metadata(header, {"team": "a"}).call.metadata


def test_a_value_is_written_as_text_and_null_is_not_set():
    assert {"n": "1.5", "b": "True"} == with_metadata('{"n": 1.5, "b": true, "none": null}').call.metadata


def test_a_long_value_is_cut_and_counted():
    found = with_metadata(json.dumps({"a": "x" * 129, "b": "y" * 128}), {"c": "z" * 5_000})

    assert {"a": "x" * 128, "b": "y" * 128, "c": "z" * 128} == found.call.metadata
    assert 2 == found.cut_metadata


# What else a request says.


def test_an_sdks_own_headers_are_kept():
    call = call_at(
        f"https://{SG}/api/v3/chat/completions",
        headers={"x-client-request-id": "c-1", "x-stainless-retry-count": "2"},
    )

    assert ("c-1", 2) == (call.client_request_id, call.sdk_retry)


@pytest.mark.parametrize("count", ["", "many", "-1", "1.5", "²", "9" * 20, "9" * 5000])
def test_a_retry_count_that_is_no_number_is_none(count):
    assert 0 == call_at(f"https://{SG}/api/v3/models", headers={"x-stainless-retry-count": count}).sdk_retry


@pytest.mark.parametrize("body", [None, [], "text", 5, {"model": 5}])
def test_a_body_that_says_nothing_readable_costs_only_its_words(body):
    call = call_at(f"https://{SG}/api/v3/chat/completions", body=body)

    assert ("chat", None, False) == (call.operation, call.model, call.stream)


def test_a_path_that_names_an_object_keeps_its_id():
    call = call_at(f"https://{SG}/api/v3/contents/generations/tasks/cgt-1", method="GET", body=None)

    assert "cgt-1" == call.resource_id
