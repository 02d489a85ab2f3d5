from pathlib import Path

import pytest

from autodelta.errors import UserError
from autodelta.space._document import Document


def test_scalars_are_read_as_yaml_1_2() -> None:
    text = "[3e-4, 1E3, 5, -2, .5, 1., on, no, true, ~, 0-3, '7', 1:30, 0x10, 2024-01-01]"
    assert Document("a.yaml", text).data == [
        *(3e-4, 1e3, 5, -2, 0.5, 1.0, "on", "no", True, None, "0-3", "7", "1:30", "0x10", "2024-01-01")
    ]


def test_a_number_that_is_too_large_to_be_one_is_a_word() -> None:
    assert Document("a.yaml", f"[1e999, -1e999, {'9' * 5000}]").data == ["1e999", "-1e999", "9" * 5000]


def test_an_error_points_at_the_line_of_its_key_or_item() -> None:
    document = Document("a.yaml", "# a comment\na:\n  b: [1,\n    2]\nc: 3\n")
    assert str(document.error(("a", "b"), "wrong")) == "a.yaml:3: a.b: wrong"
    assert document.line(("a", "b", 1)) == 4
    assert document.line(("a", "b", 1, "deeper")) == 4
    assert document.line(("c",)) == 5
    assert document.line(("missing",)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [2\n", r"^a\.yaml:3: not YAML: expected ',' or '\]'"),
        ("a: 1\n\nb: 2\na: 3\n", r"^a\.yaml:4: the key 'a' stands twice, first in line 1$"),
        ("a:\n  b: !!python/object:os.system x\n", r"^a\.yaml:2: tags are not allowed: !!python/object:os.system$"),
        ("? [a, b]\n: 1\n", r"^a\.yaml:1: a key must be a word$"),
        ("a: &a [*a]\n", r"^a\.yaml:1: nested too deeply"),
        ("x: &x [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
            f"{c}: &{c} [{', '.join([f'*{b}'] * 10)}]\n" for b, c in zip("xabcd", "abcde", strict=True)
        ), r"^a\.yaml:1: nested too deeply or too large"),
        ("a: \x00\n", r"^a\.yaml: not YAML"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_plain_yaml_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Document("a.yaml", text)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(UserError, match=r"^binary\.yaml: not a text file in UTF-8"):
        Document.open(tmp_path / "binary.yaml")
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        Document.open(tmp_path)
