"""Numbers as a report writes them; `–` where there is none."""

NONE = "–"
TITLES = {"pixelcnnpp": "PixelCNN++", "baseline": "Baseline CNN"}


def find(content: object, *keys: str) -> object:
    """`content[key][…]`, or `None` where a key or a level is missing."""
    for key in keys:
        if not isinstance(content, dict):
            return None
        content = content.get(key)
    return content


def is_number(value: object) -> bool:
    """Whether JSON gave a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def decimal(value: object, digits: int = 3) -> str:
    """`0.123`."""
    return f"{value:.{digits}f}".replace("-", "−") if is_number(value) else NONE


def percent(value: object, digits: int = 1) -> str:
    """`12.3 %`, of a share."""
    return f"{100 * value:.{digits}f} %" if is_number(value) else NONE


def whole(value: object) -> str:
    """`1,234`."""
    return f"{value:,.0f}" if is_number(value) else NONE


def p_value(value: object) -> str:
    """Three digits; small ones as `2.1e-05`."""
    return f"{value:.3g}" if is_number(value) else NONE


def percent_interval(bounds: object) -> str:
    """`95.3–99.1 %`, of two shares."""
    low_high = _pair(bounds)
    return f"{100 * low_high[0]:.1f}–{100 * low_high[1]:.1f} %" if low_high else NONE


def points(value: object, bounds: object) -> str:
    """`+0.8 points (−1.7 to +3.3)`, of a difference of shares and its interval."""
    if not is_number(value):
        return NONE
    low_high = _pair(bounds)
    interval = f" ({_signed(low_high[0])} to {_signed(low_high[1])})" if low_high else ""
    return f"{_signed(value)} points{interval}"


def option(value: object) -> str:
    """An option's value as it stands in `config.json`."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(option, value))
    return str(value)


def duration(seconds: float) -> str:
    """`48 s`, `12 min`, `3.4 h`."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def shape(sizes: object) -> str:
    """`32×32×3`."""
    return "×".join(map(str, sizes)) if isinstance(sizes, list | tuple) else NONE


def other_data(report: dict) -> str:
    """A sentence, where a report was measured on data that the command was given."""
    data = find(report, "options", "data")
    return f" Measured on {data} (--data)." if data else ""


def _pair(bounds):
    fits = isinstance(bounds, list | tuple) and len(bounds) == 2 and all(map(is_number, bounds))
    return bounds if fits else None


def _signed(share):
    return f"{100 * share:+.1f}".replace("-", "−")
