"""How numbers are written for people."""

from __future__ import annotations

from math import floor, isfinite, log10

from latency_models import Cost

UNKNOWN = "–"
"""What stands where there is no number."""


def percent(share: float | None, error: float | None = None, digits: int = 2) -> str:
    """A share 0-1 as "97.22 %", with its standard error "97.22 ± 0.78 %"; "–" for None."""
    if share is None:
        return UNKNOWN
    plus_minus = f" ± {100 * error:.{digits}f}" if error is not None else ""
    return f"{100 * share:.{digits}f}{plus_minus} %"


def cost(value: Cost | None, unit: str) -> str:
    """ "1.234 ± 0.012 ms", the standard deviation with two significant digits; "–" for None."""
    if value is None:
        return UNKNOWN
    if value.std <= 0 or not isfinite(value.std):
        return f"{value.value:.4g} {unit}"
    digits = min(6, max(0, 1 - floor(log10(value.std))))
    return f"{value.value:.{digits}f} ± {value.std:.{digits}f} {unit}"


def change(before: float, after: float) -> str:
    """Relative difference as "+3.1 %"."""
    return f"{100 * (after - before) / before:+.1f} %" if before else UNKNOWN


def number(value: float | None, digits: int = 4) -> str:
    """`digits` significant digits; "–" for None."""
    return UNKNOWN if value is None else f"{value:.{digits}g}"


def count(value: int | None) -> str:
    """ "1,234,567"; above 10¹⁵ as "≈ 3.2 × 10²¹"."""
    if value is None:
        return UNKNOWN
    if value < 10**15:
        return f"{value:,}"
    text = str(value)
    exponent = str(len(text) - 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"≈ {text[0]}.{text[1]} × 10{exponent}"


def duration(seconds: float) -> str:
    """ "45 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
