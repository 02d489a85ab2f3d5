import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_methods_is_what_the_specs_say() -> None:
    place = importlib.util.spec_from_file_location("methods_table", ROOT / "benchmarks" / "methods_table.py")
    assert place is not None
    assert place.loader is not None
    script = importlib.util.module_from_spec(place)
    place.loader.exec_module(script)
    assert (ROOT / "docs" / "methods.md").read_text(encoding="utf8") == script.page()
