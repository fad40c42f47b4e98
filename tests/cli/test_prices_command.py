"""`byteplus-trace prices`."""

import re

from byteplus_trace._cli import main


def test_every_price_has_its_age_and_source(capsys):
    assert 0 == main(["prices"])

    out = capsys.readouterr().out
    (number,) = re.findall(r"^seed-1-6 \(to 128,000 in\) +0\.25 .*  \[(\d+)\]$", out, re.MULTILINE)
    assert re.search(rf"^\[{number}\] read \d{{4}}-\d\d-\d\d \(\d+ days? ago\): \S+", out, re.MULTILINE)
    assert re.search(r"^seedream-4-5 +0\.04  ", out, re.MULTILINE)
    assert re.search(r"last checked on \d{4}-\d\d-\d\d \(\d+ days ago\)", out)


def test_the_table_fits_an_ordinary_terminal_and_names_each_source_once(capsys):
    assert 0 == main(["prices"])

    _, rows, sources, _ = capsys.readouterr().out.split("\n\n")
    assert [] == [line for line in rows.splitlines() if len(line) > 80]
    texts = [line.partition("] ")[2] for line in sources.splitlines()]
    assert len(set(texts)) == len(texts)


def test_a_price_beyond_a_tier_says_so(capsys):
    assert 0 == main(["prices", "seed-2-0-pro-260328"])

    names = re.findall(r"^seed-2-0-pro-260328 \((.+?)\)", capsys.readouterr().out, re.MULTILINE)
    assert ["to 128,000 in", "beyond"] == names


def test_some_models_alone(capsys):
    assert 0 == main(["prices", "seedream-*"])

    models = [line.split()[0] for line in capsys.readouterr().out.split("\n\n")[1].splitlines()[1:]]
    assert models
    assert all(model.startswith("seedream-") for model in models)


def test_a_dated_model_has_the_price_of_every_date(capsys):
    assert 0 == main(["prices", "seed-2-0-lite-260428"])

    out = capsys.readouterr().out
    assert re.search(r"^seed-2-0-lite \(beyond\) .*0\.5 ", out, re.MULTILINE)
    assert "seed-2-0-mini" not in out


def test_a_date_without_a_price_is_not_another_dates(capsys):
    assert 1 == main(["prices", "seed-2-0-pro-991231"])
    assert "No price is known for seed-2-0-pro-991231" in capsys.readouterr().err


def test_a_model_without_a_price_is_said_to_have_none(capsys):
    assert 1 == main(["prices", "seed-9-9"])
    assert "No price is known for seed-9-9" in capsys.readouterr().err


def test_the_users_own_come_first(tmp_path, capsys, monkeypatch):
    file = tmp_path / "prices.toml"
    file.write_text('[[price]]\nids = ["mine"]\nimage = 0.5\n[[discount]]\noff = 0.1\n')

    assert 0 == main(["prices", "--file", str(file)])
    out = capsys.readouterr().out
    assert re.match(r"mine +0\.5  \[1\]$", out.splitlines()[3])
    assert f"\n[1] {file}\n" in out
    assert "10% off" in out

    monkeypatch.setenv("BYTEPLUS_TRACE_PRICES", str(file))
    assert 0 == main(["prices"])
    assert out == capsys.readouterr().out


def test_a_file_that_is_wrong_is_a_sentence(tmp_path, capsys):
    file = tmp_path / "prices.toml"
    file.write_text("price = 1\n")

    assert 2 == main(["prices", "--file", str(file)])
    assert "price: must be a list" in capsys.readouterr().err
