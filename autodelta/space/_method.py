"""One method of a space on one backbone: where it may stand, at which sizes, and how it is made smaller."""

from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from itertools import product
from types import MappingProxyType
from typing import Any

from autodelta.candidate import Delta
from autodelta.deltas.spec import MethodConfig, spec
from autodelta.shape import BackboneShape, Site
from autodelta.space._document import Document
from autodelta.space._domain import Choices, Domain, Trial, Value
from autodelta.space._places import Place, place
from autodelta.space._plan import MethodPlan

WHERE = ("stacks", "blocks", "roles")
_Spot = tuple[tuple[str, ...], tuple[int, ...] | None, tuple[int, ...] | None]


class Method:
    """The genes of one method, bound to a backbone.

    Raises:
        UserError: a choice of stack, blocks and roles comes to no site on this backbone.
    """

    def __init__(self, name: str, plan: MethodPlan, *, shape: BackboneShape, document: Document) -> None:
        self.name = name
        self.spec = spec(name)
        self.shape = shape
        self._where = {key: Choices(values=getattr(plan, key)) for key in WHERE}
        self._sizes: dict[str, Domain] = plan.sizes
        self._rate: Domain = plan.learning_rate
        self.places = self._found_places(document)
        self._words = {_spot(found): words for words, found in reversed(self.places.items())}
        self.at = {_spot(found): found.sites for found in self.places.values()}
        self._shrinkable = self._found_shrinkable()

    @cached_property
    def genes(self) -> Mapping[str, Domain]:
        """Every gene with what it may be, in the order in which they are asked for."""
        own = {**self._where, **self._sizes, "learning_rate": self._rate}
        return MappingProxyType({f"{self.name}.{gene}": domain for gene, domain in own.items()})

    def ask(self, trial: Trial) -> Delta:
        """The delta that a trial's parameters describe."""
        return self.delta({gene: domain.ask(trial, gene) for gene, domain in self.genes.items()})

    def delta(self, values: Mapping[str, Any]) -> Delta:
        """The delta with these values of the genes."""
        found = self.places[tuple(values[f"{self.name}.{key}"] for key in WHERE)]
        return Delta(
            method=self.name,
            roles=found.roles,
            encoder_blocks=found.encoder_blocks,
            decoder_blocks=found.decoder_blocks,
            config=self.spec.config.model_validate({size: values[f"{self.name}.{size}"] for size in self._sizes}),
            learning_rate=values[f"{self.name}.learning_rate"],
        )

    def params(self, delta: Delta) -> dict[str, Value] | None:
        """The values of the genes that describe a delta; None where it lies outside of the space."""
        words = self._words.get(_spot(delta))
        if words is None:
            return None
        known = {**dict(zip(WHERE, words, strict=True)), **dict(delta.config), "learning_rate": delta.learning_rate}
        values = {gene: known[gene.removeprefix(f"{self.name}.")] for gene in self.genes}
        inside = all(domain.contains(values[gene]) for gene, domain in self.genes.items())
        return values if inside and self.delta(values) == delta else None

    def every(self) -> Iterator[Delta]:
        """Every delta of a finite set of genes."""
        listed = {gene: domain.listed() for gene, domain in self.genes.items()}
        for values in product(*(values or () for values in listed.values())):
            yield self.delta(dict(zip(listed, values, strict=True)))

    def sites(self, delta: Delta) -> tuple[Site, ...]:
        return self.at[_spot(delta)]

    def count(self, delta: Delta) -> int:
        """Trainable parameters of a delta of this space, exactly."""
        return delta.count_parameters(self.shape)

    def problem(self, delta: Delta) -> str | None:
        """Why its sizes do not fit the backbone; None if they do."""
        return _checked(self, _spot(delta), delta.config)

    def bounds(self, delta: Delta) -> tuple[int, int]:
        """Parameters of the same delta with all sizes that cost some at their lowest, and at their highest."""
        fixed = tuple((size, value) for size, value in delta.config if size not in self._shrinkable)
        return _ends(self, _spot(delta), fixed)

    def ends(self, spot: _Spot, fixed: Mapping[str, Value]) -> tuple[int, int]:
        """What ``bounds`` says of the delta at that place with these values of the other sizes."""
        start = self.delta(self._first({**dict(zip(WHERE, self._words[spot], strict=True)), **fixed}))
        low, high = ({size: ends[end] for size, ends in self._shrinkable.items()} for end in (0, 1))
        return self.count(self._resized(start, low)), self.count(self._resized(start, high))

    def smaller(self, delta: Delta) -> Delta | None:
        """The delta one step of one size down, the step that saves most; None at the smallest."""
        lower = []
        for size in self._shrinkable:
            value = self._sizes[size].below(getattr(delta.config, size))
            if value is not None:
                lower.append(self._resized(delta, {size: value}))
        return min(lower, key=self.count, default=None)

    def least(self) -> Delta | None:
        """The cheapest delta that fits the backbone; None if none does."""
        return min((delta for delta in self._smallest_ones() if not self.problem(delta)), key=self.count, default=None)

    def obstacle(self) -> str | None:
        """What keeps even the smallest sizes from fitting; None if nothing does."""
        return next(filter(None, map(self.problem, self._smallest_ones())), None)

    def _smallest_ones(self) -> Iterator[Delta]:
        """One delta for every place and all choices of sizes, with ranges at their lowest: not all go together."""
        choices = {size: domain.values for size, domain in self._sizes.items() if isinstance(domain, Choices)}
        for words, values in product(self.places, product(*choices.values())):
            given = dict(zip(WHERE, words, strict=True)) | dict(zip(choices, values, strict=True))
            yield self.delta(self._first(given))

    def _first(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """Values for all genes: the given ones, else the first or lowest."""
        found: dict[str, Value] = {}
        for gene, domain in self.genes.items():
            low = domain.values[0] if isinstance(domain, Choices) else domain.low
            found[gene] = given.get(gene.removeprefix(f"{self.name}."), low)
        return found

    def _resized(self, delta: Delta, sizes: Mapping[str, Any]) -> Delta:
        return delta.model_copy(update={"config": delta.config.model_copy(update=dict(sizes))}) if sizes else delta

    def _found_places(self, document: Document) -> dict[tuple[Value, ...], Place]:
        found: dict[tuple[Value, ...], Place] = {}
        for words in product(*(choices.values for choices in self._where.values())):
            stack, blocks, roles = map(str, words)
            found[words] = place(stack, blocks, roles, self.spec.parts, self.shape)
            if not found[words].sites:
                depth = f"{self.shape.encoder_blocks} + {self.shape.decoder_blocks} blocks"
                raise document.error(
                    ("methods", self.name),
                    f"stands nowhere with stacks {stack!r}, blocks {blocks!r} and roles {roles!r} "
                    f"on this backbone of {depth}; leave out one of these choices",
                )
        return found

    def _found_shrinkable(self) -> dict[str, tuple[float, float]]:
        """The sizes that cost parameters somewhere and are not constant, with their lowest and highest value."""
        starts = [self.delta(self._first(dict(zip(WHERE, words, strict=True)))) for words in self.places]
        found = {}
        for size, domain in self._sizes.items():
            bounds = domain.bounds()
            if bounds is None or bounds[0] == bounds[1]:
                continue
            ends = (tuple(self.count(self._resized(start, {size: bound})) for bound in bounds) for start in starts)
            if any(low < high for low, high in ends):
                found[size] = bounds
        return found


def _spot(where: Place | Delta) -> _Spot:
    return where.roles, where.encoder_blocks, where.decoder_blocks


@lru_cache(maxsize=4096)  # a sampler draws a hundred candidates an ask, and most have been looked at before
def _checked(method: Method, spot: _Spot, config: MethodConfig) -> str | None:
    try:
        method.spec.check(method.at[spot], config, method.shape)
    except ValueError as error:
        return str(error)
    return None


@lru_cache(maxsize=4096)
def _ends(method: Method, spot: _Spot, fixed: tuple[tuple[str, Value], ...]) -> tuple[int, int]:
    return method.ends(spot, dict(fixed))
