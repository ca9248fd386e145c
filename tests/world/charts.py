"""Proves what can be seen of the chart without a cluster: with two versions of Helm, what it makes of each values file under ci/ is valid
and says what it must, and values that make no sense are refused.

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

from validators import PROBES, flags_are_known, objects, of_kind, pod_holds, policy_holds, read, said, selects, valid
from world import check, finish

HELM, OLDER_HELM, PROMTOOL, BINARY, WORK = sys.argv[1:]
CHART = "deploy/helm/glue-integration-exporter"
RELEASE = "watch"


def rendered(values=(), helm=HELM, release=RELEASE):
    """What the chart makes of values files and of objects of values."""
    flags = []
    with tempfile.TemporaryDirectory(dir=WORK) as directory:
        for number, of in enumerate(values):
            if not isinstance(of, str):
                path = f"{directory}/{number}.json"
                with open(path, "w", encoding="utf-8") as file:
                    json.dump(of, file)
                of = path
            flags += ["--values", of]
        return objects(said(helm, "template", release, CHART, *flags))


def values_of(path):
    """The values that hold with a file: objects are laid over the defaults, null removes them, anything else replaces them."""

    def over(below, above):
        if not (isinstance(below, dict) and isinstance(above, dict)):
            return above
        return {key: value for key, value in {**below, **{key: over(below.get(key), value) for key, value in above.items()}}.items() if value is not None}

    return over(yaml.safe_load(read(f"{CHART}/values.yaml")), yaml.safe_load(read(path)))


def chart_holds(what, found, values):
    """What a person would check by eye of a rendered chart."""
    workloads = of_kind(found, "Deployment", "StatefulSet")
    sharded, claims = values["shards"] > 1, values["storage"]["type"] == "persistentVolumeClaim"
    kind = "StatefulSet" if sharded or claims else "Deployment"
    check(f"{what}: {kind}", {of["kind"] for of in workloads} == {kind}, [of["kind"] for of in workloads])
    check(f"{what}: one for each copy of the shards", len(workloads) == (values["replicas"] if sharded else 1))
    pods = values["shards"] * values["replicas"]
    check(f"{what}: {pods} pods", sum(of["spec"]["replicas"] for of in workloads) == pods)
    check(f"{what}: what there is", sorted(of["kind"] for of in found) == sorted(
        [kind] * len(workloads) + ["Service"] + ["ConfigMap"] * (not values["existingConfigMap"]) + ["ServiceAccount"] * values["serviceAccount"]["create"]
        + ["PodDisruptionBudget"] * (pods > 1) + ["NetworkPolicy"] * values["networkPolicy"]["enabled"] + [values["monitor"]["kind"]] * values["monitor"]["enabled"]
        + ["PrometheusRule"] * values["prometheusRule"]["enabled"] + ["Pod"] * (values["web"]["scheme"] == "HTTP" and not values["web"]["clientCertificatesRequired"])
    ), [of["kind"] for of in found])

    unlabelled = [of["metadata"]["name"] for of in found if not selects(values["commonLabels"], of["metadata"]["labels"])]
    check(f"{what}: the labels of all", not unlabelled, unlabelled)
    templates = [of["spec"]["template"] for of in workloads]
    labels = [template["metadata"]["labels"] for template in templates]
    test = [of["metadata"]["labels"] for of in of_kind(found, "Pod")]
    for of in of_kind(found, "Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
        spec = of["spec"]
        selector = spec["selector"] if of["kind"] == "Service" else spec["podSelector" if of["kind"] == "NetworkPolicy" else "selector"]["matchLabels"]
        check(f"{what}: {of['kind']} selects every exporter", all(selects(selector, one) for one in labels), selector)
        check(f"{what}: {of['kind']} does not select the test", not any(selects(selector, one) for one in test), selector)
    for of in workloads:
        chosen = [selects(of["spec"]["selector"]["matchLabels"], one) for one in labels]
        check(f"{what}: {of['metadata']['name']} selects its own pods alone", chosen.count(True) == 1 and chosen[workloads.index(of)], chosen)
    for budget in of_kind(found, "PodDisruptionBudget"):
        check(f"{what}: one at a time", budget["spec"]["maxUnavailable"] == 1 and "minAvailable" not in budget["spec"])
    service = of_kind(found, "Service")[0]
    for of in of_kind(found, "ServiceMonitor"):
        check(f"{what}: the monitor selects the service", selects(of["spec"]["selector"]["matchLabels"], service["metadata"]["labels"]))
    for of in of_kind(found, "PodMonitor", "ServiceMonitor"):
        endpoint = of["spec"].get("podMetricsEndpoints", of["spec"].get("endpoints"))[0]
        job = [one["replacement"] for one in endpoint["relabelings"] if one["targetLabel"] == "job"][-1]
        check(f"{what}: the job is the release's own, and found by the alerts", job.endswith("/" + of["metadata"]["name"]) and "glue-integration-exporter" in job, job)
        check(f"{what}: the monitor's port exists", endpoint["port"] in [port["name"] for port in templates[0]["spec"]["containers"][0]["ports"]])
        check(f"{what}: the monitor's labels", selects(values["monitor"]["labels"], of["metadata"]["labels"]))
        secure = values["web"]["scheme"] == "HTTPS" or values["web"]["clientCertificatesRequired"]
        check(f"{what}: the monitor's scheme", endpoint.get("scheme", "http") == ("https" if secure else "http"), endpoint)
    for policy in of_kind(found, "NetworkPolicy"):
        policy_holds(what, policy, 10058)
        check(f"{what}: only who may scrapes", policy["spec"]["ingress"][0].get("from", []) == values["networkPolicy"]["scrapers"])
    for of in workloads:
        chart_workload_holds(f"{what}: {of['metadata']['name']}", of, service, values)

    account = of_kind(found, "ServiceAccount")
    wanted = values["serviceAccount"]["roleArn"] or None
    check(f"{what}: IRSA", [of["metadata"].get("annotations", {}).get("eks.amazonaws.com/role-arn") for of in account] == [wanted] * len(account))
    if account:
        check(f"{what}: the service account is the pods'", {template["spec"]["serviceAccountName"] for template in templates} == {account[0]["metadata"]["name"]})
    for of in of_kind(found, "ConfigMap"):
        storage = {} if values["storage"]["type"] == "none" else {"storage": {"path": "/var/lib/glue-integration-exporter/state"}}
        check(f"{what}: the configuration is that of the values", yaml.safe_load(of["data"]["config.yaml"]) == {**values["config"], **storage}, of["data"])
    for of in of_kind(found, "PrometheusRule"):
        check(f"{what}: the rules are the shipped ones", of["spec"] == yaml.safe_load(read("deploy/prometheus/alerts.yaml")))
        check(f"{what}: the rules' labels", selects(values["prometheusRule"]["labels"], of["metadata"]["labels"]))
        rules = f"{WORK}/rendered.yaml"
        with open(rules, "w", encoding="utf-8") as file:
            yaml.safe_dump(of["spec"], file)
        check(f"{what}: promtool accepts the rules", subprocess.run([PROMTOOL, "check", "rules", rules], stdout=subprocess.DEVNULL).returncode == 0)


def chart_workload_holds(what, of, service, values):
    spec = of["spec"]["template"]["spec"]
    volumes, used = pod_holds(what, spec, [probe for probe in PROBES if probe in values])
    check(f"{what}: a socket for probes if clients need certificates", ("exec" in spec["containers"][0]["readinessProbe"]) == values["web"]["clientCertificatesRequired"])
    claims = [claim["metadata"]["name"] for claim in of["spec"].get("volumeClaimTemplates", [])]
    check(f"{what}: volumes", used == set(volumes + claims) and len(used) == len(volumes + claims), (volumes, claims, used))
    check(f"{what}: claims", bool(claims) == (values["storage"]["type"] == "persistentVolumeClaim"))
    if of["kind"] == "StatefulSet":
        check(f"{what}: the service's name", of["spec"]["serviceName"] == service["metadata"]["name"] and service["spec"]["clusterIP"] == "None")
        # Kubernetes adds 11 characters for a label.
        check(f"{what}: a name that leaves room", len(of["metadata"]["name"]) <= 52)
    else:
        check(f"{what}: the old pod goes after the new one", of["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0})
    arguments = spec["containers"][0]["args"]
    flags_are_known(what, BINARY, arguments)
    check(f"{what}: how many shards", [flag for flag in arguments if "shard" in flag] == ([f"--shard.total={values['shards']}"] if values["shards"] > 1 else []))


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

# Habits of other charts' values files: (values, whether the Deployment or StatefulSet, its pod and the exporter's container are as they say).
HABITS = [
    ({"enabled": True, "global": {"imageRegistry": "registry.example", "imagePullSecrets": [{"name": "a"}]}}, lambda of, pod, one: "imagePullSecrets" not in pod),
    ({"imagePullSecrets": [{"name": "registry"}]}, lambda of, pod, one: pod["imagePullSecrets"] == [{"name": "registry"}]),
    ({"nameOverride": "watcher"}, lambda of, pod, one: (of["metadata"]["name"], of["metadata"]["labels"]["app.kubernetes.io/name"]) == (f"{RELEASE}-watcher", "watcher")),
    ({"fullnameOverride": "glue"}, lambda of, pod, one: of["metadata"]["name"] == "glue"),
    ({"commonLabels": {"app.kubernetes.io/part-of": "data", "team": "a"}, "podLabels": {"team": "b"}},
     lambda of, pod, one: [where["metadata"]["labels"]["team"] for where in (of, of["spec"]["template"])] == ["a", "b"] and of["metadata"]["labels"]["app.kubernetes.io/part-of"] == "data"),
    ({"podAnnotations": {"reloader.stakater.com/auto": "true"}}, lambda of, pod, one: of["spec"]["template"]["metadata"]["annotations"]["reloader.stakater.com/auto"] == "true"),
    ({"extraEnv": [{"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "aws", "key": "secret"}}}]},
     lambda of, pod, one: one["env"][-1]["valueFrom"] == {"secretKeyRef": {"name": "aws", "key": "secret"}}),
    ({"extraEnvFrom": [{"secretRef": {"name": "aws"}}]}, lambda of, pod, one: one["envFrom"] == [{"secretRef": {"name": "aws"}}]),
    ({"extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}], "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/certs", "readOnly": True}]},
     lambda of, pod, one: "ca" in [volume["name"] for volume in pod["volumes"]] and "ca" in [mount["name"] for mount in one["volumeMounts"]]),
    ({"tolerations": [{"operator": "Exists"}], "nodeSelector": {"kubernetes.io/arch": "arm64"}, "affinity": {"podAntiAffinity": {}}, "priorityClassName": "system-cluster-critical"},
     lambda of, pod, one: (pod["tolerations"], pod["nodeSelector"], pod["affinity"], pod["priorityClassName"]) == ([{"operator": "Exists"}], {"kubernetes.io/arch": "arm64"}, {"podAntiAffinity": {}}, "system-cluster-critical")),
    ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}]},
     lambda of, pod, one: [constraint["topologyKey"] for constraint in pod["topologySpreadConstraints"]] == ["topology.kubernetes.io/zone"]),
    ({"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws-eusc:iam::111122223333:role/x"}}}, lambda of, pod, one: pod["serviceAccountName"]),
    ({"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}, lambda of, pod, one: not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["securityContext"]) and pod["securityContext"]["runAsNonRoot"]),
    ({"podSecurityContext": None, "securityContext": None, "resources": None}, lambda of, pod, one: not (pod.get("securityContext") or one.get("securityContext") or one.get("resources"))),
    ({"resources": {"limits": None, "requests": {"cpu": "0.5", "ephemeral-storage": "1e3"}}}, lambda of, pod, one: one["resources"] == {"requests": {"cpu": "0.5", "memory": "64Mi", "ephemeral-storage": "1e3"}}),
    ({"terminationGracePeriodSeconds": 30, "revisionHistoryLimit": 0}, lambda of, pod, one: (pod["terminationGracePeriodSeconds"], of["spec"]["revisionHistoryLimit"]) == (30, 0)),
    ({"initContainers": [{"name": "wait", "image": "busybox"}], "extraContainers": [{"name": "proxy", "image": "proxy"}]},
     lambda of, pod, one: [container["name"] for container in pod["initContainers"] + pod["containers"]] == ["wait", "exporter", "proxy"]),
    ({"livenessProbe": None, "readinessProbe": None, "startupProbe": None}, lambda of, pod, one: not set(PROBES) & set(one)),
    ({"livenessProbe": {"periodSeconds": None, "timeoutSeconds": None, "failureThreshold": None}}, lambda of, pod, one: set(one["livenessProbe"]) == {"httpGet"}),
    ({"livenessProbe": {"exec": {"command": ["/usr/bin/glue-integration-exporter", "health"]}}}, lambda of, pod, one: one["livenessProbe"]["exec"] and "httpGet" not in one["livenessProbe"] and one["livenessProbe"]["periodSeconds"] == 15),
    ({"readinessProbe": {"httpGet": {"path": "/-/ready", "port": 10058}}}, lambda of, pod, one: one["readinessProbe"]["httpGet"] == {"path": "/-/ready", "port": 10058}),
    ({"startupProbe": {"tcpSocket": {"port": "metrics"}}, "web": {"clientCertificatesRequired": True}}, lambda of, pod, one: set(one["startupProbe"]) & {"tcpSocket", "exec"} == {"tcpSocket"} and "exec" in one["livenessProbe"]),
    ({"extraArgs": ["--web.probes-without-auth"], "web": {"clientCertificatesRequired": True}}, lambda of, pod, one: one["args"].count("--web.probes-without-auth") == 1),
    ({"extraArgs": None, "extraEnv": None, "tolerations": None, "web": {"clientCertificatesRequired": True}}, lambda of, pod, one: "--web.probes-without-auth" in one["args"]),
    ({"monitor": {"enabled": True, "interval": "1m30s", "scrapeTimeout": "9500ms"}}, lambda of, pod, one: True),
    ({"storage": {"type": "persistentVolumeClaim", "storageClassName": None}}, lambda of, pod, one: "storageClassName" not in of["spec"]["volumeClaimTemplates"][0]["spec"]),
]
QUANTITIES = ["1.5Gi", "1Gi", "500M", "2T", "1Pi", "0.5Ti", "1e9", "1E+9", "12e-1", ".5Gi", "5.", "100k", "1073741824", 1073741824, "1Ei", "+1Gi", "1500m"]
# One of each partition, and what would be one of a new one.
REGIONS = ["eu-west-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1", "eusc-de-east-1", "ap-southeast-12"]


def refuses():
    for helm in HELM, OLDER_HELM:
        for number, (values, names) in enumerate(REFUSED):
            path = f"{WORK}/refused.json"
            with open(path, "w", encoding="utf-8") as file:
                json.dump(values, file)
            done = subprocess.run([helm, "template", RELEASE, CHART, "--values", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            check(f"refused: {values}", done.returncode != 0 and "meet the specifications of the schema" in done.stderr and names in done.stderr, done.stderr)


def habits():
    for values, as_they_say in HABITS:
        both = [rendered([values], helm) for helm in (HELM, OLDER_HELM)]
        check(f"{values}: both versions of Helm make the same of it", both[0] == both[1])
        valid(str(values), both[0])
        of = of_kind(both[0], "Deployment", "StatefulSet")[0]
        pod = of["spec"]["template"]["spec"]
        check(f"{values}: it is as they say", as_they_say(of, pod, next(one for one in pod["containers"] if one["name"] == "exporter")), of)
    for size in QUANTITIES:
        found = of_kind(rendered([{"storage": {"type": "persistentVolumeClaim", "size": size}}]), "StatefulSet")
        claimed = found[0]["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
        check(f"a volume of {size}", claimed == size, claimed)
    for region in REGIONS:
        config = f"{WORK}/region.yaml"
        with open(config, "w", encoding="utf-8") as file:
            yaml.safe_dump({"scopes": [{"name": "a", "regions": [region]}]}, file)
        check(f"{region}: the exporter takes it", subprocess.run([BINARY, "check", f"--config.file={config}"], stdout=subprocess.DEVNULL).returncode == 0)
        one = of_kind(rendered([{"awsRegion": region}]), "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
        check(f"{region}: the chart takes it", {"name": "AWS_REGION", "value": region} in one["env"], one["env"])


def unset():
    """Each default that null unsets leaves something valid, or is refused by name."""

    def paths(values, path=()):
        for key, value in values.items():
            yield (*path, key)
            if isinstance(value, dict):
                yield from paths(value, (*path, key))

    def nested(path):
        return {path[0]: nested(path[1:])} if path else None

    for path in paths(yaml.safe_load(read(f"{CHART}/values.yaml"))):
        # Kubernetes itself wants a type in there.
        if path == ("podSecurityContext", "seccompProfile", "type"):
            continue
        what, file = ".".join(path), f"{WORK}/unset.json"
        with open(file, "w", encoding="utf-8") as out:
            json.dump(nested(path), out)
        everything = f"{CHART}/ci/everything-values.yaml"
        done = subprocess.run([HELM, "template", RELEASE, CHART, "--values", everything, "--values", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            refused = "meet the specifications of the schema" in done.stderr or f"{what}: " in done.stderr
            check(f"{what}: null is refused by name", refused and path[-1] in done.stderr, done.stderr)
            continue
        found = objects(done.stdout)
        valid(f"{what} is null", found)
        for of in of_kind(found, "Deployment", "StatefulSet"):
            check(f"{what} is null: there are pods", of["spec"]["replicas"], of["spec"])
            arguments = of["spec"]["template"]["spec"]["containers"][0]["args"]
            check(f"{what} is null: no flag is empty", not [flag for flag in arguments if flag.endswith("=")], arguments)


def umbrella():
    """As a dependency with a condition, of a chart that has values of its own for everybody."""
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
            found = objects(said(helm, "template", RELEASE, directory))
            probes = [set(PROBES) & set(of["spec"]["template"]["spec"]["containers"][0]) for of in of_kind(found, "Deployment")]
            check(f"in an umbrella chart, enabled: {enabled}", probes == [{"startupProbe", "readinessProbe"}] * enabled and bool(found) == enabled, found)


def labels_of_the_chart():
    for values in {"commonLabels": {"app.kubernetes.io/name": "x"}}, {"podLabels": {"app.kubernetes.io/instance": "x"}}, {"monitor": {"enabled": True, "labels": {"helm.sh/chart": "x"}}}:
        for helm in HELM, OLDER_HELM:
            path = f"{WORK}/labels.json"
            with open(path, "w", encoding="utf-8") as file:
                json.dump(values, file)
            done = subprocess.run([helm, "template", RELEASE, CHART, "--values", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            check(f"a label of the chart's own is refused: {values}", done.returncode != 0 and "sets the label" in done.stderr, done.stderr)


def keys_of_the_example():
    """The example with all that is off there switched on."""
    lines = [re.sub(r"^( *)#(?! )", r"\1", line) for line in read("config.example.yaml").splitlines() if not re.match(r"^ *# ", line)]
    return yaml.safe_load("\n".join(lines))


def schema_knows_the_configuration():
    schema = json.loads(read(f"{CHART}/values.schema.json"))["properties"]["config"]["properties"]
    example = keys_of_the_example()
    check("the schema has the keys of config.example.yaml", set(schema) | {"storage"} == set(example), (sorted(schema), sorted(example)))
    check("the schema has the keys of polling", set(schema["polling"]["properties"]) == set(example["polling"]), sorted(example["polling"]))
    scope = set(schema["scopes"]["items"]["properties"])
    check("the schema has the keys of a scope", scope == set(example["scopes"][0]), scope ^ set(example["scopes"][0]))


def schema_is_that_of(values, schema, path=""):
    """Each default is described, and nothing else is but what a person may leave out."""
    if schema.get("additionalProperties") is False and path not in (".config", ".resources", ".startupProbe", ".livenessProbe", ".readinessProbe"):
        check(f"the schema of values{path}", set(values) == set(schema["properties"]) - (set() if path else {"global", "enabled"}), set(values) ^ set(schema["properties"]))
        for key, value in values.items():
            schema_is_that_of(value, schema["properties"][key], f"{path}.{key}")


def helm_charts():
    check("the chart's rules are the shipped ones: cp deploy/prometheus/alerts.yaml deploy/helm/glue-integration-exporter/files/",
          read(f"{CHART}/files/alerts.yaml") == read("deploy/prometheus/alerts.yaml"))
    chart = yaml.safe_load(read(f"{CHART}/Chart.yaml"))
    version = tomllib.loads(read("Cargo.toml"))["package"]["version"]
    check("the chart's appVersion is the program's version", chart["appVersion"] == version)
    schema_is_that_of(yaml.safe_load(read(f"{CHART}/values.yaml")), json.loads(read(f"{CHART}/values.schema.json")))
    schema_knows_the_configuration()
    refuses()
    habits()
    unset()
    umbrella()
    labels_of_the_chart()
    files = sorted(glob.glob(f"{CHART}/ci/*-values.yaml"))
    check("there are values files", len(files) >= 8)
    for helm in HELM, OLDER_HELM:
        for path in files:
            lint = subprocess.run([helm, "lint", "--strict", CHART, "--values", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            check(f"lint with {path}", lint.returncode == 0 and "WARNING" not in lint.stdout, lint.stdout)
    for path in files:
        what, found = os.path.basename(path), rendered([path])
        check(f"{what}: both versions of Helm make the same of it", found == rendered([path], OLDER_HELM))
        valid(what, found)
        chart_holds(what, found, values_of(path))
    pasted = f"{WORK}/values-of-the-readme.yaml"
    with open(pasted, "w", encoding="utf-8") as file:
        file.write(read("README.md").split("with a `values.yaml` like this,\n\n```yaml\n")[1].split("```")[0])
    found = rendered([pasted], release="glue-integration-exporter")
    valid("the README's values", found)
    chart_holds("the README's values", found, values_of(pasted))
    check("the README's service account", of_kind(found, "ServiceAccount")[0]["metadata"]["name"] == "glue-integration-exporter")
    # The longest name that Helm takes.
    everything = f"{CHART}/ci/everything-values.yaml"
    for release in "a" * 53, f"{'a' * 27}-{chart['name']}":
        for name in "", "b" * 44:
            found = rendered([everything, {"fullnameOverride": "", "nameOverride": name, "replicas": 10}], release=release)
            check(f"names with a release of {len(release)} characters", all(len(of["metadata"]["name"]) <= 52 for of in found), [of["metadata"]["name"] for of in found])
            valid(f"a release of {len(release)} characters", found)

    def checksum(*values):
        return of_kind(rendered(values), "Deployment")[0]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    check("a change of the configuration starts the pods anew", checksum() != checksum({"config": {"scopes": [{"name": "other"}]}}))
    check("a change of nothing else does", checksum() == checksum({"monitor": {"enabled": True}}))
    said(HELM, "package", CHART, "--destination", WORK)
    packed = said("tar", "tzf", f"{WORK}/{chart['name']}-{chart['version']}.tgz").split()
    check("the package has the rules and the schema", {f"{chart['name']}/files/alerts.yaml", f"{chart['name']}/values.schema.json"} <= set(packed), packed)
    check("the package has no values of tests", not any("/ci/" in path for path in packed), packed)


if __name__ == "__main__":
    helm_charts()
    finish()
