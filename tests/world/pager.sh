# shellcheck shell=bash
# Part of `run`: what is seen of an integration that fails, on a pager and on a dashboard.

# From a status to a webhook, by the rules that are shipped.
end_to_end() {
  prove end_to_end.py "$binary" "$work/bin" deploy/prometheus/alerts.yaml "$work"
}

# With the README's own ports, in a network namespace of its own.
fire_drill() {
  local as=(as_root env PYTHONDONTWRITEBYTECODE=1 AWS_EC2_METADATA_DISABLED=true AWS_ACCESS_KEY_ID="$AWS_ACCESS_KEY_ID"
    AWS_SECRET_ACCESS_KEY="$AWS_SECRET_ACCESS_KEY" AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null NO_PROXY=localhost,127.0.0.1
    no_proxy=localhost,127.0.0.1 unshare --net)
  mkdir "$work/drill"
  prove fire_drill.py "$binary" "$work/bin" deploy/prometheus/alerts.yaml README.md "$work/drill"
  as_root rm -rf "$work/drill"
}

# The schemas of the oldest Grafana that it is for, and of the newest that the SDK has.
dashboard() {
  local board
  [[ -d $tools/grafana-10.1 ]] || "$python" -m pip install -q --disable-pip-version-check --no-deps --target "$tools/grafana-10.1" \
    'grafana-foundation-sdk==1769699998!10.1.0'
  for board in deploy/grafana/*.json; do
    prove grafana.py "$board"
    PYTHONPATH=$tools/grafana-10.1 prove grafana.py "$board"
    prove dashboard.py "$binary" "$tools/prometheus/usr/bin/prometheus" "$board" "$work"
  done
}

# The same by Prometheus 3, whose ranges leave their first moment out, and its Alertmanager.
prometheus_3() {
  local newer=$work/prometheus-3 board
  [[ -d $tools/prometheus-3 ]] || fetch_prometheus_3
  programs "$newer/bin" "$tools/prometheus-3" "$tools/prometheus-3"
  "$newer/bin/prometheus" --version 2>&1 | sed -n '1s/^/  /p'
  prove alerts.py "$binary" "$newer/bin" "$newer"
  prove end_to_end.py "$binary" "$newer/bin" deploy/prometheus/alerts.yaml "$newer"
  for board in deploy/grafana/*.json; do
    prove dashboard.py "$binary" "$newer/bin/prometheus" "$board" "$newer"
  done
  prove web.py "$binary" "$newer/bin/prometheus" "$newer"
}

# From the Debian that has it, by the mirror that this one uses; with lists of its own, so that the machine's packages stay what they are.
fetch_prometheus_3() {
  local release=forky apt=$work/apt codename mirror package
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  # shellcheck disable=SC2016 # apt-get fills these in.
  mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' | sed -n "s/^$codename //p" | head -n 1)
  [[ $mirror ]] || { echo "apt-get does not say where the packages of $codename come from"; return 1; }
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/root"
  printf 'deb %s %s main\n' "$mirror" "$release" >"$apt/sources.list"
  local get=(apt-get -qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$apt/lists"
    -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
  "${get[@]}" update
  (cd "$apt" && "${get[@]}" download prometheus promtool prometheus-alertmanager)
  for package in "$apt"/*.deb; do dpkg-deb -x "$package" "$apt/root"; done
  mv "$apt/root" "$tools/prometheus-3"
}
