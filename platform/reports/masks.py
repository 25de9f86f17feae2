"""A MaskSet as one self-contained HTML page: a table and every tensor's picture."""

from __future__ import annotations

import base64
import html
import tempfile
from collections.abc import Sequence
from pathlib import Path

from frisket.algos.masks.mask_set import MaskSet

_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2rem;max-width:60rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%;margin:.6rem 0;image-rendering:pixelated}"
)


def write_mask_report(path: Path, title: str, masks: Sequence[MaskSet]) -> Path:
    """Write the page on ``masks`` (one per seed) to ``path``; the pictures are the first seed's."""
    first = masks[0]
    rows = [_row(name, first[name].shape, [m.sparsity(name) for m in masks]) for name in first]
    rows.append(_row("overall", (first.size,), [m.sparsity() for m in masks]))
    with tempfile.TemporaryDirectory() as folder:
        pictures = "".join(_picture(picture) for picture in first.draw(folder))
    seeds = "".join(f"<th>seed {i}</th>" for i in range(len(masks)))
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><p>Share of closed weights (those that may not change) per tensor, at "
        f"the end of the stream.</p><table><tr><th>tensor</th><th>shape</th>{seeds}</tr>{''.join(rows)}</table>"
        f"<h2>Masks of seed 0</h2><p>Outputs down, inputs across, a kernel's taps as a small block; dark is closed.</p>"
        f"{pictures}</html>\n",
        encoding="utf-8",
    )
    return path


def _row(name: str, shape: Sequence[int], sparsities: Sequence[float]) -> str:
    cells = "".join(f"<td>{s:.1%}</td>" for s in sparsities)
    return f"<tr><td>{html.escape(name)}</td><td>{' x '.join(map(str, shape))}</td>{cells}</tr>"


def _picture(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}"><br>'
