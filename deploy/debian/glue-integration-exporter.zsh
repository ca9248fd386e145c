#compdef glue-integration-exporter

autoload -U is-at-least

_glue-integration-exporter() {
    typeset -A opt_args
    typeset -a _arguments_options
    local ret=1

    if is-at-least 5.2; then
        _arguments_options=(-s -S -C)
    else
        _arguments_options=(-s -C)
    fi

    local context curcontext="$curcontext" state line
    _arguments "${_arguments_options[@]}" : \
'--config.file=[The configuration file]:FILE:_files' \
'--shard.index=[Index of this shard, counted from 0. Default\: the ordinal at the end of POD_NAME, or of the host name if POD_NAME is not set]:N:_default' \
'--shard.total=[Number of exporters that share this configuration, 1 to 1000. Default\: this exporter watches everything]:N:_default' \
'*--web.listen-address=[Address to listen on\: \:port, host\:port, \[v6\]\:port or unix\:/path. Can be repeated]:ADDRESS:_default' \
'--web.telemetry-path=[Path under which to serve the metrics]:PATH:_default' \
'--web.config.file=[File that configures TLS, client certificates, basic auth, headers and the rate limit, in the format of Prometheus'\'' exporters]:FILE:_files' \
'--log.level=[Log only messages of this level or above]:LEVEL:(debug info warn error)' \
'--log.format=[Format of the log lines]:FORMAT:(logfmt json)' \
'--web.systemd-socket[Listen on the sockets that systemd passes instead of on addresses]' \
'--web.probes-without-auth[Exempt /-/healthy and /-/ready from basic auth and the rate limit]' \
'--web.enable-lifecycle[Reload the configuration on POST /-/reload]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
":: :_glue-integration-exporter_commands" \
"*::: :->glue-integration-exporter" \
&& ret=0
    case $state in
    (glue-integration-exporter)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:glue-integration-exporter-command-$line[1]:"
        case $line[1] in
            (check)
_arguments "${_arguments_options[@]}" : \
'--config.file=[The configuration file]:FILE:_files' \
'--web.config.file=[File that configures TLS, client certificates, basic auth, headers and the rate limit, in the format of Prometheus'\'' exporters]:FILE:_files' \
'--format=[Output format of --online]:FORMAT:(table json)' \
'--shard.index=[Index of this shard, counted from 0. Default\: the ordinal at the end of POD_NAME, or of the host name if POD_NAME is not set]:N:_default' \
'--shard.total=[Number of exporters that share this configuration, 1 to 1000. Default\: this exporter watches everything]:N:_default' \
'--log.level=[Log only messages of this level or above]:LEVEL:(debug info warn error)' \
'--log.format=[Format of the log lines]:FORMAT:(logfmt json)' \
'--online[Check with AWS whether each scope has the permissions that it needs]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(once)
_arguments "${_arguments_options[@]}" : \
'--config.file=[The configuration file]:FILE:_files' \
'--shard.index=[Index of this shard, counted from 0. Default\: the ordinal at the end of POD_NAME, or of the host name if POD_NAME is not set]:N:_default' \
'--shard.total=[Number of exporters that share this configuration, 1 to 1000. Default\: this exporter watches everything]:N:_default' \
'--log.level=[Log only messages of this level or above]:LEVEL:(debug info warn error)' \
'--log.format=[Format of the log lines]:FORMAT:(logfmt json)' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(demo)
_arguments "${_arguments_options[@]}" : \
'*--web.listen-address=[Address to listen on\: \:port, host\:port, \[v6\]\:port or unix\:/path. Can be repeated]:ADDRESS:_default' \
'--web.telemetry-path=[Path under which to serve the metrics]:PATH:_default' \
'--web.config.file=[File that configures TLS, client certificates, basic auth, headers and the rate limit, in the format of Prometheus'\'' exporters]:FILE:_files' \
'--log.level=[Log only messages of this level or above]:LEVEL:(debug info warn error)' \
'--log.format=[Format of the log lines]:FORMAT:(logfmt json)' \
'--web.systemd-socket[Listen on the sockets that systemd passes instead of on addresses]' \
'--web.probes-without-auth[Exempt /-/healthy and /-/ready from basic auth and the rate limit]' \
'--web.enable-lifecycle[Reload the configuration on POST /-/reload]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(simulate)
_arguments "${_arguments_options[@]}" : \
'--listen-address=[Address that the simulated endpoint listens on]:IP:PORT:_default' \
'--log.level=[Log only messages of this level or above]:LEVEL:(debug info warn error)' \
'--log.format=[Format of the log lines]:FORMAT:(logfmt json)' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(iam)
_arguments "${_arguments_options[@]}" : \
'--config.file=[The configuration file]:FILE:_files' \
'--format=[Output format. A CloudFormation template for one account is in deploy/iam/cloudformation.yaml]:FORMAT:(json)' \
'--log.level=[Log only messages of this level or above]:LEVEL:(debug info warn error)' \
'--log.format=[Format of the log lines]:FORMAT:(logfmt json)' \
'--show-external-id[Print external IDs instead of placeholders]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(health)
_arguments "${_arguments_options[@]}" : \
'--url=[URL to request\: http\://host\:port/path, https\://host\:port/path, or a Unix socket\: unix\:/socket (for /-/healthy) or unix\:/socket\:/path. A user\:password@ before the host is sent as basic auth]:URL:_default' \
'--ca-file=[CA certificates that verify an https URL. Default\: the system'\''s; on a loopback address, nothing is verified]:FILE:_files' \
'--log.level=[Log only messages of this level or above]:LEVEL:(debug info warn error)' \
'--log.format=[Format of the log lines]:FORMAT:(logfmt json)' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(completions)
_arguments "${_arguments_options[@]}" : \
'--log.level=[Log only messages of this level or above]:LEVEL:(debug info warn error)' \
'--log.format=[Format of the log lines]:FORMAT:(logfmt json)' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':shell:(bash fish zsh)' \
&& ret=0
;;
        esac
    ;;
esac
}

(( $+functions[_glue-integration-exporter_commands] )) ||
_glue-integration-exporter_commands() {
    local commands; commands=(
'check:Validate the configuration and print what it will watch. Exits with 0, or with 2 and all errors' \
'once:Poll each scope once and print the metrics on stdout. Exits with 0, or with 1 if any scope failed' \
'demo:Run the whole exporter on a simulated AWS in the same process. Needs no AWS account and no configuration' \
'simulate:Run the simulated AWS endpoint alone, for fire drills and tests' \
'iam:Print the least-privilege IAM policies for the configuration, and the trust policy of each role. Sends no requests. Exits with 0, or with 2 and all errors' \
'health:Check whether a running exporter is healthy. Exits with 0 if it is, otherwise with 1' \
'completions:Print the completion script of a shell' \
    )
    _describe -t commands 'glue-integration-exporter commands' commands "$@"
}
(( $+functions[_glue-integration-exporter__subcmd__check_commands] )) ||
_glue-integration-exporter__subcmd__check_commands() {
    local commands; commands=()
    _describe -t commands 'glue-integration-exporter check commands' commands "$@"
}
(( $+functions[_glue-integration-exporter__subcmd__completions_commands] )) ||
_glue-integration-exporter__subcmd__completions_commands() {
    local commands; commands=()
    _describe -t commands 'glue-integration-exporter completions commands' commands "$@"
}
(( $+functions[_glue-integration-exporter__subcmd__demo_commands] )) ||
_glue-integration-exporter__subcmd__demo_commands() {
    local commands; commands=()
    _describe -t commands 'glue-integration-exporter demo commands' commands "$@"
}
(( $+functions[_glue-integration-exporter__subcmd__health_commands] )) ||
_glue-integration-exporter__subcmd__health_commands() {
    local commands; commands=()
    _describe -t commands 'glue-integration-exporter health commands' commands "$@"
}
(( $+functions[_glue-integration-exporter__subcmd__iam_commands] )) ||
_glue-integration-exporter__subcmd__iam_commands() {
    local commands; commands=()
    _describe -t commands 'glue-integration-exporter iam commands' commands "$@"
}
(( $+functions[_glue-integration-exporter__subcmd__once_commands] )) ||
_glue-integration-exporter__subcmd__once_commands() {
    local commands; commands=()
    _describe -t commands 'glue-integration-exporter once commands' commands "$@"
}
(( $+functions[_glue-integration-exporter__subcmd__simulate_commands] )) ||
_glue-integration-exporter__subcmd__simulate_commands() {
    local commands; commands=()
    _describe -t commands 'glue-integration-exporter simulate commands' commands "$@"
}

if [ "$funcstack[1]" = "_glue-integration-exporter" ]; then
    _glue-integration-exporter "$@"
else
    compdef _glue-integration-exporter glue-integration-exporter
fi
