"""A disk that fills up under ``picojoule serve``, and is freed: a small one, of this test alone."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.server.conftest import Server, Start
from tests.server_files import CHIP, TABLE

DISK = "1m"  # of which the store takes about a third


def has_small_disks(folder: Path) -> bool:
    """Whether a process may have a file system of its own."""
    try:
        return not subprocess.run(
            [*OWN_DISK, f"mount -t tmpfs tmpfs '{folder}'"], capture_output=True, check=False
        ).returncode
    except OSError:
        return False


OWN_DISK = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


@pytest.fixture
def server(start: Start, tmp_path: Path) -> Server:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not has_small_disks(disk):
        pytest.skip("no process may mount a disk of its own here")
    mount = f'mount -t tmpfs -o size={DISK} tmpfs \'{disk}\' && exec "$0" "$@"'
    return start(disk / "store.sqlite3", before=(*OWN_DISK, mount))


def fill(server: Server) -> Path:
    """Take all the room there is, as another program would; the file that takes it."""
    inside = Path(f"/proc/{server.process.pid}/root{server.store.parent}") / "filler"
    with inside.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1024)):
                pass
        except OSError:
            pass
    return inside


@pytest.mark.slow
def test_a_full_disk_fails_what_ends_and_the_queue_goes_on(server: Server) -> None:
    network = server.upload("small.csv", TABLE).json()["id"]
    question = {"network": network, "chip_yaml": CHIP}
    kept = server.finished(question)
    assert kept["state"] == "done"
    filler = fill(server)
    refused = 0
    asked = []
    for batch in range(2, 200):
        # what little room is left in the store's own files is used up first
        answer = server.call("POST", "/api/jobs", json={**question, "batch": batch})
        if answer.status_code == 507:
            refused += 1
            assert "make room" in answer.json()["error"]["message"]
            break
        asked.append(answer.json()["id"])
        time.sleep(0.05)
    assert refused
    # what is there is still shown, at once
    assert server.call("GET", f"/api/results/{kept['id']}").status_code == 200
    assert server.call("GET", "/").status_code == 200
    filler.unlink()
    ends = [server.over(id_) for id_ in asked]
    assert {job["state"] for job in ends} <= {"done", "failed"}
    for job in ends:
        if job["state"] == "failed":
            assert "make room" in job["error"]["message"]
    again = server.finished({**question, "batch": 200})
    assert again["state"] == "done"
    assert server.stop() == 130
