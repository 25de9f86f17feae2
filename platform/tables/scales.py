"""How large a reproduction is."""

from __future__ import annotations

from typing import Literal, get_args

ScaleName = Literal["smoke", "short", "paper"]
"""Seconds a cell, minutes a cell, or as published."""

SCALES: tuple[ScaleName, ...] = get_args(ScaleName)
