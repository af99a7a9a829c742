"""Which image runs which component; the targets of images/docker-bake.hcl."""

REGISTRY = "magicapture"
TAG = "0.1.0"


def image(target: str) -> str:
    """Full name of a bake target's image."""
    return f"{REGISTRY}/{target}:{TAG}"
