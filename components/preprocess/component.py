"""Photos in, prepared set out."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("preprocess"), install_kfp_package=False)
def preprocess(photos: str, looks: str, config: str, data: str, code: str, prepared: dsl.Output[dsl.Dataset]):
    """Check every picture, find and align faces, write crops, masks, key points and embeddings.

    Args:
        photos: Folder with pictures of one person, or git+URL@REVISION#FOLDER.
        looks: Folder with pictures of one look, or git+URL@REVISION#FOLDER.
        config: The knobs of this stage, as JSON.
        data: Hash that the pictures must have; the cache sees by it that they changed.
        code: Hash of source code and pack, so that the cache sees a change.
        prepared: The prepared/1 artifact.
    """
    import json

    from magicapture import stages
    from magicapture.config import load_config

    stages.preprocess(photos, looks, prepared.path, load_config(json.loads(config)), data)
