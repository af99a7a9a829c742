"""The error of backbones, apart from them, for those who need no diffusers."""


class BackboneError(ValueError):
    """A model folder, device or call that cannot be used: names what was given, what was expected, what to do."""
