"""The labelled completions: made again as shipped, and as varied as they claim to be."""

from collections import Counter

from actors.data.labelled.flaws import FLAWS
from actors.data.labelled.items import FILE, read_items, write_items
from actors.rewards.format import parse

ITEMS = read_items()


def test_the_shipped_file_is_what_the_script_makes(tmp_path):
    write_items(tmp_path / "items.jsonl")
    assert (tmp_path / "items.jsonl").read_bytes() == FILE.read_bytes()


def test_there_are_enough_items_of_every_kind_domain_and_split():
    kinds = Counter((item.split, kind) for item in ITEMS for kind in item.flawed)
    assert len(FLAWS) == 10 and all(count >= 87 for count in kinds.values())
    assert sum(count for (split, _), count in kinds.items() if split == "test") == 951
    domains = Counter((item.split, item.domain) for item in ITEMS)
    assert (
        len(ITEMS) >= 200 and len(domains) == 8 and all(count >= 18 for count in domains.values())
    )
    templates = {item.template: item.split for item in ITEMS}
    assert Counter(templates.values()) == {"tune": 88, "test": 16}


def test_good_and_flawed_ones_have_the_format_and_malformed_ones_do_not():
    for item in ITEMS:
        assert all(parse(text) is not None for text in (item.good, *item.flawed.values()))
        assert parse(item.malformed) is None
        assert item.good not in item.flawed.values()
        assert item.good != item.reasoning
