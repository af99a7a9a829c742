"""The rendered world's objects: vases, teapots, chairs and cars (shape: identity) in textures (style), for the general-object case."""

from magicapture.world.objects.scene import (
    KINDS,
    OBJECT_WORDS,
    ObjectPicture,
    Pose,
    Thing,
    objects_sheet,
    random_object_caption,
    render_object,
    render_room,
)
from magicapture.world.objects.textures import TEXTURES, Texture

__all__ = [
    "KINDS", "OBJECT_WORDS", "TEXTURES", "ObjectPicture", "Pose", "Texture", "Thing", "objects_sheet",
    "random_object_caption", "render_object", "render_room",
]  # fmt: skip
