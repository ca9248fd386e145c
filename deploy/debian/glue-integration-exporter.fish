# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_glue_integration_exporter_global_optspecs
    string join \n config.file= shard.index= shard.total= web.listen-address= web.systemd-socket web.telemetry-path= web.config.file= web.probes-without-auth web.enable-lifecycle log.level= log.format= h/help V/version
end

function __fish_glue_integration_exporter_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    set -l argv (string match --invert -- '-*' $cmd)
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_glue_integration_exporter_using_subcommand
    set -l cmd (__fish_glue_integration_exporter_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -l config.file -d 'The configuration file' -r -F
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -l shard.index -d 'Index of this shard, counted from 0. Default: the ordinal at the end of POD_NAME, or of the host name if POD_NAME is not set' -r
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -l shard.total -d 'Number of exporters that share this configuration, 1 to 1000. Default: this exporter watches everything' -r
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -l web.listen-address -d 'Address to listen on: :port, host:port, [v6]:port or unix:/path. Can be repeated' -r
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -l web.telemetry-path -d 'Path under which to serve the metrics' -r
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -l web.config.file -d 'File that configures TLS, client certificates, basic auth, headers and the rate limit, in the format of Prometheus\' exporters' -r -F
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -l log.level -d 'Log only messages of this level or above' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -l log.format -d 'Format of the log lines' -r -f -a "logfmt\t''
json\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -l web.systemd-socket -d 'Listen on the sockets that systemd passes instead of on addresses'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -l web.probes-without-auth -d 'Exempt /-/healthy and /-/ready from basic auth and the rate limit'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -l web.enable-lifecycle -d 'Reload the configuration on POST /-/reload'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -s V -l version -d 'Print version'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -f -a "check" -d 'Validate the configuration and print what it will watch. Exits with 0, or with 2 and all errors'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -f -a "once" -d 'Poll each scope once and print the metrics on stdout. Exits with 0, or with 1 if any scope failed'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -f -a "demo" -d 'Run the whole exporter on a simulated AWS in the same process. Needs no AWS account and no configuration'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -f -a "simulate" -d 'Run the simulated AWS endpoint alone, for fire drills and tests'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -f -a "iam" -d 'Print the least-privilege IAM policies for the configuration, and the trust policy of each role. Sends no requests. Exits with 0, or with 2 and all errors'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -f -a "health" -d 'Check whether a running exporter is healthy. Exits with 0 if it is, otherwise with 1'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_needs_command" -f -a "completions" -d 'Print the completion script of a shell'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand check" -l config.file -d 'The configuration file' -r -F
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand check" -l web.config.file -d 'File that configures TLS, client certificates, basic auth, headers and the rate limit, in the format of Prometheus\' exporters' -r -F
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand check" -l format -d 'Output format of --online' -r -f -a "table\t''
json\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand check" -l shard.index -d 'Index of this shard, counted from 0. Default: the ordinal at the end of POD_NAME, or of the host name if POD_NAME is not set' -r
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand check" -l shard.total -d 'Number of exporters that share this configuration, 1 to 1000. Default: this exporter watches everything' -r
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand check" -l log.level -d 'Log only messages of this level or above' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand check" -l log.format -d 'Format of the log lines' -r -f -a "logfmt\t''
json\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand check" -l online -d 'Check with AWS whether each scope has the permissions that it needs'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand once" -l config.file -d 'The configuration file' -r -F
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand once" -l shard.index -d 'Index of this shard, counted from 0. Default: the ordinal at the end of POD_NAME, or of the host name if POD_NAME is not set' -r
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand once" -l shard.total -d 'Number of exporters that share this configuration, 1 to 1000. Default: this exporter watches everything' -r
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand once" -l log.level -d 'Log only messages of this level or above' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand once" -l log.format -d 'Format of the log lines' -r -f -a "logfmt\t''
json\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand once" -s h -l help -d 'Print help'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand demo" -l web.listen-address -d 'Address to listen on: :port, host:port, [v6]:port or unix:/path. Can be repeated' -r
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand demo" -l web.telemetry-path -d 'Path under which to serve the metrics' -r
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand demo" -l web.config.file -d 'File that configures TLS, client certificates, basic auth, headers and the rate limit, in the format of Prometheus\' exporters' -r -F
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand demo" -l log.level -d 'Log only messages of this level or above' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand demo" -l log.format -d 'Format of the log lines' -r -f -a "logfmt\t''
json\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand demo" -l web.systemd-socket -d 'Listen on the sockets that systemd passes instead of on addresses'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand demo" -l web.probes-without-auth -d 'Exempt /-/healthy and /-/ready from basic auth and the rate limit'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand demo" -l web.enable-lifecycle -d 'Reload the configuration on POST /-/reload'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand demo" -s h -l help -d 'Print help'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand simulate" -l listen-address -d 'Address that the simulated endpoint listens on' -r
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand simulate" -l log.level -d 'Log only messages of this level or above' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand simulate" -l log.format -d 'Format of the log lines' -r -f -a "logfmt\t''
json\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand simulate" -s h -l help -d 'Print help'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand iam" -l config.file -d 'The configuration file' -r -F
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand iam" -l format -d 'Output format. A CloudFormation template for one account is in deploy/iam/cloudformation.yaml' -r -f -a "json\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand iam" -l log.level -d 'Log only messages of this level or above' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand iam" -l log.format -d 'Format of the log lines' -r -f -a "logfmt\t''
json\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand iam" -l show-external-id -d 'Print external IDs instead of placeholders'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand iam" -s h -l help -d 'Print help'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand health" -l url -d 'URL to request: http://host:port/path, https://host:port/path, or a Unix socket: unix:/socket (for /-/healthy) or unix:/socket:/path. A user:password@ before the host is sent as basic auth' -r
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand health" -l ca-file -d 'CA certificates that verify an https URL. Default: the system\'s; on a loopback address, nothing is verified' -r -F
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand health" -l log.level -d 'Log only messages of this level or above' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand health" -l log.format -d 'Format of the log lines' -r -f -a "logfmt\t''
json\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand health" -s h -l help -d 'Print help'
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand completions" -l log.level -d 'Log only messages of this level or above' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand completions" -l log.format -d 'Format of the log lines' -r -f -a "logfmt\t''
json\t''"
complete -c glue-integration-exporter -n "__fish_glue_integration_exporter_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
