"""The published data sets frisket reads, as data: files, mirrors, hashes, licence, citation.

A gzip or zip can be packed again without touching what is inside, so each file has two kinds of hash: the sha256 of
the containers known to be published, and the digest of the content (`frisket.envs.data.decode` says of what exactly).
Either one is enough to accept a file.

Where the hashes come from: container hashes are those of the files as published by their authors. Content digests are
computed from copies whose content was compared with the published md5 of the content (MNIST), whose containers are the
published ones (Fashion-MNIST), or whose pictures were compared with the author's (Omniglot).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a data set.

    Attributes:
        name: canonical file name; it lies in ``DATA_DIR/SOURCE_NAME/``.
        containers: sha256 of every container known to be published, the usual one first.
        content: digest of the content, whatever the container.
    """

    name: str
    containers: tuple[str, ...]
    content: str


@dataclass(frozen=True, slots=True)
class Source:
    """One published data set.

    Attributes:
        name: what the data set is called in a spec, and its folder in a data folder.
        title: its name in words.
        layout: how its files are read: ``"idx"``, gzipped IDX files (images, labels), or ``"omniglot"``, zips of PNGs.
        splits: name of a split to its files, in reading order; the first split is the default one.
        mirrors: folders on the web, ending in ``/``, tried in this order.
        classes: class names of an ``"idx"`` source (an ``"omniglot"`` one names them in its zips).
        licence: what the authors state.
        citation: how to cite it.
        stand_in: the embedded data set used in its place when it cannot be had.
    """

    name: str
    title: str
    layout: Literal["idx", "omniglot"]
    splits: Mapping[str, tuple[SourceFile, ...]]
    mirrors: tuple[str, ...]
    classes: tuple[str, ...]
    licence: str
    citation: str
    stand_in: str

    def files(self) -> tuple[SourceFile, ...]:
        """The files of all splits."""
        return tuple(file for files in self.splits.values() for file in files)


MNIST = Source(
    name="mnist",
    title="MNIST",
    layout="idx",
    splits={
        "train": (
            SourceFile(
                "train-images-idx3-ubyte.gz",
                ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",),
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            SourceFile(
                "train-labels-idx1-ubyte.gz",
                ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",),
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
        ),
        "test": (
            SourceFile(
                "t10k-images-idx3-ubyte.gz",
                ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",),
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            SourceFile(
                "t10k-labels-idx1-ubyte.gz",
                ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",),
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    },
    mirrors=(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    classes=tuple("0123456789"),
    licence="CC BY-SA 3.0 (as its redistributors state; the authors' page names none)",
    citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. Gradient-based learning applied to document recognition.",
    stand_in="digits",
)

FASHION_MNIST = Source(
    name="fashion_mnist",
    title="Fashion-MNIST",
    layout="idx",
    splits={
        "train": (
            SourceFile(
                "train-images-idx3-ubyte.gz",
                ("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",),
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            SourceFile(
                "train-labels-idx1-ubyte.gz",
                ("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",),
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
        ),
        "test": (
            SourceFile(
                "t10k-images-idx3-ubyte.gz",
                ("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",),
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
            SourceFile(
                "t10k-labels-idx1-ubyte.gz",
                ("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",),
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
    },
    mirrors=(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    licence="MIT",
    citation="H. Xiao, K. Rasul, R. Vollgraf. Fashion-MNIST: a novel image dataset for benchmarking machine learning "
    "algorithms. 2017.",
    stand_in="patches",
)

OMNIGLOT = Source(
    name="omniglot",
    title="Omniglot",
    layout="omniglot",
    splits={
        "all": (
            SourceFile(
                "images_background.zip",
                ("ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",),
                "bcc56ce732cb4535535c76b0d1a1d7230c711401fa1fb6da24c3a92c085c2042",
            ),
            SourceFile(
                "images_evaluation.zip",
                ("1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",),
                "67ced18934978145654c2a19d9faa2d8675fc60a9bc600e2e5919e7299e5bb56",
            ),
        ),
    },
    mirrors=(
        "https://github.com/brendenlake/omniglot/raw/master/python/",
        "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
    ),
    classes=(),
    licence="MIT",
    citation="B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum. Human-level concept learning through probabilistic "
    "program induction. Science 350, 2015.",
    stand_in="glyphs",
)

SOURCES: Mapping[str, Source] = MappingProxyType({source.name: source for source in (MNIST, FASHION_MNIST, OMNIGLOT)})
"""Every published data set frisket reads, by name."""
