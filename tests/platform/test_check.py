"""``frisket check``: what holds of a module of one's own, and what is said where something does not."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import frisket
from frisket.algos.contract import METHOD_CHECKS
from frisket.algos.contract import check as check_method
from frisket.algos.kinds import NETWORKS
from frisket.algos.learner import Method
from frisket.algos.networks.kind import NetworkKind
from frisket.platform.cli.main import main
from frisket.platform.specs.uses import taken
from frisket.platform.verbs.check import check

MODULE = dedent(
    '''
    from dataclasses import dataclass

    from torch import nn

    from frisket.algos.learner import Method
    from frisket.algos.learners.replay.er import OnlineSGD, OnlineSGDConfig
    from frisket.algos.networks.module import module_network


    @dataclass(frozen=True, kw_only=True)
    class PlainConfig(OnlineSGDConfig):
        """Attributes: more: of no effect."""

        more: int = 0


    class Plain(OnlineSGD):
        """Online SGD."""


    class Forgetful(OnlineSGD):
        """Online SGD that keeps a count in itself, and fails at its third batch."""

        seen = 0

        def learn(self, state, data, hyper):
            self.seen += 1
            if self.seen == 3:
                raise RuntimeError("three is too many")
            return super().learn(state, data, hyper)


    def small(config, in_channels, size, ways):
        return nn.Sequential(nn.Conv2d(in_channels, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(196, ways))


    NETWORKS = (module_network(small, name="small", summary="one convolution"),)
    METHODS = (
        Method(name="plain", config=PlainConfig, build=Plain, summary="steps", quick={"lr": 0.05}, tried_on="small",
               logged={"outer_loss": "mean loss of the steps"}),
        Method(name="forgetful", config=PlainConfig, build=Forgetful, summary="forgets", quick={"lr": 0.05}),
    )
    '''
)


@pytest.fixture
def module(workplace: Path) -> Path:
    """``my_method.py`` in the working folder."""
    file = workplace / "my_method.py"
    file.write_text(MODULE, encoding="utf-8")
    return file


def test_what_holds_is_a_table_and_exit_code_0(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "my_method.py", "plain", "small", "--json", "found.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "network small"
    assert "small: all 9 hold" in lines
    assert lines[-1] == "plain: all 24 hold"
    (row,) = [line for line in lines if line.startswith("  learns a trivial stream ")]
    assert row.endswith(" holds")
    assert "the next 10 are answered right" in row
    found = json.loads(Path("found.json").read_text(encoding="utf-8"))
    assert (found["module"], found["ok"]) == ("my_method.py", True)
    assert [(one["section"], one["name"]) for one in found["rows"]] == [("network", "small"), ("learner", "plain")]
    assert set(found["rows"][1]["findings"][0]) == {"name", "asserts", "ok", "seen"}


def test_what_does_not_hold_is_said_without_a_traceback(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(module), "forgetful"]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    assert "Traceback" not in out
    line = next(n for n, text in enumerate(MODULE.splitlines(), 1) if "three is too many" in text)
    (row,) = [text for text in out.splitlines() if text.startswith("  counts its steps")]
    first = next(text for text in out.splitlines() if "does not: " in text)
    assert first.endswith(f"does not: RuntimeError: three is too many (my_method.py, line {line})")
    assert row.endswith(f"does not: as {first.strip().split('  ')[0]!r}")  # said once
    assert "outer_loss: reported, and not in `logged`" not in out  # it did not come so far
    assert out.splitlines()[-1].startswith("forgetful: ")


@pytest.mark.parametrize(
    ("change", "arguments", "says"),
    [
        (("", ""), ["plane"], "name = 'plane': is none of small, plain, forgetful"),
        (('tried_on="small"', 'tried_on="smal"'), ["plain"], "tried_on = 'smal': did you mean 'small'?"),
        (("from torch import nn", "import torhc"), [], "line 4: ModuleNotFoundError: No module named 'torhc'"),
        (("METHODS = (", "M = ("), ["plain"], "name = 'plain': is none of small"),
        (("class Plain(", "class Plain)"), [], "line 18: SyntaxError"),
    ],
)
def test_mistakes_are_one_line(
    change: tuple[str, str], arguments: list[str], says: str, module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module.write_text(MODULE.replace(*change), encoding="utf-8")
    assert main(["check", "my_method.py", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert says in err


def seen(module: Path, row: str, name: str) -> str:
    """What the check ``name`` saw of a row of ``module`` that breaks it."""
    (use,) = taken([module])
    methods = {one.name: one for one in use.rows if isinstance(one, Method)}
    networks = {**NETWORKS, **{one.name: one for one in use.rows if isinstance(one, NetworkKind)}}
    asked = [one for one in METHOD_CHECKS if one.__name__ == name.replace(" ", "_")]
    (finding,) = check_method(methods[row], networks=networks, checks=asked)
    assert not finding.ok
    assert finding.name == name
    return finding.seen


@pytest.mark.parametrize(
    ("change", "name", "says"),
    [
        (("more: of no effect", "of: no effect"), "configuration is complete", "more: not in an 'Attributes:' block"),
        (('{"lr": 0.05}', '{"rate": 0.05}'), "configuration is complete", "names rate, which PlainConfig does not"),
        (('name="plain"', 'name="Plain One"'), "row is complete", "name 'Plain One': lower case"),
        (('logged={"outer_loss"', 'logged={"loss"'), "reports what it logs", "outer_loss: reported, and not in"),
        (("tried_on", "answers_at_once=False, tried_on"), "first answer comes when declared", "it answers"),
        (("tried_on", 'meta=("theta",), tried_on'), "meta learning is as declared", "theta changes, and meta_learns"),
    ],
)
def test_what_a_row_forgets_is_found(change: tuple[str, str], name: str, says: str, module: Path) -> None:
    module.write_text(MODULE.replace(*change), encoding="utf-8")
    assert says in seen(module, "Plain One" if "Plain One" in change[1] else "plain", name)


def test_a_name_that_is_taken_is_found(module: Path) -> None:
    module.write_text(MODULE.replace('name="small"', 'name="mlp"').replace('"small"', '"mlp"'), encoding="utf-8")
    (row,) = check(module, ["mlp"])["rows"]
    (finding,) = [finding for finding in row["findings"] if not finding["ok"]]
    assert finding["seen"] == "network 'mlp' is one of NETWORKS of frisket.algos.networks.mlp"


METHOD = '''
    class Plain(OnlineSGD):
        """Online SGD with a fault."""

        capabilities = Capabilities({declared})
        {body}
'''


@pytest.mark.parametrize(
    ("declared", "body", "name", "says"),
    [
        ("replay=True", "", "replay is as declared", "inputs in the state: False; declared: True"),
        ("masks=True", "", "masks are as declared", "0 masks; declared: True"),
        ("samples=3", "", "samples are as declared", "an answer of shape (6, 2), not (3, 6, 2)"),
        ("meta_learns=True", "", "meta learning is as declared", "its row names nothing under `meta`"),
        (
            "needs_task=True",
            "def observe(self, state, batch): return state, {'loss_before': float(self.loss_of_answer(state, batch))}",
            "task is read only where declared", "it learned from a batch whose task is hidden",
        ),
        (
            "", "def extra(self): return {'noise': torch.rand(2)}", "no global generator is used",
            "the global generator of torch was used",
        ),
        ("", "def extra(self): return {'count': 3}", "state is tensors by name", "count is of type int"),
        (
            "", "def loss_of_answer(self, state, batch): return torch.tensor(1.5)", "loss before is that of the answer",
            "1.5 is reported",
        ),
        (
            "", "def predict(self, state, x, task=None):\n        state['step'] = state['step'] + 1\n"
            "        return super().predict(state, x, task)", "predicting changes nothing", "step differs",
        ),
        (
            "", "def observe(self, state, batch):\n        batch.x.mul_(0.5)\n"
            "        return super().observe(state, batch)", "learning leaves the batch alone", "inputs of batch 0",
        ),
        (
            "", "def predict(self, state, x, task=None): return super().predict(state, x, task)[:, :3]",
            "answers for every label", "an answer of shape (18, 3) for 18 inputs and 6 labels",
        ),
    ],
)  # fmt: skip
def test_a_fault_of_a_method_is_found(declared: str, body: str, name: str, says: str, module: Path) -> None:
    plain = dedent(METHOD).format(declared=declared, body=body)
    text = MODULE.replace('class Plain(OnlineSGD):\n    """Online SGD."""\n', plain.strip() + "\n")
    text = text.replace("import Method\n", "import Capabilities, Method\n").replace(
        "from torch import", "import torch\nfrom torch import"
    )
    module.write_text(text, encoding="utf-8")
    assert says in seen(module, "plain", name)


def test_a_module_of_frisket_itself_can_be_named() -> None:
    found: dict[str, Any] = check("frisket.algos.networks.mlp")
    assert (found["module"], found["ok"], [row["name"] for row in found["rows"]]) == (
        "frisket.algos.networks.mlp", True, ["mlp"],
    )  # fmt: skip
    found = check("frisket.envs.streams.pixel_tasks")
    assert (found["ok"], [row["name"] for row in found["rows"]]) == (True, ["rotations", "permutations"])


def test_an_experiment_learns_on_a_network_of_ones_own(module: Path) -> None:
    spec = {
        "uses": ["my_method.py"],
        "stream": {"kind": "rotations", "tasks": 2, "samples": 20},
        "network": {"kind": "small"},
        "learner": {"kind": "er", "memory_slots": 20},
        "protocol": {"kind": "retained-accuracy"},
        "seeds": 1,
    }
    module.write_text(MODULE.replace("nn.Linear(196", "nn.Linear(4 * ((size - 1) // 2) ** 2"), encoding="utf-8")
    result = frisket.run(spec, data="embedded", local=True)
    assert 0 < result.summary["summary"]["ra"]["mean"] <= 1
    model = frisket.load_model(result.path, uses=[module])
    assert set(model.state()["theta"]) == {"0.weight", "0.bias", "3.weight", "3.bias"}  # the module's own names
