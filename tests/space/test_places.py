import pytest

from autodelta.candidate import Delta
from autodelta.deltas.spec import LINEAR, spec
from autodelta.errors import UserError
from autodelta.shape import BackboneShape
from autodelta.space._places import blocks, check_blocks, check_roles, place


@pytest.mark.parametrize(
    ("words", "depth", "expected"),
    [
        ("all", 3, "012"),
        ("1", 4, "1"),
        ("0-2", 6, "012"),
        ("0-2", 2, "01"),
        ("5", 4, ""),
        ("1-99999999999", 4, "123"),
        ("first 2", 6, "01"),
        ("last 2", 6, "45"),
        ("last 9", 3, "012"),
        ("upper half", 4, "23"),
        ("lower half", 4, "01"),
        ("upper half", 5, "234"),
        ("lower half", 5, "012"),
        ("upper half", 1, "0"),
        ("lower half", 1, "0"),
        ("middle half", 4, "12"),
        ("middle third", 6, "23"),
        ("upper third", 6, "45"),
        ("lower quarter", 8, "01"),
        ("25%-75%", 8, "2345"),
        ("50%-100%", 3, "12"),
        ("0, 2-3", 6, "023"),
        ("decoder last 1", 4, ""),
        ("decoder last 1, encoder 1", 4, "1"),
        ("encoder", 2, "01"),
        ("decoder 0, 3", 4, "3"),
    ],
)
def test_words_name_the_blocks_of_an_encoder(words: str, depth: int, expected: str) -> None:
    check_blocks(words)
    assert "".join(map(str, blocks(words, "encoder", depth))) == expected


@pytest.mark.parametrize("words", ["upper fifth", "3-1", "", "0,,1", "first 0", "75%-25%", "0%-101%", "-1", "block 3"])
def test_words_that_name_no_blocks_are_refused_with_the_value(words: str) -> None:
    with pytest.raises(ValueError, match="blocks ''" if words in ("", "0,,1") else f"blocks '{words}'"):
        check_blocks(words)


def test_shares_of_every_depth_leave_no_stack_empty() -> None:
    for depth in range(1, 30):
        for side in ("lower", "middle", "upper"):
            for portion in ("half", "third", "quarter"):
                assert blocks(f"{side} {portion}", "decoder", depth)
        assert set(blocks("lower half", "encoder", depth)) | set(blocks("upper half", "encoder", depth)) == set(
            range(depth)
        )


def test_a_misspelt_role_is_refused_with_the_nearest_one() -> None:
    check_roles("*_attn.q, encoder.ffn.out, all", LINEAR)
    with pytest.raises(UserError, match=r"unknown role 'self_atn\.q'; did you mean 'self_attn\.q'\?"):
        check_roles("cross_attn.q, self_atn.q", LINEAR)


def test_the_sites_of_a_place_are_those_of_the_delta_that_it_describes(shape: BackboneShape) -> None:
    for method in ("lora", "bitfit", "adapter", "prompt"):
        for stack in ("both", "encoder", "decoder"):
            for words in ("all", "0", "upper half", "encoder 1, decoder 0"):
                for roles in ("all", "decoder.*, ffn*"):
                    found = place(stack, words, roles, spec(method).parts, shape)
                    if found.sites:
                        delta = Delta(
                            method=method,
                            roles=found.roles,
                            encoder_blocks=found.encoder_blocks,
                            decoder_blocks=found.decoder_blocks,
                            config=spec(method).config(),
                            learning_rate=1,
                        )
                        assert delta.sites(shape) == found.sites


def test_blocks_are_none_where_all_are_meant_or_none_matters(small: BackboneShape) -> None:
    linear = spec("lora").parts
    assert place("both", "all", "*_attn.q", linear, small)[1:3] == (None, None)
    assert place("both", "0-2", "*_attn.q", linear, small)[1:3] == ((0, 1, 2), None)
    assert place("decoder", "last 1", "*_attn.q", linear, small)[1:3] == (None, (2,))
    assert place("both", "upper half", "all", spec("prompt").parts, small)[1:3] == (None, None)


def test_a_stack_without_a_chosen_block_is_left_out_with_its_roles_outside_the_blocks(small: BackboneShape) -> None:
    found = place("both", "encoder all", "*norm", spec("bitfit").parts, small)
    assert {site.stack for site in found.sites} == {"encoder"}
    assert "encoder.final_norm" in found.roles


@pytest.mark.parametrize(
    ("method", "roles", "words"),
    [
        ("prompt", ["encoder.embeddings"], "encoder: embeddings"),
        ("adapter", ["decoder.ffn", "encoder.ffn", "encoder.self_attn"], "encoder, decoder: ffn; encoder: self_attn"),
        (
            "lora",
            [
                "encoder.self_attn.q",
                "encoder.self_attn.v",
                "decoder.self_attn.q",
                "decoder.self_attn.v",
                "decoder.ffn.in",
            ],
            "encoder, decoder: self_attn.q/v; decoder: ffn.in",
        ),
        ("lora", ["encoder.self_attn.q", "decoder.self_attn.k"], "encoder: self_attn.q; decoder: self_attn.k"),
    ],
)
def test_where_a_delta_stands_is_said_in_few_words(method: str, roles: list[str], words: str) -> None:
    assert Delta.model_validate({"method": method, "roles": roles, "learning_rate": 0.1}).where == words
