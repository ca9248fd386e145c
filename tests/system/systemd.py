"""Checks the Debian package with dpkg and systemd, from the installation to the purge. `machine` boots a Debian with systemd as PID 1 and only a
loopback interface.

Usage: systemd.py PACKAGE ROOT    (ROOT: a directory with a minimal Debian and the dependencies of the package)
"""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from processes import die_with_parent
from checks import check, finish, wait_for
from doc_blocks import code_blocks, commands, section

PACKAGE, ROOT = sys.argv[1:3]
NAME = "glue-integration-exporter"
SERVICE, SOCKET = f"{NAME}.service", f"{NAME}.socket"
CONFIG, DEFAULTS = f"/etc/{NAME}/config.yaml", f"/etc/default/{NAME}"
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
MAX_EXPOSURE = 1.5
WATCHDOG_SECONDS = 3
POLLED = "polling: {interval: 10s}\nstorage: {path: /var/lib/glue-integration-exporter/state}\n"
ONE = POLLED + "scopes: [{name: one, regions: [eu-west-1]}]\n"
TWO = POLLED + "scopes: [{name: one, regions: [eu-west-1]}, {name: two, regions: [us-east-1]}]\n"
UNCHANGING = "arn:aws:glue:eu-west-1:111122223333:integration:4d5c6b7a-8190-4a2b-b3c4-d5e6f7081905"
SINCE = (
    'aws_glue_integration_status_since_timestamp_seconds{aws_account_id="111122223333",aws_region="eu-west-1",'
    f'integration_arn="{UNCHANGING}"}}'
)
HANG = '{"Kind": "Hang"}'
# Completes a command line as bash does.
COMPLETE = f"""
source /usr/share/bash-completion/completions/{NAME}
COMP_WORDS=({NAME} "$@") COMP_CWORD=$#
_glue__integration__exporter {NAME} "${{COMP_WORDS[-1]}}" "${{COMP_WORDS[-2]}}"
echo "${{COMPREPLY[@]}}"
"""


def processes_below(pid):
    for children in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(children, encoding="ascii") as listed:
            for child in listed.read().split():
                yield int(child)
                yield from processes_below(child)


def init_of(machine):
    """Returns the host PID of the machine's systemd, or None while it has not started."""
    for pid in processes_below(machine.pid):
        try:
            with open(f"/proc/{pid}/status", encoding="ascii") as status:
                text = status.read()
        except FileNotFoundError:
            continue
        if re.search(r"^Name:\tsystemd$", text, re.M) and re.search(r"^NSpid:\t\d+\t1$", text, re.M):
            return pid
    if machine.poll() is not None:
        with open(f"{ROOT}.log", encoding="utf-8") as log:
            sys.exit(f"FAILED the machine did not boot\n{log.read()}")
    return None


class Machine:
    def __init__(self):
        command = [*AS_ROOT, "bash", os.path.join(os.path.dirname(__file__), "machine"), ROOT]
        with open(f"{ROOT}.log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
        self.init = wait_for("systemd is PID 1", lambda: init_of(self.process))
        wait_for("the machine has started", lambda: self.output("systemctl", "is-system-running") == "running")

    def run(self, *command, text=None, namespaces="-a"):
        """Runs a command in the machine. Returns (exit code, stdout and stderr)."""
        done = subprocess.run(
            [*AS_ROOT, "nsenter", "-t", str(self.init), namespaces, *command],
            input=text or "", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        )
        return done.returncode, done.stdout

    def output(self, *command):
        return self.run(*command)[1].strip()

    def must(self, what, *command, **options):
        code, output = self.run(*command, **options)
        check(what, code == 0, f"{command}: {code}\n{output}")
        return output

    def write(self, path, text):
        self.must(f"write {path}", "tee", path, text=text)

    def property(self, unit, name):
        return self.output("systemctl", "show", "-P", name, unit)

    def get(self, path, *arguments, port=10058):
        """Sends a request with the curl of the host in the network of the machine. Returns (success, body)."""
        command = ["curl", "-sS", "--max-time", "20", "--fail-with-body", *arguments, f"http://127.0.0.1:{port}{path}"]
        code, output = self.run(*command, namespaces="-n")
        return code == 0, output

    def value(self, series):
        found = re.search(rf"^{re.escape(series)} (.*)$", self.get("/metrics")[1], re.M)
        return found and float(found[1])

    def up(self, scope, region):
        return self.value(f'glue_integration_exporter_scope_up{{scope="{scope}",aws_region="{region}"}}')

    def files(self):
        """Returns all files with mode, owner and size, without logs and files of this boot."""
        output = self.must("list the files", "find", "/", "-xdev", "-printf", r"%p %M %U:%G %s\n")
        ignored = re.compile(r"/(root|tmp|var/(tmp|log|cache)|var/lib/(dpkg|systemd)|mnt|run)\b|/etc/(g?shadow|group|\.pwd)|/\.cache|/$")
        return {line for line in output.splitlines() if not line.startswith("/ ") and not ignored.match(line.split(" ")[0])}

    def end(self):
        if self.process.poll() is None:
            subprocess.run([*AS_ROOT, "kill", "-KILL", str(self.init)], check=True)
            self.process.wait(30)


def package_with_version(version, config=None):
    """Builds the package again with another version and, optionally, another default configuration."""
    tree, path = f"{ROOT}.package", f"{ROOT}/root/{version}.deb"
    subprocess.run(["dpkg-deb", "-R", PACKAGE, tree], check=True)
    with open(f"{tree}/DEBIAN/control", encoding="utf-8") as control:
        text = re.sub(r"^Version: .*$", f"Version: {version}", control.read(), flags=re.M)
    with open(f"{tree}/DEBIAN/control", "w", encoding="utf-8") as control:
        control.write(text)
    if config:
        with open(f"{tree}{CONFIG}", "w", encoding="utf-8") as shipped:
            shipped.write(config)
    subprocess.run([*AS_ROOT, "dpkg-deb", "--root-owner-group", "-Z", "none", "-b", tree, path], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return f"/root/{version}.deb"


def check_installation(m):
    m.must("dpkg installs the package", "dpkg", "-i", "/root/package.deb")
    states = [m.output("systemctl", ask, unit) for ask in ("is-enabled", "is-active") for unit in (SERVICE, SOCKET)]
    check("the service is enabled and started, the socket is not", states == ["enabled", "disabled", "active", "inactive"], states)
    owners = m.output("stat", "-c", "%U:%G %a", CONFIG)
    check("the group can read the configuration", owners == f"root:{NAME} 640", owners)
    check("without AWS, scope_up is 0", wait_for("scope_up is exported", lambda: m.up("default", "us-east-1") is not None) and m.up("default", "us-east-1") == 0)
    status = wait_for("a status line", lambda: (text := m.property(SERVICE, "StatusText")).startswith("0 of 1 pairs of scope and region up; ") and text)
    check("systemctl status shows the status line", status in m.output("systemctl", "status", "--no-pager", "-l", SERVICE), status)
    check("/proc/stat is readable", m.value("process_start_time_seconds") is not None)


def check_completions(m):
    for words, expected in (["ch"], "check"), (["check", "--on"], "--online"), (["iam", "--log.level", "d"], "debug"):
        output = m.output("bash", "-c", COMPLETE, "bash", *words)
        check(f"bash completes {words}", output == expected, output)


def check_hardening(m):
    findings = m.must("systemd-analyze verify", "systemd-analyze", "verify", SERVICE, SOCKET)
    check("systemd-analyze verify reports nothing", not findings, findings)
    score = m.must("systemd-analyze security", "systemd-analyze", "security", "--offline=true", "--no-pager", SERVICE)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", score)
    print(f"  systemd-analyze security: exposure {exposure and exposure[1]}, at most {MAX_EXPOSURE}")
    check("exposure", exposure and float(exposure[1]) <= MAX_EXPOSURE, score)
    check("ProcSubset", m.property(SERVICE, "ProcSubset") == "all")
    pid = m.property(SERVICE, "MainPID")
    status = m.must("read /proc/PID/status", "cat", f"/proc/{pid}/status")
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        check(f"the process has {line}", line in status, status)
    group = m.output("getent", "group", NAME).split(":")[2]
    check("the process has the static group and a dynamic user", f"Gid:\t{group}\t" in status and m.run("grep", "glue-exporter", "/etc/passwd")[0] == 1)
    limits = m.must("read /proc/PID/limits", "cat", f"/proc/{pid}/limits")
    soft, hard = re.search(r"^Max open files +(\d+) +(\d+)", limits, re.M).groups()
    check("the soft limit of open files equals the hard limit", soft == hard, limits)


def check_configuration(m):
    m.must("start the simulator", "systemd-run", "-q", "--unit=simulator", f"/usr/bin/{NAME}", "simulate")
    m.write("/root/credentials", "[default]\naws_access_key_id = AKIAEXPORTER\naws_secret_access_key = not-a-secret\n")
    m.must("install the credentials", *f"install -m 0640 -o root -g {NAME} /root/credentials /etc/{NAME}/aws-credentials".split())
    environment = f"AWS_SHARED_CREDENTIALS_FILE=/etc/{NAME}/aws-credentials\nAWS_ENDPOINT_URL_GLUE=http://127.0.0.1:10059\n"
    m.write(DEFAULTS, f'ARGS="--log.level=debug"\n{environment}')
    m.write(CONFIG, ONE)
    m.must("check", NAME, "check", f"--config.file={CONFIG}")
    m.must("create the drop-in directory", "mkdir", f"/etc/systemd/system/{SERVICE}.d")
    m.write(f"/etc/systemd/system/{SERVICE}.d/watchdog.conf", f"[Service]\nWatchdogSec={WATCHDOG_SECONDS}\n")
    m.must("reload the units", "systemctl", "daemon-reload")
    m.must("restart", "systemctl", "restart", SERVICE)
    wait_for("scope_up is 1", lambda: m.up("one", "eu-west-1") == 1)
    command = m.output("cat", f"/proc/{m.property(SERVICE, 'MainPID')}/cmdline")
    check("ARGS of the environment file are passed as flags", "--log.level=debug" in command, command)
    since = m.value(SINCE)
    m.must("restart", "systemctl", "restart", SERVICE)
    check("the state survives a restart", since and m.value(SINCE) == since, since)
    return environment


def check_reloads(m):
    pid = m.property(SERVICE, "MainPID")
    m.write(CONFIG, TWO)
    m.must("reload", "systemctl", "reload", SERVICE)
    wait_for("the new scope is polled", lambda: m.up("two", "us-east-1") == 1)
    m.write(CONFIG, TWO + "surprise: 1\n")
    m.must("reload an invalid configuration", "systemctl", "reload", SERVICE)
    status = wait_for("the status line reports the failed reload", lambda: (text := m.property(SERVICE, "StatusText")).startswith("Last reload failed") and text)
    check("the status line names the error", f"{CONFIG}:4:1" in status and "surprise" in status, status)
    wait_for("the reload is over", lambda: m.property(SERVICE, "ActiveState") == "active")
    check("the old configuration is still active", m.up("two", "us-east-1") == 1)
    m.write(CONFIG, ONE)
    m.must("reload", "systemctl", "reload", SERVICE)
    wait_for("the second scope is gone", lambda: m.up("two", "us-east-1") is None and m.up("one", "eu-west-1") == 1)
    check("the process is the same", m.property(SERVICE, "MainPID") == pid)


def check_watchdog(m):
    m.must("let AWS hang", "curl", "-fsS", "-X", "POST", "-d", HANG, "http://127.0.0.1:10059/simulator/faults", namespaces="-n")
    m.must("restart", "systemctl", "restart", SERVICE)
    check("the service is active while AWS hangs, but not ready", m.property(SERVICE, "ActiveState") == "active" and not m.get("/-/ready")[0])
    began = time.monotonic()
    wait_for("three times the watchdog timeout", lambda: time.monotonic() - began > 3 * WATCHDOG_SECONDS)
    states = [m.property(SERVICE, what) for what in ("ActiveState", "NRestarts", "WatchdogUSec")]
    check("the watchdog is fed while AWS hangs", states == ["active", "0", f"{WATCHDOG_SECONDS}s"], states)
    m.must("let AWS answer", "curl", "-fsS", "-X", "DELETE", "http://127.0.0.1:10059/simulator/faults", namespaces="-n")

    for number, (name, what) in enumerate((("STOP", "watchdog"), ("KILL", "signal")), 1):
        pid = m.property(SERVICE, "MainPID")
        began = time.monotonic()
        m.must(name, "kill", f"-{name}", pid)
        restarted = wait_for(f"a new process after SIG{name}", lambda pid=pid: (new := m.property(SERVICE, "MainPID")) not in ("0", pid) and new)
        wait_for("the service is active", lambda: m.property(SERVICE, "ActiveState") == "active")
        wait_for("the exporter serves", lambda: m.get("/-/healthy")[0])
        check(f"restarted once by {what}", m.property(SERVICE, "NRestarts") == str(number), restarted)
        print(f"  serves again {time.monotonic() - began:.1f} s after SIG{name}, with WatchdogSec={WATCHDOG_SECONDS}")
    journal = m.output("journalctl", "-u", SERVICE, "--no-pager")
    check("the journal names the watchdog", "Watchdog timeout" in journal, journal)


def check_start_after_invalid_configuration(m):
    m.write(CONFIG, "scopes: []\n")
    check("a start with an invalid configuration fails", m.run("systemctl", "restart", SERVICE)[0] != 0)
    check("the journal names the error", f"{CONFIG}:1:" in m.output("journalctl", "-u", SERVICE, "-n", "30", "--no-pager"))
    m.write(CONFIG, ONE)
    wait_for("the service starts without a command", lambda: m.property(SERVICE, "ActiveState") == "active")


def check_socket_activation(m, environment):
    m.must("set --web.systemd-socket", "sed", "-i", 's/^ARGS=.*/ARGS="--web.systemd-socket"/', DEFAULTS)
    m.must("stop", "systemctl", "stop", SERVICE)
    m.must("enable the socket", "systemctl", "enable", "--now", SOCKET)
    check("the service is inactive before the first connection", m.property(SERVICE, "ActiveState") == "inactive")
    check("a connection starts the service and gets a response", m.get("/-/healthy")[0] and m.property(SERVICE, "ActiveState") == "active")
    request = "curl -sS -o /dev/null --max-time 20 http://127.0.0.1:10058/-/healthy || exit 1"
    scraper = subprocess.Popen(
        [*AS_ROOT, "nsenter", "-t", str(m.init), "-n", "bash", "-c", f"trap 'done=1' TERM; until [[ $done ]]; do {request}; done"],
        preexec_fn=die_with_parent,
    )
    for _ in range(3):
        m.must("restart", "systemctl", "restart", SERVICE)
    scraper.terminate()
    check("every connection gets a response during restarts", scraper.wait(30) == 0)
    m.must("create the drop-in directory", "mkdir", f"/etc/systemd/system/{SOCKET}.d")
    lines = f"[Socket]\nListenStream=\nListenStream=/run/{NAME}.sock\nSocketGroup=www-data\nSocketMode=0660\n"
    m.write(f"/etc/systemd/system/{SOCKET}.d/unix.conf", lines)
    m.must("reload the units", "systemctl", "daemon-reload")
    m.must("stop", "systemctl", "stop", SERVICE, SOCKET)
    m.must("listen on a Unix socket", "systemctl", "start", SOCKET, SERVICE)
    check("the socket belongs to the group of the proxy", m.output("stat", "-c", "%U:%G %a", f"/run/{NAME}.sock") == "root:www-data 660")
    check("the exporter serves only on the Unix socket", m.get("/-/healthy", "--unix-socket", f"/proc/{m.init}/root/run/{NAME}.sock")[0] and not m.get("/-/healthy")[0])
    m.must("disable the socket", "systemctl", "disable", "--now", SOCKET)
    m.must("remove the drop-in", "rm", "-r", f"/etc/systemd/system/{SOCKET}.d")
    m.must("reload the units", "systemctl", "daemon-reload")
    m.write(DEFAULTS, f'ARGS=""\n{environment}')
    m.must("restart", "systemctl", "restart", SERVICE)
    check("the exporter listens on its own port again", wait_for("the exporter serves", lambda: m.get("/-/healthy")[0]))


def check_load_credential(m):
    """Checks the statements of docs/install/systemd.md: a reload does not update a LoadCredential file, but reads other files again."""
    copy, path = f"/run/credentials/{SERVICE}/external-id", f"/etc/{NAME}/external-id"
    m.write("/root/external-id", "first")
    m.must("set the mode", "chmod", "600", "/root/external-id")
    m.write(f"/etc/systemd/system/{SERVICE}.d/credential.conf", "[Service]\nLoadCredential=external-id:/root/external-id\n")
    m.must("reload the units", "systemctl", "daemon-reload")
    scope = "{name: role, regions: [eu-west-1], role_arn: 'arn:aws:iam::111122223333:role/reader', external_id_file: %s}"
    m.write(CONFIG, POLLED + "scopes: [" + scope % copy + "]\n")
    m.must("start with a credential", "systemctl", "restart", SERVICE)
    credential = lambda: m.output("cat", f"/proc/{m.property(SERVICE, 'MainPID')}/root{copy}")
    check("the credential is readable although only root can read the file", credential() == "first")
    m.write("/root/external-id", "second")
    m.must("reload", "systemctl", "reload", SERVICE)
    check("a reload does not update the credential", credential() == "first")
    m.must("restart", "systemctl", "restart", SERVICE)
    check("a restart updates the credential", credential() == "second")

    m.write(path, "by-path")
    m.must("set the group", "chgrp", NAME, path)
    m.must("set the mode", "chmod", "640", path)
    m.write(CONFIG, POLLED + "scopes: [" + scope % path + "]\n")
    m.must("reload", "systemctl", "reload", SERVICE)
    successful = "glue_integration_exporter_config_last_reload_successful"
    wait_for("the reload reads the file", lambda: m.value(successful) == 1)
    m.write(path, "")
    m.must("reload", "systemctl", "reload", SERVICE)
    wait_for("a reload reads the file again", lambda: m.value(successful) == 0 and path in m.property(SERVICE, "StatusText"))
    m.write(CONFIG, ONE)
    m.must("restart", "systemctl", "restart", SERVICE)
    m.must("remove own files", "rm", path, f"/etc/systemd/system/{SERVICE}.d/credential.conf")
    m.must("reload the units", "systemctl", "daemon-reload")


def check_upgrades(m):
    pid = m.property(SERVICE, "MainPID")
    m.must("upgrade", "dpkg", "-i", package_with_version("99.1"))
    check("the upgrade keeps the edited configuration without a question", m.output("cat", CONFIG) == ONE.strip())
    wait_for("the service is active", lambda: m.property(SERVICE, "ActiveState") == "active")
    check("the new version runs", m.property(SERVICE, "MainPID") != pid)
    m.must("upgrade", "dpkg", "--force-confold", "-i", package_with_version("99.2", "# Another one.\n" + ONE))
    check("the upgrade keeps the configuration although the package has another one", m.output("cat", CONFIG) == ONE.strip())
    check("the upgrade keeps owner and mode", m.output("stat", "-c", "%U:%G %a", CONFIG) == f"root:{NAME} 640")
    check("the new configuration is stored as .dpkg-dist", m.output("head", "-n", "1", f"{CONFIG}.dpkg-dist") == "# Another one.")
    wait_for("scope_up is 1", lambda: m.up("one", "eu-west-1") == 1)
    m.must("disable", "systemctl", "disable", "--now", SERVICE)
    m.must("upgrade", "dpkg", "-i", package_with_version("99.3", "# Another one.\n" + ONE))
    states = [m.output("systemctl", ask, SERVICE) for ask in ("is-enabled", "is-active")]
    check("an upgrade does not enable or start a disabled service", states == ["disabled", "inactive"], states)
    m.must("enable", "systemctl", "enable", "--now", SERVICE)


def check_removal_and_purge(m, before):
    m.must("remove", "dpkg", "-r", NAME)
    check("the service is inactive", m.property(SERVICE, "ActiveState") == "inactive" and not m.get("/-/healthy")[0])
    check("a removal keeps the configuration", m.output("cat", CONFIG) == ONE.strip())
    m.must("reinstall", "dpkg", "-i", "/root/99.3.deb")
    wait_for("the reinstalled service has its configuration", lambda: m.up("one", "eu-west-1") == 1)
    # The administrator created these files, so the purge keeps them.
    m.must("remove own files", "rm", "-r", f"/etc/{NAME}/aws-credentials", f"/etc/systemd/system/{SERVICE}.d")
    m.must("purge", "dpkg", "--purge", NAME)
    left = m.files() ^ before
    check("a purge removes all files", not left, sorted(left))
    check("a purge keeps the group", m.run("getent", "group", NAME)[0] == 0)
    check("systemd no longer knows the service", m.property(SERVICE, "LoadState") == "not-found")


def check_manual_installation(m):
    """Runs the commands of docs/install/systemd.md in a checkout, without the package."""
    checkout, page = "/root/checkout", "docs/install/systemd.md"
    m.must("unpack", "dpkg-deb", "-x", "/root/package.deb", "/root/unpacked")
    m.must("create the checkout", "mkdir", "-p", f"{checkout}/target/release", f"{checkout}/deploy/systemd", "/root/.aws")
    m.must("build the program", "cp", f"/root/unpacked/usr/bin/{NAME}", f"{checkout}/target/release")
    for path in glob.glob("deploy/systemd/*"):
        with open(path, encoding="utf-8") as file:
            m.write(f"{checkout}/{path}", file.read())
    m.write(f"{checkout}/config.yaml", next(code_blocks(section(page, "2. Write a configuration"), "yaml")))
    m.must("write the credentials", "cp", "/root/credentials", "/root/.aws")

    def follow(title):
        for command in commands(section(page, title), "#"):
            if command.startswith("journalctl"):
                continue
            code, output = m.run("bash", "-euc", f"cd {checkout}\n{command}")
            check(f"{command} works", code == 0, f"{code}\n{output}")

    follow("3. Install the files")
    m.must("set the endpoint", "bash", "-c", f"echo AWS_ENDPOINT_URL=http://127.0.0.1:10059 >>{DEFAULTS}")
    for title in "4. Give it AWS credentials", "5. Check it", "6. Start it", "Change the configuration", "Upgrade":
        follow(title)
    wait_for("scope_up is 1", lambda: m.up("analytics", "eu-west-1") == 1)
    status = wait_for("a status line", lambda: (text := m.property(SERVICE, "StatusText")).startswith("1 of 1 pairs of scope and region up; ") and text)
    check("systemctl status shows the status line", status in m.output("systemctl", "status", "--no-pager", "-l", SERVICE), status)


def main():
    shutil.copy(PACKAGE, f"{ROOT}/root/package.deb")
    m = Machine()
    try:
        before = m.files()
        check_installation(m)
        check_completions(m)
        check_hardening(m)
        environment = check_configuration(m)
        check_reloads(m)
        check_watchdog(m)
        check_start_after_invalid_configuration(m)
        check_socket_activation(m, environment)
        check_load_credential(m)
        check_upgrades(m)
        check_removal_and_purge(m, before)
        check_manual_installation(m)
    finally:
        m.end()
    finish()


signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
main()
