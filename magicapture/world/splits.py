"""Which seeds belong to whom, so that no model is ever measured on people or looks it was trained on."""

_SPAN = 1_000_000
_SPLITS = {
    "people": ("train", "recogniser", "judge", "referee", "diffusion", "validation", "test"),
    "looks": ("train", "validation", "test"),
}
_START: dict[tuple[str, str], int] = {}
for _kind, _names in _SPLITS.items():
    for _name in _names:
        _START[_kind, _name] = (len(_START) + 1) * _SPAN


def seeds(kind: str, split: str) -> range:
    """The 1,000,000 seeds of a split; the ranges of all splits of both kinds are disjoint.

    `kind` "people": train (detector, parser and other general models), recogniser, judge, referee, diffusion, validation,
    test. `kind` "looks": train, validation, test.
    """
    try:
        start = _START[kind, split]
    except KeyError:
        known = ", ".join(f"{k} {s}" for k, s in _START)
        raise ValueError(f"no seeds for {kind} {split}; there are: {known}") from None
    return range(start, start + _SPAN)
