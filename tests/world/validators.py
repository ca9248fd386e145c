"""What says whether an object for Kubernetes is valid, and whether a pod and a policy are as they must be."""

import ipaddress
import os
import re
import subprocess

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator import v1 as operator

from world import check

# The oldest of the chart, and the newest that the validator knows.
KUBERNETES = ("1.28", "1.37")


def said(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def objects(text):
    return [found for found in yaml.safe_load_all(text) if found]


def of_kind(found, *kinds):
    return [of for of in found if of["kind"] in kinds]


def unknown_to(made, given, path=""):
    """What of `given` is not in what a model made of it: models leave out what they do not know."""
    if isinstance(given, dict) and isinstance(made, dict):
        return [found for key in given for found in ([f"{path}.{key}"] if key not in made else unknown_to(made[key], given[key], f"{path}.{key}"))]
    if isinstance(given, list) and isinstance(made, list):
        return [found for number, (one, other) in enumerate(zip(made, given)) for found in unknown_to(one, other, f"{path}[{number}]")]
    return []


def complaints_about(of):
    """A validator's, about one object: of the Prometheus operator's by models of its definitions, of others by Kubernetes' own schemas."""
    if of["apiVersion"] == "monitoring.coreos.com/v1":
        try:
            made = getattr(operator, of["kind"]).model_validate(of).model_dump(by_alias=True, mode="json", exclude_unset=True)
        except ValueError as error:
            return [str(error)]
        return unknown_to(made, of)
    found = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(of, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"Kubernetes {version}: {error}")
    return found


def valid(what, found):
    check(f"{what}: something is rendered", found)
    for of in found:
        complaints = complaints_about(of)
        check(f"{what}: {of['kind']} {of['metadata']['name']}", not complaints, complaints)
    names = [(of["kind"], of["metadata"]["name"]) for of in found]
    check(f"{what}: nothing is there twice", len(set(names)) == len(names), names)


def selects(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def lets_out(policy, address, port, protocol="TCP"):
    """Whether a NetworkPolicy lets its pods reach an address."""
    for rule in policy["spec"]["egress"]:
        ports = [(of.get("port"), of.get("protocol", "TCP")) for of in rule.get("ports", [])]
        if ports and (port, protocol) not in ports:
            continue
        if "to" not in rule or any(
            "ipBlock" in peer and ipaddress.ip_address(address) in ipaddress.ip_network(peer["ipBlock"]["cidr"]) for peer in rule["to"]
        ):
            return True
    return False


def policy_holds(what, policy, port):
    for address, to, protocol in [
        ("10.100.0.10", 53, "UDP"), ("10.100.0.10", 53, "TCP"), ("169.254.20.10", 53, "UDP"), ("fd12::a", 53, "UDP"),
        ("52.94.5.1", 443, "TCP"), ("10.0.7.8", 443, "TCP"), ("2600:1f18::1", 443, "TCP"),
        ("169.254.169.254", 80, "TCP"), ("fd00:ec2::254", 80, "TCP"), ("169.254.170.23", 80, "TCP"), ("fd00:ec2::23", 80, "TCP"),
    ]:
        check(f"{what}: pods may reach {address}, port {to}, {protocol}", lets_out(policy, address, to, protocol))
    for address, to in [("10.0.0.1", 80), ("10.0.0.1", 6443), ("169.254.169.254", 22), ("52.94.5.1", 80), ("10.0.0.1", 10058)]:
        check(f"{what}: pods may not reach {address}, port {to}", not lets_out(policy, address, to))
    check(f"{what}: both ways", sorted(policy["spec"]["policyTypes"]) == ["Egress", "Ingress"])
    first = policy["spec"]["ingress"][0]
    check(f"{what}: scrapes come in", any(of["port"] == port for of in first["ports"]), first)


PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def probed_path(what, spec, container, probe):
    """The path that a probe requests, by HTTP or by `health` over a Unix socket."""
    if "httpGet" in probe:
        named = {port["name"] for port in container["ports"]}
        check(f"{what}: the probe's port exists", probe["httpGet"]["port"] in named, probe)
        return probe["httpGet"]["path"]
    program, command, flag = probe["exec"]["command"]
    check(f"{what}: the probe runs the exporter's own check", [program, command] == ["/usr/bin/glue-integration-exporter", "health"], probe)
    socket, path = re.fullmatch("--url=unix:(/[^:]*):(/.*)", flag).groups()
    check(f"{what}: the exporter listens on the probe's socket", f"--web.listen-address=unix:{socket}" in container["args"], container["args"])
    check(f"{what}: the exporter listens on its port too", f"--web.listen-address=:{container['ports'][0]['containerPort']}" in container["args"], container["args"])
    mount = next((of for of in container["volumeMounts"] if of["mountPath"] == os.path.dirname(socket)), {"name": None})
    writable = [of["name"] for of in spec["volumes"] if "emptyDir" in of]
    check(f"{what}: the socket's directory can be written", mount["name"] in writable and not mount.get("readOnly"), mount)
    return path


def pod_holds(what, spec, probes=PROBES):
    """What a reviewer looks for in a pod: restricted by Kubernetes' own standard, nothing without a counterpart."""
    pod = spec["securityContext"]
    check(f"{what}: not root", pod["runAsNonRoot"] is True and pod["runAsUser"] == 65532 and pod["seccompProfile"] == {"type": "RuntimeDefault"}, pod)
    check(f"{what}: no token", spec["automountServiceAccountToken"] is False)
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    used = set()
    for container in spec["containers"]:
        name, of = f"{what}: {container['name']}", container["securityContext"]
        check(f"{name} is confined", of["readOnlyRootFilesystem"] and of["allowPrivilegeEscalation"] is False and of["capabilities"] == {"drop": ["ALL"]}, of)
        check(f"{name} has limits", container["resources"]["requests"] and container["resources"]["limits"]["memory"])
        used |= {mount["name"] for mount in container.get("volumeMounts", [])}
        if "ports" in container:
            check(f"{name}: its probes", [probe for probe in PROBES if probe in container] == list(probes))
            paths = {probe: probed_path(f"{name}: {probe}", spec, container, container[probe]) for probe in probes}
            wanted = {"livenessProbe": "/-/healthy", "readinessProbe": "/-/ready"}
            check(f"{name}: being alive takes no poll, being ready does", all(paths[probe] == wanted.get(probe, paths[probe]) for probe in paths), paths)
    return volumes, used


def flags_are_known(what, binary, arguments):
    known = set(re.findall(r"--[a-z.-]+", said(binary, "--help")))
    for argument in arguments:
        check(f"{what}: the program knows {argument}", argument.split("=")[0] in known, known)
