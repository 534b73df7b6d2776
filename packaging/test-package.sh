#!/bin/bash
# Builds the .deb, installs it, starts, stops and removes the daemon, and looks at each step whether it did what packaging/README.md says.
#
#   packaging/test-package.sh [FILE.deb]
#
# As root, on a machine that may be changed and has no logferry. Without a running systemd the program is started by hand, as the unit's user, with a
# notify socket and the unit's environment; the sandbox is then not tried, and that is said. Exit codes: 0 all well, 1 a fault, 77 not possible here.
set -euo pipefail

cd "$(dirname "$0")/.."
readonly admin_port=19470
readonly config=/etc/logferry/logferry.yaml
readonly state=/var/lib/logferry
readonly logs=/var/log/logferry-package-test
scratch=$(mktemp -d)
installed=no
daemon=
listener=

say() { printf '== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
cannot() { printf 'NOT TESTED: %s\n' "$*" >&2; exit 77; }

clean_up() {
    local code=$?
    if [ -n "$daemon" ]; then kill -KILL "$daemon" 2>/dev/null || true; fi
    if [ -n "$listener" ]; then kill "$listener" 2>/dev/null || true; fi
    if [ "$code" -ne 0 ] && [ -s "$scratch/log" ]; then
        echo '-- the daemon said:' >&2
        tail -n 50 "$scratch/log" >&2
    fi
    if [ "$installed" = yes ]; then dpkg --purge logferry >/dev/null 2>&1 || true; fi
    rm -rf "$scratch" "$logs"
}
trap clean_up EXIT

# Tries a command every tenth of a second, for at most so many seconds.
within() {
    local tries=$(($1 * 10))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.1
    done
}

admin_answers() {
    local reply
    reply=$( (
        exec 3<>"/dev/tcp/127.0.0.1/$admin_port" || exit 1
        printf 'GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n' "$1" >&3
        cat <&3
    ) 2>/dev/null) || return 1
    [[ $reply == "HTTP/1.1 200"* && $reply == *"${2:-}"* ]]
}

# Both lines of the test's log are acknowledged.
delivered() { admin_answers /metrics 'logferry_input_lines_total{input="test",outcome="acked"} 2'; }

[ "$(id -u)" -eq 0 ] || cannot 'installing a package needs root'
command -v dpkg >/dev/null || cannot 'dpkg is not here'
if dpkg-query --show --showformat='${db:Status-Status}' logferry 2>/dev/null | grep -q . || [ -e "$config" ] || [ -e "$state" ]; then
    cannot "logferry is or was installed here; this script would remove $config and $state"
fi

if [ $# -gt 0 ]; then
    package=$1
else
    command -v cargo-deb >/dev/null || cannot 'cargo-deb is not here: cargo install cargo-deb'
    say 'building the package'
    package=$(cargo deb --quiet | tail -n 1)
fi
[ -f "$package" ] || fail "no package at $package"

say "installing $package"
installed=yes
if command -v apt-get >/dev/null; then
    apt-get install --yes --no-install-recommends "$(realpath "$package")" >"$scratch/apt" 2>&1 || { cat "$scratch/apt" >&2; fail 'the installation'; }
else
    dpkg --install "$package"
fi
[ -x /usr/bin/logferry ] || fail 'no /usr/bin/logferry'
[ -f /usr/lib/systemd/system/logferry.service ] || [ -f /lib/systemd/system/logferry.service ] || fail 'no unit'
[ "$(stat -c '%U:%G %a' "$config")" = 'root:logferry 640' ] || fail "rights of $config: $(stat -c '%U:%G %a' "$config")"
[ -f /usr/share/bash-completion/completions/logferry ] || fail 'no completions for bash'
[ -e /usr/share/man/man1/logferry.1.gz ] || grep -qs '^path-exclude=.*/man/' /etc/dpkg/dpkg.cfg.d/* || fail 'no manual'
getent passwd logferry >/dev/null || fail 'no user logferry'
[ -z "$(pgrep -f '^/usr/bin/logferry' || true)" ] || fail 'something was started before it was configured'
logferry --version

say 'configuring it: one input, the embedded broker'
install -d -m 0755 "$logs"
printf 'one\ntwo\n' >"$logs/test.log"
cat >"$config" <<YAML
admin: { listen: 127.0.0.1:$admin_port }
clusters: { local: { brokers: embedded } }
inputs:
  test:
    from: { type: file, paths: [$logs/*.log] }
    to: { topic: test }
YAML
logferry check -c "$config" || fail 'check refused the configuration'

if [ -d /run/systemd/system ]; then
    say 'starting the unit'
    systemctl start logferry.service || { journalctl --no-pager -u logferry.service -n 50 >&2; fail 'the unit did not become ready'; }
    within 20 admin_answers /live || fail '/live does not answer'
    within 20 delivered || fail 'the lines were not delivered'
    say 'stopping the unit'
    systemctl stop logferry.service
    [ "$(systemctl show --property=Result --value logferry.service)" = success ] || fail 'the stop was no success'
else
    say 'no systemd runs here: starting the program by hand, as the unit would, without its sandbox'
    command -v perl >/dev/null || cannot 'perl is not here, which would listen as the service manager does'
    command -v setpriv >/dev/null || cannot 'setpriv is not here, which would change the user'
    install -d -o logferry -g logferry -m 0700 "$state"
    chmod 0755 "$scratch"
    perl -MIO::Socket::UNIX -MSocket -e '
        my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die "cannot listen: $!";
        chmod 0666, $ARGV[0];
        $| = 1;
        while (defined $socket->recv(my $message, 4096)) { print $message; }
    ' "$scratch/notify" >"$scratch/told" &
    listener=$!
    within 10 test -S "$scratch/notify" || fail 'no notify socket'
    env -i PATH="$PATH" NOTIFY_SOCKET="$scratch/notify" WATCHDOG_USEC=2000000 \
        setpriv --reuid=logferry --regid=logferry --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
        /usr/bin/logferry run -c "$config" >"$scratch/log" 2>&1 &
    daemon=$!
    within 60 grep -q '^READY=1$' "$scratch/told" || fail 'READY was not said'
    within 20 admin_answers /live || fail '/live does not answer'
    within 20 delivered || fail 'the lines were not delivered'
    within 20 grep -q '^WATCHDOG=1$' "$scratch/told" || fail 'the watchdog was not told'
    [ "$(stat -c '%U %a' "$state")" = 'logferry 700' ] || fail "rights of $state"
    say 'stopping it'
    kill -TERM "$daemon"
    code=0
    wait "$daemon" || code=$?
    daemon=
    [ "$code" -eq 0 ] || fail "the drain ended with $code"
    grep -q '^STOPPING=1$' "$scratch/told" || fail 'STOPPING was not said'
fi

say 'removing it'
dpkg --remove logferry >/dev/null
[ ! -e /usr/bin/logferry ] || fail 'the program is still there'
[ -e "$config" ] || fail 'the removal took the configuration'
[ -d "$state" ] || fail 'the removal took the positions'

say 'purging it'
dpkg --purge logferry >/dev/null
installed=no
[ ! -e "$config" ] || fail 'the purge left the configuration'
[ ! -e "$state" ] || fail 'the purge left the positions'

say 'all well'
