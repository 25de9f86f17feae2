"""The published data sets frisket reads, as data: files, mirrors, hashes, licence, citation.

A gzip or zip can be packed again without touching what is inside, so each file has two kinds of hash: the sha256 of
the containers known to be published, and the digest of the content (`frisket.envs.data.decode` says of what exactly).
Either one is enough to accept a file.

Where the hashes come from: container hashes are those of the files as published by their authors (CIFAR, TinyImageNet:
as several public projects that read these files state them alike). Content digests are computed from copies whose
content was compared with the published md5 of the content (MNIST), whose containers are the published ones
(Fashion-MNIST; the sample of notMNIST), or whose pictures were compared with the author's (Omniglot). No copy of the
published CIFAR and TinyImageNet archives was at hand to compute theirs from; of those only the published container is
accepted. Of the full notMNIST archives neither a copy nor a published sha256 was, so a sample stands under that name.

A data set may come in another form too, files with the same pictures that are not the published ones. It is used where
the published files are absent, never downloaded, and every result says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

Layout = Literal["idx", "omniglot", "cifar10", "cifar100", "tiny-imagenet", "tiles", "class-tiles"]
"""How files are read: gzipped IDX files (images, labels), zips of PNGs, CIFAR's binary records in a tar.gz, a zip of
JPEGs, a zip of JPEGs made of tiles, zips of WebPs made of tiles (see `decode.py` and `photos.py`)."""

UNPACKED: Mapping[Layout, int] = MappingProxyType(
    {
        "idx": 2**26,  # MNIST's training pictures: 47 MB
        "omniglot": 2**26,  # 19,280 pictures of a few hundred bytes
        "cifar10": 2**28,  # 60,000 records of 3,073 bytes
        "cifar100": 2**28,
        "tiny-imagenet": 2**29,  # 237 MB, pictures that are packed already
        "tiles": 2**28,
        "class-tiles": 2**28,  # pictures that are packed already
    }
)
"""The most bytes that a file of a layout may unpack to; its container has no more either."""

CANONICAL, TILED, SAMPLE = "canonical files", "tiled pictures, lossy", "10,000-image sample"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a data set.

    Attributes:
        name: canonical file name; it lies in ``DATA_DIR/SOURCE_NAME/``.
        containers: sha256 of every container known to be published, the usual one first.
        content: digest of the content, whatever the container; None if unknown: only a published container will do.
    """

    name: str
    containers: tuple[str, ...]
    content: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One published data set.

    Attributes:
        name: what the data set is called in a spec, and its folder in a data folder.
        title: its name in words.
        layout: how its files are read.
        splits: name of a split to its files, in reading order; the first split is the default one.
        mirrors: folders on the web, ending in ``/``, tried in this order; none for files that are not published.
        classes: class names of an ``"idx"`` source (the others name them in their archives).
        licence: what the authors state.
        citation: how to cite it.
        stand_in: the embedded data set used in its place when it cannot be had.
        form: what kind of files these are.
        notes: what a reader of results should know of this form.
        others: the same data set in other forms, looked for in this order where the files of this one are absent.
        shared: the data set whose files, and folder, these are; empty for a set of its own.
    """

    name: str
    title: str
    layout: Layout
    splits: Mapping[str, tuple[SourceFile, ...]]
    mirrors: tuple[str, ...]
    classes: tuple[str, ...]
    licence: str
    citation: str
    stand_in: str
    form: str = CANONICAL
    notes: tuple[str, ...] = ()
    others: tuple[Source, ...] = ()
    shared: str = ""

    @property
    def folder(self) -> str:
        """Its folder in a data folder."""
        return self.shared or self.name

    def files(self) -> tuple[SourceFile, ...]:
        """The files of all splits, each once."""
        return tuple(dict.fromkeys(file for files in self.splits.values() for file in files))

    def forms(self) -> tuple[Source, ...]:
        """This form of the data set, then the others."""
        return (self, *self.others)

    def whole(self, name: str, title: str, citation: str) -> Source:
        """The pictures of both splits of a CIFAR set together, as a data set of its own."""
        file = self.splits["train"]
        others = tuple(other.whole(name, title, citation) for other in self.others)
        return replace(
            self, name=name, title=title, citation=f"{citation} {self.citation}", splits={"all": file},
            others=others, shared=self.name,
            notes=tuple(note for note in self.notes if "split" not in note),
        )  # fmt: skip

    def tiled(self, *, container: str, content: str, notes: tuple[str, ...]) -> Source:
        """The form of tiled pictures of a CIFAR set, in one zip named like the set."""
        file = SourceFile(f"{self.name}.zip", (container,), content)
        return replace(
            self, layout="tiles", splits=dict.fromkeys(self.splits, (file,)), mirrors=(), form=TILED, notes=notes
        )


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

_CIFAR10_FILE = SourceFile(
    "cifar-10-binary.tar.gz", ("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",)
)
_CIFAR100_FILE = SourceFile(
    "cifar-100-binary.tar.gz", ("58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",)
)
_TINY_IMAGENET_FILE = SourceFile(
    "tiny-imagenet-200.zip", ("6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",)
)

_CIFAR10 = Source(
    name="cifar10",
    title="CIFAR-10",
    layout="cifar10",
    splits={"train": (_CIFAR10_FILE,), "test": (_CIFAR10_FILE,)},
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    classes=(),
    licence="none stated by the authors",
    citation="A. Krizhevsky. Learning multiple layers of features from tiny images. 2009.",
    stand_in="digits",
)
CIFAR10 = replace(
    _CIFAR10,
    others=(
        _CIFAR10.tiled(
            container="992a97ecf1613e0e52be0e1c453bf3341888de5d325d253d552c4346078e4b8e",
            content="f72d3752c142f5e61433446bd0b80a422b1bfc71848c3c7927884dbea46591d7",
            notes=(
                "lossy: JPEG, 36.2 dB against the published pixels; 1,135 pictures from a coarser JPEG, about 30 dB",
                "train and test hold the same pictures as the published ones, in another order",
            ),
        ),
    ),
)

_CIFAR100 = Source(
    name="cifar100",
    title="CIFAR-100",
    layout="cifar100",
    splits={"train": (_CIFAR100_FILE,), "test": (_CIFAR100_FILE,)},
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    classes=(),
    licence="none stated by the authors",
    citation="A. Krizhevsky. Learning multiple layers of features from tiny images. 2009.",
    stand_in="glyphs",
)
CIFAR100 = replace(
    _CIFAR100,
    others=(
        _CIFAR100.tiled(
            container="31189a696e56475b936be4598d5d97b4a8f634dd136dd8c3e8c4a151fe83c4ec",
            content="81ac9bb83d94e97e52d14fa77bed8ee528389f72286948522408f69491cc2a05",
            notes=(
                "lossy: JPEG, 35.9 dB against the published pixels",
                "not the canonical split: of a class's 600 pictures the 500 of lowest pixel hash are train, 100 test",
            ),
        ),
    ),
)

CIFAR_FS = CIFAR100.whole(
    "cifar_fs",
    "CIFAR-FS",
    "L. Bertinetto, J. F. Henriques, P. H. S. Torr, A. Vedaldi. Meta-learning with differentiable closed-form solvers. "
    "ICLR 2019.",
)
FC100 = CIFAR100.whole(
    "fc100",
    "FC100",
    "B. N. Oreshkin, P. Rodriguez, A. Lacoste. TADAM: task dependent adaptive metric for improved few-shot learning. "
    "NeurIPS 2018.",
)

_MINI_IMAGENET_FILES = (
    SourceFile(
        "miniimagenet_train.zip",
        ("ba8dd6cf98abb7411db40cb9e8c93c13ab3c0f229a9e7d19a2881a0d42a73f6d",),
        "0b3d0969a3cb78282d17971bcad0538d2128c291fe624dd2cdd4ec47ede13527",
    ),
    SourceFile(
        "miniimagenet_val.zip",
        ("7c348fc838070b7ba2536295bd29d1f26ac7ccc0617006d3ae9f05d04e3f3967",),
        "70c41bb0fca0a457dec6abfc157020072be06f639263cb7bd9ad3bc3785540b3",
    ),
    SourceFile(
        "miniimagenet_test.zip",
        ("4ad118e2b0306aa2267cf1bef830d49a3fe068e821881edb485004a83c13074d",),
        "7546bf0986e704c3350bef5c8a9db6bf941dd7d84453b7f38cd28e0a3f829603",
    ),
)
MINI_IMAGENET = Source(
    name="miniimagenet",
    title="miniImageNet",
    layout="class-tiles",
    splits={"all": _MINI_IMAGENET_FILES},
    mirrors=(),
    classes=(),
    licence="ImageNet's terms: non-commercial research and education",
    citation="O. Vinyals et al. Matching networks for one shot learning. NeurIPS 2016; S. Ravi, H. Larochelle. "
    "Optimization as a model for few-shot learning. ICLR 2017.",
    stand_in="glyphs",
    form=TILED,
    notes=(
        "lossy: WebP, 31.6 dB against pictures of 84 x 84 that were JPEG before",
        "classes and pictures are those of Ravi and Larochelle",
    ),
)

TINY_IMAGENET = Source(
    name="tinyimagenet",
    title="TinyImageNet-200",
    layout="tiny-imagenet",
    splits={"train": (_TINY_IMAGENET_FILE,), "test": (_TINY_IMAGENET_FILE,)},
    mirrors=("https://cs231n.stanford.edu/", "http://cs231n.stanford.edu/"),
    classes=(),
    licence="ImageNet's terms: non-commercial research and education",
    citation="Y. Le, X. Yang. Tiny ImageNet visual recognition challenge. Stanford CS 231N, 2015.",
    stand_in="glyphs",
    notes=("test is the official validation set: the labels of the official test set are not published",),
)

NOTMNIST = Source(
    name="notmnist",
    title="notMNIST (sample)",
    layout="idx",
    splits={
        "all": (
            SourceFile(
                "t10k-images-idx3-ubyte.gz",
                ("70ae9e06201f2827e5b0a3781a3169d735dd2efc69996b9eeaee7f10ed4044d7",),
                "8e7f38ae95cc8f48e0986175ffc9137e5007ebcf3d8fdf6656c904eb9dab198b",
            ),
            SourceFile(
                "t10k-labels-idx1-ubyte.gz",
                ("1fa03836e01c862542f8eb83463bb951bebec6fcb3efa28dad748c6b38a9021b",),
                "5f8e6012f2ce730700d8d05fca098bc47f71d25b890e4bec7ac5ebfd614a4001",
            ),
        ),
    },
    mirrors=("https://github.com/davidflanagan/notMNIST-to-MNIST/raw/master/",),
    classes=tuple("ABCDEFGHIJ"),
    licence="none stated by the author of notMNIST; the sample is published with his permission (MIT)",
    citation="Y. Bulatov. notMNIST dataset. 2011.",
    stand_in="digits",
    form=SAMPLE,
    notes=("a sample of notMNIST small: 10,000 of about 18,700 images, 1,000 a letter",),
)

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            MNIST,
            FASHION_MNIST,
            NOTMNIST,
            OMNIGLOT,
            CIFAR10,
            CIFAR100,
            CIFAR_FS,
            FC100,
            TINY_IMAGENET,
            MINI_IMAGENET,
        )
    }
)
"""Every published data set frisket reads, by name."""
