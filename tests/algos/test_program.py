"""Compiled programs: equal to the plain functions, found again on disk, refused with a reason."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import build, run, small_mlp

from frisket.algos import program
from frisket.algos.contract.toys import SIZE
from frisket.algos.learners.look_ahead.learner import LookAheadLearner
from frisket.algos.learners.look_ahead.pack import LookAheadPack
from frisket.algos.networks.mlp import Backward
from frisket.algos.parts.tree import flatten
from frisket.algos.state_file import load_state, save_state
from frisket.errors import SpecError
from frisket.types import Batch, State

ROUNDING = 1e-5


def blended(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"z": weights["b"] - 2 * weights["a"], "c": weights["a"] * weights["b"]}


def nested(pair: tuple[torch.Tensor, dict[str, torch.Tensor]], rows: list[torch.Tensor]) -> Backward:
    x, weights = pair
    return Backward((x @ weights["w"],), tuple(row * 2 for row in rows), x.sum(0))


def arguments(key: int = 0) -> tuple[tuple[torch.Tensor, dict[str, torch.Tensor]], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(key)
    x, w = (torch.randn(4, 4, generator=generator) for _ in range(2))
    return (x, {"w": w}), [x[1:3], w[:, 1:2]]


def same(a: Backward, b: Backward) -> bool:
    pairs = zip((*a.inputs, *a.deltas, a.losses), (*b.inputs, *b.deltas, b.losses), strict=True)
    return type(a) is type(b) is Backward and all(torch.allclose(x, y, atol=ROUNDING) for x, y in pairs)


def test_compiled_once_and_found_again_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Structures survive, views are taken as they are, and a later process needs no compiler."""
    monkeypatch.setenv("FRISKET_CACHE", str(tmp_path))
    fast = program.compiled(nested, "test", *arguments())
    for key in range(3):
        assert same(fast(*arguments(key)), nested(*arguments(key)))
    other = program.compiled(nested, "test", *arguments())
    (x, weights), rows = arguments()
    with pytest.raises(ValueError, match="compiled for"):
        other((x.T, weights), rows)
    (made,) = program.program_folder().glob("*.pt2")
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]; from test_program import *;"
        "fast = program.compiled(nested, 'test', *arguments()); assert same(fast(*arguments(5)), nested(*arguments(5)))"
    )
    here, root = Path(__file__).parent, Path(__file__).parents[2]
    before = made.stat().st_mtime_ns
    subprocess.run(
        [sys.executable, "-c", script, str(here), str(root)], check=True, timeout=120,
        env={"PATH": "", "FRISKET_CACHE": str(tmp_path), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert made.stat().st_mtime_ns == before
    whole = made.read_bytes()
    made.write_bytes(whole[: len(whole) // 2] + bytes(100) + whole[len(whole) // 2 + 100 :])
    monkeypatch.setattr(program, "compiler", lambda: None)
    with pytest.raises(SpecError, match="without a C\\+\\+ compiler"):  # it would be made anew
        program.compiled(nested, "test", *arguments())
    assert len(list(program.program_folder().glob("*.pt2"))) == 1


def test_dicts_may_come_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of the same shapes would change places unseen."""
    monkeypatch.setenv("FRISKET_CACHE", str(tmp_path))
    a, b = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0)).unbind()
    expected = blended({"a": a, "b": b})
    for order in ({"b": b, "a": a}, {"a": a, "b": b}):
        fast = program.compiled(blended, "test", order)
        for given in ({"a": a, "b": b}, {"b": b, "a": a}):
            assert {k: torch.allclose(v, expected[k]) for k, v in fast(given).items()} == {"z": True, "c": True}
    assert len(list(program.program_folder().glob("*.pt2"))) == 1


def sought(function: Callable[..., Any], *example: Any) -> str:
    """The file in which the program would be looked for; nothing is compiled."""
    return program._sought(function, example)[0].name


def less(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a - b


def scaled(factor: float) -> Callable[..., torch.Tensor]:
    return lambda a, b: (a - b) * factor


def weighted(weights: torch.Tensor) -> Callable[..., torch.Tensor]:
    return lambda a, b: (a - b) * weights


def test_a_program_is_known_by_what_it_computes() -> None:
    """Values, names and the place of the source tell nothing apart, the least difference in what is computed does."""
    a, b = torch.rand(2, 3, generator=torch.Generator().manual_seed(0)).unbind()
    names: dict[str, Any] = {}
    exec("def other(x, y):\n    z = x\n    return z - y", names)  # no source that could be read again
    assert sought(less, a, b) == sought(less, b, a) == sought(lambda x, y: x - y, a, b) == sought(names["other"], a, b)
    assert sought(weighted(torch.ones(3)), a, b) == sought(weighted(torch.ones(3)), a, b)
    different = [
        sought(less, a, b),
        sought(lambda x, y: y - x, a, b),
        sought(lambda x, y: x - x, a, b),
        sought(scaled(0.1), a, b),
        sought(scaled(0.1 + 1e-16), a, b),
        sought(weighted(torch.ones(3)), a, b),
        sought(weighted(torch.tensor([1.0, 1.0, 2.0])), a, b),
        sought(lambda x, y: (x - y) * torch.tensor([1.0, 1.0, 2.0]).flip(0), a, b),
        sought(lambda x, y: (x, x - y), a, b),
        sought(lambda x, y: (x - y, x), a, b),
        sought(less, a[None], b[None]),
        sought(less, a.double(), b.double()),
        sought(less, torch.rand(2, 3), torch.rand(2, 3)),
        sought(less, torch.rand(3, 2).T, torch.rand(2, 3)),
    ]
    assert len(set(different)) == len(different)


def test_one_tensor_given_twice_is_two_arguments() -> None:
    """Else ``a - b``, first called with one tensor as both, would be served as ``a - a`` ever after."""
    a = torch.rand(3)
    assert sought(less, a, a) == sought(less, a, torch.rand(3)) != sought(lambda x, y: x - x, a, a)


STEP = """
from frisket.algos.learners.look_ahead.la_maml import LaMAML, LaMAMLConfig


class Mine(LaMAML):
    def outer(self, theta, m, ahead, along, hyper):
        return {k: v SIGN 0.5 * ahead.theta[k] for k, v in theta.items()}, m
"""


def of_one_name(folder: Path) -> list[LookAheadLearner]:
    """Two learners that a user wrote in two files: one class name, one configuration, one steps up, the other down."""
    learners = []
    for place, sign in (("up", "+"), ("down", "-")):
        (folder / place).mkdir()
        file = folder / place / "my_method.py"
        file.write_text(STEP.replace("SIGN", sign))
        spec = importlib.util.spec_from_file_location("my_method", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        learners.append(module.Mine(module.LaMAMLConfig(compile=True, glances=1, inner_steps=1), small_mlp()))
    up, down = (type(one) for one in learners)
    assert up is not down
    assert (up.__module__, up.__qualname__) == (down.__module__, down.__qualname__)
    return learners


def after_two_batches(learner: LookAheadLearner) -> State:
    """From the second on there are draws enough from the memory for a program."""
    state = learner.init(0)
    for position in range(2):
        state, _ = learner.observe(state, ten(position))
    return state


def test_two_classes_of_one_name_do_not_share_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they have in common they do share."""
    asked: list[dict[str, str]] = []

    def looked_for(function: Callable[..., object], name: str, *example: object) -> Callable[..., object]:
        asked[-1][name] = sought(function, *example)
        return function

    monkeypatch.setattr("frisket.algos.learners.look_ahead.mlp.compiled", looked_for)
    for learner in of_one_name(tmp_path):
        asked.append({})
        after_two_batches(learner)
    up, down = asked
    assert list(up) == list(down) == ["Mine, begin", "Mine, inner step", "Mine, finish"]
    assert {name for name in up if up[name] != down[name]} == {"Mine, finish"}


@pytest.mark.slow
@pytest.mark.skipif(program.compiler() is None, reason="there is no C++ compiler")
def test_compiled_each_class_takes_its_own_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRISKET_CACHE", str(tmp_path / "cache"))

    def the_outer_step_alone(function: Callable[..., Any], name: str, *example: Any) -> Callable[..., Any]:
        return program.compiled(function, name, *example) if name == "Mine, finish" else function

    monkeypatch.setattr("frisket.algos.learners.look_ahead.mlp.compiled", the_outer_step_alone)
    for learner in of_one_name(tmp_path):
        plain = type(learner)(dataclasses.replace(learner.config, compile=False), learner.network)
        expected, found = (flatten(after_two_batches(one)) for one in (plain, learner))
        assert all(torch.allclose(expected[k].double(), found[k].double(), atol=ROUNDING) for k in expected)
    assert len(list(program.program_folder().glob("*.pt2"))) == 2


def test_without_a_compiler_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRISKET_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert program.compiler() is None
    with pytest.raises(SpecError, match="C\\+\\+ compiler"):
        program.compiled(nested, "test", *arguments())
    with pytest.raises(SpecError, match="C\\+\\+ compiler"):
        build("la-maml", compile=True).pack([])
    assert not list(tmp_path.rglob("*.pt2"))


def test_only_methods_that_have_programs_compile() -> None:
    for form in ("la-er", "la-maml/raw_clamped_last"):
        with pytest.raises(SpecError, match="compile"):
            build(form, compile=True).pack([])


@pytest.mark.parametrize(
    ("wish", "steps", "may", "programs"),
    [(True, 1, False, True), (False, 10_000, True, False), ("auto", 10_000, True, True), ("auto", 10_000, False, False),
     ("auto", 999, True, False)],
)  # fmt: skip
def test_auto_compiles_what_repays_it(
    wish: object, steps: int, may: bool, programs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 glances: 1,000 steps are 5,000 meta-updates."""
    asked: list[str] = []

    def compiled(function: Callable[..., object], name: str, *example: object) -> Callable[..., object]:
        asked.append(name)
        return function

    monkeypatch.setattr("frisket.algos.learners.look_ahead.mlp.compiled", compiled)
    learner = build("la-maml", compile=wish, glances=5, inner_steps=10)
    pack = learner.pack([], steps=steps, may_compile=may)
    state = pack.join([learner.init(0)])
    for position in range(2):
        state, _ = pack.observe(state, [ten(position)])
    assert bool(asked) is programs
    if programs:
        assert sorted(name.rpartition(", ")[2] for name in asked) == ["begin", "finish", "inner step"]
        assert len({name.rpartition(", ")[0] for name in asked}) == 1


def ten(position: int) -> Batch:
    x = torch.rand(10, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(position))
    return Batch(x, torch.arange(10) % 2, position)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["la-maml", "sparse-la-maml"])
def test_compiled_packed_and_plain_agree(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same stream by four ways: alone and in a pack of three, plain and compiled."""
    monkeypatch.setenv("FRISKET_CACHE", str(tmp_path))

    def at(rate: float, **more: Any) -> dict[str, Any]:
        return {"inner_steps": 10, "alpha_lr" if form == "la-maml" else "gamma_m": rate, **more}

    ends: dict[tuple[bool, int], State] = {}
    for compile in (False, True):
        learners = [build(form, **at(rate, compile=compile)) for rate in (0.001, 0.01, 0.1)]
        for size in (1, 3):
            chosen = [one for one in learners[:size] if isinstance(one, LookAheadLearner)]
            pack = LookAheadPack(chosen)
            state = pack.join([one.init(i) for i, one in enumerate(chosen)])
            for position in range(4):
                state, _ = pack.observe(state, [ten(position + 10 * i) for i in range(size)])
            ends[compile, size] = pack.replica(state, 0)
            if size == 1:  # stopped after two batches and gone on with from the disk
                state = pack.join([chosen[0].init(0)])
                for position in range(2):
                    state, _ = pack.observe(state, [ten(position)])
                save_state(tmp_path / "state", state, {})
                resumed, again = load_state(tmp_path / "state")[0], LookAheadPack(chosen)
                for position in range(2, 4):
                    resumed, _ = again.observe(resumed, [ten(position)])
                whole = flatten(ends[compile, 1])
                assert all(torch.equal(v, whole[k]) for k, v in flatten(again.replica(resumed, 0)).items())
    first = flatten(ends[False, 1])
    for end in ends.values():
        other = flatten(end)
        assert all(torch.allclose(first[k].double(), other[k].double(), atol=1e-4) for k in first)
    alone = run(build(form, **at(0.001)), build(form).init(0), range(4), ten)
    assert all(torch.equal(v, first[k]) for k, v in flatten(alone).items())
