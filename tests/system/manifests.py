"""Checks the kustomize manifests and the ECS task definition without running them.

Usage: manifests.py KUBECTL PROMTOOL BINARY
"""

import json
import subprocess
import sys
import tomllib

import botocore.session
import botocore.validate
from parliament import analyze_policy_string

from permissions import resource_findings, trust_policy_findings
from validators import allows_egress, check_flags, check_objects, check_pod, check_policy, objects, of_kind, output_of, read, selects
from checks import check, finish

KUBECTL, PROMTOOL, BINARY = sys.argv[1:]


def kustomizations():
    version = tomllib.loads(read("Cargo.toml"))["package"]["version"]
    for name in "exporter", "sidecar":
        found = objects(output_of(KUBECTL, "kustomize", f"deploy/kubernetes/{name}"))
        check_objects(name, found)
        deployment, policy = of_kind(found, "Deployment")[0], of_kind(found, "NetworkPolicy")[0]
        spec = deployment["spec"]["template"]["spec"]
        volumes, used = check_pod(name, spec)
        check(f"{name}: volumes", used == set(volumes), (volumes, used))
        maps = {obj["metadata"]["name"] for obj in of_kind(found, "ConfigMap")}
        named = {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume}
        check(f"{name}: the mounted ConfigMaps are the existing ones", maps == named, (maps, named))
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        check(f"{name}: selectors", selects(deployment["spec"]["selector"]["matchLabels"], labels) and selects(policy["spec"]["podSelector"]["matchLabels"], labels))
        check_policy(name, policy, 10058)
        exporter = next(obj for obj in spec["containers"] if obj["name"] == "exporter")
        check(f"{name}: the image's version", exporter["image"].endswith(f":{version}"), exporter["image"])
        check_flags(name, BINARY, exporter["args"])
    check("the network policy allows the sidecar to reach Alertmanager", allows_egress(policy, "10.0.0.1", 9093))
    check("the sidecar deployment uses the strategy Recreate", deployment["spec"]["strategy"] == {"type": "Recreate"})
    check("the sidecar's rules are the shipped ones", [obj["data"]["alerts.yaml"] for obj in of_kind(found, "ConfigMap") if "alerts.yaml" in obj["data"]] == [read("deploy/prometheus/alerts.yaml")])


def cloudformation_keys(obj):
    """Returns the task definition with the key names of CloudFormation."""
    if isinstance(obj, dict):
        # Options of a log driver keep their names.
        return {key[0].upper() + key[1:]: value if key == "options" else cloudformation_keys(value) for key, value in obj.items()}
    return [cloudformation_keys(one) for one in obj] if isinstance(obj, list) else obj


def ecs():
    task = json.loads(read("deploy/ecs/task-definition.json"))
    shape = botocore.session.get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    report = botocore.validate.ParamValidator().validate(task, shape)
    check("the AWS SDK accepts the task definition", not report.has_errors(), report.generate_report())

    def unknown(shape, obj, path=""):
        if shape.type_name == "structure":
            return [found for key, value in obj.items() for found in (unknown(shape.members[key], value, f"{path}.{key}") if key in shape.members else [f"{path}.{key}"])]
        return [found for one in obj for found in unknown(shape.member, one, path)] if shape.type_name == "list" else []

    check("the task definition has no unknown key", not unknown(shape, task), unknown(shape, task))
    findings = resource_findings("AWS::ECS::TaskDefinition", cloudformation_keys(task))
    check("cfn-lint accepts the task definition", not findings, findings)
    containers = {obj["name"]: obj for obj in task["containerDefinitions"]}
    volumes = {volume["name"] for volume in task["volumes"]}
    for name, obj in containers.items():
        check(f"ECS: {name} has a read-only root and no capabilities", obj["readonlyRootFilesystem"] and obj["linuxParameters"] == {"capabilities": {"drop": ["ALL"]}})
        check(f"ECS: {name}'s volumes exist", {mount["sourceVolume"] for mount in obj["mountPoints"]} <= volumes)
        check(f"ECS: {name} uses the log driver awslogs", obj["logConfiguration"]["logDriver"] == "awslogs")
        for on in obj.get("dependsOn", []):
            check(f"ECS: {name} waits for an existing health check", on["condition"] != "HEALTHY" or "healthCheck" in containers[on["containerName"]], on)
    exporter = containers["exporter"]
    check_flags("ECS", BINARY, exporter["command"])
    check("ECS: the image's version", exporter["image"].endswith(f":{tomllib.loads(read('Cargo.toml'))['package']['version']}"))
    check("ECS: only the setup container runs as root", all(obj["user"].split(":")[0] != "0" for name, obj in containers.items() if name != "files"))
    for path in "task-role.json", "execution-role.json":
        findings = [str(finding) for finding in analyze_policy_string(read(f"deploy/ecs/{path}")).findings]
        check(f"parliament accepts {path}", not findings, findings)
    findings = trust_policy_findings(json.loads(read("deploy/ecs/trust.json")))
    check("cfn-lint accepts trust.json", not findings, findings)
    own = json.loads(read("deploy/iam/policy.json"))["Statement"]
    check("ECS: the task role has the permissions of the exporter", all(one in json.loads(read("deploy/ecs/task-role.json"))["Statement"] for one in own))
    prometheus = "deploy/ecs/prometheus.yml"
    check(f"promtool accepts {prometheus}", subprocess.run([PROMTOOL, "check", "config", prometheus], stdout=subprocess.DEVNULL).returncode == 0)


if __name__ == "__main__":
    kustomizations()
    ecs()
    finish()
