"""Embedded data sets: made on the spot from files that installed packages bring along, no download.

``digits``: scikit-learn's 1,797 handwritten digits. ``glyphs``: characters of many scripts (see `glyphs.py`).
``patches``: small pieces of scikit-learn's two sample photographs; the class is the place in a photograph.
They stand in for MNIST, Omniglot and Fashion-MNIST where those cannot be had; they are not those data sets, and every
result says which data made it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from frisket.envs.data.decode import SIDE
from frisket.envs.data.imageset import ImageSet, Provenance
from frisket.envs.data.store import cached_arrays
from frisket.files import sha256
from frisket.rng import numpy_generator


@dataclass(frozen=True, slots=True)
class Embedded:
    """One embedded data set.

    Attributes:
        name: what it is called in a spec.
        title: what it is, in words.
        make: gives ``images`` ``[n, 1, 28, 28]`` uint8, ``labels`` ``[n]`` int64 and ``classes`` ``[k]`` str.
        packages: distributions whose versions can change the pictures; part of the cache key.
        version: raised when ``make`` changes what it returns.
        licence: of the files it is made from.
        citation: what to cite.
    """

    name: str
    title: str
    make: Callable[[], dict[str, np.ndarray]]
    packages: tuple[str, ...]
    version: int
    licence: str
    citation: str


def load_embedded(name: str, cache: Path) -> ImageSet:
    """The embedded data set ``name``, made now or taken from the ``cache`` folder."""
    from importlib.metadata import version

    entry = EMBEDDED[name]
    made_with = {package: version(package) for package in entry.packages}
    key = "-".join([name, f"v{entry.version}", *(f"{package}{number}" for package, number in made_with.items())])
    arrays = cached_arrays(cache, key, entry.make)
    images, labels = arrays["images"], arrays["labels"]
    provenance = Provenance(
        name=name,
        kind="embedded",
        source=entry.title,
        licence=entry.licence,
        citation=entry.citation,
        sha256={
            "images": sha256(images.tobytes()),
            "labels": sha256(labels.tobytes()),
        },
        notes=tuple(f"made with {package} {number}" for package, number in made_with.items()),
    )
    return ImageSet(name, images, labels, tuple(str(c) for c in arrays["classes"]), provenance)


def make_digits() -> dict[str, np.ndarray]:
    """Scikit-learn's digits, 8x8 with 17 greys, enlarged to 28x28 (bicubic); bright ink on black, as in MNIST."""
    from PIL import Image
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    small = np.minimum(np.asarray(pixels) * 16, 255).astype(np.uint8).reshape(-1, 8, 8)
    large = [np.asarray(Image.fromarray(s).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for s in small]
    return {
        "images": np.stack(large)[:, None],
        "labels": np.asarray(target, np.int64),
        "classes": np.array(list("0123456789")),
    }


_PLACES = {  # class: (photograph, left, top, right, bottom), chosen by eye so that each holds one texture
    "sky": ("china.jpg", 330, 0, 640, 130),
    "lake": ("china.jpg", 375, 225, 545, 290),
    "top roof": ("china.jpg", 115, 60, 300, 130),
    "middle gallery": ("china.jpg", 100, 182, 325, 250),
    "lower gallery": ("china.jpg", 85, 275, 340, 350),
    "bush": ("china.jpg", 360, 310, 560, 427),
    "pine": ("china.jpg", 560, 150, 640, 427),
    "petals": ("flower.jpg", 190, 240, 430, 350),
    "flower heart": ("flower.jpg", 240, 145, 375, 265),
    "leaf": ("flower.jpg", 0, 60, 160, 330),
}
_PATCHES_PER_PLACE = 400
_PATCH_SIDES = (24, 48)


def make_patches() -> dict[str, np.ndarray]:
    """Square grey pieces of ten places in two photographs, 24 to 48 pixels wide, resized to 28x28, half mirrored."""
    from PIL import Image, ImageOps
    from sklearn.datasets import load_sample_image

    photographs = {name: Image.fromarray(load_sample_image(name)).convert("L") for name in ("china.jpg", "flower.jpg")}
    images = []
    for place, (photograph, left, top, right, bottom) in _PLACES.items():
        generator = numpy_generator(0, "patches", place)
        for _ in range(_PATCHES_PER_PLACE):
            side = int(generator.integers(*_PATCH_SIDES, endpoint=True))
            x = int(generator.integers(left, right - side, endpoint=True))
            y = int(generator.integers(top, bottom - side, endpoint=True))
            patch = photographs[photograph].crop((x, y, x + side, y + side))
            patch = patch.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            images.append(np.asarray(ImageOps.mirror(patch) if generator.random() < 0.5 else patch))
    return {
        "images": np.stack(images)[:, None],
        "labels": np.repeat(np.arange(len(_PLACES), dtype=np.int64), _PATCHES_PER_PLACE),
        "classes": np.array(list(_PLACES)),
    }


def _make_glyphs() -> dict[str, np.ndarray]:
    from frisket.envs.data.glyphs import make_glyphs

    return make_glyphs()


EMBEDDED: Mapping[str, Embedded] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Embedded(
                "digits",
                "handwritten digits shipped with scikit-learn, enlarged from 8x8",
                make_digits,
                ("scikit-learn", "pillow"),
                1,
                "CC BY 4.0 (UCI)",
                "E. Alpaydin, C. Kaynak. Optical Recognition of Handwritten Digits. UCI ML Repository, 1998.",
            ),
            Embedded(
                "glyphs",
                "distorted pen drawings of characters from the fonts shipped with matplotlib",
                _make_glyphs,
                ("matplotlib", "pillow"),
                2,
                "DejaVu Fonts licence (Bitstream Vera derived); STIX fonts licence",
                "DejaVu Fonts 2.37, STIX Fonts 1, as distributed with matplotlib.",
            ),
            Embedded(
                "patches",
                "pieces of ten places in the photographs china.jpg and flower.jpg shipped with scikit-learn",
                make_patches,
                ("scikit-learn", "pillow"),
                1,
                "CC BY 2.0 (photographs by danielbuechele and vultilion, flickr)",
                "F. Pedregosa et al. Scikit-learn: Machine Learning in Python. JMLR 12, 2011.",
            ),
        )
    }
)
"""Every embedded data set, by name."""
