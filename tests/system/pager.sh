# shellcheck shell=bash
# Part of `run`: the steps for notifications and dashboards.

# From a changed status to a webhook, with the shipped alert rules.
end_to_end() {
  run_checks end_to_end.py "$binary" "$work/bin" deploy/prometheus/alerts.yaml "$work"
}

# Runs in its own network namespace, because it uses the ports of the page.
fire_drill() {
  local as=(as_root env PYTHONDONTWRITEBYTECODE=1 AWS_EC2_METADATA_DISABLED=true AWS_ACCESS_KEY_ID="$AWS_ACCESS_KEY_ID"
    AWS_SECRET_ACCESS_KEY="$AWS_SECRET_ACCESS_KEY" AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null NO_PROXY=localhost,127.0.0.1
    no_proxy=localhost,127.0.0.1 unshare --net)
  mkdir "$work/drill"
  run_checks fire_drill.py "$binary" "$work/bin" deploy/prometheus/alerts.yaml docs/fire-drill.md "$work/drill"
  as_root rm -rf "$work/drill"
}

# Checks against the schemas of the oldest supported Grafana and of the newest one in the SDK.
dashboard() {
  local board
  [[ -d $tools/grafana-10.1 ]] || "$python" -m pip install -q --disable-pip-version-check --no-deps --target "$tools/grafana-10.1" \
    'grafana-foundation-sdk==1769699998!10.1.0'
  for board in deploy/grafana/*.json; do
    run_checks grafana.py "$board"
    PYTHONPATH=$tools/grafana-10.1 run_checks grafana.py "$board"
    run_checks dashboard.py "$binary" "$tools/prometheus/usr/bin/prometheus" "$board" "$work"
  done
}

# The same checks with Prometheus 3 and its Alertmanager. Its range selectors exclude the first moment of a range.
prometheus_3() {
  local newer=$work/prometheus-3 board
  [[ -d $tools/prometheus-3 ]] || fetch_prometheus_3
  link_programs "$newer/bin" "$tools/prometheus-3" "$tools/prometheus-3"
  "$newer/bin/prometheus" --version 2>&1 | sed -n '1s/^/  /p'
  run_checks alerts.py "$binary" "$newer/bin" "$newer"
  run_checks end_to_end.py "$binary" "$newer/bin" deploy/prometheus/alerts.yaml "$newer"
  for board in deploy/grafana/*.json; do
    run_checks dashboard.py "$binary" "$newer/bin/prometheus" "$board" "$newer"
  done
  run_checks web.py "$binary" "$newer/bin/prometheus" "$newer"
}

# Downloads the packages of a newer Debian release from this machine's mirror. It uses separate package lists, so that the packages of the
# machine do not change.
fetch_prometheus_3() {
  local release=forky apt=$work/apt codename mirror package
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  # shellcheck disable=SC2016 # apt-get expands these variables.
  mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' | sed -n "s/^$codename //p" | head -n 1)
  [[ $mirror ]] || { echo "apt-get reports no mirror for the packages of $codename"; return 1; }
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/root"
  printf 'deb %s %s main\n' "$mirror" "$release" >"$apt/sources.list"
  local get=(apt-get -qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$apt/lists"
    -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
  "${get[@]}" update
  (cd "$apt" && "${get[@]}" download prometheus promtool prometheus-alertmanager)
  for package in "$apt"/*.deb; do dpkg-deb -x "$package" "$apt/root"; done
  mv "$apt/root" "$tools/prometheus-3"
}
