"""Files: whole or not at all, with the permissions of any file, for every kind of place."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from picojoule.errors import InputError
from picojoule.files import is_leftover, replacing, write_atomically


@pytest.fixture
def usual_mask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_text_is_utf_8_and_bytes_are_as_they_are(tmp_path: Path) -> None:
    write_atomically(tmp_path / "text", "59.3 µJ\n")
    assert (tmp_path / "text").read_bytes() == b"59.3 \xc2\xb5J\n"
    write_atomically(tmp_path / "raw", b"\x00\r\n\xff")
    assert (tmp_path / "raw").read_bytes() == b"\x00\r\n\xff"
    assert sorted(x.name for x in tmp_path.iterdir()) == ["raw", "text"]


def test_what_cannot_be_written_is_a_mistake_or_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none/x\.txt: file: cannot be written: .*No such file"):
        write_atomically(tmp_path / "none" / "x.txt", "x")
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "x.txt", "x", as_mistake=False)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / "folder", "x")
    assert [x.name for x in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("durable", [True, False])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    place = tmp_path / "run.json"
    place.write_text("old")
    real = os.fdopen

    class Full:
        """What is written is taken; that the disk is full comes out on flushing."""

        def __init__(self, handle: int, mode: str) -> None:
            self.file = real(handle, mode)
            self.write, self.fileno = self.file.write, self.file.fileno

        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

    monkeypatch.setattr(os, "fdopen", Full)
    with pytest.raises(InputError, match="No space left"):
        write_atomically(place, "new", durable=durable)
    assert place.read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is full")
def test_a_really_full_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open
    monkeypatch.setattr(os, "open", lambda *_: real("/dev/full", os.O_WRONLY))
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "x", "new" * 10_000, as_mistake=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stops", [KeyboardInterrupt, MemoryError, ValueError])
def test_whatever_stops_the_writing_leaves_the_old_file(
    tmp_path: Path, stops: type[BaseException]
) -> None:
    place = tmp_path / "table"
    place.write_text("old")

    def fill() -> None:
        with replacing(place) as file:
            file.write(b"half")
            raise stops

    with pytest.raises(stops):
        fill()
    assert place.read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


def test_two_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    place = tmp_path / "shared"
    contents = [letter.encode() * 100_000 for letter in "abcd"]
    seen: set[bytes] = set()
    begin = threading.Barrier(len(contents))

    def write(content: bytes) -> None:
        begin.wait()
        for _ in range(20):
            write_atomically(place, content, durable=False)
            seen.add(place.read_bytes())

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen <= set(contents)
    assert list(tmp_path.iterdir()) == [place]


def test_what_a_killed_process_leaves_is_known(tmp_path: Path) -> None:
    place = tmp_path / "x"
    script = (
        "import os, sys; from pathlib import Path; from picojoule.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(place)], check=False).returncode == 9
    (left,) = tmp_path.iterdir()
    assert is_leftover(left)
    assert left.name.startswith(".")
    write_atomically(place, "whole")
    assert not is_leftover(place)


@pytest.mark.usefixtures("usual_mask")
def test_a_new_file_has_the_usual_permissions_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    place = tmp_path / "x"
    write_atomically(place, "new")
    assert mode_of(place) == 0o644
    for mode in (0o600, 0o664, 0o755, 0o400):
        place.chmod(mode)
        write_atomically(place, f"{mode:o}")
        assert mode_of(place) == mode
        assert place.read_text() == f"{mode:o}"


@pytest.mark.usefixtures("usual_mask")
def test_a_private_file_is_open_to_nobody_while_it_is_written(tmp_path: Path) -> None:
    place = tmp_path / "x"
    write_atomically(place, "old")
    place.chmod(0o600)
    with replacing(place) as file:
        file.write(b"secret")
        assert {mode_of(path) for path in tmp_path.iterdir()} == {0o600}


def test_the_mask_of_the_process_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even to ask for it changes it for every other thread."""
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the mask was touched"))
    write_atomically(tmp_path / "x", "x")


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "x", tmp_path / "x"
    target.write_text("old")
    link.symlink_to(target)
    write_atomically(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize("name", ["x" * 255, "µ" * 127])
def test_a_name_as_long_as_names_may_be(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, "x")
    assert (tmp_path / name).read_text() == "x"


def test_content_reaches_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "x"
    events: list[str] = []

    def fsync(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        events.append(f"{kind}, {'named' if place.exists() else 'not named'}")

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(place, "x")
    assert events == ["file, not named", "folder, named"]
    events.clear()
    write_atomically(place, "y", durable=False)
    assert events == []
