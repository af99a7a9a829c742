"""Closes a pipeline run."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("registry"), install_kfp_package=False)
def close(job: str, status: dsl.PipelineTaskFinalStatus):
    """End the MLflow parent run with the pipeline's final status, and tell the webhook of a run that failed: why, and where to look.

    Args:
        job: Unique id of this pipeline run.
        status: The pipeline's final status, given by the exit handler.
    """
    from components import ending, task
    from magicapture import registry

    with task.watched("close"):
        ended, reason = ending.find_out(job, status.state, status.error_message)
        try:
            registry.close(job, ended)
        finally:  # whatever MLflow does
            ending.notify(ended, reason, job, {"run": ending.run_page(job)})
