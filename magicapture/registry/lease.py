"""A lock that is a Kubernetes Lease (coordination.k8s.io/v1), over plain HTTP: the promotion image carries no Kubernetes client.

The protocol is that of client-go's leader election: whoever writes its identity into the Lease holds it, the API server's
``resourceVersion`` settles who was first, the holder renews it, and others take it over when it was not renewed for its
duration, timed by their own clock. Wants the rights get, create and update on leases.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import ssl
import threading
import time
import urllib.error
import urllib.request
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from magicapture.registry.tracking import RegistryError, TrackingDown

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DURATION = 30
TIMEOUT = 10.0
Body = dict[str, Any]
logger = logging.getLogger(__name__)


def in_cluster() -> bool:
    """Whether this is a pod that may speak to its cluster."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and (ACCOUNT / "token").is_file()


class Lease:
    """The Lease of one registered model in ``namespace`` of the API server ``server``; ``duration``: seconds without renewal it lives.

    ``account`` is the folder with the service account's token (read anew for each request: it is replaced every hour) and ca.crt.
    """

    def __init__(self, name: str, server: str, namespace: str, account: Path = ACCOUNT, duration: int = DURATION) -> None:
        # Names of Leases are lower-case and short; the model's own name, with the person's in it, does not stay in the cluster.
        self.lease = f"magicapture-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        self.collection = f"{server.rstrip('/')}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self.namespace, self.account, self.duration = namespace, account, duration
        self.identity = f"{os.uname().nodename}-{uuid.uuid4().hex[:8]}"
        self.body: Body | None = None
        self.renewed = 0.0
        self.seen: tuple[str, float] = ("", 0.0)
        self.stop = threading.Event()
        self.keeper: threading.Thread | None = None

    @classmethod
    def in_pod(cls, name: str, account: Path = ACCOUNT, *, namespace: str = "") -> Lease:
        """Of a namespace, "" for the one that this pod runs in. Raises RegistryError outside a cluster."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not (account / "namespace").is_file():
            raise RegistryError("lock 'lease': this is no pod with a service account's token; expected file:///FOLDER or postgresql://...")
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        return cls(name, server, namespace or (account / "namespace").read_text().strip(), account)

    def acquire(self) -> bool:
        """Take the Lease if it is free, given back, or ran out before our eyes."""
        found = self._call("GET", self.lease)
        asked = time.monotonic()
        if found is None:
            metadata = {"name": self.lease, "namespace": self.namespace}
            made = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": self._spec(0)}
            self.body = self._call("POST", "", made)
        elif self._taken(found):
            return False
        else:
            (found["metadata"].get("annotations") or {}).pop("magicapture/model", None)  # older versions wrote the name there
            found["spec"] = self._spec(found.get("spec", {}).get("leaseTransitions", 0) + 1)
            self.body = self._call("PUT", self.lease, found)
        if self.body is None:
            return False
        self.renewed = asked
        self.stop.clear()
        self.keeper = threading.Thread(target=self._keep, daemon=True)
        self.keeper.start()
        return True

    def held(self) -> bool:
        """Whether nobody can have taken it over yet."""
        return self.body is not None and time.monotonic() - self.renewed < self.duration

    def release(self) -> None:
        """Give it back; a failure only makes the next one wait until it ran out."""
        self.stop.set()
        if self.keeper is not None:
            self.keeper.join()
            self.keeper = None
        if self.body is not None:
            try:
                self.body["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                self._call("PUT", self.lease, self.body)
            except (TrackingDown, RegistryError) as error:
                logger.warning("The lease could not be given back, so the next one waits up to %d s: %s", self.duration, error)
            self.body = None

    def _taken(self, found: Body) -> bool:
        """Held by another, and renewed within its duration since we first saw this version of it."""
        spec, version = found.get("spec", {}), found["metadata"]["resourceVersion"]
        if version != self.seen[0]:
            self.seen = (version, time.monotonic())
        return bool(spec.get("holderIdentity")) and time.monotonic() - self.seen[1] < spec.get("leaseDurationSeconds", self.duration)

    def _keep(self) -> None:
        """Renew, until told to stop or taken over; an API server that is away is asked again."""
        while self.body is not None and not self.stop.wait(self.duration / 3):
            try:
                asked = time.monotonic()
                self.body["spec"] |= {"renewTime": _now()}
                renewed = self._call("PUT", self.lease, self.body)
                if renewed is None:  # something else was written: our own lost answer, or another holder
                    found = self._call("GET", self.lease)
                    ours = found is not None and found["spec"].get("holderIdentity") == self.identity
                    self.body = found if ours else None
                    continue
                self.body, self.renewed = renewed, asked
            except (TrackingDown, RegistryError):
                continue

    def _spec(self, transitions: int) -> Body:
        now = _now()
        times = {"acquireTime": now, "renewTime": now}
        return {"holderIdentity": self.identity, "leaseDurationSeconds": self.duration, "leaseTransitions": transitions, **times}

    def _call(self, method: str, name: str, body: Body | None = None) -> Body | None:
        """The object of the answer; None for 404 (get) and 409 (somebody was first). Raises RegistryError where the right is missing."""
        address = f"{self.collection}/{name}" if name else self.collection
        token = self.account / "token"
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token.is_file():
            headers["Authorization"] = f"Bearer {token.read_text().strip()}"
        data = None if body is None else json.dumps(body).encode()
        authority = self.account / "ca.crt"
        trust = ssl.create_default_context(cafile=str(authority)) if authority.is_file() else None
        try:
            request = urllib.request.Request(address, data, headers, method=method)
            with urllib.request.urlopen(request, timeout=TIMEOUT, context=trust) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code == 409 or (error.code == 404 and method == "GET"):
                return None
            if error.code in (401, 403):
                raise RegistryError(
                    f"{method} {address}: refused with {error.code}; the pod's service account needs get, create and update on leases of "
                    f"coordination.k8s.io in namespace {self.namespace}"
                ) from None
            raise TrackingDown(f"{method} {address}: the Kubernetes API answered {error.code}") from error
        except (OSError, ValueError) as error:
            raise TrackingDown(f"{method} {address}: the Kubernetes API does not answer ({error})") from error


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
