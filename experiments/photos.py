"""Gather photos and cut-out objects from Debian packages, to fit ImageNet networks on.

python -m experiments.photos --packages FOLDER --out FOLDER

FOLDER holds the unpacked packages (`apt-get download NAME`, then `dpkg-deb -x`): tuxpaint-stamps-
default (cut-out animals, plants, things), gcompris-qt-data (photos inside Qt's resource files),
gnome-backgrounds, mate-backgrounds, plasma-workspace-wallpapers, ukui-wallpapers and
lomiri-wallpapers-16.04 and -20.04 (landscapes); any picture beside them is taken too, so
scikit-image's and darknet's may lie there. Writes out/photos and out/cutouts, no side longer than
640. The pictures belong to their authors and stay out of this repository. Needs Pillow.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

DRAWN = ("cartoon", "symbols", "toys", "roadsigns", "flags", "screenshot", "examples")
DRAWN_IN_GCOMPRIS = (
    "lang",
    "babyshapes",
    "paintings",
    "leftright",
    "clickgame",
    "details",
    "digital_electricity",
)
SMALLEST, LARGEST = 96, 640


def embedded(raw: bytes) -> Iterator[bytes]:
    """The WebP and JPEG files in a Qt resource file: each has its length before or within it."""
    for found in re.finditer(rb"RIFF(....)WEBP", raw, re.DOTALL):
        yield raw[found.start() :][: int.from_bytes(found.group(1), "little") + 8]
    for found in re.finditer(rb"\xff\xd8\xff[\xe0\xe1]", raw):
        length = int.from_bytes(raw[found.start() - 4 : found.start()], "big")
        if 3_000 < length < 5_000_000:
            yield raw[found.start() :][:length]


def files(packages: Path) -> Iterator[tuple[str, bytes]]:
    """Name and contents of every picture, embedded ones too, in the order of their paths."""
    for path in sorted(packages.rglob("*")):
        if not path.is_file() or path.is_symlink() or any(word in str(path) for word in DRAWN):
            continue
        if path.suffix == ".rcc" and path.stem not in DRAWN_IN_GCOMPRIS:
            for number, raw in enumerate(embedded(path.read_bytes())):
                yield f"{path.stem}-{number}", raw
        elif path.suffix in (".png", ".jpg", ".jpeg", ".webp"):
            yield path.stem, path.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    wanted = parser.parse_args()
    seen = set()
    for kind in ("photos", "cutouts"):
        (wanted.out / kind).mkdir(parents=True, exist_ok=True)
    for number, (name, raw) in enumerate(files(wanted.packages)):
        try:
            picture = Image.open(io.BytesIO(raw)).convert("RGBA")
        except OSError:
            continue  # no picture after all
        picture.thumbnail((LARGEST, LARGEST))
        small = picture.resize((16, 16)).tobytes()  # one picture comes in many sizes
        if min(picture.size) < SMALLEST or small in seen:
            continue
        seen.add(small)
        lowest, _ = picture.getchannel("A").getextrema()
        if lowest == 0:
            picture.save(wanted.out / "cutouts" / f"{number:05d}-{name}.png")
        elif min(picture.size) >= 2 * SMALLEST:
            picture.convert("RGB").save(wanted.out / "photos" / f"{number:05d}-{name}.png")


if __name__ == "__main__":
    main()
