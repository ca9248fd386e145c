"""What runs pods and tasks as they are written, on one machine without a cluster: each container in namespaces of its own over the file
system of its image, with its volumes, user, arguments and probes. All of a run share one network namespace, as a pod's containers do.
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
    """A directory with the file system, and what the image says of its start."""

    def __init__(self, root, entrypoint, command=(), user="65532:65532"):
        self.root, self.entrypoint, self.command, self.user = root, list(entrypoint), list(command), user


class Container:
    """One that runs. `mounts` are [directory, path, read only]."""

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
        self.of = {
            "root": self.root, "mounts": mounts, "uid": int(uid), "gid": int(gid or uid), "groups": list(groups),
            "environment": {"PATH": "/usr/bin:/bin", **environment}, "command": command,
        }
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self._started(command), stdout=log, stderr=log)

    def _started(self, command):
        file = f"{self.work}/{self.name}-{abs(hash(tuple(command)))}.json"
        with open(file, "w", encoding="utf-8") as out:
            json.dump({**self.of, "command": command}, out)
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", sys.executable, f"{HERE}/contain.py", file]

    def run(self, *command):
        """Runs another program with all that this container has, as a health check is: (exit code, what it said)."""
        done = subprocess.run(self._started(list(command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        return done.returncode, done.stdout

    def pid(self):
        """The program's, as seen from outside."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            return int(file.read().split()[0])

    def status(self, field):
        """A field of the program's /proc/PID/status."""
        with open(f"/proc/{self.pid()}/status", encoding="ascii") as file:
            return next(line.split(":")[1].split() for line in file if line.startswith(f"{field}:"))

    def stop(self, seconds):
        """Asks it to stop; its exit code, None if it takes longer."""
        os.kill(self.pid(), signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self):
        """All of it: with its first process everything in its PID namespace ends."""
        if self.process.poll() is None:
            os.kill(self.pid(), signal.SIGKILL)
            self.process.wait()

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()


def get(url, timeout=30):
    """(status, body); 0 while nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return 0, ""


class Pod:
    """A pod's template, as a kubelet reads it."""

    count = 0

    def __init__(self, work, name, spec, images, objects, environment, volumes=None):
        """`objects` has the data of ConfigMaps and Secrets by (kind, name); `volumes` keeps what outlives this pod, by name."""
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
        # With a group of the pod's, the kubelet gives it what the owner has.
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
        # A claim's volume comes from the StatefulSet, not from the pod's template.
        mounts = [[self._mounted(mount["name"]), mount["mountPath"], mount.get("readOnly", False)] for mount in of["volumeMounts"]]
        user = f"{context['runAsUser']}:{context.get('runAsGroup', context['runAsUser'])}"
        return Container(self.work, of["name"], image, image.entrypoint + of.get("args", image.command), environment, mounts, user, [self.group])

    def _mounted(self, name):
        return self.volumes.get(name) or self._directory(name)

    def probe(self, container, which):
        """Whether a probe succeeds, which runs as the kubelet would run it."""
        of = next(of for of in self.spec["containers"] if of["name"] == container)
        if "exec" in of[which]:
            return self.containers[container].run(*of[which]["exec"]["command"])[0] == 0
        asked = of[which]["httpGet"]
        port = next(port["containerPort"] for port in of["ports"] if port["name"] == asked["port"])
        return get(f"{asked.get('scheme', 'HTTP').lower()}://127.0.0.1:{port}{asked['path']}", of[which].get("timeoutSeconds", 1))[0] == 200

    def until(self, container, which, seconds):
        """Waits for a probe; whether it succeeded in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.probe(container, which):
                return True
            if self.containers[container].process.poll() is not None:
                break
            time.sleep(0.1)
        print(f"{self.name}: {container} is not {which}:", self.containers[container].said()[-2000:])
        return False

    def restart(self, container):
        """As after a crash: the volumes stay, the container's own file system does not."""
        self.containers[container].kill()
        self.containers[container] = self.start(next(of for of in self.spec["containers"] if of["name"] == container))

    def end(self):
        for container in self.containers.values():
            container.kill()


def image_with(root, *programs):
    """A file system of these programs and the libraries that they are linked with: [path on this machine, path there]."""
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
