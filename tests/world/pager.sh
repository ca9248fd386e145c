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
