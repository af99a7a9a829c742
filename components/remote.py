"""A Kubeflow Pipelines server: how long it is asked, what is asked again, and what its refusals mean.

kfp's own client does the talking. Besides ``KF_PIPELINES_*`` it is told what kfp's own command line is told: the bearer
token by KFP_EXISTING_TOKEN, and on a server of many users the namespace by KFP_NAMESPACE.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import urllib3
from kfp import Client, compiler
from kfp.dsl.base_component import BaseComponent
from kfp_server_api import V2beta1GetHealthzResponse, V2beta1Pipeline
from kfp_server_api.exceptions import ApiException
from kfp_server_api.rest import RESTClientObject
from urllib3.exceptions import HTTPError, ReadTimeoutError

from components.local import REPOSITORY
from components.values import Cluster
from magicapture.config import ConfigError

MADE_OF = ("pipeline.py", "components", "magicapture")  # what the compiled pipeline and its knobs are made of, in the repository
TIMEOUT = (10.0, 30.0)  # seconds to connect and to answer
# What may be asked twice without harm is asked four times, with 0, 1 and 2 seconds in between; so is whatever never reached the server.
RETRIES = urllib3.Retry(
    total=3, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=("GET", "DELETE"), raise_on_status=False
)
PAUSES = (1.0, 2.0)  # seconds before what must not be done twice is asked again
ADVICE = {
    401: "set KFP_EXISTING_TOKEN to a valid token",
    403: "ask its administrator for the permission, or set KFP_NAMESPACE to a namespace where you have it",
    404: "if the address is not wrong (some servers want a path, such as /pipeline), it was removed meanwhile",
}


class ServerError(ConnectionError):
    """The server does not answer, or refuses: says where, what was asked, what it answered, and what to do.

    ``status`` is HTTP's; for no answer 504 where the server was reached, else 0.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def unclear(self) -> bool:
        """Whether the server may have done what it was asked, or would do it if asked again."""
        return self.status in (0, 429) or self.status >= 500


class _Patient(RESTClientObject):
    """kfp's transport with a time limit (it has none), and no trust in web pages."""

    def request(self, method: str, url: str, **options: Any) -> Any:
        """One request and its answer. Raises ApiException and urllib3's errors."""
        answer = super().request(method, url, **{**options, "_request_timeout": TIMEOUT})
        if "html" in (answer.getheader("Content-Type") or ""):
            # A proxy's login page comes with status 200, and kfp would read it as an answer with nothing in it.
            error = ApiException(status=401, reason="a web page came instead of an answer (a login page?)")
            error.body = b""
            raise error
        return answer


class Server(Client):
    """kfp's client with time limits, retries, and errors that say what to do."""

    def __init__(self, host: str) -> None:
        """Connect to the API at ``host``; nothing is asked yet."""
        self.host = host.rstrip("/")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # kfp warns of its own version on every use
            super().__init__(
                host=host, namespace=os.environ.get("KFP_NAMESPACE", "kubeflow"), existing_token=os.environ.get("KFP_EXISTING_TOKEN")
            )
        api = self.runs.api_client
        api.configuration.retries = RETRIES
        api.rest_client = _Patient(api.configuration)

    def get_kfp_healthz(self, sleep_duration: int = 0) -> V2beta1GetHealthzResponse:
        """What the constructor asks, to know of namespaces: they are told by KFP_NAMESPACE, so the server is not asked.

        kfp would ask a server that is down or wants a token five times, and log five tracebacks.
        """
        return V2beta1GetHealthzResponse(multi_user=False)

    def ask(self, what: str, call: Callable[..., Any], **arguments: Any) -> Any:
        """The answer to one of kfp's calls; ``what`` is done by it, for the error. Raises ServerError."""
        try:
            with redirect_stdout(io.StringIO()):  # kfp prints links of its own
                return call(**arguments)
        except ApiException as error:
            advice = f"; {ADVICE[error.status]}" if error.status in ADVICE else ""
            raise ServerError(
                f"Kubeflow Pipelines at {self.host} refused to {what}: {error.status} {_said(error)}{advice}", error.status
            ) from None
        except (OSError, HTTPError) as error:
            reason = getattr(error, "reason", error)
            late = isinstance(reason, ReadTimeoutError)
            raise ServerError(
                f"Kubeflow Pipelines at {self.host} does not answer (to {what}): {reason}{'' if late else '; check the address'}",
                504 if late else 0,
            ) from None

    def make(self, what: str, find: Callable[[], Any], call: Callable[..., Any], **arguments: Any) -> Any:
        """Do by ``call`` what must not be done twice; ``find()`` gives what it made, or None.

        A failure may hide a success, so it is looked for before the server is asked again. A server that is only slow is not
        asked again, as it may be at it still: it is looked for some more. Raises ServerError.
        """
        late = False
        for pause in (*PAUSES, None):
            try:
                if not late:
                    return self.ask(what, call, **arguments)
            except ServerError as failure:
                error, late = failure, failure.status == 504
            made = find() if error.unclear or error.status == 409 else None  # 409: somebody else was faster
            if made is not None:
                return made
            if pause is None or not error.unclear:
                break
            time.sleep(pause)
        raise ServerError(f"{error}; it may do it yet: look before you ask again", error.status) if late else error

    def each(self, field: str, call: Callable[..., Any], name: str | None = None, **arguments: Any) -> Iterator[Any]:
        """All entries of a listing, page after page, or those called ``name``. Raises ServerError."""
        if name is not None:
            arguments["filter"] = json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})
        token: str | None = ""
        while token is not None:
            page = self.ask(f"list {field.replace('_', ' ')}", call, page_token=token, page_size=100, **arguments)
            entries = getattr(page, field) or ()
            if page.total_size and not (entries or token):  # kfp reads what it does not know as nothing, and we would make it twice
                raise ServerError(
                    f"Kubeflow Pipelines at {self.host} lists {page.total_size} {field}, but none that this kfp can read", 400
                )
            yield from (entry for entry in entries if name in (None, entry.display_name))  # MySQL takes Anna for anna
            token = page.next_page_token or None

    def find_experiment(self, name: str) -> Any:
        """The experiment, or None. Raises ServerError."""
        return next(self.each("experiments", self.list_experiments, name), None)

    def experiment(self, name: str) -> str:
        """Id of the experiment, which is made where it is missing. Raises ServerError."""
        find = partial(self.find_experiment, name)
        return (find() or self.make(f"make the experiment {name!r}", find, self.create_experiment, name=name)).experiment_id


def _said(error: ApiException) -> str:
    """The server's own words, from any of its kinds of errors."""
    try:
        answer = json.loads(error.body)
        said = str(answer.get("message") or answer.get("error_message") or answer["error"])
    except (TypeError, ValueError, KeyError, AttributeError):
        said = (error.body or "").strip()[:300] or str(error.reason)
    return said.rstrip(". ")


def upload(server: Server, pipeline: BaseComponent, cluster: Cluster) -> Any:
    """The pipeline's version on the server that is named by the checkout's commit and the cluster's values; uploaded once.

    Raises ConfigError for a checkout that is no commit, and ServerError; a pipeline that got no version is not left behind.
    """
    version = version_name(cluster)
    namespace = server.get_user_namespace() or None

    def find_pipeline() -> Any:
        return next(server.each("pipelines", server.list_pipelines, pipeline.name, namespace=namespace), None)

    def find_version() -> Any:
        return next(server.each("pipeline_versions", server.list_pipeline_versions, version, pipeline_id=home.pipeline_id), None)

    home = find_pipeline()
    found = home and find_version()
    if found:
        return found
    fresh = home is None
    if fresh:
        body = V2beta1Pipeline(name=pipeline.name, display_name=pipeline.name, namespace=namespace)
        create = server.pipelines.pipeline_service_create_pipeline
        home = server.make(f"make the pipeline {pipeline.name!r}", find_pipeline, create, pipeline=body)
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder, "pipeline.yaml"))
            compiler.Compiler().compile(pipeline, file)
            return server.make(
                f"take version {version!r} of the pipeline", find_version, server.upload_pipeline_version,
                pipeline_package_path=file, pipeline_version_name=version, pipeline_id=home.pipeline_id,
            )  # fmt: skip
    except ServerError as error:
        if fresh and not error.unclear:
            server.ask("take the empty pipeline back", server.delete_pipeline, pipeline_id=home.pipeline_id)
        raise


def version_name(cluster: Cluster) -> str:
    """The checkout's commit, and the cluster's label, as the compiled pipeline depends on its values too. Raises ConfigError."""
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", *MADE_OF)  # a cluster's own values are in its label
        commit = _git("rev-parse", "--short=12", "HEAD")
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(f"a version is named by its git commit, but {REPOSITORY} has none: {error}") from None
    if changed:
        names = [line.split(maxsplit=1)[1] for line in changed.splitlines()]
        raise ConfigError(f"a version is named by its git commit, and {', '.join(names[:3])} changed since: commit first")
    return "-".join(filter(None, [commit, cluster.label()]))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(REPOSITORY), *arguments], check=True, capture_output=True, text=True).stdout.strip()
