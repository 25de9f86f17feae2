"""Glyphs: characters of thirteen scripts, drawn as with a pen.

A stand-in for Omniglot: many classes, twenty drawings of each, thin black strokes on white paper. A character of a font
is thinned to the line a pen would follow, and every drawing bends, tilts, scales and shifts that line anew and draws it
with a pen of its own width. Characters that look alike across scripts (Latin A, Greek Alpha, Cyrillic A) are one class,
so the table below names each shape once.

All arithmetic is integer, or single additions and multiplications of float32 in a fixed order (no sine, no reduction),
so any CPU gives the same bits. Dimensions: G thinned glyphs, N drawings, E edge of the glyph canvas.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np

from frisket.envs.data.decode import SIDE
from frisket.rng import numpy_generator

DRAWINGS = 20
"""Drawings of each character, as in Omniglot."""

_SCRIPTS = {  # code points in hex: the file stays readable where right-to-left text would not
    "latin": (
        "0041 0042 0043 0044 0045 0047 0048 0049 004a 004b 004c 004d 004e 0050 0051 0052 0053 0054 0055 0056 "
        "0057 0058 0059 005a 0062 0064 0065 0066 0067 006b 006d 006e 0070 0072 0074 0079"
    ),
    "greek": "0394 039e 03a3 03a6 03a8 03b1 03b2 03b4 03b6 03b7 03b8 03bb 03bc 03bd 03be 03c0 03c2 03c6 03c7 03c9",
    "cyrillic": "0414 0416 0417 0418 041b 0426 0427 0428 0429 042a 042b 042e 042f 0433 0402 0409 040a",
    "armenian": (
        "0532 0533 0534 0535 0536 0538 053a 053d 053e 053f 0540 0541 0543 0544 0546 0547 054a 054c 054e 0550 "
        "0556 0564 0567 0568 0569 056b 056d 056f 0571 0573 0574 0576 0577 0579 057a 057b 057c 057e "
        "0586"
    ),
    "georgian": "10d0 10d1 10d3 10d4 10d7 10d8 10d9 10da 10dc 10e0 10e2 10e3 10e4 10e5 10e8 10ed 10ef 10f0",
    "hebrew": "05d0 05d1 05d2 05d3 05da 05db 05dc 05de 05e0 05e2 05e5 05e6 05e7 05e8 05e9 05ea",
    "arabic": "0621 0628 062c 062f 0631 0633 0637 0639 0642 0643 0644 0645 0648 064a",
    "nko": ("07cc 07cd 07ce 07cf 07d0 07d1 07d2 07d3 07d4 07d5 07d6 07d7 07d8 07da 07dc 07dd 07de 07df 07e2 07e4"),
    "lao": "0e82 0e84 0e88 0e8a 0e8d 0e95 0e97 0e99 0e9c 0e9e 0ea1 0ea2 0ea3 0ea5 0ea7 0eaa 0eab",
    "syllabics": (
        "1404 140a 140d 1414 141a 1437 143c 1448 144f 145b 1462 146c 1471 1474 1480 1489 148c 1493 14a3 "
        "14ac 14b2 14c0 14c7 14ca 14d3 14da 14e6 14ec 14ef 14f4 14f7 1510 1515 1526 152a 152d 1530 153d "
        "1542 1548 1552 1557 1559 1574 1583 15a0 15ac"
    ),
    "tifinagh": (
        "2d30 2d35 2d3c 2d3d 2d3e 2d3f 2d41 2d43 2d44 2d46 2d4a 2d4b 2d50 2d52 2d53 2d55 "
        "2d56 2d57 2d58 2d5b 2d62 2d63 2d64"
    ),
    "phonetic": (
        "0255 0258 025d 0260 0265 026e 0271 0276 0281 0286 028d 028e 0291 0293 0294 0296 029e 02a4 02a8 02ac 02ad"
    ),
    "mathematical": "2208 221a 221e 2220 2248 2261 2264 2282 22c8 22a2 222e 2297",
}
_FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "DejaVuSerif-Italic", "STIXGeneralItalic")

_CANVAS = 64  # E
_GLYPH = 40  # longer edge of a glyph's bounding box on its canvas
_FONT_SIZE = 80
_INK = 110  # grey level from which a rendered pixel is ink: low enough that hairlines hold together
_OVERSAMPLING = 2
_CHUNK = 256  # drawings warped at once, which keeps the working set in the processor's cache


def make_glyphs() -> dict[str, np.ndarray]:
    """Draw them all.

    Returns:
        ``images`` ``[n, 1, 28, 28]`` uint8 (paper 255, ink 0), ``labels`` ``[n]`` int64, ``classes`` ``[k]`` str
        (``SCRIPT/CHARACTER NAME``), n = 20 k.
    """
    characters = [(script, chr(int(code, 16))) for script, codes in _SCRIPTS.items() for code in codes.split()]
    canvases, first = _render([character for _, character in characters])
    lines = _soften(_thin(canvases))
    generator = numpy_generator(0, "glyphs")
    variants = np.diff(np.append(first, len(lines)))
    # in turn, from a random one on, so that every font which has the character is used about equally often
    turn = np.arange(DRAWINGS) + generator.integers(len(_FONTS), size=(len(first), 1))
    glyph = (first[:, None] + turn % variants[:, None]).ravel()
    images = _draw(lines, glyph, generator.random((len(glyph), _KNOBS), dtype=np.float32))
    return {
        "images": images[:, None],
        "labels": np.repeat(np.arange(len(characters), dtype=np.int64), DRAWINGS),
        "classes": np.array([f"{script}/{unicodedata.name(character)}" for script, character in characters]),
    }


def _render(characters: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Every character in every font that has it.

    Returns:
        ``[G, E, E]`` bool canvases, ordered by character, and ``[k]`` index of each character's first one.
    """
    import matplotlib
    from matplotlib.ft2font import FT2Font
    from PIL import Image, ImageDraw, ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = []
    for name in _FONTS:
        path = str(folder / f"{name}.ttf")
        has = set(FT2Font(path).get_charmap())
        fonts.append((has, ImageFont.truetype(path, _FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)))
    canvases, first = [], []
    for character in characters:
        first.append(len(canvases))
        for has, font in fonts:
            if ord(character) not in has:
                continue
            left, top, right, bottom = (round(edge) for edge in font.getbbox(character))
            glyph = Image.new("L", (right - left, bottom - top))
            ImageDraw.Draw(glyph).text((-left, -top), character, font=font, fill=255)
            scale = _GLYPH / max(glyph.size)
            width, height = (max(1, round(edge * scale)) for edge in glyph.size)
            canvas = Image.new("L", (_CANVAS, _CANVAS))
            glyph = glyph.resize((width, height), Image.Resampling.BILINEAR)
            canvas.paste(glyph, ((_CANVAS - width) // 2, (_CANVAS - height) // 2))
            canvases.append(np.asarray(canvas) >= _INK)
    return np.stack(canvases), np.array(first)


def _thin(ink: np.ndarray) -> np.ndarray:
    """Lines one pixel wide of ``[G, E, E]`` bool shapes (T. Y. Zhang and C. Y. Suen, 1984), all shapes at once."""
    ink = ink.copy()
    changed = True
    while changed:
        changed = False
        for step in (0, 1):
            # P2..P9 of the paper: the eight neighbours, clockwise from the one above
            p = [_shifted(ink, dy, dx) for dy, dx in _CLOCKWISE]
            neighbours = sum(q.astype(np.int8) for q in p)
            turns = sum((~q & r).astype(np.int8) for q, r in zip(p, [*p[1:], p[0]], strict=True))
            above, right, below, left = p[0], p[2], p[4], p[6]
            if step == 0:
                open_side = ~(above & right & below) & ~(right & below & left)
            else:
                open_side = ~(above & right & left) & ~(above & below & left)
            drop = ink & (neighbours >= 2) & (neighbours <= 6) & (turns == 1) & open_side
            ink &= ~drop
            changed |= bool(drop.any())
    return ink


_CLOCKWISE = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def _shifted(x: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """``[G, E, E]``: at each place the value ``dy`` below, ``dx`` to its right. Edges are empty: they may wrap."""
    return np.roll(x, (-dy, -dx), axis=(1, 2))


def _soften(lines: np.ndarray) -> np.ndarray:
    """Ink of a soft pen along the lines: weights 1-2-1 twice in each direction, ``[G, E, E]`` float32, full at 1."""
    ink = lines.astype(np.int32)
    for _ in range(2):
        ink = 2 * ink + _shifted(ink, -1, 0) + _shifted(ink, 1, 0)
        ink = 2 * ink + _shifted(ink, 0, -1) + _shifted(ink, 0, 1)
    straight = 4 * 4 * 6  # what a straight upright line leaves on itself: 256 * 6/16
    return ink.astype(np.float32) / np.float32(straight)


# One uniform number in [0, 1) a drawing for each; `_draw` says what it does.
_TILT, _SHEAR, _WIDE, _HIGH, _RIGHT, _DOWN, _WEIGHT = range(7)
_BEND = 7  # eight numbers: four bends of each coordinate
_KNOBS = _BEND + 8


def _draw(lines: np.ndarray, glyph: np.ndarray, knobs: np.ndarray) -> np.ndarray:
    """Distorted drawings: ``[N, 28, 28]`` uint8 of ``lines[glyph]``, ``knobs`` ``[N, _KNOBS]`` saying how."""
    chunks = [slice(i, i + _CHUNK) for i in range(0, len(glyph), _CHUNK)]
    return np.concatenate([_draw_chunk(lines, glyph[chunk], knobs[chunk]) for chunk in chunks])


def _draw_chunk(lines: np.ndarray, glyph: np.ndarray, knobs: np.ndarray) -> np.ndarray:
    def knob(index: int, low: float, high: float) -> np.ndarray:
        return np.float32(low) + np.float32(high - low) * knobs[:, index, None, None]

    edge = SIDE * _OVERSAMPLING
    axis = ((np.arange(edge) * 2 + 1 - edge) / edge).astype(np.float32)  # pixel centres, -1..1
    u, v = axis[None, None, :], axis[None, :, None]
    bends = (u * v, v * v, u * u, v * v * v)
    tilt, shear = knob(_TILT, -0.22, 0.22), knob(_SHEAR, -0.2, 0.2)
    x = knob(_WIDE, 0.8, 1.15) * u + (tilt + shear) * v + knob(_RIGHT, -0.15, 0.15)
    y = knob(_HIGH, 0.8, 1.15) * v - tilt * u + knob(_DOWN, -0.15, 0.15)
    for k, bend in enumerate(bends):
        x = x + knob(_BEND + k, -0.14, 0.14) * bend
        y = y + knob(_BEND + 4 + k, -0.14, 0.14) * (bend if k != 3 else u * u * u)
    half = np.float32(_CANVAS / 2)
    ink = _sample(lines, glyph, x * half + (half - np.float32(0.5)), y * half + (half - np.float32(0.5)))
    ink = np.minimum(ink * knob(_WEIGHT, 0.9, 2.2), np.float32(1))
    ink = (ink[:, ::2, ::2] + ink[:, 1::2, ::2]) + (ink[:, ::2, 1::2] + ink[:, 1::2, 1::2])
    return (np.float32(255.5) - ink * np.float32(255 / 4)).astype(np.uint8)


def _sample(lines: np.ndarray, glyph: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``lines[glyph]`` read between pixels (bilinear) at columns ``x`` and rows ``y``, ``[N, H, W]`` each."""
    x, y = np.clip(x, 0, _CANVAS - 1.01), np.clip(y, 0, _CANVAS - 1.01)
    column, row = x.astype(np.int32), y.astype(np.int32)
    x, y = x - column.astype(np.float32), y - row.astype(np.float32)
    flat = lines.reshape(-1)
    at = (glyph.astype(np.int32) * (_CANVAS * _CANVAS))[:, None, None] + row * _CANVAS + column
    upper = flat[at] + x * (flat[at + 1] - flat[at])
    lower = flat[at + _CANVAS] + x * (flat[at + _CANVAS + 1] - flat[at + _CANVAS])
    return upper + y * (lower - upper)
