"""Super-resolution and face restoration."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("postprocessing"), install_kfp_package=False)
def postprocessing(images: dsl.Input[dsl.Dataset], config: str, code: str, portraits: dsl.Output[dsl.Dataset]):
    """Upscale every picture, restore its faces and paste them back.

    Args:
        images: The images/1 artifact.
        config: The knobs of this stage, as JSON.
        code: Hash of source code and pack, so that the cache sees a change.
        portraits: The portraits/1 artifact.
    """
    import json

    from magicapture import stages
    from magicapture.config import load_config

    portraits.metadata["seed"] = images.metadata["seed"]
    stages.postprocess(images.path, portraits.path, load_config(json.loads(config)))
