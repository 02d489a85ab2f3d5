"""Training of the network: episodic predictive likelihood with a ranking term, all members in one pass."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from autodelta.frozen import Frozen
from autodelta.meta.episodes import CONTEXT, QUERIES, draw, standardised
from autodelta.meta.inputs import Inputs
from autodelta.meta.network import Network, Prior, Sizes
from autodelta.meta.problem import Sources
from autodelta.meta.repeats import lessons

LOG_2PI = math.log(2 * math.pi)


class Settings(Frozen):
    """How the network is trained."""

    steps: int = Field(default=1000, gt=0)
    tasks: int = Field(default=16, gt=0)  # episodes a step
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    ranking: float = 0.3
    ranking_temperature: float = 0.5
    embedding_decay: float = 1e-2
    feature_noise: float = 0.3
    hidden_task: float = 0.3  # of the episodes hide what the task is
    offset_noise: float = 0.3
    scale_noise: float = 0.3
    cost: float = 0.1
    hidden: int = 64
    heads: int = 32
    embedding: int = 8
    members: int = Field(default=4, ge=1)


def train(
    sources: Sources, inputs: Sequence[Inputs], *, members: Sequence[NDArray[np.bool_]], settings: Settings, seed: int
) -> Network:
    """A trained network.

    Args:
        sources: tasks that all have something to teach.
        inputs: for each member, how features are brought to one scale; configurations are for all as for the first.
        members: for each member, the tasks that it may learn from, (tasks,).
        settings: how.
        seed: of every draw.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sizes = Sizes(
        token=inputs[0].token_columns,
        settings=inputs[0].setting_columns,
        features=len(sources.layout.features),
        members=len(members),
        hidden=settings.hidden,
        heads=settings.heads,
        embedding=settings.embedding,
    )
    network = Network(sizes)
    tables = _Tables(sources, inputs)
    told = np.stack(members) * lessons(sources.tasks)
    allowed = torch.tensor(told, dtype=torch.float32)  # (E, tasks) how much each member learns of each task
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    for _ in range(settings.steps):
        loss = _loss(network, tables, allowed, settings, rng)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0 * len(members))
        optimiser.step()
        schedule.step()
    return network.eval().requires_grad_(False)


class _Tables:
    """The sources as tensors."""

    def __init__(self, sources: Sources, members: Sequence[Inputs]) -> None:
        inputs = members[0]
        self.tasks = sources.tasks
        self.scores = [standardised(task) for task in sources.tasks]
        self.inputs = inputs
        self.configurations = sources.configurations
        self.tokens, self.present = inputs.tokens(sources.configurations)
        self.settings = inputs.settings(sources.configurations)
        features = np.stack([task.features for task in sources.tasks])
        self.features = torch.stack([member.features(features) for member in members])  # (E, tasks, features)
        self.costs = [inputs.costs(task) for task in sources.tasks]


def _loss(network: Network, tables: _Tables, allowed: Tensor, settings: Settings, rng: np.random.Generator) -> Tensor:
    numbers = rng.choice(len(tables.tasks), size=min(settings.tasks, len(tables.tasks)), replace=False)
    episodes = [draw(tables.tasks[number], rng) for number in numbers]
    rows = np.stack([tables.tasks[n].points.rows[e.points] for n, e in zip(numbers, episodes, strict=True)])
    rungs = np.stack([tables.tasks[n].points.rungs[e.points] for n, e in zip(numbers, episodes, strict=True)])
    z = np.stack([tables.scores[n][e.points] for n, e in zip(numbers, episodes, strict=True)])
    costs = np.stack([tables.costs[n][e.points] for n, e in zip(numbers, episodes, strict=True)])
    weight = torch.tensor(np.stack([episode.weight for episode in episodes]), dtype=torch.float32)
    scale = np.exp(rng.normal(0, settings.scale_noise, (len(numbers), 1)))
    y = torch.tensor(scale * z + rng.normal(0, settings.offset_noise, (len(numbers), 1)), dtype=torch.float32)
    features = tables.features[:, torch.as_tensor(numbers)]
    noise = torch.tensor(rng.normal(size=features.shape[1:]), dtype=torch.float32)
    features = features + settings.feature_noise * noise
    embedded = network.embedded(features)
    shown = torch.tensor(rng.random((embedded.shape[0], len(numbers), 1)) >= settings.hidden_task, dtype=torch.float32)
    penalty = (embedded**2).mean() * embedded.shape[0]
    prior = _prior_of_points(network, tables, rows, rungs, embedded * shown)
    trusted = allowed[:, torch.as_tensor(numbers)]  # (E, B)
    same = torch.tensor(rows[:, :, None] == rows[:, None, :], dtype=torch.float32)
    logs = torch.tensor(np.log(rungs), dtype=torch.float32)
    fit, rank = _predictive(network, prior, y, weight, same, (logs[:, :, None] - logs[:, None, :]).abs(), settings)
    loss = (trusted * (fit + settings.ranking * rank)).sum() / len(numbers)
    known = torch.tensor(np.isfinite(costs), dtype=torch.float32)
    aim = torch.tensor(np.nan_to_num(costs), dtype=torch.float32)
    off = ((prior.cost - aim) ** 2 * known).mean((2, 3))
    return loss + settings.cost * (trusted * off).sum() / len(numbers) + settings.embedding_decay * penalty


def _prior_of_points(
    network: Network, tables: _Tables, rows: NDArray[np.int64], rungs: NDArray[np.float64], embedded: Tensor
) -> Prior:
    """Each pair of configuration and rung is encoded once, however many tasks it occurs in."""
    pairs, back = np.unique(np.stack([rows.ravel(), rungs.ravel()]), axis=1, return_inverse=True)
    at = torch.as_tensor(pairs[0].astype(np.int64))
    settings = torch.cat([tables.settings[at], tables.inputs.rungs(pairs[1])], dim=1)
    joined, last = network.encoded(tables.tokens[at], tables.present[at], settings)
    spread = torch.as_tensor(back.ravel())
    return network.prior(joined[:, spread], last[:, spread], embedded)


def _predictive(
    network: Network, prior: Prior, y: Tensor, weight: Tensor, same: Tensor, apart: Tensor, settings: Settings
) -> tuple[Tensor, Tensor]:
    """Minus the log-likelihood of a query given the context, and how far the ranking is off; both (E, B)."""
    tau, offset, noise, reach = (
        torch.exp(log).reshape(-1, 1, 1, 1)
        for log in (network.log_tau, network.log_offset, network.log_noise, network.log_reach)
    )
    mean = prior.mean
    kernel = prior.basis @ prior.basis.transpose(-1, -2) + tau**2 * mean[..., :, None] * mean[..., None, :] + offset**2
    own = prior.residual[..., :, None] * prior.residual[..., None, :] * same * torch.exp(-apart / reach)
    kernel = kernel + own
    inside = slice(0, CONTEXT)
    outside = slice(CONTEXT, CONTEXT + QUERIES)
    eye = torch.eye(CONTEXT)
    # what is not there has no covariance with anything, and an observation of its mean
    there = weight[:, inside]
    k_cc = kernel[..., inside, inside] * there[:, :, None] * there[:, None, :]
    k_cc = k_cc + eye * (noise**2 + (1 - there)[:, None, :] + 1e-4)
    k_qc = kernel[..., outside, inside] * there[:, None, :]
    factor = torch.linalg.cholesky(k_cc)
    whitened = torch.linalg.solve_triangular(factor, k_qc.transpose(-1, -2), upper=False)  # (E, B, C, Q)
    off = ((y[:, inside] - mean[..., inside]) * there)[..., None]
    told = torch.linalg.solve_triangular(factor, off, upper=False)
    expected = mean[..., outside] + (whitened * told).sum(-2)
    aim = weight[:, outside]
    variance = torch.diagonal(kernel[..., outside, outside], dim1=-2, dim2=-1) - (whitened**2).sum(-2)
    variance = variance.clamp_min(1e-4) + noise[..., 0] ** 2
    number = aim.sum(-1).clamp_min(1)
    missed = 0.5 * ((y[:, outside] - expected) ** 2 / variance + torch.log(variance) + LOG_2PI)
    fit = (missed * aim).sum(-1) / number
    hidden = (1 - aim) * -1e4
    wanted = torch.softmax(y[:, outside] / settings.ranking_temperature + hidden, dim=-1)
    given = torch.log_softmax(expected / settings.ranking_temperature + hidden, dim=-1)
    return fit, -(wanted * given * aim).sum(-1)
