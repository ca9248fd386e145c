"""Checks the Helm chart without a cluster, with two versions of Helm: the objects of each values file under ci/ are valid and correct, and the
schema rejects invalid values.

Usage: charts.py HELM OLDER_HELM PROMTOOL BINARY WORK
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import yaml

from doc_blocks import code_blocks, section
from validators import PROBES, check_flags, check_objects, check_pod, check_policy, objects, of_kind, output_of, read, selects
from checks import check, finish

HELM, OLDER_HELM, PROMTOOL, BINARY, WORK = sys.argv[1:]
CHART = "deploy/helm/glue-integration-exporter"
PAGE = "docs/install/kubernetes.md"
RELEASE = "watch"
RULES = ["alerts.yaml", "freshness.yaml"]


def rendered(values=(), helm=HELM, release=RELEASE):
    """Renders the chart with values files or dictionaries of values, and returns the objects."""
    flags = []
    with tempfile.TemporaryDirectory(dir=WORK) as directory:
        for number, obj in enumerate(values):
            if not isinstance(obj, str):
                path = f"{directory}/{number}.json"
                with open(path, "w", encoding="utf-8") as file:
                    json.dump(obj, file)
                obj = path
            flags += ["--values", obj]
        return objects(output_of(helm, "template", release, CHART, *flags))


def values_of(path):
    """Returns the effective values of a file: objects are merged with the defaults, null removes a key, other values replace it."""

    def merged(below, above):
        if not (isinstance(below, dict) and isinstance(above, dict)):
            return above
        return {key: value for key, value in {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}.items() if value is not None}

    return merged(yaml.safe_load(read(f"{CHART}/values.yaml")), yaml.safe_load(read(path)))


def check_chart(what, found, values):
    """Checks the rendered objects against the values."""
    workloads = of_kind(found, "Deployment", "StatefulSet")
    sharded, claims = values["shards"] > 1, values["storage"]["type"] == "persistentVolumeClaim"
    kind = "StatefulSet" if sharded or claims else "Deployment"
    check(f"{what}: {kind}", {obj["kind"] for obj in workloads} == {kind}, [obj["kind"] for obj in workloads])
    check(f"{what}: one workload per replica of the shards", len(workloads) == (values["replicas"] if sharded else 1))
    pods = values["shards"] * values["replicas"]
    check(f"{what}: {pods} pods", sum(obj["spec"]["replicas"] for obj in workloads) == pods)
    check(f"{what}: kinds of objects", sorted(obj["kind"] for obj in found) == sorted(
        [kind] * len(workloads) + ["Service"] + ["ConfigMap"] * (not values["existingConfigMap"]) + ["ServiceAccount"] * values["serviceAccount"]["create"]
        + ["PodDisruptionBudget"] * (pods > 1) + ["NetworkPolicy"] * values["networkPolicy"]["enabled"] + [values["monitor"]["kind"]] * values["monitor"]["enabled"]
        + ["PrometheusRule"] * values["prometheusRule"]["enabled"] + ["Pod"] * (values["web"]["scheme"] == "HTTP" and not values["web"]["clientCertificatesRequired"])
    ), [obj["kind"] for obj in found])

    unlabelled = [obj["metadata"]["name"] for obj in found if not selects(values["commonLabels"], obj["metadata"]["labels"])]
    check(f"{what}: all objects have the common labels", not unlabelled, unlabelled)
    templates = [obj["spec"]["template"] for obj in workloads]
    labels = [template["metadata"]["labels"] for template in templates]
    test = [obj["metadata"]["labels"] for obj in of_kind(found, "Pod")]
    for obj in of_kind(found, "Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
        spec = obj["spec"]
        selector = spec["selector"] if obj["kind"] == "Service" else spec["podSelector" if obj["kind"] == "NetworkPolicy" else "selector"]["matchLabels"]
        check(f"{what}: {obj['kind']} selects every exporter", all(selects(selector, one) for one in labels), selector)
        check(f"{what}: {obj['kind']} does not select the test", not any(selects(selector, one) for one in test), selector)
    for obj in workloads:
        chosen = [selects(obj["spec"]["selector"]["matchLabels"], one) for one in labels]
        check(f"{what}: {obj['metadata']['name']} selects only its own pods", chosen.count(True) == 1 and chosen[workloads.index(obj)], chosen)
    for budget in of_kind(found, "PodDisruptionBudget"):
        check(f"{what}: the budget allows one unavailable pod", budget["spec"]["maxUnavailable"] == 1 and "minAvailable" not in budget["spec"])
    service = of_kind(found, "Service")[0]
    for obj in of_kind(found, "ServiceMonitor"):
        check(f"{what}: the monitor selects the service", selects(obj["spec"]["selector"]["matchLabels"], service["metadata"]["labels"]))
    for obj in of_kind(found, "PodMonitor", "ServiceMonitor"):
        endpoint = obj["spec"].get("podMetricsEndpoints", obj["spec"].get("endpoints"))[0]
        job = [one["replacement"] for one in endpoint["relabelings"] if one["targetLabel"] == "job"][-1]
        check(f"{what}: the job belongs to the release and matches the alerts", job.endswith("/" + obj["metadata"]["name"]) and "glue-integration-exporter" in job, job)
        check(f"{what}: the monitor's port exists", endpoint["port"] in [port["name"] for port in templates[0]["spec"]["containers"][0]["ports"]])
        check(f"{what}: the monitor's labels", selects(values["monitor"]["labels"], obj["metadata"]["labels"]))
        secure = values["web"]["scheme"] == "HTTPS" or values["web"]["clientCertificatesRequired"]
        check(f"{what}: the monitor's scheme", endpoint.get("scheme", "http") == ("https" if secure else "http"), endpoint)
    for policy in of_kind(found, "NetworkPolicy"):
        check_policy(what, policy, 10058)
        check(f"{what}: the allowed scrapers", policy["spec"]["ingress"][0].get("from", []) == values["networkPolicy"]["scrapers"])
    for obj in workloads:
        check_workload(f"{what}: {obj['metadata']['name']}", obj, service, values)

    account = of_kind(found, "ServiceAccount")
    wanted = values["serviceAccount"]["roleArn"] or None
    check(f"{what}: IRSA", [obj["metadata"].get("annotations", {}).get("eks.amazonaws.com/role-arn") for obj in account] == [wanted] * len(account))
    if account:
        check(f"{what}: the pods use the service account", {template["spec"]["serviceAccountName"] for template in templates} == {account[0]["metadata"]["name"]})
    for obj in of_kind(found, "ConfigMap"):
        storage = {} if values["storage"]["type"] == "none" else {"storage": {"path": "/var/lib/glue-integration-exporter/state"}}
        check(f"{what}: the configuration comes from the values", yaml.safe_load(obj["data"]["config.yaml"]) == {**values["config"], **storage}, obj["data"])
    for obj in of_kind(found, "PrometheusRule"):
        shipped = [group for file in RULES[:1 + values["prometheusRule"]["freshness"]] for group in yaml.safe_load(read(f"deploy/prometheus/{file}"))["groups"]]
        check(f"{what}: the rules are the shipped ones", obj["spec"] == {"groups": shipped})
        check(f"{what}: the rules' labels", selects(values["prometheusRule"]["labels"], obj["metadata"]["labels"]))
        rules = f"{WORK}/rendered.yaml"
        with open(rules, "w", encoding="utf-8") as file:
            yaml.safe_dump(obj["spec"], file)
        check(f"{what}: promtool accepts the rules", subprocess.run([PROMTOOL, "check", "rules", rules], stdout=subprocess.DEVNULL).returncode == 0)


def check_workload(what, obj, service, values):
    spec = obj["spec"]["template"]["spec"]
    volumes, used = check_pod(what, spec, [probe for probe in PROBES if probe in values])
    check(f"{what}: the probes use a socket if clients need certificates", ("exec" in spec["containers"][0]["readinessProbe"]) == values["web"]["clientCertificatesRequired"])
    claims = [claim["metadata"]["name"] for claim in obj["spec"].get("volumeClaimTemplates", [])]
    check(f"{what}: volumes", used == set(volumes + claims) and len(used) == len(volumes + claims), (volumes, claims, used))
    check(f"{what}: claims", bool(claims) == (values["storage"]["type"] == "persistentVolumeClaim"))
    if obj["kind"] == "StatefulSet":
        check(f"{what}: the service's name", obj["spec"]["serviceName"] == service["metadata"]["name"] and service["spec"]["clusterIP"] == "None")
        # Kubernetes appends 11 characters to the name for a label, which has at most 63.
        check(f"{what}: the name is short enough", len(obj["metadata"]["name"]) <= 52)
    else:
        check(f"{what}: the new pod starts before the old one stops", obj["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0})
    arguments = spec["containers"][0]["args"]
    check_flags(what, BINARY, arguments)
    check(f"{what}: --shard.total", [flag for flag in arguments if "shard" in flag] == ([f"--shard.total={values['shards']}"] if values["shards"] > 1 else []))


REFUSED = [
    ({"replica": 2}, "replica"), ({"replicas": 0}, "replicas"), ({"replicas": "2"}, "replicas"), ({"shards": 1001}, "shards"), ({"shards": 1.5}, "shards"),
    ({"config": {"scopes": [{"name": "a", "region": "eu-west-1"}]}}, "region"), ({"config": {"scopes": []}}, "scopes"), ({"config": {"scopes": [{"regions": ["eu-west-1"]}]}}, "name"),
    ({"config": {"storage": {"path": "/tmp/state"}}}, "storage"), ({"config": {"polling": {"interval": 60}}}, "interval"), ({"config": {"polling": {"interval": "1 hour"}}}, "interval"),
    ({"config": {"scopes": [{"name": "a b"}]}}, "name"), ({"storage": {"type": "disk"}}, "type"), ({"storage": {"size": "a lot"}}, "size"), ({"serviceAccount": {"roleArn": "reader"}}, "roleArn"),
    ({"monitor": {"kind": "Probe"}}, "kind"), ({"monitor": {"interval": 30}}, "interval"), ({"log": {"level": "trace"}}, "level"), ({"web": {"scheme": "https"}}, "scheme"),
    ({"image": {"digest": "sha256:abc"}}, "digest"), ({"image": {"name": "exporter"}}, "name"), ({"livenessProbe": {"http": {"path": "/"}}}, "http"), ({"readinessProbe": {"periodSecond": 1}}, "periodSecond"), ({"networkPolicy": {"enabled": "yes"}}, "enabled"),
    ({"fullnameOverride": "x" * 45}, "fullnameOverride"), ({"fullnameOverride": "Glue"}, "fullnameOverride"), ({"awsRegion": "Ireland"}, "awsRegion"), ({"awsRegion": "eu-west"}, "awsRegion"), ({"awsRegion": "eu-west-123"}, "awsRegion"), ({"extraEnv": [{"value": "x"}]}, "name"),
    ({"storage": {"size": "1.5 Gi"}}, "size"), ({"storage": {"size": "1GB"}}, "size"), ({"storage": {"size": ""}}, "size"), ({"storage": {"size": "."}}, "size"), ({"storage": {"size": "-1Gi"}}, "size"),
    ({"enabled": "yes"}, "enabled"), ({"replicaCount": 2}, "replicaCount"), ({"web": {"clientCertificateRequired": True}}, "clientCertificateRequired"), ({"web": {"clientCertificatesRequired": "true"}}, "clientCertificatesRequired"),
    ({"commonLabels": {"team": 1}}, "team"), ({"podAnnotations": {"prometheus.io/scrape": True}}, "scrape"), ({"imagePullSecrets": ["registry"]}, "imagePullSecrets"), ({"nameOverride": "Glue"}, "nameOverride"),
    ({"extraEnv": {"HTTPS_PROXY": "http://proxy"}}, "extraEnv"), ({"image": {"registry": "registry.example"}}, "registry"), ({"image": {"tag": 1.0}}, "tag"), ({"livenessProbe": False}, "livenessProbe"),
    ({"extraContainers": [{"image": "x"}]}, "name"), ({"terminationGracePeriodSeconds": "10s"}, "terminationGracePeriodSeconds"),
]

# Values that are common in other charts: (values, predicate on the workload, its pod spec and the exporter's container).
COMMON_VALUES = [
    ({"enabled": True, "global": {"imageRegistry": "registry.example", "imagePullSecrets": [{"name": "a"}]}}, lambda obj, pod, one: "imagePullSecrets" not in pod),
    ({"imagePullSecrets": [{"name": "registry"}]}, lambda obj, pod, one: pod["imagePullSecrets"] == [{"name": "registry"}]),
    ({"nameOverride": "watcher"}, lambda obj, pod, one: (obj["metadata"]["name"], obj["metadata"]["labels"]["app.kubernetes.io/name"]) == (f"{RELEASE}-watcher", "watcher")),
    ({"fullnameOverride": "glue"}, lambda obj, pod, one: obj["metadata"]["name"] == "glue"),
    ({"commonLabels": {"app.kubernetes.io/part-of": "data", "team": "a"}, "podLabels": {"team": "b"}},
     lambda obj, pod, one: [where["metadata"]["labels"]["team"] for where in (obj, obj["spec"]["template"])] == ["a", "b"] and obj["metadata"]["labels"]["app.kubernetes.io/part-of"] == "data"),
    ({"podAnnotations": {"reloader.stakater.com/auto": "true"}}, lambda obj, pod, one: obj["spec"]["template"]["metadata"]["annotations"]["reloader.stakater.com/auto"] == "true"),
    ({"extraEnv": [{"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "aws", "key": "secret"}}}]},
     lambda obj, pod, one: one["env"][-1]["valueFrom"] == {"secretKeyRef": {"name": "aws", "key": "secret"}}),
    ({"extraEnvFrom": [{"secretRef": {"name": "aws"}}]}, lambda obj, pod, one: one["envFrom"] == [{"secretRef": {"name": "aws"}}]),
    ({"extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}], "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/certs", "readOnly": True}]},
     lambda obj, pod, one: "ca" in [volume["name"] for volume in pod["volumes"]] and "ca" in [mount["name"] for mount in one["volumeMounts"]]),
    ({"tolerations": [{"operator": "Exists"}], "nodeSelector": {"kubernetes.io/arch": "arm64"}, "affinity": {"podAntiAffinity": {}}, "priorityClassName": "system-cluster-critical"},
     lambda obj, pod, one: (pod["tolerations"], pod["nodeSelector"], pod["affinity"], pod["priorityClassName"]) == ([{"operator": "Exists"}], {"kubernetes.io/arch": "arm64"}, {"podAntiAffinity": {}}, "system-cluster-critical")),
    ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}]},
     lambda obj, pod, one: [constraint["topologyKey"] for constraint in pod["topologySpreadConstraints"]] == ["topology.kubernetes.io/zone"]),
    ({"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws-eusc:iam::111122223333:role/x"}}}, lambda obj, pod, one: pod["serviceAccountName"]),
    ({"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}, lambda obj, pod, one: not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["securityContext"]) and pod["securityContext"]["runAsNonRoot"]),
    ({"podSecurityContext": None, "securityContext": None, "resources": None}, lambda obj, pod, one: not (pod.get("securityContext") or one.get("securityContext") or one.get("resources"))),
    ({"resources": {"limits": None, "requests": {"cpu": "0.5", "ephemeral-storage": "1e3"}}}, lambda obj, pod, one: one["resources"] == {"requests": {"cpu": "0.5", "memory": "64Mi", "ephemeral-storage": "1e3"}}),
    ({"terminationGracePeriodSeconds": 30, "revisionHistoryLimit": 0}, lambda obj, pod, one: (pod["terminationGracePeriodSeconds"], obj["spec"]["revisionHistoryLimit"]) == (30, 0)),
    ({"initContainers": [{"name": "wait", "image": "busybox"}], "extraContainers": [{"name": "proxy", "image": "proxy"}]},
     lambda obj, pod, one: [container["name"] for container in pod["initContainers"] + pod["containers"]] == ["wait", "exporter", "proxy"]),
    ({"livenessProbe": None, "readinessProbe": None, "startupProbe": None}, lambda obj, pod, one: not set(PROBES) & set(one)),
    ({"livenessProbe": {"periodSeconds": None, "timeoutSeconds": None, "failureThreshold": None}}, lambda obj, pod, one: set(one["livenessProbe"]) == {"httpGet"}),
    ({"livenessProbe": {"exec": {"command": ["/usr/bin/glue-integration-exporter", "health"]}}}, lambda obj, pod, one: one["livenessProbe"]["exec"] and "httpGet" not in one["livenessProbe"] and one["livenessProbe"]["periodSeconds"] == 15),
    ({"readinessProbe": {"httpGet": {"path": "/-/ready", "port": 10058}}}, lambda obj, pod, one: one["readinessProbe"]["httpGet"] == {"path": "/-/ready", "port": 10058}),
    ({"startupProbe": {"tcpSocket": {"port": "metrics"}}, "web": {"clientCertificatesRequired": True}}, lambda obj, pod, one: set(one["startupProbe"]) & {"tcpSocket", "exec"} == {"tcpSocket"} and "exec" in one["livenessProbe"]),
    ({"extraArgs": ["--web.probes-without-auth"], "web": {"clientCertificatesRequired": True}}, lambda obj, pod, one: one["args"].count("--web.probes-without-auth") == 1),
    ({"extraArgs": None, "extraEnv": None, "tolerations": None, "web": {"clientCertificatesRequired": True}}, lambda obj, pod, one: "--web.probes-without-auth" in one["args"]),
    ({"monitor": {"enabled": True, "interval": "1m30s", "scrapeTimeout": "9500ms"}}, lambda obj, pod, one: True),
    ({"storage": {"type": "persistentVolumeClaim", "storageClassName": None}}, lambda obj, pod, one: "storageClassName" not in obj["spec"]["volumeClaimTemplates"][0]["spec"]),
]
QUANTITIES = ["1.5Gi", "1Gi", "500M", "2T", "1Pi", "0.5Ti", "1e9", "1E+9", "12e-1", ".5Gi", "5.", "100k", "1073741824", 1073741824, "1Ei", "+1Gi", "1500m"]
# One region of each partition, and a future region.
REGIONS = ["eu-west-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1", "eusc-de-east-1", "ap-southeast-12"]


def invalid_values():
    for helm in HELM, OLDER_HELM:
        for number, (values, names) in enumerate(REFUSED):
            path = f"{WORK}/refused.json"
            with open(path, "w", encoding="utf-8") as file:
                json.dump(values, file)
            done = subprocess.run([helm, "template", RELEASE, CHART, "--values", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            check(f"rejected: {values}", done.returncode != 0 and "meet the specifications of the schema" in done.stderr and names in done.stderr, done.stderr)


def common_values():
    for values, predicate in COMMON_VALUES:
        both = [rendered([values], helm) for helm in (HELM, OLDER_HELM)]
        check(f"{values}: both versions of Helm render the same objects", both[0] == both[1])
        check_objects(str(values), both[0])
        obj = of_kind(both[0], "Deployment", "StatefulSet")[0]
        pod = obj["spec"]["template"]["spec"]
        check(f"{values}: the objects match", predicate(obj, pod, next(one for one in pod["containers"] if one["name"] == "exporter")), obj)
    for size in QUANTITIES:
        found = of_kind(rendered([{"storage": {"type": "persistentVolumeClaim", "size": size}}]), "StatefulSet")
        claimed = found[0]["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
        check(f"a volume of {size}", claimed == size, claimed)
    for region in REGIONS:
        config = f"{WORK}/region.yaml"
        with open(config, "w", encoding="utf-8") as file:
            yaml.safe_dump({"scopes": [{"name": "a", "regions": [region]}]}, file)
        check(f"{region}: the exporter accepts it", subprocess.run([BINARY, "check", f"--config.file={config}"], stdout=subprocess.DEVNULL).returncode == 0)
        one = of_kind(rendered([{"awsRegion": region}]), "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
        check(f"{region}: the chart accepts it", {"name": "AWS_REGION", "value": region} in one["env"], one["env"])


def null_values():
    """Checks every default that is set to null: the chart renders valid objects, or names the key in an error."""

    def paths(values, path=()):
        for key, value in values.items():
            yield (*path, key)
            if isinstance(value, dict):
                yield from paths(value, (*path, key))

    def nested(path):
        return {path[0]: nested(path[1:])} if path else None

    for path in paths(yaml.safe_load(read(f"{CHART}/values.yaml"))):
        # Kubernetes requires this type.
        if path == ("podSecurityContext", "seccompProfile", "type"):
            continue
        what, file = ".".join(path), f"{WORK}/unset.json"
        with open(file, "w", encoding="utf-8") as out:
            json.dump(nested(path), out)
        everything = f"{CHART}/ci/everything-values.yaml"
        done = subprocess.run([HELM, "template", RELEASE, CHART, "--values", everything, "--values", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            refused = "meet the specifications of the schema" in done.stderr or f"{what}: " in done.stderr
            check(f"{what}: the error for null names the key", refused and path[-1] in done.stderr, done.stderr)
            continue
        found = objects(done.stdout)
        check_objects(f"{what} is null", found)
        for obj in of_kind(found, "Deployment", "StatefulSet"):
            check(f"{what} is null: the workload has replicas", obj["spec"]["replicas"], obj["spec"])
            arguments = obj["spec"]["template"]["spec"]["containers"][0]["args"]
            check(f"{what} is null: no flag has an empty value", not [flag for flag in arguments if flag.endswith("=")], arguments)


def umbrella():
    """Checks the chart as a conditional dependency of an umbrella chart with global values."""
    directory = f"{WORK}/umbrella"
    shutil.copytree(CHART, f"{directory}/charts/glue-integration-exporter")
    with open(f"{directory}/Chart.yaml", "w", encoding="utf-8") as file:
        version = yaml.safe_load(read(f"{CHART}/Chart.yaml"))["version"]
        yaml.safe_dump({"apiVersion": "v2", "name": "umbrella", "version": "1.0.0", "dependencies": [
            {"name": "glue-integration-exporter", "version": version, "condition": "glue-integration-exporter.enabled"}]}, file)
    for enabled in True, False:
        with open(f"{directory}/values.yaml", "w", encoding="utf-8") as file:
            yaml.safe_dump({"global": {"team": "data"}, "glue-integration-exporter": {"enabled": enabled, "livenessProbe": None}}, file)
        for helm in HELM, OLDER_HELM:
            found = objects(output_of(helm, "template", RELEASE, directory))
            probes = [set(PROBES) & set(obj["spec"]["template"]["spec"]["containers"][0]) for obj in of_kind(found, "Deployment")]
            check(f"in an umbrella chart, enabled: {enabled}", probes == [{"startupProbe", "readinessProbe"}] * enabled and bool(found) == enabled, found)


def reserved_labels():
    for values in {"commonLabels": {"app.kubernetes.io/name": "x"}}, {"podLabels": {"app.kubernetes.io/instance": "x"}}, {"monitor": {"enabled": True, "labels": {"helm.sh/chart": "x"}}}:
        for helm in HELM, OLDER_HELM:
            path = f"{WORK}/labels.json"
            with open(path, "w", encoding="utf-8") as file:
                json.dump(values, file)
            done = subprocess.run([helm, "template", RELEASE, CHART, "--values", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            check(f"a reserved label is rejected: {values}", done.returncode != 0 and "sets the label" in done.stderr, done.stderr)


def example_configuration():
    """Returns the example configuration with all commented-out keys enabled."""
    lines = [re.sub(r"^( *)#(?! )", r"\1", line) for line in read("config.example.yaml").splitlines() if not re.match(r"^ *# ", line)]
    return yaml.safe_load("\n".join(lines))


def check_schema_of_configuration():
    schema = json.loads(read(f"{CHART}/values.schema.json"))["properties"]["config"]["properties"]
    example = example_configuration()
    check("the schema has the keys of config.example.yaml", set(schema) | {"storage"} == set(example), (sorted(schema), sorted(example)))
    check("the schema has the keys of polling", set(schema["polling"]["properties"]) == set(example["polling"]), sorted(example["polling"]))
    scope = set(schema["scopes"]["items"]["properties"])
    check("the schema has the keys of a scope", scope == set(example["scopes"][0]), scope ^ set(example["scopes"][0]))


def check_schema_of_values(values, schema, path=""):
    """Checks that the schema describes exactly the keys of the default values."""
    if schema.get("additionalProperties") is False and path not in (".config", ".resources", ".startupProbe", ".livenessProbe", ".readinessProbe"):
        check(f"the schema of values{path}", set(values) == set(schema["properties"]) - (set() if path else {"global", "enabled"}), set(values) ^ set(schema["properties"]))
        for key, value in values.items():
            check_schema_of_values(value, schema["properties"][key], f"{path}.{key}")


def helm_charts():
    check("the rules of the chart are the shipped ones, otherwise run: cp deploy/prometheus/{alerts,freshness}.yaml deploy/helm/glue-integration-exporter/files/",
          all(read(f"{CHART}/files/{file}") == read(f"deploy/prometheus/{file}") for file in RULES))
    chart = yaml.safe_load(read(f"{CHART}/Chart.yaml"))
    version = tomllib.loads(read("Cargo.toml"))["package"]["version"]
    check("the chart's appVersion is the program's version", chart["appVersion"] == version)
    check_schema_of_values(yaml.safe_load(read(f"{CHART}/values.yaml")), json.loads(read(f"{CHART}/values.schema.json")))
    check_schema_of_configuration()
    invalid_values()
    common_values()
    null_values()
    umbrella()
    reserved_labels()
    files = sorted(glob.glob(f"{CHART}/ci/*-values.yaml"))
    check("ci/ has at least 8 values files", len(files) >= 8)
    for helm in HELM, OLDER_HELM:
        for path in files:
            lint = subprocess.run([helm, "lint", "--strict", CHART, "--values", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            check(f"lint with {path}", lint.returncode == 0 and "WARNING" not in lint.stdout, lint.stdout)
    for path in files:
        what, found = os.path.basename(path), rendered([path])
        check(f"{what}: both versions of Helm render the same objects", found == rendered([path], OLDER_HELM))
        check_objects(what, found)
        check_chart(what, found, values_of(path))
    pasted = f"{WORK}/values-of-the-page.yaml"
    with open(pasted, "w", encoding="utf-8") as file:
        file.writelines(code_blocks(section(PAGE, "3. Write the values"), "yaml"))
    found = rendered([pasted], release="glue-integration-exporter")
    check_objects("the page's values", found)
    check_chart("the page's values", found, values_of(pasted))
    check("the page's service account", of_kind(found, "ServiceAccount")[0]["metadata"]["name"] == "glue-integration-exporter")
    scrape = yaml.safe_load(next(code_blocks(section(PAGE, "5. Scrape it"), "yaml")))["scrape_configs"][0]
    service = of_kind(found, "Service")[0]
    addresses = [(f"{service['metadata']['name']}.monitoring.svc", port["port"]) for port in service["spec"]["ports"]]
    check("the page's scrape configuration names the service", [(sd["names"][0], sd["port"]) for sd in scrape["dns_sd_configs"]] == addresses, scrape)
    job = of_kind(found, "PodMonitor")[0]["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["replacement"]
    check("the page's scrape configuration has the job of the monitor", scrape["job_name"].split("/")[1:] == job.split("/")[1:], job)
    # The longest release name that Helm accepts.
    everything = f"{CHART}/ci/everything-values.yaml"
    for release in "a" * 53, f"{'a' * 27}-{chart['name']}":
        for name in "", "b" * 44:
            found = rendered([everything, {"fullnameOverride": "", "nameOverride": name, "replicas": 10}], release=release)
            check(f"names with a release of {len(release)} characters", all(len(obj["metadata"]["name"]) <= 52 for obj in found), [obj["metadata"]["name"] for obj in found])
            check_objects(f"a release of {len(release)} characters", found)

    def checksum(*values):
        return of_kind(rendered(values), "Deployment")[0]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    check("a changed configuration restarts the pods", checksum() != checksum({"config": {"scopes": [{"name": "other"}]}}))
    check("a change of other values does not restart the pods", checksum() == checksum({"monitor": {"enabled": True}}))
    output_of(HELM, "package", CHART, "--destination", WORK)
    packed = output_of("tar", "tzf", f"{WORK}/{chart['name']}-{chart['version']}.tgz").split()
    check("the package has the rules and the schema", {f"{chart['name']}/{file}" for file in [*(f"files/{file}" for file in RULES), "values.schema.json"]} <= set(packed), packed)
    check("the package has no test values", not any("/ci/" in path for path in packed), packed)


if __name__ == "__main__":
    helm_charts()
    finish()
