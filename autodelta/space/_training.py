"""The training settings of a space: the genes that every candidate has, whatever its methods."""

from collections.abc import Iterator, Mapping
from itertools import product

from autodelta.candidate import Training
from autodelta.space._domain import Domain, Trial, Value

PREFIX = "training."


class Settings:
    """The genes of the training settings."""

    def __init__(self, fields: Mapping[str, Domain]) -> None:
        self.genes = {PREFIX + field: domain for field, domain in fields.items()}

    @property
    def most_steps(self) -> int:
        """The largest number of training steps."""
        steps = self.genes[PREFIX + "steps"]
        bounds = steps.bounds()
        return int(bounds[1] if bounds else max(value for value in steps.listed() or () if isinstance(value, int)))

    @property
    def fewest_steps(self) -> int:
        """The smallest number of training steps."""
        steps = self.genes[PREFIX + "steps"]
        bounds = steps.bounds()
        return int(bounds[0] if bounds else min(value for value in steps.listed() or () if isinstance(value, int)))

    def shorter(self, training: Training) -> Iterator[Training]:
        """The same settings with fewer and fewer steps, down to the fewest."""
        steps = self.genes[PREFIX + "steps"].below(training.steps)
        while steps is not None:
            yield training.model_copy(update={"steps": int(steps)})
            steps = self.genes[PREFIX + "steps"].below(steps)

    def ask(self, trial: Trial) -> Training:
        """The settings that a trial's parameters describe."""
        return _training({gene: domain.ask(trial, gene) for gene, domain in self.genes.items()})

    def params(self, training: Training) -> dict[str, Value] | None:
        """The values of the genes that describe these settings; None where they lie outside of the space."""
        values: dict[str, Value] = {gene: getattr(training, gene.removeprefix(PREFIX)) for gene in self.genes}
        inside = all(domain.contains(values[gene]) for gene, domain in self.genes.items())
        return values if inside and _training(values) == training else None

    def every(self) -> Iterator[Training]:
        """All settings of a finite set of genes."""
        listed = [domain.listed() or () for domain in self.genes.values()]
        for values in product(*listed):
            yield _training(dict(zip(self.genes, values, strict=True)))


def _training(values: Mapping[str, Value]) -> Training:
    return Training.model_validate({gene.removeprefix(PREFIX): value for gene, value in values.items()})
