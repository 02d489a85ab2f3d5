"""The run's folder, which every node must see: checkpoints and weights pass through it."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from autodelta.errors import UserError
from autodelta.files import sha256
from autodelta.search.run import RUN_FILE


@dataclass(frozen=True)
class RunFolder:
    """A run's folder as its driver sees it."""

    path: Path
    fingerprint: str  # of the run's settings: another node may have another folder of that name

    @classmethod
    def seen(cls, path: Path) -> Self:
        """The folder as this process sees it."""
        return cls(path.absolute(), _fingerprint(path))

    def check(self) -> None:
        """Looks whether this node sees the same folder.

        Raises:
            UserError: it does not.
        """
        if _fingerprint(self.path) != self.fingerprint:
            raise UserError(
                f"the node {socket.gethostname()} does not see the run's folder {self.path}; "
                "give --runs a folder that all nodes of the cluster share"
            )


def _fingerprint(path: Path) -> str:
    file = path / RUN_FILE
    return sha256(file) if file.is_file() else ""
