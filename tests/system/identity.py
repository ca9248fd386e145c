"""Fake AWS services around a pod: the credential endpoints at their real addresses, and a Glue endpoint with TLS."""

import http.server
import json
import subprocess
import threading

CREDENTIALS = {"AccessKeyId": "AKIAPOD", "SecretAccessKey": "not-a-secret", "Token": "t", "Expiration": "2099-01-01T00:00:00Z", "Code": "Success"}
# Received requests: (address, path), or ("sts", form).
requests = []


class Credentials(http.server.BaseHTTPRequestHandler):
    """The EC2 metadata service, EKS Pod Identity, the ECS agent and STS. The address of the connection selects the service."""

    def respond(self, status, text):
        body = (text if isinstance(text, str) else json.dumps(text)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        self.respond(200, "a-token")

    def do_GET(self):
        address = self.connection.getsockname()[0]
        requests.append((address, self.path))
        if address == "169.254.170.23":
            allowed = self.headers["Authorization"] == "the-pods-token"
            self.respond(*(200, CREDENTIALS) if allowed else (401, "no token"))
        elif address == "169.254.169.254" and self.headers["x-aws-ec2-metadata-token"] != "a-token":
            self.respond(401, "IMDSv1 is disabled")
        else:
            self.respond(200, "node" if self.path.endswith("security-credentials/") else CREDENTIALS)

    def do_POST(self):
        requests.append(("sts", self.rfile.read(int(self.headers["Content-Length"])).decode()))
        fields = "".join(f"<{key}>{value}</{key}>" for key, value in {
            "AccessKeyId": "AKIAPOD", "SecretAccessKey": "not-a-secret", "SessionToken": "t", "Expiration": "2099-01-01T00:00:00Z"}.items())
        self.respond(200, '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>'
                         f"<Credentials>{fields}</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>")

    def log_message(self, *_):
        pass


def listen():
    """Listens on the real addresses, on the loopback interface of an isolated network namespace."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in "169.254.169.254", "169.254.170.2", "169.254.170.23":
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    for port in 80, 8080:
        server = http.server.ThreadingHTTPServer(("0.0.0.0", port), Credentials)
        threading.Thread(target=server.serve_forever, daemon=True).start()


class Account(http.server.BaseHTTPRequestHandler):
    """An account without integrations, behind TLS."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass
