"""Which image runs which component; the targets of images/docker-bake.hcl."""

REGISTRY = "magicapture"
TAG = "0.1.0"


def image(target: str) -> str:
    """Full name of a bake target's CPU image; ``values.Cluster.image`` names those of a cluster."""
    return f"{REGISTRY}/{target}:{TAG}"
