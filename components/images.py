"""Which image runs which component; the targets of images/docker-bake.hcl."""

REGISTRY = "magicapture"
TAG = "0.1.0"


def image(target: str, gpu: bool = False) -> str:
    """Full name of a bake target's image, or of its GPU variant."""
    return f"{REGISTRY}/{target}:{TAG}{'-gpu' if gpu else ''}"
