"""Whether network policies let one pod talk to another: what a cluster's network would decide, for the parts that we use."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import NamedTuple

from tests.manifests.objects import Object, matches, of


class Pod(NamedTuple):
    """Who talks; an address outside the cluster has no namespace."""

    namespace: str
    labels: dict[str, str]
    address: str = "10.1.2.3"
    opens: str = ""  # the label magicapture/opens of its namespace


def allows(objects: list[Object], source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
    """Whether ``source`` may open ``port`` of ``target``: both ends have to let it."""
    return _side(objects, "Egress", source, target, port, protocol) and _side(objects, "Ingress", target, source, port, protocol)


def _side(objects: list[Object], kind: str, own: Pod, other: Pod, port: int, protocol: str) -> bool:
    ruling = [
        policy["spec"]
        for policy in of(objects, "NetworkPolicy")
        if policy["metadata"]["namespace"] == own.namespace
        and kind in policy["spec"]["policyTypes"]
        and matches(policy["spec"]["podSelector"], own.labels)
    ]
    if not own.namespace or not ruling:  # whom no policy selects may do all
        return True
    key, peers = ("egress", "to") if kind == "Egress" else ("ingress", "from")
    for rule in (rule for spec in ruling for rule in spec.get(key, [])):
        open_ports = rule.get("ports")
        ported = open_ports is None or any((entry["protocol"], entry["port"]) == (protocol, port) for entry in open_ports)
        if ported and (peers not in rule or any(_peer(peer, own, other) for peer in rule[peers])):
            return True
    return False


def _peer(peer: Object, own: Pod, other: Pod) -> bool:
    if "ipBlock" in peer:
        inside = ip_address(other.address) in ip_network(peer["ipBlock"]["cidr"])
        return inside and not any(ip_address(other.address) in ip_network(part) for part in peer["ipBlock"].get("except", []))
    if not other.namespace:
        return False
    labels = {"kubernetes.io/metadata.name": other.namespace} | ({"magicapture/opens": other.opens} if other.opens else {})
    home = matches(peer["namespaceSelector"], labels) if "namespaceSelector" in peer else own.namespace == other.namespace
    return home and matches(peer.get("podSelector", {}), other.labels)
