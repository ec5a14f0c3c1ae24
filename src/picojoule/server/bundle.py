"""Uploaded files of one network, received one after the other into a folder of their own."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from picojoule.frontends import FORMATS
from picojoule.server.database import NoRoomError
from picojoule.server.services import StatusError

FILE_NAME = r"^[^/\\\x00-\x1f\x7f]{1,200}$"
MOST_FILES = 256
LONGEST_NAME = 255  # bytes of a file's name on the common file systems
SETTINGS = "config.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of one network.

    Args:
        main: the client's name of the file that is read; the others are opened by what it says.
        folder: whether the folder is read as a whole: settings, and the headers of its weights.
        names: of all files, in the order in which they come.
        sizes: their bytes; of a single file None, which takes all there is.
    """

    main: str
    folder: bool
    names: tuple[str, ...]
    sizes: tuple[int | None, ...]

    @property
    def title(self) -> str:
        """What to call the network if nothing else does."""
        return Path(self.main).stem or "network"

    async def receive(self, folder: Path, body: AsyncIterator[bytes], digest: Any) -> Path:
        """Write the files of *body* into *folder*; what of it is to be read.

        Args:
            digest: a hash, to which the content is added.

        Raises:
            StatusError: the body is longer or shorter than was said.
            NoRoomError: there is no room for it.
        """
        place = folder / "network"
        place.mkdir()
        paths = [place / self._stored(name) for name in self.names]
        try:
            await _cut(body, list(zip(paths, self.sizes, strict=True)), digest)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise NoRoomError(f"there is no room for this upload: {error.strerror}") from None
        return place if self.folder else place / self._stored(self.main)

    def _stored(self, name: str) -> str:
        """The name on this computer: the main file's is ours, so that it meets no other's."""
        if name != self.main or self.folder:
            return name
        stored = f"network{Path(name).suffix.lower()}"
        while stored in self.names:
            stored = f"_{stored}"
        return stored


def bundle_of(names: Sequence[str], sizes: Sequence[int]) -> Bundle:
    """Which of the files is the network.

    >>> bundle_of(["net.onnx", "net.onnx.data"], [10, 20]).main
    'net.onnx'
    >>> bundle_of(["config.json", "model.safetensors"], [10, 20]).folder
    True

    Raises:
        StatusError: none is, or more than one; or the names and sizes make no sense.
    """
    if len(names) > 1 and len(sizes) != len(names):
        raise StatusError(422, f"{len(names)} files need as many sizes, not {len(sizes)}")
    if len(set(names)) < len(names):
        raise StatusError(422, "two of the files have the same name")
    for name in names:
        if name in (".", "..") or len(name.encode()) > LONGEST_NAME:
            raise StatusError(422, f"{name[:60]!r} cannot be the name of a file")
    networks = [name for name in names if Path(name).suffix.lower() in FORMATS]
    if len(networks) > 1:
        raise StatusError(422, f"one network at a time: {networks[0]} and {networks[1]} are two")
    file_sizes: tuple[int | None, ...] = tuple(sizes) if sizes else (None,)
    if networks:
        return Bundle(networks[0], False, tuple(names), file_sizes)
    if SETTINGS in names:
        return Bundle(SETTINGS, True, tuple(names), file_sizes)
    raise StatusError(422, _no_network(names))


def _no_network(names: Sequence[str]) -> str:
    name = names[0]
    if any(x.lower().endswith(".safetensors") for x in names):
        return f"{name} has weights and no network: bring the {SETTINGS} beside it as well"
    if Path(name).suffix.lower() == ".data":
        return f"{name} has the weights of a model: bring the .onnx beside it as well"
    return f"the name must end in {', '.join(FORMATS)}, or be {SETTINGS}; {name[:60]!r} does not"


async def _cut(
    body: AsyncIterator[bytes], parts: list[tuple[Path, int | None]], digest: Any
) -> None:
    """Write *body* into files of the given sizes."""
    files = iter(parts)
    stream, left = _begin(next(files))
    try:
        async for chunk in body:
            digest.update(chunk)
            rest = memoryview(chunk)
            while len(rest):
                while left == 0:
                    stream.close()
                    following = next(files, None)
                    if following is None:
                        raise StatusError(422, "the body is longer than the sizes of its files")
                    stream, left = _begin(following)
                piece = rest if left is None else rest[:left]
                stream.write(piece)
                rest = rest[len(piece) :]
                left = None if left is None else left - len(piece)
    finally:
        stream.close()
    if left or any(size for _, size in files):
        raise StatusError(400, "the body is shorter than the sizes of its files")


def _begin(part: tuple[Path, int | None]) -> tuple[BinaryIO, int | None]:
    path, size = part
    return path.open("wb"), size
