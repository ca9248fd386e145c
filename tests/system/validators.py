"""Validates Kubernetes objects, and checks pods and network policies."""

import ipaddress
import os
import re
import subprocess

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator import v1 as operator

from checks import check

# The oldest version that the chart supports, and the newest version of the validator.
KUBERNETES = ("1.28", "1.37")


def output_of(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def objects(text):
    return [found for found in yaml.safe_load_all(text) if found]


def of_kind(found, *kinds):
    return [obj for obj in found if obj["kind"] in kinds]


def unknown_to(made, given, path=""):
    """Returns the paths in `given` that are missing in `made`, the output of a model. Models drop unknown members."""
    if isinstance(given, dict) and isinstance(made, dict):
        return [found for key in given for found in ([f"{path}.{key}"] if key not in made else unknown_to(made[key], given[key], f"{path}.{key}"))]
    if isinstance(given, list) and isinstance(made, list):
        return [found for number, (one, other) in enumerate(zip(made, given)) for found in unknown_to(one, other, f"{path}[{number}]")]
    return []


def validation_errors(obj):
    """Validates an object with the models of the Prometheus operator or with the schemas of Kubernetes. Returns the errors."""
    if obj["apiVersion"] == "monitoring.coreos.com/v1":
        try:
            made = getattr(operator, obj["kind"]).model_validate(obj).model_dump(by_alias=True, mode="json", exclude_unset=True)
        except ValueError as error:
            return [str(error)]
        return unknown_to(made, obj)
    found = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(obj, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"Kubernetes {version}: {error}")
    return found


def check_objects(what, found):
    check(f"{what}: there are objects", found)
    for obj in found:
        errors = validation_errors(obj)
        check(f"{what}: {obj['kind']} {obj['metadata']['name']}", not errors, errors)
    names = [(obj["kind"], obj["metadata"]["name"]) for obj in found]
    check(f"{what}: no object is duplicated", len(set(names)) == len(names), names)


def selects(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def allows_egress(policy, address, port, protocol="TCP"):
    """Returns True if a NetworkPolicy allows its pods to connect to an address."""
    for rule in policy["spec"]["egress"]:
        ports = [(obj.get("port"), obj.get("protocol", "TCP")) for obj in rule.get("ports", [])]
        if ports and (port, protocol) not in ports:
            continue
        if "to" not in rule or any(
            "ipBlock" in peer and ipaddress.ip_address(address) in ipaddress.ip_network(peer["ipBlock"]["cidr"]) for peer in rule["to"]
        ):
            return True
    return False


def check_policy(what, policy, port):
    for address, to, protocol in [
        ("10.100.0.10", 53, "UDP"), ("10.100.0.10", 53, "TCP"), ("169.254.20.10", 53, "UDP"), ("fd12::a", 53, "UDP"),
        ("52.94.5.1", 443, "TCP"), ("10.0.7.8", 443, "TCP"), ("2600:1f18::1", 443, "TCP"),
        ("169.254.169.254", 80, "TCP"), ("fd00:ec2::254", 80, "TCP"), ("169.254.170.23", 80, "TCP"), ("fd00:ec2::23", 80, "TCP"),
    ]:
        check(f"{what}: pods may reach {address}, port {to}, {protocol}", allows_egress(policy, address, to, protocol))
    for address, to in [("10.0.0.1", 80), ("10.0.0.1", 6443), ("169.254.169.254", 22), ("52.94.5.1", 80), ("10.0.0.1", 10058)]:
        check(f"{what}: pods may not reach {address}, port {to}", not allows_egress(policy, address, to))
    check(f"{what}: restricts both directions", sorted(policy["spec"]["policyTypes"]) == ["Egress", "Ingress"])
    first = policy["spec"]["ingress"][0]
    check(f"{what}: allows scrapes", any(obj["port"] == port for obj in first["ports"]), first)


PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def probed_path(what, spec, container, probe):
    """Returns the path that a probe requests, either by HTTP or with `health` over a Unix socket."""
    if "httpGet" in probe:
        named = {port["name"] for port in container["ports"]}
        check(f"{what}: the probe's port exists", probe["httpGet"]["port"] in named, probe)
        return probe["httpGet"]["path"]
    program, command, flag = probe["exec"]["command"]
    check(f"{what}: the probe runs the health command", [program, command] == ["/usr/bin/glue-integration-exporter", "health"], probe)
    socket, path = re.fullmatch("--url=unix:(/[^:]*):(/.*)", flag).groups()
    check(f"{what}: the exporter listens on the probe's socket", f"--web.listen-address=unix:{socket}" in container["args"], container["args"])
    check(f"{what}: the exporter listens on its port too", f"--web.listen-address=:{container['ports'][0]['containerPort']}" in container["args"], container["args"])
    mount = next((obj for obj in container["volumeMounts"] if obj["mountPath"] == os.path.dirname(socket)), {"name": None})
    writable = [obj["name"] for obj in spec["volumes"] if "emptyDir" in obj]
    check(f"{what}: the directory of the socket is writable", mount["name"] in writable and not mount.get("readOnly"), mount)
    return path


def check_pod(what, spec, probes=PROBES):
    """Checks a pod: it meets the Pod Security Standard `restricted`, and its probes use the right paths. Returns the volumes and the mounted volumes."""
    pod = spec["securityContext"]
    check(f"{what}: runs as a user without root privileges", pod["runAsNonRoot"] is True and pod["runAsUser"] == 65532 and pod["seccompProfile"] == {"type": "RuntimeDefault"}, pod)
    check(f"{what}: mounts no service account token", spec["automountServiceAccountToken"] is False)
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    used = set()
    for container in spec["containers"]:
        name, obj = f"{what}: {container['name']}", container["securityContext"]
        check(f"{name} has a restricted security context", obj["readOnlyRootFilesystem"] and obj["allowPrivilegeEscalation"] is False and obj["capabilities"] == {"drop": ["ALL"]}, obj)
        check(f"{name} has limits", container["resources"]["requests"] and container["resources"]["limits"]["memory"])
        used |= {mount["name"] for mount in container.get("volumeMounts", [])}
        if "ports" in container:
            check(f"{name}: has the expected probes", [probe for probe in PROBES if probe in container] == list(probes))
            paths = {probe: probed_path(f"{name}: {probe}", spec, container, container[probe]) for probe in probes}
            wanted = {"livenessProbe": "/-/healthy", "readinessProbe": "/-/ready"}
            check(f"{name}: liveness uses /-/healthy and readiness uses /-/ready", all(paths[probe] == wanted.get(probe, paths[probe]) for probe in paths), paths)
    return volumes, used


def check_flags(what, binary, arguments):
    known = set(re.findall(r"--[a-z.-]+", output_of(binary, "--help")))
    for argument in arguments:
        check(f"{what}: --help lists {argument}", argument.split("=")[0] in known, known)
