"""Runs the pods of the chart and of the sidecar and the ECS task as they are deployed: with the file system of the image, the simulated AWS
Glue, and fake credential endpoints of EKS and EC2.

Usage: pods.py IMAGE IMAGE_DESCRIPTION BINARY HELM KUBECTL PROMETHEUS WORK    (restarts itself as root in its own namespaces)
"""

import glob
import http.client
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time

import yaml

from identity import Account, listen, requests
from runtime import Container, Image, Pod, get, image_with
from checks import check, finish, wait_for

ROOT, DESCRIPTION, BINARY, HELM, KUBECTL, PROMETHEUS, WORK = sys.argv[1:]
CHART = "deploy/helm/glue-integration-exporter"
GLUE = "http://127.0.0.1:10059"
EXPORTER = "http://127.0.0.1:10058"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAPOD", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_EC2_METADATA_DISABLED": "true"}
SECRETS = {("Secret", "glue-external-ids"): {"lake": "example-7f3a"}}
# Filled in `main` from the image description.
IMAGES, HEALTH = {}, []


def roots():
    """Checks that the exporter trusts exactly the CA roots of the image: it accepts a server certificate only if its root is in that file."""
    key, certificate, bundle = f"{WORK}/key.pem", f"{WORK}/certificate.pem", "/etc/ssl/certs/ca-certificates.crt"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for more in (
        ["-keyout", f"{WORK}/root.key", "-out", f"{WORK}/root.pem", "-subj", "/CN=root"],
        ["-keyout", key, "-out", certificate, "-subj", "/CN=aws", "-CA", f"{WORK}/root.pem", "-CAkey", f"{WORK}/root.key",
         "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1"],
    ):
        subprocess.run(made + more, check=True, stderr=subprocess.DEVNULL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 443), Account)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with open(ROOT + bundle, encoding="ascii") as file:
        own = file.read()
    check("the image has CA roots", own.count("BEGIN CERTIFICATE") > 100)
    with open(f"{WORK}/root.pem", encoding="ascii") as file:
        texts = {"without it": own, "with it": own + file.read()}
    configuration = f"{WORK}/tls"
    os.mkdir(configuration)
    with open(f"{configuration}/config.yaml", "w", encoding="utf-8") as file:
        file.write("scopes: [{name: a, regions: [eu-west-1]}]")
    for what, text in texts.items():
        directory = f"{WORK}/roots {what}"
        os.mkdir(directory)
        with open(f"{directory}/ca-certificates.crt", "w", encoding="ascii") as file:
            file.write(text)
        image = IMAGES["glue-integration-exporter"]
        mounts = [[directory, os.path.dirname(bundle), True], [configuration, "/c", True]]
        running = Container(WORK, "roots", image, [*image.entrypoint, "once", "--config.file=/c/config.yaml"],
                            {"AWS_ENDPOINT_URL_GLUE": "https://127.0.0.1", **KEYS}, mounts, image.user)
        code = running.process.wait(60)
        check(f"TLS to AWS with a CA file {what} (the root of the certificate)", code == (0 if what == "with it" else 1) and ("UnknownIssuer" in running.log_text()) == bool(code), running.log_text())


def rendered(values):
    text = subprocess.run([HELM, "template", "watch", CHART, "--values", values], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [of for of in yaml.safe_load_all(text) if of]


def data(found):
    return {**SECRETS, **{("ConfigMap", of["metadata"]["name"]): of["data"] for of in found if of["kind"] == "ConfigMap"}}


def workloads(found):
    """Yields (pod name, pod spec) for each pod that a cluster would create."""
    for of in found:
        if of["kind"] in ("Deployment", "StatefulSet"):
            for number in range(of["spec"]["replicas"]):
                suffix = number if of["kind"] == "StatefulSet" else f"6b7f9d8c5-x{number}k2v"
                yield f"{of['metadata']['name']}-{suffix}", of["spec"]["template"]["spec"]


def chart_pod(values, environment, **more):
    found = rendered(f"{CHART}/ci/{values}-values.yaml")
    name, spec = next(workloads(found))
    return Pod(WORK, name, spec, IMAGES, {**data(found), **more}, {"AWS_ENDPOINT_URL_GLUE": GLUE, **environment})


def sample(page, name):
    """Returns the values of a metric by series."""
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{"))}


def wait_until_ready(what, pod, seconds=30):
    container = next(iter(pod.containers))
    check(f"{what}: starts", pod.until(container, "startupProbe", seconds))
    check(f"{what}: is ready", pod.until(container, "readinessProbe", seconds))
    check(f"{what}: is alive", pod.probe(container, "livenessProbe"))
    page = get(f"{EXPORTER}/metrics")[1]
    up = sample(page, "glue_integration_exporter_scope_up")
    return page, up


def image_health(container):
    return container.run(*HEALTH)[0]


def default_pod():
    pod = chart_pod("two-replicas", KEYS)
    exporter = pod.containers["exporter"]
    page, up = wait_until_ready("the chart's pod", pod)
    check("the chart's pod: every scope is up", list(up.values()) == [1.0], (up, exporter.log_text()))
    since = sample(page, "aws_glue_integration_status_since_timestamp_seconds")
    check("the chart's pod: exports integrations", since)
    check("the chart's pod: its user", exporter.status("Uid") == ["65532"] * 4 and exporter.status("Gid") == ["65532"] * 4, exporter.status("Uid"))
    check("the chart's pod: has no capabilities", {name: int(exporter.status(name)[0], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {"CapEff": 0, "CapPrm": 0, "CapBnd": 0})
    check("the chart's pod: the exporter is PID 1", exporter.status("NSpid")[-1] == "1", exporter.status("NSpid"))
    for path in "written", "etc/glue-integration-exporter/config/written":
        try:
            with open(f"/proc/{exporter.pid()}/root/{path}", "w", encoding="ascii"):
                check(f"the chart's pod: /{path} is read-only", False)
        except OSError as error:
            check(f"the chart's pod: /{path} is read-only", error.errno == 30, error)
    check("the image's health check: healthy", image_health(exporter) == 0)
    wait_for("the chart's pod writes its state", lambda: "state" in os.listdir(pod.volumes["state"]), 30)

    # After a crash, the pod and its emptyDir are the same, but the container is new.
    time.sleep(1.1)
    pod.restart("exporter")
    page, _ = wait_until_ready("after a crash", pod)
    check("after a crash: status_since is unchanged", sample(page, "aws_glue_integration_status_since_timestamp_seconds") == since)
    check("SIGTERM stops the exporter with 0", pod.containers["exporter"].stop(pod.spec["terminationGracePeriodSeconds"]) == 0)
    check("the image's health check: fails after the stop", image_health(pod.containers["exporter"]) == 1)
    pod.end()

    # A replaced pod loses its emptyDir.
    pod = chart_pod("two-replicas", KEYS)
    page, _ = wait_until_ready("a replaced pod", pod)
    since_restart = sample(page, "aws_glue_integration_status_since_timestamp_seconds")
    check("a replaced pod: status_since restarts", set(since_restart) == set(since) and all(since_restart[key] > since[key] for key in since), (since_restart, since))
    pod.end()


def persistent_pod():
    """Checks that a replacement pod with the same volume keeps the state."""
    found = rendered(f"{CHART}/ci/persistent-values.yaml")
    name, spec = next(workloads(found))
    volumes, seen = {}, []
    for _ in range(2):
        pod = Pod(WORK, name, spec, IMAGES, data(found), {"AWS_ENDPOINT_URL_GLUE": GLUE, **KEYS}, {key: volumes[key] for key in volumes if key == "state"})
        volumes = pod.volumes
        page, _ = wait_until_ready("a pod with a volume", pod)
        seen.append(sample(page, "aws_glue_integration_status_since_timestamp_seconds"))
        check("a pod with a volume: stops", pod.containers["exporter"].stop(10) == 0)
        time.sleep(1.1)
    check("a pod with a volume: the next pod keeps status_since", seen[0] == seen[1] and seen[0], seen)


def shards():
    """Checks that each pod knows its shard, and that the pods of each replica watch all integrations together."""
    found = rendered(f"{CHART}/ci/sharded-values.yaml")
    config = yaml.safe_load(data(found)["ConfigMap", "watch-glue-integration-exporter"]["config.yaml"])
    replicas = {}
    for name, spec in workloads(found):
        pod = Pod(WORK, name, spec, IMAGES, data(found), {"AWS_ENDPOINT_URL_GLUE": GLUE, **KEYS})
        page, _ = wait_until_ready(name, pod)
        shard = list(sample(page, "glue_integration_exporter_shard_info"))
        check(f"{name}: shard_info", shard == [f'glue_integration_exporter_shard_info{{shard_index="{name[-1]}",shard_total="5"}}'], shard)
        replicas.setdefault(name[:-2], []).extend(sample(page, "aws_glue_integration_info"))
        pod.end()
    check("there are two replicas of five shards", len(replicas) == 2)
    first, second = replicas.values()
    check("each integration belongs to one shard", len(set(first)) == len(first) > 0, first)
    check("both replicas export the same integrations", sorted(first) == sorted(second))
    whole = chart_whole(config)
    check("together they see what one exporter sees", set(first) == set(whole), (sorted(first), sorted(whole)))


def chart_whole(config):
    """Returns the integrations that an unsharded exporter exports with a configuration."""
    path = f"{WORK}/whole.yaml"
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump({key: value for key, value in config.items() if key != "storage"}, file)
    page = subprocess.run([BINARY, "once", f"--config.file={path}", "--log.level=error"], stdout=subprocess.PIPE, text=True, env={"AWS_ENDPOINT_URL_GLUE": GLUE, **KEYS}).stdout
    return sample(page, "aws_glue_integration_info")


def checks():
    """Runs `check` in each pod of the chart, for every values file."""
    for path in sorted(glob.glob(f"{CHART}/ci/*-values.yaml")):
        found = rendered(path)
        more = {("ConfigMap", "watched"): {"config.yaml": "scopes: [{name: theirs, regions: [eu-west-1], role_arn: arn:aws:iam::444455556666:role/x, "
                                                          "external_id_file: /etc/glue-integration-exporter/external-ids/lake}]"},
                ("ConfigMap", "glue-certificates"): {}, ("Secret", "glue-web"): {"web-config.yml": ""}}
        for name, spec in workloads(found):
            container = spec["containers"][0]
            kept = [argument for argument in container["args"] if argument.startswith(("--config.file", "--shard", "--log"))]
            spec = {**spec, "containers": [{**container, "args": ["check", *kept]}]}
            pod = Pod(WORK, name, spec, IMAGES, {**data(found), **more}, {"AWS_REGION": "eu-west-1", **KEYS})
            running = pod.containers["exporter"]
            check(f"{os.path.basename(path)}: the configuration of {name} is valid", running.process.wait(30) == 0, running.log_text())


def identities():
    """Checks the sources of credentials in docs/install/kubernetes.md, with the environment that the webhooks of EKS and EC2 provide."""
    ways = {
        "Pod Identity": ("pod-identity", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/tokens/token"}, ("169.254.170.23", "/v1/credentials")),
        "IRSA": ("two-replicas", {"AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/glue-integration-exporter", "AWS_WEB_IDENTITY_TOKEN_FILE": "/tokens/token", "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:8080"}, None),
        "the node": ("two-replicas", {}, ("169.254.169.254", "/latest/meta-data/iam/security-credentials/node")),
    }
    for what, (values, environment, wanted) in ways.items():
        requests.clear()
        found = rendered(f"{CHART}/ci/{values}-values.yaml")
        name, spec = next(workloads(found))
        container = spec["containers"][0]
        spec = {**spec, "volumes": [*spec["volumes"], {"name": "token", "configMap": {"name": "token"}}],
                "containers": [{**container, "volumeMounts": [*container["volumeMounts"], {"name": "token", "mountPath": "/tokens", "readOnly": True}]}]}
        pod = Pod(WORK, name, spec, IMAGES, {**data(found), ("ConfigMap", "token"): {"token": "the-pods-token"}}, {"AWS_ENDPOINT_URL_GLUE": GLUE, **environment})
        _, up = wait_until_ready(what, pod)
        check(f"{what}: every scope is up", list(up.values()) == [1.0], (up, pod.containers["exporter"].log_text()))
        requested = wanted in requests if wanted else any(to == "sts" and "AssumeRoleWithWebIdentity" in form and "the-pods-token" in form for to, form in requests)
        check(f"{what}: the exporter requested credentials", requested, requests)
        pod.end()


def client_certificates():
    """Checks that the probes work although clients need certificates and passwords."""
    directory = f"{WORK}/clients"
    os.mkdir(directory)
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    of_the_ca = ["-CA", f"{directory}/ca.crt", "-CAkey", f"{directory}/ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
    for name, more in ("ca", []), ("server", of_the_ca), ("client", of_the_ca):
        command = [*made, "-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.crt", "-subj", f"/CN={name}", *more]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    web = {"web-config.yml": "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt}\n"
                             "basic_auth_users: {prometheus: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi}\n"}
    for name in "server.crt", "server.key", "ca.crt":
        with open(f"{directory}/{name}", encoding="ascii") as file:
            web[name] = file.read()
    found = rendered(f"{CHART}/ci/client-certificates-values.yaml")
    name, spec = next(workloads(found))
    pod = Pod(WORK, name, spec, IMAGES, {**data(found), ("Secret", "glue-web"): web}, {"AWS_ENDPOINT_URL_GLUE": GLUE, **KEYS})
    check("with client certificates: starts", pod.until("exporter", "startupProbe", 30))
    check("with client certificates: is ready", pod.until("exporter", "readinessProbe", 30))
    check("with client certificates: is alive", pod.probe("exporter", "livenessProbe"))

    def scrape(certificate):
        """Returns the HTTP status, or 0 if the exporter closes the connection."""
        context = ssl.create_default_context(cafile=f"{directory}/ca.crt")
        context.check_hostname = False
        if certificate:
            context.load_cert_chain(f"{directory}/client.crt", f"{directory}/client.key")
        connection = http.client.HTTPSConnection("127.0.0.1", 10058, timeout=10, context=context)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().status
        except OSError:
            return 0

    check("with client certificates: a scrape without a certificate fails", scrape(False) == 0)
    check("with client certificates: a scrape with a certificate also needs the password", scrape(True) == 401)
    # The killed exporter leaves its socket in the volume of the pod.
    pod.restart("exporter")
    check("with client certificates: is ready after a crash", pod.until("exporter", "readinessProbe", 30))
    pod.end()
    check("with client certificates: a stopped pod is not ready", not pod.probe("exporter", "readinessProbe"))


def sidecar():
    text = subprocess.run([KUBECTL, "kustomize", "deploy/kubernetes/sidecar"], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = list(yaml.safe_load_all(text))
    name, spec = next(workloads(found))
    pod = Pod(WORK, name, spec, IMAGES, data(found), {"AWS_ENDPOINT_URL_GLUE": GLUE, **KEYS})
    check("the sidecar's exporter is ready", pod.until("exporter", "readinessProbe", 30))
    check("the sidecar's Prometheus is ready", pod.until("prometheus", "readinessProbe", 60))
    check("the sidecar's Prometheus is not root", pod.containers["prometheus"].status("Uid")[0] == "65534")
    prometheus_has("the sidecar")
    managers = json.loads(get("http://127.0.0.1:9090/api/v1/alertmanagers")[1])["data"]["activeAlertmanagers"]
    check("the sidecar's Prometheus has the Alertmanager", managers == [{"url": "http://alertmanager.monitoring.svc:9093/api/v2/alerts"}], managers)
    with open("deploy/prometheus/alerts.yaml", encoding="utf-8") as file:
        wanted = [rule["alert"] for group in yaml.safe_load(file)["groups"] for rule in group["rules"] if "alert" in rule]
    groups = json.loads(get("http://127.0.0.1:9090/api/v1/rules?type=alert")[1])["data"]["groups"]
    has = [rule["name"] for group in groups for rule in group["rules"]]
    check("the sidecar's Prometheus has every shipped alert", sorted(has) == sorted(wanted) and has, has)
    pod.end()


def prometheus_has(what):
    """Waits until Prometheus has scraped the exporter."""

    def series():
        answer = get("http://127.0.0.1:9090/api/v1/query?query=count(aws_glue_integration_info%7Bjob=%22glue-integration-exporter%22%7D)")
        result = json.loads(answer[1])["data"]["result"] if answer[0] == 200 else []
        return result and float(result[0]["value"][1])

    check(f"{what}: Prometheus has integrations", wait_for(f"{what}: a scrape", series, 60) > 0)


def task():
    """Runs the containers of the ECS task in the order of their dependencies."""
    with open("deploy/ecs/task-definition.json", encoding="utf-8") as file:
        of = json.load(file)
    parameters = {f"arn:aws:ssm:eu-west-1:111122223333:parameter/glue-integration-exporter/{name}": name for name in ("config.yaml", "prometheus.yml")}
    volumes = {volume["name"]: f"{WORK}/task-{volume['name']}" for volume in of["volumes"]}
    for path in volumes.values():
        # A container runtime creates volumes that belong to root.
        os.mkdir(path, 0o755)
    running = {}
    requests.clear()
    agent = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/task", "AWS_ENDPOINT_URL_GLUE": GLUE, "AWS_EC2_METADATA_DISABLED": "true"}
    for one in of["containerDefinitions"]:
        image = IMAGES[one["image"].split(":")[0].rsplit("/", 1)[-1]]
        environment = dict(agent)
        for secret in one.get("secrets", []):
            with open(f"deploy/ecs/{parameters[secret['valueFrom']]}", encoding="utf-8") as file:
                environment[secret["name"]] = file.read()
        mounts = [[volumes[mount["sourceVolume"]], mount["containerPath"], mount.get("readOnly", False)] for mount in one["mountPoints"]]
        for on in one.get("dependsOn", []):
            other = running[on["containerName"]]
            if on["condition"] == "SUCCESS":
                check(f"ECS: {on['containerName']} ends well", other.process.wait(30) == 0, other.log_text())
            else:
                healthy(on["containerName"], other, of)
        running[one["name"]] = Container(WORK, one["name"], image, one.get("entryPoint", image.entrypoint) + one["command"], environment, mounts, one["user"])
    healthy("prometheus", running["prometheus"], of)
    up = sample(get(f"{EXPORTER}/metrics")[1], "glue_integration_exporter_scope_up")
    check("ECS: the exporter every scope is up", list(up.values()) == [1.0], (up, running["exporter"].log_text()))
    check("ECS: the exporter requests the credentials of the task role", ("169.254.170.2", "/v2/credentials/task") in requests, requests)
    prometheus_has("ECS")
    exporter = next(one for one in of["containerDefinitions"] if one["name"] == "exporter")
    check("ECS: SIGTERM stops the exporter with 0", running["exporter"].stop(exporter["stopTimeout"]) == 0)
    for one in running.values():
        one.kill()


def healthy(name, container, of):
    """Waits until the health check of a container succeeds."""
    command = next(one for one in of["containerDefinitions"] if one["name"] == name)["healthCheck"]["command"]
    check(f"ECS: {name}'s health check needs no shell", command[0] == "CMD")
    wait_for(f"ECS: {name} is healthy: {container.log_text()[-500:]}", lambda: container.run(*command[1:])[0] == 0, 60)
    check(f"ECS: {name} is healthy", True)


def main():
    with open(DESCRIPTION, encoding="utf-8") as file:
        config = json.load(file)["Docker"]["config"]
    check("the image's health check needs no shell", config["Healthcheck"]["Test"][0] == "CMD")
    HEALTH.extend(config["Healthcheck"]["Test"][1:])
    check("the image's user is a number, and not root", config["User"] == "65532:65532", config["User"])
    tools = [(f"{PROMETHEUS}/{name}", f"/bin/{name}") for name in ("prometheus", "promtool")] + [("/bin/sh", "/bin/sh"), ("/bin/chmod", "/bin/chmod")]
    IMAGES["glue-integration-exporter"] = Image(ROOT, config["Entrypoint"], config["Cmd"], config["User"])
    # The files of prom/prometheus that these checks use.
    IMAGES["prometheus"] = Image(image_with(f"{WORK}/prometheus", *tools), ["/bin/prometheus"])
    listen()
    with open(f"{WORK}/pods-simulator.log", "wb") as log:
        simulator = subprocess.Popen([BINARY, "simulate"], stdout=log, stderr=log)
    wait_for("the simulator listens", lambda: get(f"{GLUE}/")[0], 30)
    for scenario in checks, default_pod, persistent_pod, shards, identities, client_certificates, roots, sidecar, task:
        scenario()
    simulator.terminate()
    finish()


if __name__ == "__main__":
    if "IN_NAMESPACES" not in os.environ:
        root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        sys.stdout.flush()
        os.execvp((root + ["env"])[0], [*root, "env", "IN_NAMESPACES=yes", "PYTHONDONTWRITEBYTECODE=1", *apart, sys.executable, *sys.argv])
    main()
