# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_logferry_global_optspecs
    string join \n h/help V/version
end

function __fish_logferry_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_logferry_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_logferry_using_subcommand
    set -l cmd (__fish_logferry_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c logferry -n "__fish_logferry_needs_command" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_needs_command" -s V -l version -d 'Print version'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "run" -d 'Run the daemon'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "check" -d 'Check the configuration and say what would run; nothing is started and nothing is touched'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "status" -d 'Show what a running daemon is doing'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "produce" -d 'Write lines to a topic'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "consume" -d 'Print records of topics'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "checkpoints" -d 'Show where each file stands, and change it by hand'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "outputs" -d 'Settle the files of outputs by hand'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "dead-letters" -d 'Show what was set aside, and send it again'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "topics" -d 'Show, make and delete topics'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "groups" -d 'Show consumer groups and what they lag behind, and put their offsets elsewhere'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "partition-of" -d 'Tell which partition each known hash gives a key'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "schema" -d 'Print a JSON Schema of the configuration, for editors'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "man" -d 'Print the manual page'
complete -c logferry -n "__fish_logferry_needs_command" -f -a "completions" -d 'Print completions for a shell'
complete -c logferry -n "__fish_logferry_using_subcommand run" -s c -l config -d 'The configuration' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand run" -l timeout -d 'With --once: give up after this time, like 30s or 10m' -r
complete -c logferry -n "__fish_logferry_using_subcommand run" -l once -d 'Deliver what is there now, print a summary and exit'
complete -c logferry -n "__fish_logferry_using_subcommand run" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand check" -s c -l config -d 'The configuration' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand check" -l local -d 'Also look at this host: globs, permissions, certificates (not built yet)'
complete -c logferry -n "__fish_logferry_using_subcommand check" -l live -d 'Also ask the clusters: topics, rights, limits (not built yet)'
complete -c logferry -n "__fish_logferry_using_subcommand check" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand status" -s c -l config -d 'The configuration of the daemon' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand status" -l watch -d 'Look again every second, until stopped; on a terminal in place'
complete -c logferry -n "__fish_logferry_using_subcommand status" -l json -d 'As JSON, for programs: what /status gives'
complete -c logferry -n "__fish_logferry_using_subcommand status" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand produce" -s b -l brokers -d 'Brokers as HOST:PORT, with commas between several; $LOGFERRY_BROKERS when left out' -r
complete -c logferry -n "__fish_logferry_using_subcommand produce" -s X -d 'A librdkafka property; `key=@FILE` reads the value from a file, $LOGFERRY_X_SASL_PASSWORD is `-X sasl.password=...`' -r
complete -c logferry -n "__fish_logferry_using_subcommand produce" -s c -l config -d 'The configuration that has the cluster' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand produce" -l cluster -d 'The cluster of the configuration; may be left out when there is one' -r
complete -c logferry -n "__fish_logferry_using_subcommand produce" -s t -l topic -d 'The topic' -r
complete -c logferry -n "__fish_logferry_using_subcommand produce" -s K -l key-delimiter -d 'The key stands before the first of these in each line (\\t, \\x1f and the like are understood)' -r
complete -c logferry -n "__fish_logferry_using_subcommand produce" -s k -l key -d 'The key of each record, a template: {host} {line} {file.path} {file.name} {file.dir} {file.offset}' -r
complete -c logferry -n "__fish_logferry_using_subcommand produce" -s H -l header -d 'A header of each record; may be repeated' -r
complete -c logferry -n "__fish_logferry_using_subcommand produce" -s p -l partition -d 'The partition of each record: a number, or a template as for the key that makes one' -r
complete -c logferry -n "__fish_logferry_using_subcommand produce" -l partitioner -d 'How partitions are chosen: murmur2_random (the default, as the Java client), murmur2, consistent_random (as librdkafka), consistent, fnv1a_random (as Sarama), fnv1a, sarama_reference, random, round_robin, sticky, or manual (as --partition says, or the `partition` of each line with --json)' -r
complete -c logferry -n "__fish_logferry_using_subcommand produce" -l acks -d 'Who confirms: all replicas that are in sync, 1 (the leader alone) or 0 (nobody)' -r -f -a "all\t''
-1\t''
1\t''
0\t''"
complete -c logferry -n "__fish_logferry_using_subcommand produce" -s z -l compression -d 'none, gzip, snappy, lz4 or zstd' -r -f -a "none\t''
gzip\t''
snappy\t''
lz4\t''
zstd\t''"
complete -c logferry -n "__fish_logferry_using_subcommand produce" -l timeout -d 'Give up when nothing is acknowledged for this long' -r
complete -c logferry -n "__fish_logferry_using_subcommand produce" -s Z -l null -d 'Empty keys and values are null'
complete -c logferry -n "__fish_logferry_using_subcommand produce" -l json -d 'Lines are records in JSON, as `consume --json` writes them: key, value, headers and timestamp_ms are taken over'
complete -c logferry -n "__fish_logferry_using_subcommand produce" -l sync -d 'One record after another; prints partition, offset and timestamp of each when it is acknowledged'
complete -c logferry -n "__fish_logferry_using_subcommand produce" -s q -l quiet -d 'Say nothing but what went wrong'
complete -c logferry -n "__fish_logferry_using_subcommand produce" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s b -l brokers -d 'Brokers as HOST:PORT, with commas between several; $LOGFERRY_BROKERS when left out' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s X -d 'A librdkafka property; `key=@FILE` reads the value from a file, $LOGFERRY_X_SASL_PASSWORD is `-X sasl.password=...`' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s c -l config -d 'The configuration that has the cluster' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand consume" -l cluster -d 'The cluster of the configuration; may be left out when there is one' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s t -l topic -d 'A topic, or a regular expression that begins with ^; may be repeated' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s p -l partition -d 'Only these partitions, with commas between them' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s g -l group -d 'Read as a member of this group, from where it has committed; what was printed is committed' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s o -l from -d 'Where to begin: beginning, end, an offset, -N (the last N of each partition), -1h (so long ago) or a time; of a group, where it has committed nothing' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -l until -d 'Where to end: end (what is there now), or before an offset or a time; without it, more is waited for' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s n -l count -d 'End after so many records' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -l for -d 'End after this time, like 10s' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s f -l format -d 'How a record is printed: %s value, %k key, %t topic, %p partition, %o offset, %T time, %h headers, %S and %K lengths, \\n \\t \\xHH' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s K -l key-delimiter -d 'Print the key and this before the value' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -l grep -d 'Only records whose value or key matches' -r
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s Z -l null -d 'Print null values and keys as NULL'
complete -c logferry -n "__fish_logferry_using_subcommand consume" -l json -d 'Print each record as a line of JSON, which loses nothing'
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s v -l verbose -d 'Say on standard error what happens: partitions that come and go, and where the end is'
complete -c logferry -n "__fish_logferry_using_subcommand consume" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and not __fish_seen_subcommand_from list reset rename" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and not __fish_seen_subcommand_from list reset rename" -f -a "list" -d 'Show where each file stands'
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and not __fish_seen_subcommand_from list reset rename" -f -a "reset" -d 'Put positions elsewhere, or forget them'
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and not __fish_seen_subcommand_from list reset rename" -f -a "rename" -d 'Give the positions of a renamed input to its new name'
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from list" -s c -l config -d 'The configuration' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from list" -l input -d 'Only this input' -r
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from list" -l json -d 'As JSON, for programs'
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from reset" -s c -l config -d 'The configuration' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from reset" -l input -d 'The input whose positions are meant' -r
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from reset" -l file -d 'Only this file of the input' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from reset" -l to -d 'Where to go on: beginning, end, or the byte at which a line begins' -r
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from reset" -l forget -d 'Forget the positions: without --file the input begins as at its very first start'
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from reset" -l cluster -d 'With --forget: forget the Kafka cluster too, so that the input may begin anew on another one'
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from reset" -l execute -d 'Do it; without this, what would be done is shown'
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from rename" -s c -l config -d 'The configuration' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from rename" -l execute -d 'Do it; without this, what would be done is shown'
complete -c logferry -n "__fish_logferry_using_subcommand checkpoints; and __fish_seen_subcommand_from rename" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand outputs; and not __fish_seen_subcommand_from repair" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand outputs; and not __fish_seen_subcommand_from repair" -f -a "repair" -d 'Settle the ends of files that were written exactly once, and give them their names'
complete -c logferry -n "__fish_logferry_using_subcommand outputs; and __fish_seen_subcommand_from repair" -s c -l config -d 'The configuration' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand outputs; and __fish_seen_subcommand_from repair" -l forget -d 'Kafka knows nothing of the files any more: take them as they are'
complete -c logferry -n "__fish_logferry_using_subcommand outputs; and __fish_seen_subcommand_from repair" -l execute -d 'Do it; without this, what would be done is shown'
complete -c logferry -n "__fish_logferry_using_subcommand outputs; and __fish_seen_subcommand_from repair" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and not __fish_seen_subcommand_from list resend" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and not __fish_seen_subcommand_from list resend" -f -a "list" -d 'Show what was set aside'
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and not __fish_seen_subcommand_from list resend" -f -a "resend" -d 'Send records that were set aside to Kafka again, and remove those that it confirms'
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from list" -s c -l config -d 'The configuration' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from list" -l pipeline -d 'Only those of this input or output; may be given more than once' -r
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from list" -l reason -d 'Only those with this code, such as too_large; may be given more than once' -r
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from list" -l since -d 'Only those set aside since: a time like 2026-11-21T07:00:00Z, or 1h for the last hour' -r
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from list" -l each -d 'One by one instead of in sum'
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from list" -l json -d 'As JSON, for programs; with --each the letters as they stand in the files, one a line'
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from resend" -s c -l config -d 'The configuration, which has the clusters' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from resend" -l pipeline -d 'Only those of this input or output; may be given more than once' -r
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from resend" -l reason -d 'Only those with this code, such as too_large; may be given more than once' -r
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from resend" -l since -d 'Only those set aside since: a time like 2026-11-21T07:00:00Z, or 1h for the last hour' -r
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from resend" -s t -l topic -d 'To this topic instead of the one that each was meant for' -r
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from resend" -l cluster -d 'To this cluster of the configuration instead of that of the input' -r
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from resend" -l timeout -d 'Give up when nothing is acknowledged for this long' -r
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from resend" -l all -d 'Everything that is set aside'
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from resend" -l now -d 'Without the times that records had of their own'
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from resend" -s q -l quiet -d 'Say nothing but what went wrong'
complete -c logferry -n "__fish_logferry_using_subcommand dead-letters; and __fish_seen_subcommand_from resend" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and not __fish_seen_subcommand_from list describe create delete" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and not __fish_seen_subcommand_from list describe create delete" -f -a "list" -d 'Show all topics'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and not __fish_seen_subcommand_from list describe create delete" -f -a "describe" -d 'Show a topic\'s partitions, offsets and configuration'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and not __fish_seen_subcommand_from list describe create delete" -f -a "create" -d 'Make a topic'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and not __fish_seen_subcommand_from list describe create delete" -f -a "delete" -d 'Delete a topic with all its records'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from list" -s b -l brokers -d 'Brokers as HOST:PORT, with commas between several; $LOGFERRY_BROKERS when left out' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from list" -s X -d 'A librdkafka property; `key=@FILE` reads the value from a file, $LOGFERRY_X_SASL_PASSWORD is `-X sasl.password=...`' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from list" -s c -l config -d 'The configuration that has the cluster' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from list" -l cluster -d 'The cluster of the configuration; may be left out when there is one' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from list" -l internal -d 'Also those that Kafka made for itself'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from list" -l json -d 'As JSON, for programs'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from describe" -s b -l brokers -d 'Brokers as HOST:PORT, with commas between several; $LOGFERRY_BROKERS when left out' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from describe" -s X -d 'A librdkafka property; `key=@FILE` reads the value from a file, $LOGFERRY_X_SASL_PASSWORD is `-X sasl.password=...`' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from describe" -s c -l config -d 'The configuration that has the cluster' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from describe" -l cluster -d 'The cluster of the configuration; may be left out when there is one' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from describe" -l json -d 'As JSON, for programs'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from describe" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from create" -s b -l brokers -d 'Brokers as HOST:PORT, with commas between several; $LOGFERRY_BROKERS when left out' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from create" -s X -d 'A librdkafka property; `key=@FILE` reads the value from a file, $LOGFERRY_X_SASL_PASSWORD is `-X sasl.password=...`' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from create" -l cluster -d 'The cluster of the configuration; may be left out when there is one' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from create" -l partitions -d 'How many partitions it has' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from create" -l replication -d 'How many brokers keep each partition; left out: the brokers\' default' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from create" -l config -d 'A setting of the topic, like retention.ms=86400000' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from create" -s c -d 'The configuration that has the cluster' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from create" -l json -d 'As JSON, for programs'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from delete" -s b -l brokers -d 'Brokers as HOST:PORT, with commas between several; $LOGFERRY_BROKERS when left out' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from delete" -s X -d 'A librdkafka property; `key=@FILE` reads the value from a file, $LOGFERRY_X_SASL_PASSWORD is `-X sasl.password=...`' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from delete" -s c -l config -d 'The configuration that has the cluster' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from delete" -l cluster -d 'The cluster of the configuration; may be left out when there is one' -r
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from delete" -l yes -d 'Do it; without this, what would be lost is shown'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from delete" -l json -d 'As JSON, for programs'
complete -c logferry -n "__fish_logferry_using_subcommand topics; and __fish_seen_subcommand_from delete" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand groups; and not __fish_seen_subcommand_from list describe reset" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand groups; and not __fish_seen_subcommand_from list describe reset" -f -a "list" -d 'Show all groups'
complete -c logferry -n "__fish_logferry_using_subcommand groups; and not __fish_seen_subcommand_from list describe reset" -f -a "describe" -d 'Show a group\'s members, and what it lags behind'
complete -c logferry -n "__fish_logferry_using_subcommand groups; and not __fish_seen_subcommand_from list describe reset" -f -a "reset" -d 'Put a group\'s offsets elsewhere'
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from list" -s b -l brokers -d 'Brokers as HOST:PORT, with commas between several; $LOGFERRY_BROKERS when left out' -r
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from list" -s X -d 'A librdkafka property; `key=@FILE` reads the value from a file, $LOGFERRY_X_SASL_PASSWORD is `-X sasl.password=...`' -r
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from list" -s c -l config -d 'The configuration that has the cluster' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from list" -l cluster -d 'The cluster of the configuration; may be left out when there is one' -r
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from list" -l json -d 'As JSON, for programs'
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from describe" -s b -l brokers -d 'Brokers as HOST:PORT, with commas between several; $LOGFERRY_BROKERS when left out' -r
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from describe" -s X -d 'A librdkafka property; `key=@FILE` reads the value from a file, $LOGFERRY_X_SASL_PASSWORD is `-X sasl.password=...`' -r
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from describe" -s c -l config -d 'The configuration that has the cluster' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from describe" -l cluster -d 'The cluster of the configuration; may be left out when there is one' -r
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from describe" -l times -d 'Also when the last record before each committed offset was written'
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from describe" -l json -d 'As JSON, for programs'
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from describe" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from reset" -s b -l brokers -d 'Brokers as HOST:PORT, with commas between several; $LOGFERRY_BROKERS when left out' -r
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from reset" -s X -d 'A librdkafka property; `key=@FILE` reads the value from a file, $LOGFERRY_X_SASL_PASSWORD is `-X sasl.password=...`' -r
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from reset" -s c -l config -d 'The configuration that has the cluster' -r -F
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from reset" -l cluster -d 'The cluster of the configuration; may be left out when there is one' -r
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from reset" -s t -l topic -d 'Only this topic, or partition of it; left out: all for which the group has an offset' -r
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from reset" -l to -d 'Where to go on: earliest, latest, an offset, a time like 2026-11-21T07:00:00Z, -N (records before the end) or -1h (that long ago)' -r
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from reset" -l execute -d 'Do it; without this, what would be done is shown'
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from reset" -l json -d 'As JSON, for programs'
complete -c logferry -n "__fish_logferry_using_subcommand groups; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand partition-of" -s n -l partitions -d 'How many partitions the topic has' -r
complete -c logferry -n "__fish_logferry_using_subcommand partition-of" -l hex -d 'Keys are written in hexadecimal digits'
complete -c logferry -n "__fish_logferry_using_subcommand partition-of" -l json -d 'As JSON, for programs: one object per key and line'
complete -c logferry -n "__fish_logferry_using_subcommand partition-of" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand schema" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand man" -s h -l help -d 'Print help'
complete -c logferry -n "__fish_logferry_using_subcommand completions" -s h -l help -d 'Print help'
