# shellcheck shell=bash
# Part of `run`: what is seen of an integration that fails, on a pager and on a dashboard.

# From a status to a webhook, by the rules that are shipped; `alerts` has put the programs together.
end_to_end() {
  prove end_to_end.py "$binary" "$work/bin" deploy/prometheus/alerts.yaml "$work"
}
