"""Runs pods and ECS tasks on one machine without a cluster. Each container has its own namespaces, the file system of its image, and its
volumes, user, arguments and probes. All containers share one network namespace, like the containers of a pod.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))


class Image:
    """An image: a directory with the file system, the entry point, the command and the user."""

    def __init__(self, root, entrypoint, command=(), user="65532:65532"):
        self.root, self.entrypoint, self.command, self.user = root, list(entrypoint), list(command), user


class Container:
    """A running container. `mounts` are [directory, path, read only]."""

    count = 0

    def __init__(self, work, name, image, command, environment, mounts, user, groups=()):
        Container.count += 1
        self.name = f"{name}-{Container.count}"
        self.root, self.log = f"{work}/{self.name}.root", f"{work}/{self.name}.log"
        subprocess.run(["cp", "-a", image.root, self.root], check=True)
        os.makedirs(f"{self.root}/etc", exist_ok=True)
        with open(f"{self.root}/etc/hosts", "w", encoding="utf-8") as file:
            file.write("127.0.0.1 localhost\n")
        uid, _, gid = str(user).partition(":")
        self.work = work
        self.specification = {
            "root": self.root, "mounts": mounts, "uid": int(uid), "gid": int(gid or uid), "groups": list(groups),
            "environment": {"PATH": "/usr/bin:/bin", **environment}, "command": command,
        }
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self._command_line(command), stdout=log, stderr=log)

    def _command_line(self, command):
        file = f"{self.work}/{self.name}-{abs(hash(tuple(command)))}.json"
        with open(file, "w", encoding="utf-8") as out:
            json.dump({**self.specification, "command": command}, out)
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", sys.executable, f"{HERE}/contain.py", file]

    def run(self, *command):
        """Runs another program in the environment of this container, like a health check. Returns (exit code, output)."""
        done = subprocess.run(self._command_line(list(command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        return done.returncode, done.stdout

    def pid(self):
        """Returns the PID of the program in the PID namespace of this script."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            return int(file.read().split()[0])

    def status(self, field):
        """Returns a field of /proc/PID/status of the program."""
        with open(f"/proc/{self.pid()}/status", encoding="ascii") as file:
            return next(line.split(":")[1].split() for line in file if line.startswith(f"{field}:"))

    def stop(self, seconds):
        """Sends SIGTERM and returns the exit code, or None after the timeout."""
        os.kill(self.pid(), signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self):
        """Kills PID 1 of the PID namespace, which ends all processes of the container."""
        if self.process.poll() is None:
            os.kill(self.pid(), signal.SIGKILL)
            self.process.wait()

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()


def get(url, timeout=30):
    """Returns (status, body), with status 0 if the connection fails."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return 0, ""


class Pod:
    """A pod that is started from a pod spec, as a kubelet does it."""

    count = 0

    def __init__(self, work, name, spec, images, objects, environment, volumes=None):
        """`objects` is the data of ConfigMaps and Secrets by (kind, name). `volumes` are persistent volumes by name."""
        Pod.count += 1
        self.work, self.name, self.spec, self.images = work, name, spec, images
        self.objects, self.environment = objects, environment
        self.volumes = {} if volumes is None else volumes
        self.group = spec["securityContext"].get("fsGroup", 0)
        for volume in spec.get("volumes", []):
            self._volume(volume)
        self.containers = {of["name"]: self.start(of) for of in spec["containers"]}

    def _directory(self, name):
        path = self.volumes.setdefault(name, f"{self.work}/pod-{Pod.count}-{name}")
        os.makedirs(path, exist_ok=True)
        os.chown(path, 0, self.group)
        # With an fsGroup, the kubelet gives the group the permissions of the owner.
        os.chmod(path, 0o2775)
        return path

    def _volume(self, volume):
        name = volume["name"]
        for source, key, kind in ("configMap", "name", "ConfigMap"), ("secret", "secretName", "Secret"):
            if source in volume:
                path = self._directory(name)
                for file, text in self.objects[kind, volume[source][key]].items():
                    with open(f"{path}/{file}", "w", encoding="utf-8") as out:
                        out.write(text)
                    os.chown(f"{path}/{file}", 0, self.group)
                    os.chmod(f"{path}/{file}", volume[source].get("defaultMode", 0o644))
                return
        assert volume.get("emptyDir") == {}, volume
        self._directory(name)

    def start(self, of):
        image = self.images[of["image"].split("@")[0].split(":")[0].rsplit("/", 1)[-1]]
        environment = dict(self.environment)
        for variable in of.get("env", []):
            value = variable.get("value")
            if value is None:
                assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}, variable
                value = self.name
            environment[variable["name"]] = value
        context = {**self.spec["securityContext"], **of["securityContext"]}
        assert context["readOnlyRootFilesystem"] and context["capabilities"] == {"drop": ["ALL"]}, context
        assert context["runAsNonRoot"] and not context["allowPrivilegeEscalation"], context
        # Volumes of claims are defined in the StatefulSet, not in the pod spec.
        mounts = [[self._mounted(mount["name"]), mount["mountPath"], mount.get("readOnly", False)] for mount in of["volumeMounts"]]
        user = f"{context['runAsUser']}:{context.get('runAsGroup', context['runAsUser'])}"
        return Container(self.work, of["name"], image, image.entrypoint + of.get("args", image.command), environment, mounts, user, [self.group])

    def _mounted(self, name):
        return self.volumes.get(name) or self._directory(name)

    def probe(self, container, which):
        """Runs a probe like the kubelet. Returns True if it succeeds."""
        of = next(of for of in self.spec["containers"] if of["name"] == container)
        if "exec" in of[which]:
            return self.containers[container].run(*of[which]["exec"]["command"])[0] == 0
        request = of[which]["httpGet"]
        port = next(port["containerPort"] for port in of["ports"] if port["name"] == request["port"])
        return get(f"{request.get('scheme', 'HTTP').lower()}://127.0.0.1:{port}{request['path']}", of[which].get("timeoutSeconds", 1))[0] == 200

    def until(self, container, which, seconds):
        """Waits for a probe. Returns False if it did not succeed in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.probe(container, which):
                return True
            if self.containers[container].process.poll() is not None:
                break
            time.sleep(0.1)
        print(f"{self.name}: {which} of {container} failed:", self.containers[container].log_text()[-2000:])
        return False

    def restart(self, container):
        """Restarts a container like after a crash: it keeps the volumes, but gets a new file system."""
        self.containers[container].kill()
        self.containers[container] = self.start(next(of for of in self.spec["containers"] if of["name"] == container))

    def end(self):
        for container in self.containers.values():
            container.kill()


def image_with(root, *programs):
    """Creates a file system with programs, given as (source path, path in the image), and their shared libraries."""
    shutil.rmtree(root, ignore_errors=True)
    for source, path in programs:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        shutil.copy2(source, root + path)
        linked = subprocess.run(["ldd", source], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        for library in (word for word in linked.split() if word.startswith("/")):
            os.makedirs(os.path.dirname(root + library), exist_ok=True)
            shutil.copy2(os.path.realpath(library), root + library)
    os.makedirs(f"{root}/tmp", exist_ok=True)
    return root
