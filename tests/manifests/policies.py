"""What every object of an overlay has to obey. Each policy lists what is wrong, in words; an empty list is good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from tests.manifests.objects import SERVERS, Object, containers, matches, name, namespace, of, pods

Policy = Callable[[list[Object], dict[str, set[str]]], list[str]]


def never_root(objects: list[Object], secrets: dict[str, set[str]]) -> list[str]:
    """A user other than root, said by number, and Kubernetes told to refuse root."""
    wrong = []
    for where, spec, container in containers(objects):
        context = spec.get("securityContext", {}) | container.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser") or context.get("runAsGroup") == 0:
            wrong.append(f"{where}: runs as root, or may: {context}")
    return wrong


def no_privilege(objects: list[Object], secrets: dict[str, set[str]]) -> list[str]:
    """Kubernetes' level "restricted": no capability, no escalation, nothing of the node."""
    wrong = []
    for where, spec, container in containers(objects):
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            wrong.append(f"{where}: may get more privileges")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            wrong.append(f"{where}: keeps capabilities")
        seccomp = (spec.get("securityContext", {}) | own).get("seccompProfile", {})
        if seccomp.get("type") != "RuntimeDefault":
            wrong.append(f"{where}: no seccomp profile")
    for thing, _, spec in pods(objects):
        shared = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
        shared += [f"volume {volume['name']}" for volume in spec.get("volumes", []) if "hostPath" in volume]
        wrong += [f"{name(thing)}: shares {what} with its node" for what in shared]
    return wrong


def read_only_root(objects: list[Object], secrets: dict[str, set[str]]) -> list[str]:
    """Nothing is written but to volumes, and a volume in the node's own disk or memory has an end."""
    wrong = [
        f"{where}: its root file system can be written"
        for where, _, container in containers(objects)
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True
    ]
    for thing, _, spec in pods(objects):
        for volume in spec.get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                wrong.append(f"{name(thing)}, volume {volume['name']}: an emptyDir without sizeLimit")
    return wrong


def pinned_images(objects: list[Object], secrets: dict[str, set[str]]) -> list[str]:
    """A registry, and a tag that says which version, or a digest."""
    wrong = []
    for where, _, container in containers(objects):
        image, _, digest = container["image"].partition("@")
        host, _, path = image.partition("/")
        tag = path.partition(":")[2]
        if "." not in host or (not digest and not any(letter.isdigit() for letter in tag)) or tag.startswith("latest"):
            wrong.append(f"{where}: image {container['image']!r} is not pinned")
    return wrong


def limits(objects: list[Object], secrets: dict[str, set[str]]) -> list[str]:
    """Every container says what it needs and where it stops, of processors, memory and the node's disk."""
    wrong = []
    for where, _, container in containers(objects):
        for side in ("requests", "limits"):
            missing = {"cpu", "memory", "ephemeral-storage"} - set(container.get("resources", {}).get(side, {}))
            wrong += [f"{where}: no {side} of {what}" for what in sorted(missing)]
    return wrong


def within_quota(objects: list[Object], secrets: dict[str, set[str]]) -> list[str]:
    """Everything at once, jobs too, fits the quota of its namespace: nothing waits for ever."""
    wrong = []
    for quota in of(objects, "ResourceQuota"):
        home, taken = namespace(quota), dict.fromkeys(quota["spec"]["hard"], parse_quantity("0"))

        def take(what: str, amount: Any, taken: dict[str, Any] = taken) -> None:
            if what in taken:
                taken[what] += parse_quantity(str(amount))

        claims = [thing["spec"] for thing in of(objects, "PersistentVolumeClaim") if namespace(thing) == home]
        for thing, _, spec in pods([thing for thing in objects if namespace(thing) == home]):
            replicas = int(thing["spec"].get("replicas", 1))
            for container in spec["containers"]:
                for side, amounts in container["resources"].items():
                    for what, amount in amounts.items():
                        take(f"{side}.{what}", parse_quantity(amount) * replicas)
            claims += [claim["spec"] for claim in thing["spec"].get("volumeClaimTemplates", [])] * replicas
        for claim in claims:
            take("persistentvolumeclaims", 1)
            take("requests.storage", claim["resources"]["requests"]["storage"])
        wrong += [
            f"{name(quota)}: {what} {taken[what]} of {hard}"
            for what, hard in quota["spec"]["hard"].items()
            if taken[what] > parse_quantity(hard)
        ]
    return wrong


def probes(objects: list[Object], secrets: dict[str, set[str]]) -> list[str]:
    """Servers are watched: while they start, before they get requests, and ever after; on a port that they have."""
    wrong = []
    for thing, _, spec in pods(of(objects, *SERVERS)):
        for container in spec["containers"]:
            ports = {port["name"] for port in container.get("ports", [])}
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                probe = container.get(kind)
                if not probe or ("httpGet" in probe and probe["httpGet"]["port"] not in ports):
                    wrong.append(f"{name(thing)}: no {kind} of its own ports")
    return wrong


def references(objects: list[Object], secrets: dict[str, set[str]]) -> list[str]:
    """Secrets are documented with their keys; all else that is referred to is there. ``secrets`` is what is documented."""
    there = {(thing["kind"], namespace(thing), thing["metadata"]["name"]): thing for thing in objects}
    wrong = []
    for thing, _, spec in pods(objects):
        wanted: list[tuple[str, str, str | None]] = [("ServiceAccount", spec.get("serviceAccountName", "default"), None)]
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            for source in container.get("envFrom", []):
                for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                    wanted += [(kind, source[key]["name"], None)] if key in source else []
            for variable in container.get("env", []):
                for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                    reference = variable.get("valueFrom", {}).get(key)
                    wanted += [(kind, reference["name"], reference["key"])] if reference else []
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            given = {volume["name"] for volume in spec.get("volumes", [])}
            given |= {claim["metadata"]["name"] for claim in thing["spec"].get("volumeClaimTemplates", [])}
            wrong += [f"{name(thing)}: no volume {volume}" for volume in sorted(mounted - given)]
        for volume in spec.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                wanted.append(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], None))
            wanted += [("ConfigMap", volume["configMap"]["name"], None)] if "configMap" in volume else []
            wanted += [("Secret", volume["secret"]["secretName"], None)] if "secret" in volume else []
        for kind, called, key in wanted:
            if kind == "Secret":
                found, keys = called in secrets, secrets.get(called, set())
            else:
                target = there.get((kind, namespace(thing), called))
                found, keys = target is not None, set((target or {}).get("data", {}))
            if not found or (key and key not in keys):
                wrong.append(f"{name(thing)}: {kind} {called}{f', key {key},' if key else ''} is not there")
        if ("PriorityClass", "", spec.get("priorityClassName", "")) not in there:
            wrong.append(f"{name(thing)}: no priority class of ours")
    for binding in of(objects, "RoleBinding", "ClusterRoleBinding"):
        role = (binding["roleRef"]["kind"], namespace(binding), binding["roleRef"]["name"])
        wrong += [] if role in there else [f"{name(binding)}: {role[2]} is not there"]
        for subject in binding["subjects"]:
            if (subject["kind"], subject.get("namespace", namespace(binding)), subject["name"]) not in there:
                wrong.append(f"{name(binding)}: {subject['kind']} {subject['name']} is not there")
    return wrong


def secrets_by_reference(objects: list[Object], secrets: dict[str, set[str]]) -> list[str]:
    """No secret is made, and none is written into a variable."""
    wrong = [f"{name(thing)} is in the manifests" for thing in of(objects, "Secret")]
    for where, _, container in containers(objects):
        for variable in container.get("env", []):
            hidden = any(word in variable["name"] for word in ("PASSWORD", "SECRET", "TOKEN", "ACCESS_KEY"))
            if hidden and "value" in variable:
                wrong.append(f"{where}: {variable['name']} is written out")
    return wrong


def least_rights(objects: list[Object], secrets: dict[str, set[str]]) -> list[str]:
    """No rights over the cluster, no wildcards, no reading of secrets at large; a token only for who has rights."""
    wrong = [f"{name(thing)}: rights over the whole cluster" for thing in of(objects, "ClusterRole", "ClusterRoleBinding")]
    lived_in = {namespace(thing) for thing in of(objects, "ServiceAccount")}
    for role in of(objects, "Role"):
        for rule in role["rules"]:
            if "*" in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]:
                wrong.append(f"{name(role)}: a wildcard in {rule}")
            if "secrets" in rule["resources"] and (set(rule["verbs"]) != {"get"} or not rule.get("resourceNames")):
                wrong.append(f"{name(role)}: more than reading one named secret")
            if "leases" in rule["resources"] and namespace(role) in lived_in:
                wrong.append(f"{name(role)}: Leases of controllers beside ours")
            if {"pods/exec", "pods/attach", "serviceaccounts/token"} & set(rule["resources"]) or {"escalate", "bind", "impersonate"} & set(
                rule["verbs"]
            ):
                wrong.append(f"{name(role)}: {rule} leads to other rights")
    holders = {(namespace(binding), subject["name"]) for binding in of(objects, "RoleBinding") for subject in binding["subjects"]}
    for account in of(objects, "ServiceAccount"):
        if account.get("automountServiceAccountToken", True) and (namespace(account), account["metadata"]["name"]) not in holders:
            wrong.append(f"{name(account)}: a token that opens nothing")
    return wrong


def wired(objects: list[Object], secrets: dict[str, set[str]]) -> list[str]:
    """Every service finds pods and a port of theirs; every workload selects its own pods."""
    wrong = []
    for service in of(objects, "Service"):
        found = [
            {port["name"] for container in spec["containers"] for port in container.get("ports", [])}
            for thing, labels, spec in pods(objects)
            if namespace(thing) == namespace(service) and matches({"matchLabels": service["spec"]["selector"]}, labels)
        ]
        for port in service["spec"]["ports"]:
            if not found or any(port["targetPort"] not in ports for ports in found):
                wrong.append(f"{name(service)}: nobody answers on {port['targetPort']}")
    there = {(namespace(service), service["metadata"]["name"]) for service in of(objects, "Service")}
    for thing, labels, _ in pods(of(objects, *SERVERS)):
        if not matches(thing["spec"]["selector"], labels):
            wrong.append(f"{name(thing)}: does not select its own pods")
        if (namespace(thing), thing["spec"].get("serviceName", thing["metadata"]["name"])) not in there:
            wrong.append(f"{name(thing)}: no service")
    return wrong


POLICIES: dict[str, Policy] = {
    policy.__name__: policy
    for policy in (
        never_root, no_privilege, read_only_root, pinned_images, limits, within_quota, probes, references, secrets_by_reference,
        least_rights, wired,
    )
}  # fmt: skip
