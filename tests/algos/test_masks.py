"""MaskSet: set algebra, the file of one bit per weight, its errors, and the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.picture import CELL, CLOSED, OPEN, SIDE, draw_mask, mask_colours, mask_grid
from frisket.errors import MaskError
from frisket.files import SEAL, sha256_of_parts
from frisket.rng import torch_generator


def random_masks(key: int, shapes: dict[str, tuple[int, ...]] | None = None) -> MaskSet:
    generator = torch_generator(0, "masks", key)
    shapes = shapes or {"conv1.weight": (3, 1, 3, 3), "conv1.bias": (3,), "scalar": ()}
    return MaskSet({k: torch.rand(shape, generator=generator) < 0.5 for k, shape in shapes.items()})


def tiny(*rows: list[bool]) -> list[MaskSet]:
    return [MaskSet({"w": torch.tensor(row)}) for row in rows]


def test_round_trip(tmp_path: Path) -> None:
    masks = random_masks(0)
    again = MaskSet.load(masks.save(tmp_path / "m.safetensors"))
    assert again == masks
    assert {k: v.shape for k, v in again.items()} == {k: v.shape for k, v in masks.items()}
    assert all(v.dtype == torch.bool for v in again.values())
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]  # nothing temporary is left


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1000])
def test_round_trip_of_every_remainder(count: int, tmp_path: Path) -> None:
    masks = random_masks(count, {"w": (count,)})
    assert MaskSet.load(masks.save(tmp_path / "m.safetensors")) == masks


def test_empty_set_round_trip(tmp_path: Path) -> None:
    assert MaskSet.load(MaskSet({}).save(tmp_path / "m.safetensors")) == MaskSet({})


def test_one_bit_per_weight_on_disk(tmp_path: Path) -> None:
    """Two million weights in 20 tensors: at most 2 % above 250,000 bytes, the header included."""
    masks = random_masks(0, {f"layer{i}.weight": (100, 1000) for i in range(20)})
    size = masks.save(tmp_path / "m.safetensors").stat().st_size
    assert masks.size == 2_000_000
    assert 250_000 <= size < 255_000


def test_algebra_by_hand() -> None:
    a, b = tiny([True, True, False, False], [True, False, True, False])
    union, both, difference, complement = tiny(
        [True, True, True, False], [True, False, False, False], [False, True, False, False], [False, False, True, True]
    )
    assert (a | b, a & b, a - b, ~a) == (union, both, difference, complement)
    assert a != b
    assert a.overlap(b) == pytest.approx(1 / 3)
    assert a.overlap(a) == 1
    assert (a - a).overlap(a - a) == 1


def test_equality_looks_at_names_shapes_and_kind() -> None:
    mask = torch.ones(4, dtype=torch.bool)
    assert MaskSet({"a": mask}) != MaskSet({"b": mask})
    assert MaskSet({"a": mask}) != MaskSet({"a": mask.reshape(2, 2)})
    assert MaskSet({"a": mask}) != {"a": mask}


def test_sparsity_is_the_closed_fraction_by_tensor_and_overall() -> None:
    masks = MaskSet({"a": torch.tensor([True, False, False, False]), "b": torch.ones(12, dtype=torch.bool)})
    assert masks.sparsities() == {"a": 0.75, "b": 0.0}
    assert masks.sparsity() == pytest.approx(3 / 16)
    assert MaskSet({}).sparsity() == 0


def test_wrong_kinds_and_partners_are_refused() -> None:
    with pytest.raises(MaskError, match="boolean"):
        MaskSet({"w": torch.ones(3)})
    with pytest.raises(MaskError, match="same tensors"):
        _ = random_masks(0) | MaskSet({"w": torch.ones(3, dtype=torch.bool)})
    with pytest.raises(MaskError, match=r"mask w"):
        _ = MaskSet({"w": torch.ones(3, dtype=torch.bool)}) & MaskSet({"w": torch.ones(4, dtype=torch.bool)})


def test_a_network_they_do_not_fit_is_named() -> None:
    masks = random_masks(0)
    masks.check_fits({k: torch.zeros(v.shape) for k, v in masks.items()})
    with pytest.raises(MaskError, match=r"conv1\.weight.*\(4, 1, 3, 3\)"):
        masks.check_fits(
            {**{k: torch.zeros(v.shape) for k, v in masks.items()}, "conv1.weight": torch.zeros(4, 1, 3, 3)}
        )
    with pytest.raises(MaskError, match=r"conv1\.bias.*None"):
        masks.check_fits({"conv1.weight": torch.zeros(3, 1, 3, 3)})


@pytest.mark.parametrize("keep", [0, 5, 30, -1])
def test_truncated_file(keep: int, tmp_path: Path) -> None:
    path = random_masks(0).save(tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(MaskError, match=r"m\.safetensors.*damaged"):
        MaskSet.load(path)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    with pytest.raises(MaskError, match="no such file"):
        MaskSet.load(tmp_path / "nothing")
    save_file({"w": np.zeros(3, dtype=np.uint8)}, tmp_path / "weights.safetensors")
    with pytest.raises(MaskError, match="not a mask file"):
        MaskSet.load(tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    "shapes", ['{"w": [3]}', '{"w": [900]}', '{"other": [24]}', "[]", "{", '{"w": "x"}', '{"w": [-24]}']
)
def test_lying_header(shapes: str, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    bits = np.zeros(3, dtype=np.uint8)
    metadata = {"format": "frisket-masks/1", "shapes": shapes, SEAL: sha256_of_parts(shapes, {"w": bits})}
    save_file({"w": bits}, tmp_path / "m.safetensors", metadata=metadata)
    with pytest.raises(MaskError, match="damaged"):
        MaskSet.load(tmp_path / "m.safetensors")


def ink(path: Path) -> float:
    """Share of the picture's pixels that have the colour of a closed weight."""
    pixels = imread(path)[..., :3]
    return float((np.abs(pixels - np.array(CLOSED) / 255).max(axis=-1) < 0.02).mean())


def test_pictures_have_ink_where_masks_are_closed(tmp_path: Path) -> None:
    half = torch.arange(16 * 16 * 9).reshape(16, 16, 3, 3) % 2 == 0
    masks = MaskSet({"conv2.weight": half, "open": torch.ones(8, 8, dtype=torch.bool), "bias": torch.zeros(5).bool()})
    paths = masks.draw(tmp_path / "pictures")
    assert [p.name for p in paths] == ["mask_conv2_weight.png", "mask_open.png", "mask_bias.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in paths)
    assert 0.3 < ink(paths[0]) < 0.5
    assert ink(paths[1]) < 0.01
    assert ink(paths[2]) == pytest.approx(5 * CELL**2 / (260 * (2 * CELL + 45)), rel=0.01)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((16, 1, 3, 3), (12, 15)),  # a tower of 48 x 3: four columns of four kernels, one cell between them
        ((16, 16, 3, 3), (48, 48)),
        ((5, 2, 3, 2), (15, 4)),
        ((10, 16), (10, 16)),
        ((2, 40), (11, 10)),  # four rows of ten, one cell between them
        ((40, 2), (10, 11)),
        ((16,), (4, 4)),  # the rows of a vector need nothing between them
        ((7,), (3, 3)),
        ((3,), (1, 3)),
        ((0,), (1, 0)),
    ],
)
def test_a_mask_is_laid_out_about_as_wide_as_high(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    grid = mask_grid([mask])
    assert grid.shape == expected
    assert (~np.isnan(grid)).sum() == mask.numel()
    assert np.nansum(grid) == (~mask).sum()  # 1 = closed


def test_a_folded_kernel_is_whole() -> None:
    kernels = torch.zeros(16, 1, 3, 3, dtype=torch.bool)
    kernels[5] = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 1]], dtype=torch.bool)  # the second of the second column
    grid = mask_grid([kernels])
    assert np.array_equal(grid[3:6, 4:7], 1 - kernels[5, 0].double())
    assert np.isnan(grid[:, [3, 7, 11]]).all()
    assert (np.delete(grid, [3, 7, 11], axis=1).sum()) == 16 * 9 - 5


def test_of_several_masks_a_cell_is_the_share_that_is_closed() -> None:
    one, two = torch.tensor([[True, False], [True, True]]), torch.tensor([[False, False], [True, True]])
    assert mask_grid([one, two]).tolist() == [[0.5, 1], [0, 0]]


@pytest.mark.parametrize("masks", [1, 2, 5])
def test_one_palette_from_open_to_closed(masks: int) -> None:
    colours = mask_colours(masks)
    assert masks + 1 == colours.N
    ends = [tuple(round(255 * part) for part in colours(i)[:3]) for i in (0, masks)]
    assert ends == [OPEN, CLOSED]


@pytest.mark.parametrize("shape", [(16, 1, 3, 3), (64, 64, 3, 3), (5,), (1000,), (1, 1)])
def test_a_tensors_picture_has_room_for_its_title_and_is_no_tower(shape: tuple[int, ...], tmp_path: Path) -> None:
    from PIL import Image

    path = draw_mask(torch.ones(shape, dtype=torch.bool), "a_rather.long.name_of_a_layer.weight", tmp_path / "m.png")
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    height, width = pixels.shape
    assert 240 <= width <= SIDE
    assert height <= SIDE + 60
    if max(shape) <= 5:
        assert height <= 5 * CELL + 60
    title = pixels[:45]
    assert (title[:, :2] > 250).all()
    assert (title[:, -2:] > 250).all()
    assert (title < 100).any()
