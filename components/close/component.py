"""Closes a pipeline run."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("registry"), install_kfp_package=False)
def close(job: str, status: dsl.PipelineTaskFinalStatus):
    """End the MLflow parent run with the pipeline's final status, whatever that is.

    Args:
        job: Unique id of this pipeline run.
        status: The pipeline's final status, given by the exit handler.
    """
    from magicapture import registry

    registry.close(job, status.state)
