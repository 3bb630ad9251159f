"""Checks of the values in a settings dataclass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

from medsam_edge.errors import InputError


def check(settings: object, expected: str, valid: Callable[[Any], bool], *names: str) -> None:
    """Raise InputError, which says what is expected, unless all the named settings are valid."""
    for name in names:
        value = getattr(settings, name)
        if not valid(value):
            raise InputError(f"{name}: expected {expected}, got {value!r}")


def check_choices(settings: object) -> None:
    """Raise InputError unless every setting of a type `Literal` is one of its choices."""
    for name, hint in get_type_hints(type(settings)).items():
        if get_origin(hint) is Literal:
            check(settings, f"one of {', '.join(get_args(hint))}", get_args(hint).__contains__, name)


def at_least_one(value: float) -> bool:
    return value >= 1


def not_negative(value: float) -> bool:
    return 0 <= value < float("inf")


def is_share(value: float) -> bool:
    return 0 <= value <= 1


def is_image_size(value: int) -> bool:
    return value >= 64 and value % 64 == 0
