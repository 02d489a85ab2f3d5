"""The network: a set of tokens -> features of a configuration; features of a task -> the prior of a linear head on
them.

Members of the ensemble are trained and run together: every weight has a first dimension E. DeepSets are those of
Zaheer et al. 2017, arXiv:1703.06114, equation 2; the Bayesian linear head on learned features is that of Snoek et al.
2015, arXiv:1502.05700; that a hypernetwork gives its prior from the task is what is new here. Without an embedding
(`u` = 0) the prior is the same for all tasks: the shared prior."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autodelta.frozen import Frozen


class Sizes(Frozen):
    """The dimensions of the network."""

    token: int  # columns of a token
    settings: int  # columns of the settings, the two of the rung included
    features: int  # of a task
    members: int  # E
    hidden: int = 64
    heads: int = 32  # columns of phi
    embedding: int = 8  # of a task


class Prior(NamedTuple):
    """The prior of P points for each of B tasks: z = mean + basis w + residual, w ~ N(0, I); (E, B, P, ...)."""

    mean: Tensor  # (E, B, P)
    basis: Tensor  # (E, B, P, heads): phi Lambda^(1/2)
    residual: Tensor  # (E, B, P) standard deviation of what is a configuration's own
    cost: Tensor  # (E, B, P, 2) log seconds and log bytes, standardised


class Linear(nn.Module):
    """E linear layers side by side: (E or 1, N, inputs) -> (E, N, outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(members, inputs, outputs) * scale * (2 / max(1, inputs)) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(x, self.weight) + self.bias


class Network(nn.Module):
    """All members of the ensemble."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        members, hidden, heads = sizes.members, sizes.hidden, sizes.heads
        self.token1 = Linear(members, sizes.token, hidden)
        self.token2 = Linear(members, hidden, hidden)
        self.whole1 = Linear(members, hidden + sizes.settings, hidden)
        self.whole2 = Linear(members, hidden, heads)
        self.residual = Linear(members, hidden, 1, scale=0.1)
        self.task = Linear(members, sizes.features, sizes.embedding, scale=0.5)
        self.mean = nn.Parameter(torch.zeros(members, 1, heads))
        self.spread = nn.Parameter(torch.zeros(members, 1, heads))
        self.mean_by_task = nn.Parameter(torch.randn(members, sizes.embedding, heads) * 0.1)
        self.spread_by_task = nn.Parameter(torch.zeros(members, sizes.embedding, heads))
        self.log_tau = nn.Parameter(torch.full((members,), -1.0))
        self.log_offset = nn.Parameter(torch.full((members,), -1.0))
        self.log_noise = nn.Parameter(torch.full((members,), -1.5))
        self.log_reach = nn.Parameter(torch.zeros(members))  # of a residual, along the log of the rung
        self.cost1 = Linear(members, hidden + sizes.settings + sizes.embedding, hidden)
        self.cost2 = Linear(members, hidden, 2, scale=0.1)

    def embedded(self, features: Tensor) -> Tensor:
        """Embeddings of tasks, (E, B, embedding), from standardised features, (B, features) or (E, B, features)."""
        return torch.tanh(self.task(features if features.dim() == 3 else features[None]))

    def encoded(self, tokens: Tensor, present: Tensor, settings: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden vectors of configurations at rungs: the sets' sums with the settings, and the last layer, (E, N, ...).

        Args:
            tokens: (N, T, token).
            present: (N, T), 1 where there is one.
            settings: (N, settings).
        """
        count, most, width = tokens.shape
        inner = torch.relu(self.token2(torch.relu(self.token1(tokens.reshape(1, count * most, width)))))
        inner = inner.reshape(-1, count, most, self.sizes.hidden)
        pooled = (inner * present[None, :, :, None]).sum(2)
        joined = torch.cat([pooled, settings.expand(len(pooled), -1, -1)], dim=2)
        return joined, torch.relu(self.whole1(joined))

    def prior(self, joined: Tensor, last: Tensor, embedded: Tensor) -> Prior:
        """The prior of points for tasks.

        Args:
            joined: (E, N, hidden + settings) as ``encoded`` gives it.
            last: (E, N, hidden), the same.
            embedded: (E, B, embedding); N is B times P, the points of the first task first.
        """
        members, tasks, _ = embedded.shape
        phi = self.whole2(last).reshape(members, tasks, -1, self.sizes.heads) / self.sizes.heads**0.5
        weights = self.mean + embedded @ self.mean_by_task  # (E, B, heads)
        spread = torch.exp(0.5 * (self.spread + embedded @ self.spread_by_task).clamp(-6, 6))
        residual = torch.exp((self.residual(last) - 1.0).clamp(-4, 2)).reshape(members, tasks, -1)
        points = phi.shape[2]
        beside = embedded[:, :, None].expand(-1, -1, points, -1).reshape(members, tasks * points, -1)
        cost = self.cost2(torch.relu(self.cost1(torch.cat([joined, beside], dim=2))))
        return Prior(
            mean=(phi @ weights[..., None])[..., 0],
            basis=phi * spread[:, :, None],
            residual=residual,
            cost=cost.reshape(members, tasks, points, 2),
        )


def picked(network: Network, members: Sequence[int]) -> Network:
    """Some members of an ensemble as a network of their own."""
    at = torch.tensor(list(members))
    found = Network(network.sizes.model_copy(update={"members": len(at)}))
    found.load_state_dict({name: value[at] for name, value in network.state_dict().items()})
    return found.eval().requires_grad_(False)
