import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from pydantic import Field

from autodelta.candidate import Candidate
from autodelta.deltas import spec as registry
from autodelta.errors import UserError
from autodelta.shape import BackboneShape, Site
from autodelta.space import Infeasible, Space, SpaceInfo, describe, find, names
from autodelta.space._trials import FixedTrial

TIGHT = """\
description: a constraint that most draws only keep at small sizes
methods:
  lora:
    blocks: [all, last 1]
    roles: ["*_attn.q", "*_attn.*, ffn.*"]
    sizes: {rank: {low: 1, high: 16, log: true}}
    learning_rate: {low: 1e-3, high: 1e-2, log: true}
  adapter:
    roles: [ffn, all]
    sizes: {bottleneck: {low: 2, high: 32}, activation: [relu, gelu]}
    learning_rate: 1e-3
  bitfit:
    roles: [all, "*norm"]
    learning_rate: 1e-2
  prompt:
    stacks: encoder
    sizes: {length: [1, 2, 4, 8, 16]}
    learning_rate: 0.1
training:
  steps: [10, 20]
  batch_size: 4
  weight_decay: {low: 0, high: 0.1}
constraints:
  trainable_parameters: "<= 3%"
"""


@pytest.mark.parametrize("name", names())
def test_a_shipped_space_works_on_backbones_of_every_depth(name: str, shape: BackboneShape) -> None:
    space = Space.load(name, shape)
    _holds_its_own_samples(space, rounds=30)


def test_a_tight_space_holds_its_own_samples(space: Callable[..., Space], shape: BackboneShape) -> None:
    tight = space(TIGHT.replace("3%", "12%") if shape.vocab_size < 100 else TIGHT, shape)
    assert tight.limit is not None
    _holds_its_own_samples(tight, rounds=40)


def _holds_its_own_samples(space: Space, *, rounds: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        candidate = space.sample(rng)
        candidate.check(space.shape)
        assert space.contains(candidate)
        assert 1 <= len(candidate.methods) <= space.at_most
        counted = sum(space.method(delta.method).count(delta) for delta in candidate.deltas)
        assert candidate.count_parameters(space.shape) == counted
        assert space.limit is None or counted <= space.limit
        assert Candidate.model_validate_json(candidate.model_dump_json()) == candidate
        assert space.from_params(space.to_params(candidate)) == candidate
        neighbour = space.mutate(candidate, rng)
        assert neighbour != candidate
        assert space.contains(neighbour)
        assert _genes_apart(space, candidate, neighbour) == 1


def _genes_apart(space: Space, one: Candidate, other: Candidate) -> int:
    """A method that is on in one alone is one gene, with all its own; two that are swapped are one, too.

    On a shallow backbone several words mean the same blocks, so stacks, blocks and roles are compared by their sites.
    """
    left, right = space.to_params(one), space.to_params(other)
    alone = set(one.methods) ^ set(other.methods)
    switched = len(alone) == 1 or (len(alone) == 2 and len(one.methods) == len(other.methods))
    assert switched or not alone
    words = {f"{method}.{key}" for method in space.methods for key in ("stacks", "blocks", "roles")}
    shared = (left.keys() & right.keys()) - set(space.methods) - words
    sites = [{delta.method: delta.sites(space.shape) for delta in candidate.deltas} for candidate in (one, other)]
    moved = sum(sites[0][method] != sites[1][method] for method in sites[0].keys() & sites[1].keys())
    return switched + moved + sum(left[gene] != right[gene] for gene in shared)


def test_every_subset_of_methods_is_drawn_and_one_alone_is_common(small: BackboneShape) -> None:
    space = Space.load("default", small)
    rng = np.random.default_rng(1)
    drawn = Counter(frozenset(space.sample(rng).methods) for _ in range(600))
    assert len(drawn) == 4 + 6 + 4
    alone = [drawn[frozenset({method})] for method in space.methods]
    assert sum(alone) > 600 * 0.25
    assert max(alone) < 2 * min(alone)


def test_keys_switch_methods_on_the_highest_at_least_and_no_more_than_allowed_or_affordable(
    space: Callable[..., Space], small: BackboneShape
) -> None:
    three = Space.load("paper-combinations", small)

    def on(space: Space, **keys: float) -> set[str]:
        return set(space.draw(FixedTrial(keys, rng=np.random.default_rng(0))).methods)

    assert on(three, prompt=0.6, bitfit=0.4, adapter=0.5) == {"prompt", "adapter"}
    assert on(three, prompt=0.1, bitfit=0.4, adapter=0.2) == {"bitfit"}
    assert on(three, prompt=0.0, bitfit=0.0, adapter=0.0) == {"prompt"}
    two = Space.load("smoke", small)
    assert on(two, lora=0.7, bitfit=0.6, prompt=0.9) == {"lora", "prompt"}
    tight = space(TIGHT.replace("3%", "2%"))
    assert tight.affordable(["lora", "bitfit", "prompt"])
    assert not tight.affordable(["lora", "bitfit", "prompt", "adapter"])
    assert on(tight, lora=0.7, bitfit=0.6, prompt=0.9, adapter=0.8) == {"prompt", "adapter", "lora"}


def test_a_neighbour_never_loses_methods_to_one_that_is_not_affordable_beside_them(
    space: Callable[..., Space],
) -> None:
    text = (
        "description: x\nmethods:\n  bitfit: {roles: ffn.in, learning_rate: 1}\n"
        "  lora: {roles: ffn.in, blocks: 0, stacks: encoder, sizes: {rank: [1, 2]}, learning_rate: 1}\n"
        "  prompt: {stacks: encoder, sizes: {length: [1, 2]}, learning_rate: 1}\n"
        "training: {steps: 1, batch_size: 1}\nconstraints: {trainable_parameters: '<= 260'}\n"
    )
    apart = space(text)
    both = next(candidate for candidate in apart.grid() if len(candidate.methods) == 2)
    assert set(both.methods) == {"lora", "prompt"}
    rng = np.random.default_rng(5)
    assert all(_genes_apart(apart, both, apart.mutate(both, rng)) == 1 for _ in range(100))


def test_many_methods_for_few_places_are_drawn_evenly(space: Callable[..., Space], many_methods: Sequence[str]) -> None:
    methods = "".join(f"  {name}: {{learning_rate: 1}}\n" for name in many_methods)
    wide = space(f"description: x\nat_most: 3\nmethods:\n{methods}training: {{steps: 1, batch_size: 1}}\n")
    rng = np.random.default_rng(2)
    drawn = [wide.sample(rng).methods for _ in range(1500)]
    sizes, single = Counter(map(len, drawn)), Counter(method for methods in drawn for method in methods)
    assert all(sizes[number] > 1500 * 0.15 for number in (1, 2, 3))
    assert max(single.values()) < 1.3 * min(single.values())


def test_half_of_the_trials_have_a_cap_of_their_own_spread_evenly_on_a_log_scale(
    space: Callable[..., Space], small: BackboneShape
) -> None:
    one = space(
        "description: x\nmethods: {lora: {sizes: {rank: [1, 2, 4, 8, 16]}, roles: ffn.in, learning_rate: 1}}\n"
        "training: {steps: 1, batch_size: 1}\n"
    )
    ranks = Counter()
    for number in range(200):
        trial = NumberedTrial(number, rank=16)
        candidate = one.suggest(trial)
        cap = trial.user_attrs["cap"]
        assert cap is None or candidate.count_parameters(small) <= cap
        ranks[candidate.deltas[0].config.rank] += 1  # type: ignore[attr-defined]
    assert ranks[16] == pytest.approx(100, abs=5)
    assert all(ranks[rank] == pytest.approx(25, abs=4) for rank in (1, 2, 4, 8))


class NumberedTrial:
    """A trial that draws one rank always."""

    def __init__(self, number: int, *, rank: int) -> None:
        self.number = number
        self.rank = rank
        self.user_attrs: dict[str, int | None] = {}

    def set_user_attr(self, key: str, value: int | None) -> None:
        self.user_attrs[key] = value

    def suggest_categorical(self, name: str, choices: Sequence[object]) -> object:
        assert name == "lora.rank"
        return self.rank


def test_sizes_are_stepped_down_to_the_cap_those_of_the_largest_delta_first(
    space: Callable[..., Space], small: BackboneShape
) -> None:
    both = space(TIGHT.replace('"<= 3%"', '"<= 100%"'))
    params = both.keys(["adapter", "prompt"]) | {
        "adapter.roles": "ffn",
        "adapter.bottleneck": 32,
        "adapter.activation": "relu",
        "prompt.length": 16,
        "training.steps": 10,
        "training.weight_decay": 0.0,
    }
    free = both.from_params(params)
    assert [both.method(delta.method).count(delta) for delta in free.deltas] == [16896, 512]
    capped = both.from_params(params, cap=3000)
    assert capped.count_parameters(small) <= 3000
    adapter, prompt = capped.deltas
    assert both.method("adapter").smaller(adapter) is not None
    assert prompt == free.deltas[1]
    least = both.from_params(params, cap=1360).deltas
    assert [both.method(delta.method).count(delta) for delta in least] == [1296, 64]
    with pytest.raises(Infeasible, match="1,328 parameters, at most 1,000 allowed") as caught:
        both.from_params(params, cap=1000)
    assert (caught.value.parameters, caught.value.cap) == (1328, 1000)


def test_a_draw_too_large_for_the_constraint_is_infeasible_before_anything_is_built(
    space: Callable[..., Space],
) -> None:
    tight = space(TIGHT.replace("3%", "2%"))
    params = tight.keys(["lora"]) | {
        "lora.blocks": "all",
        "lora.roles": "*_attn.*, ffn.*",
        "lora.rank": 1,
        "lora.learning_rate": 0.01,
        "training.steps": 10,
        "training.weight_decay": 0.0,
    }
    with pytest.raises(Infeasible) as caught:
        tight.from_params(params)
    assert caught.value.cap == tight.limit
    assert not tight.contains(space(TIGHT.replace("3%", "90%")).from_params(params))


def test_methods_that_never_fit_together_are_not_drawn_together(space: Callable[..., Space]) -> None:
    apart = space(TIGHT.replace("3%", "2.2%"))
    assert not apart.affordable(["lora", "adapter", "bitfit"])
    rng = np.random.default_rng(3)
    assert all(apart.affordable(apart.sample(rng).methods) for _ in range(100))


def test_sizes_beyond_the_backbone_are_fitted_and_a_space_without_any_that_fits_is_refused(
    space: Callable[..., Space],
) -> None:
    text = (
        "description: x\nmethods: {lora: {sizes: {rank: [8, 64, 512]}, learning_rate: 1}}\n"
        "training: {steps: 1, batch_size: 1}\n"
    )
    params = {"lora.rank": 512}
    assert space(text).from_params(params).deltas[0].config.rank == 8  # type: ignore[attr-defined]
    with pytest.raises(
        UserError, match=r"own\.yaml:2: methods\.lora: no sizes fit this backbone: lora's rank must not"
    ):
        space(text.replace("8, 64", "64"))


@pytest.mark.parametrize("sizes", ["{bottleneck: 8, divisions: [3, 4]}", "{bottleneck: [6, 8], divisions: 4}"])
def test_a_space_whose_smallest_sizes_do_not_go_together_has_the_others(
    sizes: str, space: Callable[..., Space]
) -> None:
    found = space(
        f"methods: {{compacter: {{sizes: {sizes}, learning_rate: 0.001}}}}\ntraining: {{steps: 1, batch_size: 1}}\n"
    )
    (cell,) = found.grid()
    assert dict(cell.deltas[0].config) | {"bottleneck": 8, "divisions": 4} == dict(cell.deltas[0].config)
    assert found.sample(np.random.default_rng(0)) == cell


@pytest.mark.parametrize("roles", [["ffn.*", "*norm"], ["*norm", "ffn.*"]])
def test_a_size_that_costs_nothing_at_the_first_place_is_fitted_at_the_others(
    roles: list[str], space: Callable[..., Space]
) -> None:
    """All norms together have fewer parameters than the smallest budget."""
    found = space(
        f"methods: {{selective: {{roles: {roles}, sizes: {{budget: {{low: 1000, high: 20000}}}}, learning_rate: 1}}}}\n"
        "training: {steps: 1, batch_size: 1}\n"
    )
    params = {"selective.roles": "ffn.*", "selective.budget": 20000}
    assert found.from_params(params).count_parameters(found.shape) == 20000
    assert found.from_params(params, cap=2000).count_parameters(found.shape) <= 2000


def test_the_grid_of_the_papers_combinations_has_seven_cells(small: BackboneShape) -> None:
    space = Space.load("paper-combinations", small)
    grid = space.grid()
    assert space.size() == len(grid) == 7
    assert {frozenset(candidate.methods) for candidate in grid} == {
        frozenset(subset)
        for subset in (
            ["prompt"], ["bitfit"], ["adapter"], ["prompt", "bitfit"], ["prompt", "adapter"], ["bitfit", "adapter"],
            ["prompt", "bitfit", "adapter"],
        )
    }  # fmt: skip
    assert [len(candidate.methods) for candidate in grid] == [1, 1, 1, 2, 2, 2, 3]


def test_a_grid_lists_what_a_space_contains_and_nothing_twice(shape: BackboneShape) -> None:
    space = Space.load("smoke", shape)
    grid = space.grid()
    assert len(set(grid)) == len(grid) <= (space.size() or 0)
    assert all(space.contains(candidate) for candidate in grid)
    if shape.decoder_blocks == 1:  # blocks "all" and "upper half" are one candidate in the decoder alone
        assert len(grid) == space.size()
        shallow = Space.load("smoke", shape.model_copy(update={"encoder_blocks": 1}))
        assert len(shallow.grid()) == len(set(shallow.grid())) < len(grid)
    rng = np.random.default_rng(4)
    assert {space.sample(rng) for _ in range(100)} <= set(grid)


def test_a_grid_keeps_the_constraint(space: Callable[..., Space]) -> None:
    text = (
        "description: x\nmethods: {prompt: {stacks: encoder, sizes: {length: [1, 2, 3, 4]}, learning_rate: 1}}\n"
        "training: {steps: {low: 10, high: 30, step: 10}, batch_size: 1}\n"
        "constraints: {trainable_parameters: '<= 70'}\n"
    )
    assert space(text).size() == 12
    assert len(space(text).grid()) == 6


def test_a_grid_of_an_endless_or_huge_space_is_refused(space: Callable[..., Space], small: BackboneShape) -> None:
    assert Space.load("default", small).size() is None
    with pytest.raises(UserError, match=r"endlessly many candidates: lora\.rank is a range; give it choices"):
        Space.load("default", small).grid()
    text = (
        "description: x\nmethods: {prompt: {learning_rate: 1}}\n"
        "training: {steps: {low: 1, high: 200000}, batch_size: 1}\n"
    )
    with pytest.raises(UserError, match="has 200,000 cells; a grid may have at most 100,000"):
        space(text).grid()


def test_a_range_of_very_many_whole_numbers_is_never_written_out(space: Callable[..., Space]) -> None:
    found = space(
        "methods: {subspace: {sizes: {dimension: {low: 100, high: 9000000000000}}, learning_rate: 1e-3}}\n"
        "training: {steps: 5, batch_size: 4}\n"
    )
    candidate = found.sample(np.random.default_rng(0))
    assert found.from_params(found.to_params(candidate)) == candidate
    with pytest.raises(UserError, match=r"has 8,999,999,999,901 cells; a grid may have at most 100,000"):
        found.grid()


def test_what_lies_outside_is_not_contained_and_has_no_params(small: BackboneShape) -> None:
    space, other = Space.load("smoke", small), Space.load("lora-only", small)
    stranger = other.sample(np.random.default_rng(0))
    assert not space.contains(stranger)
    with pytest.raises(UserError, match=f"the candidate {stranger.key} lies outside of the space 'smoke'"):
        space.to_params(stranger)
    own = space.grid()[0]
    assert space.contains(own)
    assert own.methods == ("lora",)
    wider = own.deltas[0].model_copy(update={"config": own.deltas[0].config.model_copy(update={"alpha": 3.0})})
    assert not space.contains(own.model_copy(update={"deltas": (wider,)}))
    longer = own.model_copy(update={"training": own.training.model_copy(update={"warmup": 0.5})})
    assert not space.contains(longer)
    crowd = [*space.grid()[-1].deltas, *own.deltas]
    assert not space.contains(Candidate(deltas=tuple(crowd), training=own.training))
    wide = Space.load("paper-combinations", small)
    assert not wide.contains(own)


def test_params_that_are_missing_unknown_or_wrong_are_refused(small: BackboneShape) -> None:
    space = Space.load("smoke", small)
    params = space.to_params(space.grid()[0])
    for changed, message in (
        ({name: value for name, value in params.items() if name != "lora.rank"}, "parameter 'lora.rank' is missing"),
        (params | {"lora.rank": 3}, "lora.rank cannot be 3; choose from: 1, 2, 4"),
        (params | {"lora": 2.0}, "lora must be a number from 0.0 to 1.0, not 2.0"),
        (params | {"x": 1}, "did not ask for 'x'"),
    ):
        with pytest.raises(UserError, match=message):
            space.from_params(changed)


def test_a_space_of_one_candidate_has_no_neighbour(space: Callable[..., Space]) -> None:
    one = space("description: x\nmethods: {prompt: {learning_rate: 1}}\ntraining: {steps: 1, batch_size: 1}\n")
    assert one.size() == 1
    with pytest.raises(UserError, match="has no neighbour"):
        one.mutate(one.grid()[0], np.random.default_rng(0))


def test_a_limit_is_a_number_or_a_share_of_the_backbone(space: Callable[..., Space], small: BackboneShape) -> None:
    total = small.count_parameters()
    for text, limit in (("<= 50k", 50_000), ("<=2.5k", 2500), ("<= 0.07M", 70_000), ("<= 12.5%", total // 8)):
        assert space(TIGHT.replace("<= 3%", text)).limit == limit


def test_a_method_of_the_users_own_is_searched_like_any_other(
    space: Callable[..., Space], many_methods: Sequence[str], small: BackboneShape
) -> None:
    own = space(
        "description: x\nmethods:\n  own0:\n    sizes: {width: {low: 2, high: 30}, kind: [plain, double]}\n"
        "    learning_rate: 1\ntraining: {steps: 1, batch_size: 1}\nconstraints: {trainable_parameters: '<= 9'}\n"
    )
    drawn = {own.sample(np.random.default_rng(seed)) for seed in range(40)}
    assert {candidate.deltas[0].config.kind for candidate in drawn} == {"plain", "double"}  # type: ignore[attr-defined]
    assert {candidate.count_parameters(small) for candidate in drawn} <= set(range(2, 10))


def test_of_several_sizes_the_one_that_saves_most_is_stepped_down(
    space: Callable[..., Space], many_methods: Sequence[str]
) -> None:
    own = space(
        "description: x\nmethods:\n  own0: {sizes: {width: [1, 10], depth: [9, 10]}, learning_rate: 1}\n"
        "training: {steps: 1, batch_size: 1}\n"
    )
    params = {"own0.width": 10, "own0.depth": 10}
    for cap, sizes in ((100, (10, 10)), (99, (1, 10)), (9, (1, 9))):
        config = own.from_params(params, cap=cap).deltas[0].config
        assert (config.width, config.depth) == sizes  # type: ignore[attr-defined]


def test_names_find_files_and_files_describe_themselves() -> None:
    assert {"default", "paper-combinations", "lora-only", "smoke"} <= set(names())
    assert find("smoke").read_text().startswith("#")
    info = describe("paper-combinations")
    assert isinstance(info, SpaceInfo)
    assert (info.name, info.methods, info.at_most) == ("paper-combinations", ("prompt", "bitfit", "adapter"), 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smok", "unknown space 'smok'; did you mean 'smoke'\\? choose from: default, "),
        ("smok.yaml", "no such file: 'smok.yaml'; give a YAML file or one of: default, "),
        ("nowhere/smoke", "no such file: 'nowhere/smoke'"),
        ("~nobody-of-that-name/smoke", "no such file: '~nobody-of-that-name/smoke'"),
    ],
)
def test_a_space_that_does_not_exist_is_refused_with_the_choices(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find(name)


def test_neither_torch_nor_optuna_is_imported() -> None:
    heavy = "torch transformers optuna ray numpy pandas"
    code = (
        "import sys, autodelta.space as space; space.describe('smoke'); "
        f"print([name for name in {heavy.split()} if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.fixture
def many_methods(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Ten methods that no folder holds: width times depth parameters, twice as many with the kind ``double``."""

    class Config(registry.MethodConfig):
        width: int = Field(2, ge=1)
        depth: int = Field(1, ge=1)
        kind: str = "plain"

    def made(number: int) -> registry.MethodSpec:
        class Own(registry.MethodSpec):
            name = f"own{number}"
            family = "addition"
            order = registry.Order.MODULE
            parts = registry.EMBEDDINGS
            config = Config
            identity_at_start = True
            source = "this test"

            def count(self, sites: Sequence[Site], config: registry.MethodConfig, shape: BackboneShape) -> int:
                assert isinstance(config, Config)
                return config.width * config.depth * (2 if config.kind == "double" else 1)

        return Own()

    methods = {f"own{number}": made(number) for number in range(10)}
    monkeypatch.setattr(registry, "specs", lambda: methods)
    return tuple(methods)


def test_the_loss_is_a_gene_like_any_other(space: Callable[..., Space], shape: BackboneShape) -> None:
    both = space(TIGHT.replace("3%", "12%").replace("batch_size: 4", "batch_size: 4\n  loss: [text, labels]"), shape)
    rng = np.random.default_rng(0)
    drawn = [both.sample(rng) for _ in range(20)]
    assert {candidate.training.loss for candidate in drawn} == {"text", "labels"}
    assert all(both.contains(candidate) for candidate in drawn)
    with pytest.raises(UserError, match="'text' or 'labels'"):
        space(TIGHT.replace("batch_size: 4", "batch_size: 4\n  loss: [text, words]"), shape)


def test_draws_are_those_of_the_first_release(space: Callable[..., Space]) -> None:
    """What is kept between draws must not change them: a search that is taken up again asks for what it had."""
    found, rng = space(TIGHT), np.random.default_rng(0)
    drawn = [found.sample(rng, number=number) for number in range(60)]
    drawn += [found.mutate(one, rng) for one in drawn[:20]]
    names = " ".join(candidate.key for candidate in drawn)
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == "509bd0440a67b5b8"


def test_the_bounds_of_a_delta_are_its_fewest_and_most_parameters(space: Callable[..., Space]) -> None:
    found, rng = space(TIGHT), np.random.default_rng(1)
    ranges = {"lora": ("rank", 1, 16), "adapter": ("bottleneck", 2, 32), "prompt": ("length", 1, 16)}
    for _ in range(40):
        for delta in found.sample(rng).deltas:
            size, low, high = ranges.get(delta.method, (None, 0, 0))
            ends = [
                delta.model_copy(update={"config": delta.config.model_copy(update={size: end} if size else {})})
                for end in (low, high)
            ]
            counted = tuple(end.count_parameters(found.shape) for end in ends)
            assert found.method(delta.method).bounds(delta) == counted
