"""Hosts and regions: the table, what is read off a host that is not in it, and words for a slip of the pen."""

import pytest

import byteplus_trace
from byteplus_trace import SettingError
from byteplus_trace._regions import ARK, DEFAULT_REGION, MODELARK, REGIONS, region_named, region_of


@pytest.mark.parametrize("region", REGIONS, ids=lambda region: region.id)
def test_a_region_of_the_table_is_found_by_its_name_and_by_its_host(region):
    assert region is region_named(region.id)
    assert region is region_of(region.host)
    assert f"https://{region.host}/api/v3" == byteplus_trace.base_url(region.id)


def test_the_public_addresses_are_the_documented_ones():
    assert "https://ark.ap-southeast.bytepluses.com/api/v3" == byteplus_trace.base_url("ap-southeast-1")
    assert "https://ark.eu-west.bytepluses.com/api/v3" == byteplus_trace.base_url("eu-west-1")
    assert "ap-southeast-1" == DEFAULT_REGION == byteplus_trace.DEFAULT_REGION


@pytest.mark.parametrize(
    ("host", "region", "provider"),
    [
        ("ark.us-east.bytepluses.com", "us-east-1", MODELARK),
        ("ark.cn-shanghai.volces.com", "cn-shanghai", ARK),
    ],
)
def test_a_region_opened_later_is_read_off_its_host(host, region, provider):
    found = region_of(host)

    assert (region, host, provider) == (found.id, found.host, found.provider)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "ark",
        "ark.",
        "api.openai.com",
        "bytepluses.com",
        "ark.bytepluses.com",
        "ark..bytepluses.com",
        "console.bytepluses.com",
        "ark.ap-southeast.bytepluses.com.evil.example",
        "evil-ark.ap-southeast.bytepluses.com",
        "ark.a.b.bytepluses.com",
        "ark.ap-southeast.bytepluses.org",
    ],
)
def test_a_host_that_is_not_modelarks_has_no_region(host):
    assert region_of(host) is None


@pytest.mark.parametrize(
    ("slip", "meant"),
    [("eu-wst", "eu-west-1"), ("ap-southeast", "ap-southeast-1"), ("beijing", "cn-beijing")],
)
def test_a_slip_of_the_pen_is_answered_with_what_was_meant(slip, meant):
    with pytest.raises(SettingError) as caught:
        byteplus_trace.base_url(slip)

    assert f"Region {slip!r} is not known" in str(caught.value)
    assert f"Did you mean {meant!r}?" in str(caught.value)
    assert all(region.id in str(caught.value) for region in REGIONS)


@pytest.mark.parametrize(
    "name", ["us-east-1", "us-west-1", "us-west-2", "eu-central-1", "sa-east-1", "af-south-1", "mars", ""]
)
def test_a_region_elsewhere_is_answered_with_those_that_there_are(name):
    with pytest.raises(SettingError) as caught:
        region_named(name)

    assert all(region.id in str(caught.value) for region in REGIONS)
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", [None, 1, ["eu-west-1"]])
def test_a_region_that_is_no_text_is_refused(name):
    """As where a variable of the environment is not set."""
    with pytest.raises(SettingError, match="A region is a text, such as 'ap-southeast-1', not "):
        byteplus_trace.base_url(name)


def test_a_url_in_the_place_of_a_region_says_so():
    with pytest.raises(SettingError, match=r"Write the region's name, not its URL\."):
        byteplus_trace.base_url("https://ark.eu-west.bytepluses.com/api/v3")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("sg", "ap-southeast-1"),
        ("Singapore", "ap-southeast-1"),
        ("ap-southeast", "ap-southeast-1"),
        ("AP_SOUTHEAST_1", "ap-southeast-1"),
        ("eu", "eu-west-1"),
        ("EU-WEST-1", "eu-west-1"),
        ("Europe", "eu-west-1"),
        ("china", "cn-beijing"),
    ],
)
def test_a_regions_nickname_is_answered_with_its_name(name, meant):
    with pytest.raises(SettingError, match=f"Did you mean '{meant}'"):
        region_named(name)
