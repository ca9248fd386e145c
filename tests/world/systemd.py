"""The Debian package on a machine of its own, with Debian's own systemd as PID 1: what dpkg and systemd do with it, from the installation to
the purge. `machine` boots it; its only network is a loopback interface of its own.

    systemd.py PACKAGE ROOT     ROOT: a directory with a minimal Debian and what the package depends on
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
from world import check, finish, wait_for

PACKAGE, ROOT = sys.argv[1:3]
NAME = "glue-integration-exporter"
SERVICE, SOCKET = f"{NAME}.service", f"{NAME}.socket"
CONFIG, DEFAULTS = f"/etc/{NAME}/config.yaml", f"/etc/default/{NAME}"
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
MOST_EXPOSURE = 1.5
WATCHDOG = 3
POLLED = "polling: {interval: 10s}\nstorage: {path: /var/lib/glue-integration-exporter/state}\n"
ONE = POLLED + "scopes: [{name: one, regions: [eu-west-1]}]\n"
TWO = POLLED + "scopes: [{name: one, regions: [eu-west-1]}, {name: two, regions: [us-east-1]}]\n"
STILL = "arn:aws:glue:eu-west-1:111122223333:integration:4d5c6b7a-8190-4a2b-b3c4-d5e6f7081905"
SINCE = (
    'aws_glue_integration_status_since_timestamp_seconds{aws_account_id="111122223333",aws_region="eu-west-1",'
    f'integration_arn="{STILL}"}}'
)
HANG = '{"Kind": "Hang"}'


def processes_below(pid):
    for children in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(children, encoding="ascii") as listed:
            for child in listed.read().split():
                yield int(child)
                yield from processes_below(child)


def init_of(machine):
    """PID 1 of the machine, as the host numbers it, once systemd has become it."""
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
            sys.exit(f"FAILED the machine does not boot\n{log.read()}")
    return None


class Machine:
    def __init__(self):
        command = [*AS_ROOT, "bash", os.path.join(os.path.dirname(__file__), "machine"), ROOT]
        with open(f"{ROOT}.log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
        self.init = wait_for("systemd is PID 1", lambda: init_of(self.process))
        wait_for("the machine has started", lambda: self.tells("systemctl", "is-system-running") == "running")

    def run(self, *command, text=None, namespaces="-a"):
        """(exit code, stdout and stderr)"""
        done = subprocess.run(
            [*AS_ROOT, "nsenter", "-t", str(self.init), namespaces, *command],
            input=text or "", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        )
        return done.returncode, done.stdout

    def tells(self, *command):
        return self.run(*command)[1].strip()

    def does(self, what, *command, **options):
        code, output = self.run(*command, **options)
        check(what, code == 0, f"{command}: {code}\n{output}")
        return output

    def write(self, path, text):
        self.does(f"write {path}", "tee", path, text=text)

    def shows(self, unit, what):
        return self.tells("systemctl", "show", "-P", what, unit)

    def get(self, path, *arguments, port=10058):
        """(whether it was answered well, body): curl of the host in the network of the machine."""
        command = ["curl", "-sS", "--max-time", "20", "--fail-with-body", *arguments, f"http://127.0.0.1:{port}{path}"]
        code, output = self.run(*command, namespaces="-n")
        return code == 0, output

    def value(self, series):
        found = re.search(rf"^{re.escape(series)} (.*)$", self.get("/metrics")[1], re.M)
        return found and float(found[1])

    def up(self, scope, region):
        return self.value(f'glue_integration_exporter_scope_up{{scope="{scope}",aws_region="{region}"}}')

    def files(self):
        """Whatever is on its disk, with what says that it was changed; not what is of this boot alone, or a log."""
        output = self.does("list the files", "find", "/", "-xdev", "-printf", r"%p %M %U:%G %s\n")
        passing = re.compile(r"/(root|tmp|var/(tmp|log|cache)|var/lib/(dpkg|systemd)|mnt|run)\b|/etc/(g?shadow|group|\.pwd)|/\.cache|/$")
        return {line for line in output.splitlines() if not line.startswith("/ ") and not passing.match(line.split(" ")[0])}

    def end(self):
        if self.process.poll() is None:
            subprocess.run([*AS_ROOT, "kill", "-KILL", str(self.init)], check=True)
            self.process.wait(30)


def another_version(version, config=None):
    """The same package with a later version, and with another configuration if told so."""
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


def is_installed_enabled_and_started(m):
    m.does("dpkg installs the package", "dpkg", "-i", "/root/package.deb")
    states = [m.tells("systemctl", ask, unit) for ask in ("is-enabled", "is-active") for unit in (SERVICE, SOCKET)]
    check("the service is enabled and started, the socket neither", states == ["enabled", "disabled", "active", "inactive"], states)
    owners = m.tells("stat", "-c", "%U:%G %a", CONFIG)
    check("the configuration is for the group to read", owners == f"root:{NAME} 640", owners)
    check("without AWS it says that it sees nothing", wait_for("a page", lambda: m.up("default", "us-east-1") is not None) and m.up("default", "us-east-1") == 0)
    status = wait_for("a status line", lambda: (text := m.shows(SERVICE, "StatusText")).startswith("0 of 1 pairs of scope and region up; ") and text)
    check("so does systemctl status", status in m.tells("systemctl", "status", "--no-pager", "-l", SERVICE), status)
    check("/proc/stat is not hidden", m.value("process_start_time_seconds") is not None)


def is_hardened(m):
    complaints = m.does("systemd-analyze verify", "systemd-analyze", "verify", SERVICE, SOCKET)
    check("systemd-analyze verify has no complaint", not complaints, complaints)
    score = m.does("systemd-analyze security", "systemd-analyze", "security", "--offline=true", "--no-pager", SERVICE)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", score)
    print(f"  systemd-analyze security: exposure {exposure and exposure[1]}, at most {MOST_EXPOSURE}")
    check("exposure", exposure and float(exposure[1]) <= MOST_EXPOSURE, score)
    check("ProcSubset", m.shows(SERVICE, "ProcSubset") == "all")
    pid = m.shows(SERVICE, "MainPID")
    status = m.does("its status", "cat", f"/proc/{pid}/status")
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        check(f"{line} of the process", line in status, status)
    group = m.tells("getent", "group", NAME).split(":")[2]
    check("its group is the static one, its user none of the machine's", f"Gid:\t{group}\t" in status and m.run("grep", "glue-exporter", "/etc/passwd")[0] == 1)
    limits = m.does("its limits", "cat", f"/proc/{pid}/limits")
    soft, hard = re.search(r"^Max open files +(\d+) +(\d+)", limits, re.M).groups()
    check("its limit of open files is the hard one", soft == hard, limits)


def is_configured_and_started(m):
    m.does("start the simulator", "systemd-run", "-q", "--unit=simulator", f"/usr/bin/{NAME}", "simulate")
    m.write("/root/credentials", "[default]\naws_access_key_id = AKIAEXPORTER\naws_secret_access_key = not-a-secret\n")
    m.does("its keys", *f"install -m 0640 -o root -g {NAME} /root/credentials /etc/{NAME}/aws-credentials".split())
    environment = f"AWS_SHARED_CREDENTIALS_FILE=/etc/{NAME}/aws-credentials\nAWS_ENDPOINT_URL_GLUE=http://127.0.0.1:10059\n"
    m.write(DEFAULTS, f'ARGS="--log.level=debug"\n{environment}')
    m.write(CONFIG, ONE)
    m.does("check", NAME, "check", f"--config.file={CONFIG}")
    m.does("make room for a drop-in", "mkdir", f"/etc/systemd/system/{SERVICE}.d")
    m.write(f"/etc/systemd/system/{SERVICE}.d/watchdog.conf", f"[Service]\nWatchdogSec={WATCHDOG}\n")
    m.does("read the units again", "systemctl", "daemon-reload")
    m.does("restart", "systemctl", "restart", SERVICE)
    wait_for("AWS is seen", lambda: m.up("one", "eu-west-1") == 1)
    command = m.tells("cat", f"/proc/{m.shows(SERVICE, 'MainPID')}/cmdline")
    check("ARGS of the environment file are flags", "--log.level=debug" in command, command)
    since = m.value(SINCE)
    m.does("restart", "systemctl", "restart", SERVICE)
    check("the state outlives a restart", since and m.value(SINCE) == since, since)
    return environment


def reloads(m):
    pid = m.shows(SERVICE, "MainPID")
    m.write(CONFIG, TWO)
    m.does("reload", "systemctl", "reload", SERVICE)
    wait_for("the new scope is polled", lambda: m.up("two", "us-east-1") == 1)
    m.write(CONFIG, TWO + "surprise: 1\n")
    m.does("reload what is wrong", "systemctl", "reload", SERVICE)
    refused = wait_for("the refusal is told", lambda: (text := m.shows(SERVICE, "StatusText")).startswith("Last reload failed") and text)
    check("the refusal names the mistake", f"{CONFIG}:4:1" in refused and "surprise" in refused, refused)
    wait_for("the reload is over", lambda: m.shows(SERVICE, "ActiveState") == "active")
    check("the old configuration goes on", m.up("two", "us-east-1") == 1)
    m.write(CONFIG, ONE)
    m.does("reload", "systemctl", "reload", SERVICE)
    wait_for("the second scope is gone", lambda: m.up("two", "us-east-1") is None and m.up("one", "eu-west-1") == 1)
    check("it is the same process", m.shows(SERVICE, "MainPID") == pid)


def is_watched(m):
    m.does("let AWS hang", "curl", "-fsS", "-X", "POST", "-d", HANG, "http://127.0.0.1:10059/simulator/faults", namespaces="-n")
    m.does("restart", "systemctl", "restart", SERVICE)
    check("it is ready while AWS hangs", m.shows(SERVICE, "ActiveState") == "active" and not m.get("/-/ready")[0])
    began = time.monotonic()
    wait_for("three times the watchdog's time", lambda: time.monotonic() - began > 3 * WATCHDOG)
    states = [m.shows(SERVICE, what) for what in ("ActiveState", "NRestarts", "WatchdogUSec")]
    check("no beat is missed while AWS hangs", states == ["active", "0", f"{WATCHDOG}s"], states)
    m.does("let AWS answer", "curl", "-fsS", "-X", "DELETE", "http://127.0.0.1:10059/simulator/faults", namespaces="-n")

    for number, (name, what) in enumerate((("STOP", "watchdog"), ("KILL", "signal")), 1):
        pid = m.shows(SERVICE, "MainPID")
        began = time.monotonic()
        m.does(name, "kill", f"-{name}", pid)
        restarted = wait_for(f"a new process after SIG{name}", lambda pid=pid: (new := m.shows(SERVICE, "MainPID")) not in ("0", pid) and new)
        wait_for("it is ready", lambda: m.shows(SERVICE, "ActiveState") == "active")
        wait_for("it serves", lambda: m.get("/-/healthy")[0])
        check(f"restarted once by {what}", m.shows(SERVICE, "NRestarts") == str(number), restarted)
        print(f"  serves again {time.monotonic() - began:.1f} s after SIG{name}, with WatchdogSec={WATCHDOG}")
    journal = m.tells("journalctl", "-u", SERVICE, "--no-pager")
    check("the journal says that it was the watchdog", "Watchdog timeout" in journal, journal)


def starts_once_the_configuration_is_right(m):
    m.write(CONFIG, "scopes: []\n")
    check("a start with a mistake fails", m.run("systemctl", "restart", SERVICE)[0] != 0)
    check("the journal names the mistake", f"{CONFIG}:1:" in m.tells("journalctl", "-u", SERVICE, "-n", "30", "--no-pager"))
    m.write(CONFIG, ONE)
    wait_for("it starts by itself", lambda: m.shows(SERVICE, "ActiveState") == "active")


def takes_the_socket(m, environment):
    m.does("take the socket", "sed", "-i", 's/^ARGS=.*/ARGS="--web.systemd-socket"/', DEFAULTS)
    m.does("stop", "systemctl", "stop", SERVICE)
    m.does("enable the socket", "systemctl", "enable", "--now", SOCKET)
    check("nothing runs before somebody connects", m.shows(SERVICE, "ActiveState") == "inactive")
    check("a connection starts it and is answered", m.get("/-/healthy")[0] and m.shows(SERVICE, "ActiveState") == "active")
    asks = "curl -sS -o /dev/null --max-time 20 http://127.0.0.1:10058/-/healthy || exit 1"
    scraper = subprocess.Popen(
        [*AS_ROOT, "nsenter", "-t", str(m.init), "-n", "bash", "-c", f"trap 'done=1' TERM; until [[ $done ]]; do {asks}; done"],
        preexec_fn=die_with_parent,
    )
    for _ in range(3):
        m.does("restart", "systemctl", "restart", SERVICE)
    scraper.terminate()
    check("every connection is answered while it restarts", scraper.wait(30) == 0)
    m.does("make room for a drop-in", "mkdir", f"/etc/systemd/system/{SOCKET}.d")
    lines = f"[Socket]\nListenStream=\nListenStream=/run/{NAME}.sock\nSocketGroup=www-data\nSocketMode=0660\n"
    m.write(f"/etc/systemd/system/{SOCKET}.d/unix.conf", lines)
    m.does("read the units again", "systemctl", "daemon-reload")
    m.does("stop", "systemctl", "stop", SERVICE, SOCKET)
    m.does("listen on a Unix socket", "systemctl", "start", SOCKET, SERVICE)
    check("it is the proxy's to use", m.tells("stat", "-c", "%U:%G %a", f"/run/{NAME}.sock") == "root:www-data 660")
    check("it answers there and nowhere else", m.get("/-/healthy", "--unix-socket", f"/proc/{m.init}/root/run/{NAME}.sock")[0] and not m.get("/-/healthy")[0])
    m.does("disable the socket", "systemctl", "disable", "--now", SOCKET)
    m.does("remove the drop-in", "rm", "-r", f"/etc/systemd/system/{SOCKET}.d")
    m.does("read the units again", "systemctl", "daemon-reload")
    m.write(DEFAULTS, f'ARGS=""\n{environment}')
    m.does("restart", "systemctl", "restart", SERVICE)
    check("it listens by itself again", wait_for("it serves", lambda: m.get("/-/healthy")[0]))


def loads_credentials_at_a_start_only(m):
    """What the README says about LoadCredential, and that a file which is read by its path is read again."""
    copy, path = f"/run/credentials/{SERVICE}/external-id", f"/etc/{NAME}/external-id"
    m.write("/root/external-id", "first")
    m.does("its mode", "chmod", "600", "/root/external-id")
    m.write(f"/etc/systemd/system/{SERVICE}.d/credential.conf", "[Service]\nLoadCredential=external-id:/root/external-id\n")
    m.does("read the units again", "systemctl", "daemon-reload")
    scope = "{name: role, regions: [eu-west-1], role_arn: 'arn:aws:iam::111122223333:role/reader', external_id_file: %s}"
    m.write(CONFIG, POLLED + "scopes: [" + scope % copy + "]\n")
    m.does("start with a credential", "systemctl", "restart", SERVICE)
    sees = lambda: m.tells("cat", f"/proc/{m.shows(SERVICE, 'MainPID')}/root{copy}")
    check("it can be read where only root can read the file", sees() == "first")
    m.write("/root/external-id", "second")
    m.does("reload", "systemctl", "reload", SERVICE)
    check("a reload does not renew the copy", sees() == "first")
    m.does("restart", "systemctl", "restart", SERVICE)
    check("a restart does", sees() == "second")

    m.write(path, "by-path")
    m.does("its group", "chgrp", NAME, path)
    m.does("its mode", "chmod", "640", path)
    m.write(CONFIG, POLLED + "scopes: [" + scope % path + "]\n")
    m.does("reload", "systemctl", "reload", SERVICE)
    successful = "glue_integration_exporter_config_last_reload_successful"
    wait_for("it is read by its path", lambda: m.value(successful) == 1)
    m.write(path, "")
    m.does("reload", "systemctl", "reload", SERVICE)
    wait_for("a reload reads it again", lambda: m.value(successful) == 0 and path in m.shows(SERVICE, "StatusText"))
    m.write(CONFIG, ONE)
    m.does("restart", "systemctl", "restart", SERVICE)
    m.does("remove own files", "rm", path, f"/etc/systemd/system/{SERVICE}.d/credential.conf")
    m.does("read the units again", "systemctl", "daemon-reload")


def outlives_upgrades(m):
    pid = m.shows(SERVICE, "MainPID")
    m.does("upgrade", "dpkg", "-i", another_version("99.1"))
    check("the edited configuration is kept, nobody asked", m.tells("cat", CONFIG) == ONE.strip())
    wait_for("it runs", lambda: m.shows(SERVICE, "ActiveState") == "active")
    check("the new version runs", m.shows(SERVICE, "MainPID") != pid)
    m.does("upgrade", "dpkg", "--force-confold", "-i", another_version("99.2", "# Another one.\n" + ONE))
    check("it is kept where the package has another one", m.tells("cat", CONFIG) == ONE.strip())
    check("its owner too", m.tells("stat", "-c", "%U:%G %a", CONFIG) == f"root:{NAME} 640")
    check("the other one lies beside it", m.tells("head", "-n", "1", f"{CONFIG}.dpkg-dist") == "# Another one.")
    wait_for("AWS is seen", lambda: m.up("one", "eu-west-1") == 1)
    m.does("disable", "systemctl", "disable", "--now", SERVICE)
    m.does("upgrade", "dpkg", "-i", another_version("99.3", "# Another one.\n" + ONE))
    states = [m.tells("systemctl", ask, SERVICE) for ask in ("is-enabled", "is-active")]
    check("an upgrade neither enables nor starts what was disabled", states == ["disabled", "inactive"], states)
    m.does("enable", "systemctl", "enable", "--now", SERVICE)


def is_removed_and_purged(m, before):
    m.does("remove", "dpkg", "-r", NAME)
    check("nothing runs", m.shows(SERVICE, "ActiveState") == "inactive" and not m.get("/-/healthy")[0])
    check("a removal keeps the configuration", m.tells("cat", CONFIG) == ONE.strip())
    m.does("reinstall", "dpkg", "-i", "/root/99.3.deb")
    wait_for("it runs as it did", lambda: m.up("one", "eu-west-1") == 1)
    # What an administrator made is the administrator's to remove.
    m.does("remove own files", "rm", "-r", f"/etc/{NAME}/aws-credentials", f"/etc/systemd/system/{SERVICE}.d")
    m.does("purge", "dpkg", "--purge", NAME)
    left = m.files() ^ before
    check("a purge leaves nothing", not left, sorted(left))
    check("but the group", m.run("getent", "group", NAME)[0] == 0)
    check("systemd has forgotten it", m.shows(SERVICE, "LoadState") == "not-found")


def can_be_installed_by_hand(m):
    m.does("unpack", "dpkg-deb", "-x", "/root/package.deb", "/root/unpacked")
    m.does("the program", "cp", f"/root/unpacked/usr/bin/{NAME}", "/usr/bin")
    m.does("the units", "cp", *(f"/root/unpacked/usr/lib/systemd/system/{unit}" for unit in (SERVICE, SOCKET)), "/etc/systemd/system")
    m.does("the group", "install", "-D", "-m", "0644", f"/root/unpacked/usr/lib/sysusers.d/{NAME}.conf", f"/etc/sysusers.d/{NAME}.conf")
    m.does("systemd-sysusers", "systemd-sysusers")
    m.does("the configuration", *f"install -D -m 0640 -o root -g {NAME} /root/unpacked{CONFIG} {CONFIG}".split())
    m.does("read the units again", "systemctl", "daemon-reload")
    m.does("enable and start", "systemctl", "enable", "--now", NAME)
    check("it runs by hand", m.shows(SERVICE, "ActiveState") == "active" and m.get("/-/healthy")[0])


def main():
    shutil.copy(PACKAGE, f"{ROOT}/root/package.deb")
    m = Machine()
    try:
        before = m.files()
        is_installed_enabled_and_started(m)
        is_hardened(m)
        environment = is_configured_and_started(m)
        reloads(m)
        is_watched(m)
        starts_once_the_configuration_is_right(m)
        takes_the_socket(m, environment)
        loads_credentials_at_a_start_only(m)
        outlives_upgrades(m)
        is_removed_and_purged(m, before)
        can_be_installed_by_hand(m)
    finally:
        m.end()
    finish()


signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
main()
