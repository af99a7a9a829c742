"""Starting the pipeline on a Kubeflow Pipelines server."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from kfp import Client
from kfp.dsl.base_component import BaseComponent
from kfp_server_api.exceptions import ApiException
from urllib3.exceptions import HTTPError

from magicapture.registry.runs import read_config, read_seeds


def submit_to(
    host: str,
    pipeline: BaseComponent,
    photos: str,
    looks: str,
    preset: str,
    overrides: Sequence[str],
    seeds: Sequence[str],
    experiment: str,
) -> str:
    """Start a run; returns its address. Knobs are validated here, and sent whole: the cluster needs none of our files.

    Raises ConfigError for impossible knobs and ConnectionError for a server that does not answer or refuses.
    """
    arguments = {
        "photos": photos,
        "looks": looks,
        "config": read_config(preset, overrides).to_yaml(),
        "seeds": [str(seed) for seed in read_seeds(seeds)],
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # kfp's client warns of its own version on every use
            result = Client(host=host).create_run_from_pipeline_func(pipeline, arguments=arguments, experiment_name=experiment)
    except (OSError, HTTPError) as error:
        raise ConnectionError(f"Kubeflow Pipelines at {host} does not answer: {error}") from error
    except ApiException as error:
        raise ConnectionError(f"Kubeflow Pipelines at {host} refused the run: {error.status} {error.reason} {error.body}") from error
    return f"{host.rstrip('/')}/#/runs/details/{result.run_id}"
