"""The loops of `normed_pool` give what the operations give one by one, and automatic derivatives of these."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos import native, program
from frisket.algos.networks import normed_pool as module
from frisket.algos.networks.layers import EPSILON, batch_norm, channels_last, max_pool
from frisket.algos.networks.normed_pool import normed_pool

SHAPES = [(3, 2, 2, 2), (4, 16, 6, 6), (3, 64, 5, 7), (2, 83, 9, 4), (5, 21, 3, 3)]
"""Blocks of channels that are full, over, and less than one; odd rows, odd columns, both."""

needs_compiler = pytest.mark.skipif(program.compiler() is None, reason="there is no C++ compiler")


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Case:
    """x away from 0, gains of both signs, and what the derivatives are asked with."""

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        n, c, h, w = shape
        generator = torch.Generator().manual_seed(sum(shape))

        def drawn(*size: int) -> Tensor:
            return torch.randn(size, generator=generator)

        self.x, self.u = channels_last(3 * drawn(*shape) + 7), channels_last(drawn(*shape))
        self.gain, self.shift, self.p, self.q = drawn(c), drawn(c) / 5, drawn(c), drawn(c)
        self.g = channels_last(drawn(n, c, h // 2, w // 2))

    def all(self, *, double: bool, one_by_one: bool) -> list[Tensor]:
        """y, its gradients by x, gain and shift, and theirs by g, x and gain."""
        given = (self.x, self.gain, self.shift, self.g)
        x, gain, shift, g = ((t.double() if double else t).clone().requires_grad_() for t in given)
        if one_by_one:
            y = F.relu(F.max_pool2d(F.batch_norm(x, None, None, gain, shift, True, 0, EPSILON), 2))
        else:
            y = normed_pool(x, gain, shift)
        first = torch.autograd.grad(y, (x, gain, shift), g, create_graph=True)
        along = [t.double() if double else t for t in (self.u, self.p, self.q)]
        return [y, *first, *torch.autograd.grad(first, (g, x, gain), along)]


def close(found: list[Tensor], wanted: list[Tensor], share: float) -> bool:
    return all(
        float((a.double() - b).detach().abs().max()) <= share * float(b.detach().abs().max())
        for a, b in zip(found, wanted, strict=True)
    )


@needs_compiler
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_both_derivatives(shape: tuple[int, int, int, int], one_thread: None) -> None:
    case = Case(shape)
    assert module._suits(case.x, case.gain, case.shift)
    wanted = case.all(double=True, one_by_one=True)
    assert close(case.all(double=False, one_by_one=False), wanted, 5e-6)


@needs_compiler
def test_running_statistics_move_as_batch_norm_moves_them(one_thread: None) -> None:
    case = Case((4, 16, 6, 6))
    moved = []
    for routine in (normed_pool, batch_norm):
        mean, variance = torch.full((16,), 2.0), torch.full((16,), 0.5)
        routine(case.x, case.gain, case.shift, mean, variance, 0.1)
        moved.append((mean, variance))
    assert all(torch.allclose(a, b, rtol=1e-5) for a, b in zip(*moved, strict=True))
    assert not torch.equal(moved[0][0], torch.full((16,), 2.0))


@needs_compiler
def test_what_is_not_a_number_is_not_hidden(one_thread: None) -> None:
    """A run that diverges is told by its loss, so no maximum and no ReLU may swallow a NaN."""
    case = Case((4, 16, 6, 6))
    case.x[1, 3, 2, 2] = torch.nan
    y = normed_pool(case.x, case.gain, case.shift)
    assert y[:, 3].isnan().all()
    assert y[:, :3].isfinite().all()
    assert y[:, 4:].isfinite().all()


@needs_compiler
def test_what_overflows_is_not_hidden_either(one_thread: None) -> None:
    case = Case((4, 16, 6, 6))
    case.x[:, 3] *= 1e25  # its squares are larger than a float can be
    y = normed_pool(case.x, case.gain, case.shift)
    assert y[:, 3].isnan().all()
    assert y[:, 4:].isfinite().all()


@needs_compiler
def test_a_channel_of_one_value_is_its_shift(one_thread: None) -> None:
    x = channels_last(torch.full((3, 4, 4, 4), 1e4))
    gain, shift = torch.ones(4), torch.tensor([0.5, -0.5, 0.0, 2.0])
    x.requires_grad_()
    y = normed_pool(x, gain, shift)
    assert torch.equal(y, shift.relu()[:, None, None].expand(3, 4, 2, 2))
    (by_x,) = torch.autograd.grad(y.sum(), x)
    assert by_x.isfinite().all()


@pytest.mark.parametrize(("shape", "dtype"), [((0, 16, 4, 4), torch.float32), ((3, 16, 4, 4), torch.bfloat16)])
def test_what_does_not_fit_is_refused_as_torch_refuses_it(
    shape: tuple[int, int, int, int], dtype: torch.dtype, one_thread: None
) -> None:
    x = torch.ones(shape).to(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match=r"at least one element|mixed dtype"):
        normed_pool(x, torch.ones(16, dtype=dtype), torch.zeros(16, dtype=dtype))


@pytest.mark.parametrize("why", ["double", "picture by picture", "one row", "mapped", "gain mapped", "threads"])
def test_what_the_loops_are_not_for_goes_one_by_one(why: str, one_thread: None) -> None:
    case = Case((3, 16, 4, 4))
    x = case.x
    if why == "double":
        x, case.gain, case.shift = x.double(), case.gain.double(), case.shift.double()
    elif why == "picture by picture":
        x = x.contiguous()
    elif why == "one row":
        x = x[:, :, :1]
    elif why == "threads":
        torch.set_num_threads(module._FEW)
    if why == "one row":
        with pytest.raises(RuntimeError):
            normed_pool(x, case.gain, case.shift)
        return
    if why == "mapped":
        both = torch.stack([case.x, case.x + 1])
        found = torch.func.vmap(lambda one: normed_pool(one, case.gain, case.shift))(both)
        assert torch.allclose(found[0], found[1], atol=1e-5)
        return
    if why == "gain mapped":
        found = torch.func.vmap(lambda gain: normed_pool(x, gain, case.shift))(torch.stack([case.gain, -case.gain]))
        assert torch.allclose(found[0], normed_pool(x, case.gain, case.shift), atol=1e-5)
        return
    assert not module._suits(x, case.gain, case.shift)
    wanted = F.relu(max_pool(batch_norm(x, case.gain, case.shift)))
    assert torch.equal(normed_pool(x, case.gain, case.shift), wanted)


def fresh(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """An empty cache, and a process that has loaded nothing."""
    monkeypatch.setenv("FRISKET_CACHE", str(place))
    monkeypatch.setattr(native, "library", native.library.__wrapped__)


@needs_compiler
def test_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh(monkeypatch, tmp_path)
    assert native.library(module._SOURCE) is not None
    monkeypatch.setattr(native, "compiler", lambda: None)
    assert native.library(module._SOURCE) is not None
    assert len(list(tmp_path.rglob("*.so"))) == 1


@needs_compiler
@pytest.mark.parametrize("length", [0, 20_000, -200])
def test_cut_off_it_is_compiled_anew(length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh(monkeypatch, tmp_path / "whole")
    assert native.library(module._SOURCE) is not None
    (whole,) = tmp_path.rglob("*.so")
    damaged = tmp_path / "damaged" / "programs" / whole.name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(whole.read_bytes()[:length])
    monkeypatch.setenv("FRISKET_CACHE", str(tmp_path / "damaged"))
    assert native.library(module._SOURCE) is not None
    assert damaged.stat().st_size == whole.stat().st_size


@pytest.mark.parametrize("found", [None, "false"])
def test_without_a_compiler_or_with_one_that_fails_there_is_none(
    found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh(monkeypatch, tmp_path)
    monkeypatch.setattr(native, "compiler", lambda: found)
    assert native.library(module._SOURCE) is None
    assert not list(tmp_path.rglob("*.so"))


@needs_compiler
def test_the_source_compiles_without_a_warning(tmp_path: Path) -> None:
    compiler = program.compiler()
    assert compiler is not None
    command = [
        compiler,
        *native._FLAGS,
        "-Wall",
        "-Wextra",
        "-Werror",
        str(module._SOURCE),
        "-o",
        str(tmp_path / "a.so"),
    ]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""
