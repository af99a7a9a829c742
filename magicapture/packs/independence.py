"""Which network an adapter was trained against, and that it neither judges nor reports (design, principle 8).

A network that training has pleased gives high scores whoever is in the picture, so its word on likeness is worth nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from magicapture.packs.pack import Pack, PackError

#: Roles whose scores decide and are reported.
SCORERS = ("judge", "referee")


def trained_against(pack: Pack, network: str) -> dict[str, str | None]:
    """What an adapter remembers of the network of its identity loss (``tuning.recogniser``).

    ``role``: its name; ``weights``: sha256 of its torch weights (role ``<network>_torch``); ``onnx``: of the same network's ONNX file (the
    role of that very name), None where the pack has none. Raises PackError for a role or file that is not there.
    """
    if f"{network}_torch" not in pack.roles:
        known = ", ".join(sorted(role.removesuffix("_torch") for role in pack.roles if role.endswith("_torch")))
        raise PackError(
            f"pack {pack.name!r} has no role {network}_torch, which tuning.recogniser={network} asks for; it offers: {known or 'none'} "
            "(training goes without the identity loss with tuning.lambda_identity=0)"
        )
    onnx = pack.sha256(network) if network in pack.roles else None
    return {"role": network, "weights": pack.sha256(f"{network}_torch"), "onnx": onnx}


def require_independent(pack: Pack, trained: Mapping[str, str | None] | None, allow: bool = False) -> list[str]:
    """Raise PackError when the pack's judge or referee is the network that :func:`trained_against` describes; with ``allow`` return which.

    By its name, or by the sha256 of its ONNX file; the same weights in another file cannot be told. ``trained`` None: trained against
    none, or before this was recorded. ``allow``: ``evaluation.allow_trained_network``.
    """
    if not trained:
        return []
    same = [role for role in SCORERS if role in pack.roles and (trained["role"] == role or trained["onnx"] == pack.sha256(role))]
    if same and not allow:
        files = ", ".join(pack.role(role).path for role in same)
        raise PackError(
            f"pack {pack.name!r}: {' and '.join(same)} ({files}) and the network trained against "
            f"(tuning.recogniser={trained['role']}) are one; expected others, because scores by a network that training has pleased say "
            "nothing of likeness. Tune against another network, or give that role another file in pack.yaml; "
            "evaluation.allow_trained_network=true scores all the same"
        )
    return same
