"""Checks TLS, client certificates and basic auth with Prometheus, curl and openssl.

Usage: web.py BINARY PROMETHEUS WORK    (two programs, and a directory for files)

Prometheus scrapes a demo that uses TLS, while the certificate is replaced several times. No scrape must fail, and invalid clients must be
rejected.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import bcrypt
from processes import Server
from checks import check, finish, value, wait_for

BINARY, PROMETHEUS, WORK = sys.argv[1:4]
PROMTOOL = Path(PROMETHEUS).with_name("promtool")
DIRECTORY = Path(WORK) / "web"
DIRECTORY.mkdir()
os.chdir(DIRECTORY)
ROTATIONS = 6


def run(*command, text=""):
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def openssl(*arguments):
    status, output = run("openssl", *arguments)
    if status:
        sys.exit(f"FAILED openssl {arguments}: {output}")


def authority(name):
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")


def issue(issuer, name, names, usage):
    """Creates a certificate and its key, `name`.crt and `name`.key."""
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    Path(f"{name}.ext").write_text(f"subjectAltName={names}\nextendedKeyUsage={usage}\n", encoding="utf-8")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key", "-CAcreateserial", "-days", "2",
            "-extfile", f"{name}.ext", "-out", f"{name}.crt")


SERVER_NAMES = "DNS:localhost,IP:127.0.0.1,IP:::1"
for ca in ["ca", "foreign"]:
    authority(ca)
issue("ca", "server", SERVER_NAMES, "serverAuth")
issue("ca", "prometheus", "DNS:prometheus.example.com", "clientAuth")
issue("ca", "stranger", "DNS:stranger.example.com", "clientAuth")
issue("foreign", "spy", "DNS:prometheus.example.com", "clientAuth")

hashed = bcrypt.hashpw(b"correct horse battery", bcrypt.gensalt(10)).decode().replace("$2b$", "$2y$")
ALL = """
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
%s  min_version: TLS12
http_server_config:
  http2: true
  headers:
    X-Frame-Options: deny
    X-Content-Type-Options: nosniff
    Strict-Transport-Security: max-age=31536000; includeSubDomains
basic_auth_users:
  prometheus: %s
""" % ("%s", hashed)
WITH_NAMES = ALL % "  client_allowed_sans: [prometheus.example.com]\n"
Path("web.yml").write_text(WITH_NAMES, encoding="utf-8")

# promtool and the exporter must agree about these files. They do not use `client_allowed_sans`, because promtool is too old for it.
for what, text, valid in [
    ("all", ALL % "", True),
    ("an empty file", "", True),
    ("the system's authorities", "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: VerifyClientCertIfGiven}", True),
    ("a suite and a curve that rustls lacks", "tls_server_config: {cert_file: server.crt, key_file: server.key, curve_preferences: [CurveP521, CurveP256], "
     "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}", True),
    ("an unknown key", "tls_config: {}", False),
    ("no key", "tls_server_config: {cert_file: server.crt}", False),
    ("another key", "tls_server_config: {cert_file: server.crt, key_file: ca.key}", False),
    ("an authority that nobody needs", "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt}", False),
    ("an unknown header", "http_server_config: {headers: {Server: us}}", False),
    ("an invented suite", "tls_server_config: {cert_file: server.crt, key_file: server.key, cipher_suites: [TLS_X]}", False),
]:
    Path("other.yml").write_text(text, encoding="utf-8")
    theirs = run(PROMTOOL, "check", "web-config", "other.yml")
    Path("scopes.yaml").write_text("scopes: [{name: a, regions: [eu-west-1]}]", encoding="utf-8")
    ours = run(BINARY, "check", "--config.file=scopes.yaml", "--web.config.file=other.yml")
    check(f"promtool checks {what}", (theirs[0] == 0) == valid, theirs)
    check(f"check validates {what}", ours[0] == (0 if valid else 2), ours)

socket = f"{DIRECTORY}/socket"
flags = ["--web.config.file=web.yml", f"--web.listen-address=unix:{socket}"]
has_ipv6 = Path("/proc/net/if_inet6").exists() and Path("/proc/net/if_inet6").read_text(encoding="utf-8") != ""
if has_ipv6:
    flags.append("--web.listen-address=[::1]:0")
exporter = Server("web", WORK, [BINARY, "demo", *flags], "--web.listen-address").start()
port = exporter.address.rsplit(":", 1)[1]
URL = f"https://localhost:{port}/metrics"

OWN = ["--cacert", "ca.crt", "--cert", "prometheus.crt", "--key", "prometheus.key"]
PASSWORD = ["--user", "prometheus:correct horse battery"]


def curl(*arguments):
    """Returns the exit code of curl, 'STATUS HTTP_VERSION', and the output."""
    done = run("curl", "-sSf", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code} %{http_version}\n", *arguments)
    return done[0], done[1].splitlines()[0] if done[1] else "", done[1]


for what, expected, seen, arguments in [
    ("a client that offers HTTP/2", 0, "200 1.1", [*OWN, *PASSWORD, "--http2", URL]),
    ("HTTP/1.1", 0, "200 1.1", [*OWN, *PASSWORD, "--http1.1", URL]),
    ("TLS 1.2", 0, "200 1.1", [*OWN, *PASSWORD, "--tls-max", "1.2", URL]),
    ("TLS 1.3", 0, "200 1.1", [*OWN, *PASSWORD, "--tlsv1.3", URL]),
    ("a Unix socket", 0, "200 1.1", [*PASSWORD, "--unix-socket", socket, "http://exporter/metrics"]),
    ("a Unix socket without a password", 22, "401 1.1", ["--unix-socket", socket, "http://exporter/metrics"]),
    ("TLS 1.1", 35, "", [*OWN, *PASSWORD, "--tls-max", "1.1", URL]),
    ("a wrong authority of the server", 60, "", [*OWN[2:], *PASSWORD, "--cacert", "foreign.crt", URL]),
    ("no client certificate", 56, "", [*OWN[:2], *PASSWORD, URL]),
    ("a certificate of another authority", 56, "", [*OWN[:2], *PASSWORD, "--cert", "spy.crt", "--key", "spy.key", URL]),
    ("a name that is not allowed", 56, "", [*OWN[:2], *PASSWORD, "--cert", "stranger.crt", "--key", "stranger.key", URL]),
    ("a server's certificate", 56, "", [*OWN[:2], *PASSWORD, "--cert", "server.crt", "--key", "server.key", URL]),
    ("no password", 22, "401", [*OWN, URL]),
    ("a wrong password", 22, "401", [*OWN, "--user", "prometheus:guess", URL]),
    ("an unknown user", 22, "401", [*OWN, "--user", "mallory:correct horse battery", URL]),
    ("plain HTTP", 22, "400", [*PASSWORD, f"http://localhost:{port}/metrics"]),
]:
    status, head, output = curl(*arguments)
    check(f"curl with {what}", status == expected and (head.startswith(seen) or expected in (35, 56, 60)), (status, output))
if has_ipv6:
    six = re.search(r"address=\[::1\]:([0-9]+)", exporter.log_text()).group(1)
    status, head, output = curl(*OWN, *PASSWORD, f"https://[::1]:{six}/metrics")
    check("curl over IPv6", (status, head) == (0, "200 1.1"), output)

CLIENT = ["openssl", "s_client", "-connect", exporter.address, "-CAfile", "ca.crt", "-verify_return_error", "-brief",
          "-cert", "prometheus.crt", "-key", "prometheus.key"]
for what, accepted, arguments in [
    ("TLS 1.3", True, ["-tls1_3"]),
    ("TLS 1.2", True, ["-tls1_2"]),
    ("TLS 1.1", False, ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]),
    ("TLS 1.0", False, ["-tls1", "-cipher", "ALL:@SECLEVEL=0"]),
    ("a suite with CBC", False, ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"]),
    ("a suite without forward secrecy", False, ["-tls1_2", "-cipher", "AES128-GCM-SHA256"]),
]:
    status, output = run(*CLIENT, *arguments)
    check(f"openssl with {what}", (status == 0) == accepted, (status, output))

Path("password").write_text("correct horse battery", encoding="utf-8")


def job(name, certificate="prometheus", password="password_file: password", more=""):
    return f"""
  - job_name: {name}
    scheme: https
    {more}
    tls_config: {{ca_file: ca.crt, cert_file: {certificate}.crt, key_file: {certificate}.key, server_name: localhost}}
    basic_auth: {{username: prometheus, {password}}}
    static_configs: [{{targets: ["{exporter.address}"]}}]
"""


Path("prometheus.yml").write_text(
    "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:"
    + job("http2")
    + job("http1", more="enable_http2: false")
    + job("stranger", certificate="stranger")
    + job("guess", password="password: guess"),
    encoding="utf-8",
)
prometheus = Server("prometheus-web", WORK, [PROMETHEUS, f"--config.file={DIRECTORY}/prometheus.yml", f"--storage.tsdb.path={WORK}/tsdb-web"], "--web.listen-address")
prometheus.start()
# Prometheus listens before it answers queries.
wait_for("Prometheus is ready", lambda: "Server is ready" in prometheus.log_text())
wait_for("both jobs are up", lambda: all(value(prometheus.url, f'up{{job="{job}"}}') == 1 for job in ["http1", "http2"]))
start = time.time()


def served_serial():
    """Returns the serial number of the served certificate."""
    _, output = run("openssl", "s_client", "-connect", exporter.address, text="")
    return run("openssl", "x509", "-noout", "-serial", text=output)[1].strip()


failed_connections, connections = [], 0
for number in range(ROTATIONS):
    before = served_serial()
    issue("ca", "next", SERVER_NAMES, "serverAuth")
    # Replace certificate and key one after the other, like the tools of issuers.
    os.replace("next.crt", "server.crt")
    time.sleep(0.3)
    os.replace("next.key", "server.key")
    deadline = time.monotonic() + 30
    while served_serial() == before and time.monotonic() < deadline:
        status, head, output = curl(*OWN, *PASSWORD, URL)
        connections += 1
        if (status, head) != (0, "200 1.1"):
            failed_connections.append(output)
    check(f"rotation {number}", served_serial() != before)
check("no connection fails while certificates are replaced", not failed_connections, failed_connections)
check("there were connections during the rotations", connections > ROTATIONS, connections)

passed_seconds = int(time.time() - start)
for name in ["http1", "http2"]:
    of = f'{{job="{name}"}}[{passed_seconds}s]'
    check(f"no scrape of {name} fails", value(prometheus.url, f"min_over_time(up{of})") == 1)
    scrapes = value(prometheus.url, f"count_over_time(up{of})")
    check(f"{name} was scraped regularly", scrapes >= passed_seconds * 0.8, (scrapes, passed_seconds))
    check(f"{name} has integrations", value(prometheus.url, f'count(aws_glue_integration_info{{job="{name}"}})') > 1)
with urllib.request.urlopen(f"{prometheus.url}/api/v1/targets", timeout=30) as response:
    targets = {target["labels"]["job"]: target for target in json.load(response)["data"]["activeTargets"]}
for name, error in [("stranger", "tls: "), ("guess", "401 Unauthorized")]:
    target = targets[name]
    check(f"{name} is rejected", target["health"] == "down" and error in target["lastError"], target)
log = exporter.log_text()
check("the log has no warnings or errors", "handshake" not in log and "level=ERROR" not in log and "level=WARN" not in log, log[-2000:])
for reason in ["the client sent no certificate", "issued by an unknown authority", "no name of the certificate is in client_allowed_sans"]:
    check(f"the rejection is logged with its reason: {reason}", f'reason="{reason}"' in log, log[-2000:])
check("every new certificate was loaded", log.count("reloaded the web configuration") >= ROTATIONS, log[-2000:])
prometheus.stop()
exporter.stop()
check("the socket was removed", not os.path.exists(socket))
print(f"  {passed_seconds} s of scrapes over TLS, {connections} other connections, {ROTATIONS} certificates")
finish()
