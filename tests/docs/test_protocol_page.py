"""docs/protocols.md matches the protocol configurations."""

import importlib.util

from tests.support.protocols import CONF, ROOT


def test_the_page_equals_the_output_of_its_generator():
    spec = importlib.util.spec_from_file_location("make_protocols", ROOT / "docs/make_protocols.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    written = maker.PAGE.read_text(encoding="utf-8")
    assert written == maker.page(), "run: python docs/make_protocols.py"
    assert written.count(maker.MARK) == 1


def test_every_protocol_of_this_package_is_on_the_page():
    text = (ROOT / "docs/protocols.md").read_text(encoding="utf-8")
    for path in CONF.glob("*.yaml"):
        if "card:" in path.read_text(encoding="utf-8"):
            assert f"### {path.stem}\n" in text


def test_a_row_names_the_settings_that_determine_the_number():
    from evalkit.scoring.protocol_table import protocol_row

    card = dict.fromkeys(("rows", "closed_rule", "open_rule", "normaliser", "aggregation"), "x")
    config = {
        "name": "p",
        "version": 2,
        "target": "t",
        "strip_role": False,
        "rule": "label",
        "source": "s",
        "card": card,
    }
    assert protocol_row(config)[0] == "p.2 (strip_role=no, rule=label)"
