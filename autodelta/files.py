"""Writing files so that a crash never leaves half of one, and telling one from another."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
CACHE = "AUTODELTA_CACHE"  # the variable that names the folder for caches
NO_ROOM = (*FULL, errno.EACCES, errno.EPERM)  # the user's to mend


def cache_folder() -> Path:
    """Where what is the same for all runs of this user is kept, and may be deleted at any time."""
    named = os.environ.get(CACHE)
    return Path(named) if named else Path.home() / ".cache" / "autodelta"


def full(error: BaseException) -> str | None:
    """What the system says where a disk takes no more; None for any other error.

    safetensors has errors of its own, which name the system's number.
    """
    number = getattr(error, "errno", None)
    if number not in FULL:
        number = next((known for known in FULL if f"(os error {known})" in str(error)), None)
    return None if number is None else os.strerror(number)


def in_the_way(folder: Path) -> Path | None:
    """What is there and keeps a folder from being made, or from being written into; None where nothing does."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return None if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK) else nearest


def no_place(file: Path) -> str | None:
    """Why a file cannot be put where the user wants it; None where it can."""
    if file.is_dir():
        return f"{str(file)!r} is a folder"
    if not file.parent.is_dir():
        return f"there is no folder {str(file.parent)!r}"
    if not _written_into(file) and in_the_way(file.parent) is not None:
        return f"the folder {str(file.parent)!r} cannot be written"
    return None


def put_text(to: Path, text: str) -> None:
    """Writes a whole text file where the user wants it, or into what else has that name, as a pipe."""
    if _written_into(to):
        to.write_text(text, encoding="utf-8")
    else:
        write_text(to, text)


def _written_into(to: Path) -> bool:
    """Whether a name is that of something which a new file would replace: a link, a pipe, a device."""
    return to.is_symlink() or (to.exists() and not to.is_file())


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets ``write`` fill a temporary file, fsyncs it and renames it to ``path``.

    Whoever may read what else the user writes may read it, too: safetensors makes files that are the user's alone.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # as the umask has it
        write(temporary)
        if temporary.stat().st_mode != mode:
            temporary.chmod(stat.S_IMODE(mode))
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes a whole text file."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, data: Any) -> None:
    """Writes a whole JSON file; NaN and infinity are refused."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


class Lines:
    """A file of JSON lines that is only ever appended to; every append is on disk when it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, *rows: dict[str, Any]) -> None:
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        with self.path.open("ab+", buffering=0) as file:
            before = file.tell()
            if before > 0 and _last_byte(file) != b"\n":
                text = "\n" + text  # a torn last line stays alone
            try:
                _write_all(file, text.encode())
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # what was refused may come again, and must not stand there twice
                    file.truncate(before)
                raise

    def read(self) -> list[dict[str, Any]]:
        """Every whole line; one torn by a crash is passed over."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows.append(row)
        return rows


def _write_all(file: Any, data: bytes) -> None:
    while data:  # a disk that fills up takes a part
        data = data[file.write(data) :]


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    return bytes(file.read(1))
