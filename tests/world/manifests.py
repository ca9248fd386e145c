"""Proves what can be seen of the manifests of kustomize and of the ECS task definition without running them.

Usage: manifests.py KUBECTL PROMTOOL BINARY
"""

import json
import subprocess
import sys
import tomllib

import botocore.session
import botocore.validate
from parliament import analyze_policy_string

from permissions import complaints_of_cfn_lint, trusting
from validators import flags_are_known, lets_out, objects, of_kind, pod_holds, policy_holds, read, said, selects, valid
from world import check, finish

KUBECTL, PROMTOOL, BINARY = sys.argv[1:]


def kustomizations():
    version = tomllib.loads(read("Cargo.toml"))["package"]["version"]
    for name in "exporter", "sidecar":
        found = objects(said(KUBECTL, "kustomize", f"deploy/kubernetes/{name}"))
        valid(name, found)
        deployment, policy = of_kind(found, "Deployment")[0], of_kind(found, "NetworkPolicy")[0]
        spec = deployment["spec"]["template"]["spec"]
        volumes, used = pod_holds(name, spec)
        check(f"{name}: volumes", used == set(volumes), (volumes, used))
        maps = {of["metadata"]["name"] for of in of_kind(found, "ConfigMap")}
        named = {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume}
        check(f"{name}: every ConfigMap is mounted, and there", maps == named, (maps, named))
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        check(f"{name}: selectors", selects(deployment["spec"]["selector"]["matchLabels"], labels) and selects(policy["spec"]["podSelector"]["matchLabels"], labels))
        policy_holds(name, policy, 10058)
        exporter = next(of for of in spec["containers"] if of["name"] == "exporter")
        check(f"{name}: the image's version", exporter["image"].endswith(f":{version}"), exporter["image"])
        flags_are_known(name, BINARY, exporter["args"])
    check("the sidecar reaches the Alertmanager", lets_out(policy, "10.0.0.1", 9093))
    check("one Prometheus at a time writes its data", deployment["spec"]["strategy"] == {"type": "Recreate"})
    check("the sidecar's rules are the shipped ones", [of["data"]["alerts.yaml"] for of in of_kind(found, "ConfigMap") if "alerts.yaml" in of["data"]] == [read("deploy/prometheus/alerts.yaml")])


def upper(of):
    """The task definition as CloudFormation spells it."""
    if isinstance(of, dict):
        # Options of a log driver are its own words.
        return {key[0].upper() + key[1:]: value if key == "options" else upper(value) for key, value in of.items()}
    return [upper(one) for one in of] if isinstance(of, list) else of


def ecs():
    task = json.loads(read("deploy/ecs/task-definition.json"))
    shape = botocore.session.get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    report = botocore.validate.ParamValidator().validate(task, shape)
    check("the AWS SDK accepts the task definition", not report.has_errors(), report.generate_report())

    def unknown(shape, of, path=""):
        if shape.type_name == "structure":
            return [found for key, value in of.items() for found in (unknown(shape.members[key], value, f"{path}.{key}") if key in shape.members else [f"{path}.{key}"])]
        return [found for one in of for found in unknown(shape.member, one, path)] if shape.type_name == "list" else []

    check("the task definition has no key that AWS does not know", not unknown(shape, task), unknown(shape, task))
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Task": {"Type": "AWS::ECS::TaskDefinition", "Properties": upper(task)}}}
    complaints = complaints_of_cfn_lint(template)
    check("cfn-lint has no complaint about the task definition", not complaints, complaints)
    containers = {of["name"]: of for of in task["containerDefinitions"]}
    volumes = {volume["name"] for volume in task["volumes"]}
    for name, of in containers.items():
        check(f"ECS: {name} is confined", of["readonlyRootFilesystem"] and of["linuxParameters"] == {"capabilities": {"drop": ["ALL"]}})
        check(f"ECS: {name}'s volumes exist", {mount["sourceVolume"] for mount in of["mountPoints"]} <= volumes)
        check(f"ECS: {name} logs", of["logConfiguration"]["logDriver"] == "awslogs")
        for on in of.get("dependsOn", []):
            check(f"ECS: {name} waits for what there is", on["condition"] != "HEALTHY" or "healthCheck" in containers[on["containerName"]], on)
    exporter = containers["exporter"]
    flags_are_known("ECS", BINARY, exporter["command"])
    check("ECS: the image's version", exporter["image"].endswith(f":{tomllib.loads(read('Cargo.toml'))['package']['version']}"))
    check("ECS: whoever is not root runs what is not the set-up", all(of["user"].split(":")[0] != "0" for name, of in containers.items() if name != "files"))
    for path in "task-role.json", "execution-role.json":
        findings = [str(finding) for finding in analyze_policy_string(read(f"deploy/ecs/{path}")).findings]
        check(f"parliament has no complaint about {path}", not findings, findings)
    complaints = complaints_of_cfn_lint(trusting(json.loads(read("deploy/ecs/trust.json"))))
    check("cfn-lint has no complaint about trust.json", not complaints, complaints)
    own = json.loads(read("deploy/iam/policy.json"))["Statement"]
    check("ECS: the task may do what the exporter needs", all(one in json.loads(read("deploy/ecs/task-role.json"))["Statement"] for one in own))
    prometheus = "deploy/ecs/prometheus.yml"
    check(f"promtool accepts {prometheus}", subprocess.run([PROMTOOL, "check", "config", prometheus], stdout=subprocess.DEVNULL).returncode == 0)


if __name__ == "__main__":
    kustomizations()
    ecs()
    finish()
