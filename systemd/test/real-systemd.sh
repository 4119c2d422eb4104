#!/usr/bin/env bash
# The unit in a real systemd: boots Debian's in a container over an overlay of this machine's /, installs there, and works
# with it: start, push and pull as another user, jobs, roots, reload, kill -9, a hung daemon, a broken configuration, stop,
# uninstall.
#
#     systemd/test/real-systemd.sh [DIR]      as root. DIR has the built programs; without it they are built first.
#
# The container has a network of its own and writes to memory: nothing of this machine changes, but that the packages
# systemd, systemd-container and iproute2 are installed where they are missing.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
built=${1:-}
work=
nspawn=
init=
step=
groups=()

skip() {
    echo "SKIPPED real-systemd: $1"
    case ,${UDPX_REQUIRE:-}, in
    *root*)
        echo "real-systemd: UDPX_REQUIRE asks for it" >&2
        exit 1
        ;;
    esac
    exit 0
}

# Ends the container and removes what it was made of, whatever happened.
cleanup() {
    local status=$?
    trap - EXIT
    set +e
    if [ "$status" != 0 ]; then
        echo "FAILED${step:+ at: $step}"
        if [ -n "$init" ]; then
            inside systemctl status --no-pager -l udpxd | tail -30
            inside journalctl --no-pager -o cat -u udpxd | tail -60
        elif [ -n "$work" ]; then
            tail -20 "$work/console"
        fi
    fi
    if [ -n "$nspawn" ]; then
        # With its init all of the container ends, and nspawn with that. Of nspawn's death alone it takes no notice.
        kill -KILL ${init:-$(pgrep -P "$nspawn")} 2>/dev/null
        sleep 0.2
        kill -KILL "$nspawn" 2>/dev/null
        wait "$nspawn" 2>/dev/null
    fi
    if [ -n "$work" ]; then
        for place in "$work/root" "$work"; do
            for _ in 1 2 3 4 5 6 7 8 9 10; do
                ! mountpoint -q "$place" || umount "$place" 2>/dev/null || { sleep 0.2 && continue; }
                break
            done
            ! mountpoint -q "$place" || umount -l "$place"
        done
        rmdir "$work"
    fi
    for group in "${groups[@]}"; do
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
            sleep 0.1
        done
    done
    exit "$status"
}

# The container's control groups are made beneath a group of its own, so that none is left where this runs.
enter_groups() {
    local mount path group
    for mount in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
        [ -e "$mount/cgroup.procs" ] || continue
        path=$(sed -n "$([ "${mount##*/}" = systemd ] && echo 's/^[0-9]*:name=systemd://p' || echo 's/^0:://p')" /proc/self/cgroup)
        group=${mount}${path%/}/udpx-test-$$
        mkdir "$group"
        groups+=("$group")
        echo $$ >"$group/cgroup.procs"
    done
}
leave_groups() {
    local group
    for group in "${groups[@]}"; do
        echo $$ >"${group%/*}/cgroup.procs"
    done
}

# A command in the container, as root and as the user carol, never longer than 30 s.
inside() { timeout -k 1 30 nsenter -t "$init" -m -u -i -n -p -C -- env -i "${env[@]}" HOME=/root "$@" </dev/null; }
carol() { inside setpriv --reuid carol --regid carol --init-groups env HOME=/home/carol "$@"; }
env=(PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8)

begin() {
    step=$1
    printf '%-88s' "$step"
}
ok() { echo "ok${1:+ ($1)}"; }

fail() {
    echo
    echo "real-systemd: $*" >&2
    exit 1
}

# Tries for ten seconds.
until_true() {
    for _ in $(seq 100); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    fail "in vain for 10 s: $*"
}

property() { inside systemctl show -P "$1" udpxd; }
is_active() { [ "$(property ActiveState)" = active ]; }
has_new_process() { is_active && [ "$(property MainPID)" != "$1" ]; }
expect() { [ "$2" = "$3" ] || fail "$1 is $2, not $3"; }
mode_of() { inside stat -c '%a %U:%G' "$1"; }

# With an engine of her own, as somebody on another machine would.
push() { carol udpxctl -q push --no-daemon "$@" --peer-key "$key"; }

# --- what it needs

[ "$(id -u)" = 0 ] || skip "needs root"
if ! { command -v systemd-nspawn && command -v ss; } >/dev/null || [ ! -x /lib/systemd/systemd ]; then
    command -v apt-get >/dev/null || skip "needs systemd-nspawn, systemd and ss"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd systemd-container iproute2 >/dev/null
fi
if [ -z "$built" ]; then
    (cd "$top" && cargo build --quiet --release -p udpxctl -p udpxd)
    built=$(cd "$top" && realpath "${CARGO_TARGET_DIR:-target}")/release
fi

trap cleanup EXIT
trap 'exit 130' INT TERM HUP
work=$(mktemp -d /tmp/udpx-systemd.XXXXXX)

# --- a machine

begin "a Debian boots"
mount -t tmpfs -o mode=755 udpx-test "$work"
mkdir "$work/upper" "$work/work" "$work/root"
if ! mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" overlay "$work/root" 2>/dev/null; then
    umount "$work"
    rmdir "$work"
    work=
    skip "the kernel refuses an overlay of /"
fi
# Whatever this machine runs as services is none of our business.
rm -rf "$work"/root/etc/systemd/system/*.wants "$work"/root/etc/systemd/system/*.requires
rm -rf "$work"/root/etc/udpx "$work"/root/var/lib/udpx "$work"/root/home/carol
touch "$work/root/udpx-test-$$"
enter_groups
# Should this script be killed, the container shuts down.
setpriv --pdeathsig TERM systemd-nspawn -q --boot --register=no --keep-unit --private-network --console=read-only \
    -D "$work/root" -M "udpx-test-$$" --bind-ro="$top:/mnt" --bind-ro="$built:/media" \
    systemd.unit=basic.target >"$work/console" 2>&1 </dev/null &
nspawn=$!
leave_groups
has_booted() {
    local child
    child=$(pgrep -P "$nspawn" -o) || return 1
    # Until it is in namespaces of its own it stands in ours, and so would all that is done below.
    [ -e "/proc/$child/root/udpx-test-$$" ] && [ "$(readlink "/proc/$child/root")" = / ] || return 1
    for kind in mnt pid net uts ipc; do
        [ "$(readlink "/proc/$child/ns/$kind")" != "$(readlink "/proc/self/ns/$kind")" ] || return 1
    done
    init=$child
    case $(inside systemctl is-system-running) in running | degraded) ;; *) init= && return 1 ;; esac
}
until_true has_booted
ok

begin "install.sh, systemd-sysusers, systemd-tmpfiles"
inside /mnt/systemd/install.sh --prefix /usr --from /media >/dev/null
inside systemd-sysusers udpx.conf 2>/dev/null
inside systemd-tmpfiles --create udpx.conf
inside systemctl daemon-reload
inside useradd -m carol
inside id udpx >/dev/null
inside getent group udpx-admin >/dev/null
expect "the mode of the inbox" "$(mode_of /var/lib/udpx/inbox)" "2750 udpx:udpx"
ok

begin "systemd-analyze verify and security"
said=$(inside systemd-analyze verify /usr/lib/systemd/system/udpxd.service 2>&1) || fail "$said"
expect "what verify says" "$said" ""
exposure=$(inside systemd-analyze security --no-pager udpxd.service | sed -n 's/.*Overall exposure level for udpxd.service: \([0-9.]*\).*/\1/p')
awk -v is="$exposure" 'BEGIN { exit !(is != "" && is <= 2.5) }' || fail "exposure level $exposure is above 2.5"
ok "exposure $exposure"

# --- the service

begin "systemctl start: active, with an identity of its own"
inside systemctl start udpxd
is_active || fail "$(property ActiveState)"
expect "the identity" "$(mode_of /var/lib/udpx/identity)" "600 udpx:udpx"
expect "the state directory" "$(mode_of /var/lib/udpx)" "750 udpx:udpx"
expect "the runtime directory" "$(mode_of /run/udpx)" "755 udpx:udpx"
expect "the process's user" "$(inside ps -o user= -p "$(property MainPID)")" "udpx"
log=$(inside journalctl --no-pager -o cat -u udpxd)
key=$(grep -o -m1 'udpxk1[0-9a-f]*' <<<"$log") || fail "no key in the log: $log"
! grep -q $'\x1b\\|^20' <<<"$log" || fail "colours or times in the journal: $log"
ok

begin "systemctl reload: a peer is added, an address waits, a mistake is refused"
status_says() { inside systemctl status udpxd --no-pager | grep -q "Status: .*$1"; }
pid=$(property MainPID)
printf '\n[[peer]]\nname = "carol"\nkey = "%s"\n' "$(carol udpxctl key --identity /home/carol/.local/state/udpx/identity.key)" |
    timeout 10 tee -a "$work/root/etc/udpx/udpxd.toml" >/dev/null
inside systemctl reload udpxd
until_true status_says 'peers configured: 1\."$'
carol sh -c 'head -c 3000000 /dev/urandom >~/one; chmod 600 ~/one'
push /home/carol/one 127.0.0.1
inside cp -a /etc/udpx/udpxd.toml /root/good.toml
echo 'listen_at = 7' >"$work/root/etc/udpx/udpxd.toml"
! inside systemctl reload udpxd 2>/dev/null || fail "a reload with a mistake succeeded"
inside sed '1i listen = ["127.0.0.1:48379"]' /root/good.toml | timeout 10 tee "$work/root/etc/udpx/udpxd.toml" >/dev/null
inside systemctl reload udpxd
until_true status_says 'restart is needed for: listen'
inside cp -a /root/good.toml /etc/udpx/udpxd.toml
inside systemctl reload udpxd
until_true status_says 'peers configured: 1\."$'
expect "the process" "$(property MainPID)" "$pid"
ok

begin "a push of another user lands in the inbox, of the group and for it"
expect "the file" "$(mode_of /var/lib/udpx/inbox/carol/one)" "660 udpx:udpx"
expect "the peer's directory" "$(mode_of /var/lib/udpx/inbox/carol)" "2770 udpx:udpx"
inside cmp /home/carol/one /var/lib/udpx/inbox/carol/one
push /home/carol/one 127.0.0.1:deep/down/
expect "a directory inside" "$(mode_of /var/lib/udpx/inbox/carol/deep/down)" "2770 udpx:udpx"
! carol ls /var/lib/udpx 2>/dev/null || fail "carol sees the state directory"
ok

begin "the sandbox: nothing but its own directories can be written, no home can be seen"
confined() { inside nsenter -t "$(property MainPID)" -m -- setpriv --reuid udpx --regid udpx --clear-groups "$@"; }
inside install -d -m 777 /srv/open
confined touch /var/lib/udpx/x /run/udpx/x
confined rm /var/lib/udpx/x /run/udpx/x
for place in /etc/udpx /var/lib /usr/bin /srv/open; do
    ! confined touch "$place/x" 2>/dev/null || fail "$place can be written"
done
expect "what is seen of /home" "$(confined ls -A /home 2>/dev/null)" ""
status=$(inside cat "/proc/$(property MainPID)/status")
for line in "CapBnd:.0000000000000000" "CapEff:.0000000000000000" "NoNewPrivs:.1" "Seccomp:.2"; do
    grep -q "^$line" <<<"$status" || fail "not $line"
done
ok

begin "kill -9 in mid-transfer: systemd starts it again, and the push goes on"
pid=$(property MainPID)
carol sh -c 'head -c 20000000 /dev/urandom >~/two'
push /home/carol/two 127.0.0.1 --rate 80mbit &
pushing=$!
sleep 0.8
inside kill -9 "$pid"
until_true has_new_process "$pid"
wait "$pushing" || fail "the push ended with $?"
inside cmp /home/carol/two /var/lib/udpx/inbox/carol/two
expect "restarts" "$(property NRestarts)" 1
expect "unfinished files" "$(inside find /var/lib/udpx/inbox -name '.udpx-*')" ""
ok

begin "through the daemon: a user pushes to another machine and pulls from it, her home closed"
# Bob's machine: a daemon of another user, which knows this one's key.
inside useradd -m bob
inside chmod 700 /home/bob /home/carol
inside usermod -aG udpx carol
bob() { inside setpriv --reuid bob --regid bob --init-groups env HOME=/home/bob "$@"; }
bobkey=$(bob udpxctl key --identity /home/bob/identity)
cat >"$work/root/home/bob/udpxd.toml" <<TOML
listen = ["127.0.0.1:48380"]
identity = "/home/bob/identity"
state = "/home/bob/state"
inbox = "/home/bob/inbox"
control = "/home/bob/d.sock"
[[peer]]
name = "here"
key = "$key"
read = true
list = true
TOML
inside chown bob:bob /home/bob/udpxd.toml
inside systemd-run --quiet --collect --unit=bob --uid=bob udpxd run --config /home/bob/udpxd.toml
printf '\n[[peer]]\nname = "bob"\nkey = "%s"\naddress = "127.0.0.1:48380"\n' "$bobkey" |
    timeout 10 tee -a "$work/root/etc/udpx/udpxd.toml" >/dev/null
inside systemctl reload udpxd
knows_bob() { inside udpxctl peers | grep -q bob; }
until_true knows_bob
carol udpxctl -q push /home/carol/one bob:deep/
inside cmp /home/carol/one /home/bob/inbox/here/deep/one
carol udpxctl -q pull bob:deep/one /home/carol/back/
inside cmp /home/carol/one /home/carol/back/one
expect "the file that came back" "$(mode_of /home/carol/back/one)" "640 carol:carol"
expect "parts in her home" "$(inside find /home/carol -name '.udpx-*')" ""
carol udpxctl ls bob:deep | grep -q one || fail "ls does not show it"
! bob udpxctl --socket /run/udpx/udpxd.sock jobs 2>/dev/null || fail "bob is not of the group, and is served"
! carol udpxctl stats 2>/dev/null || fail "carol is no admin, and sees everything"
ok

begin "kill -9 of the daemon that sends: the command waits for it, and the job goes on"
pid=$(property MainPID)
before=$(property NRestarts)
carol udpxctl -q push --limit 80mbit /home/carol/two bob:two &
pushing=$!
sleep 0.8
inside kill -9 "$pid"
until_true has_new_process "$pid"
wait "$pushing" || fail "the push ended with $?"
inside cmp /home/carol/two /home/bob/inbox/here/two
expect "restarts" "$(property NRestarts)" "$((before + 1))"
ok

begin "root add: a place that the sandbox forbids is told with its drop-in, and works with that"
inside install -d -o udpx -g udpx -m 2770 /srv/disk
said=$(inside udpxctl root add disk /srv/disk 2>&1) && fail "it was added: $said"
grep -q 'ReadWritePaths=/srv/disk' <<<"$said" || fail "no drop-in in: $said"
inside mkdir -p /etc/systemd/system/udpxd.service.d
printf '[Service]\nReadWritePaths=/srv/disk\n' | timeout -k 1 10 tee "$work/root/etc/systemd/system/udpxd.service.d/disk.conf" >/dev/null
inside systemctl daemon-reload
inside systemctl restart udpxd
inside udpxctl root add disk /srv/disk >/dev/null
inside systemctl restart udpxd
inside udpxctl root list | grep -q '/srv/disk' || fail "it is forgotten"
inside udpxctl root remove disk >/dev/null
ok

begin "a daemon that hangs is started again by the watchdog"
inside mkdir -p /run/systemd/system/udpxd.service.d
printf '[Service]\nWatchdogSec=2\n' | timeout -k 1 10 nsenter -t "$init" -m -p -- tee /run/systemd/system/udpxd.service.d/watchdog.conf >/dev/null
inside systemctl daemon-reload
inside systemctl restart udpxd
sleep 3
expect "restarts while it lives" "$(property NRestarts)" 0
pid=$(property MainPID)
inside kill -STOP "$pid"
until_true has_new_process "$pid"
inside journalctl --no-pager -u udpxd | grep -q "Watchdog timeout" || fail "it was not the watchdog"
push /home/carol/one 127.0.0.1:again
inside rm -r /run/systemd/system/udpxd.service.d
inside systemctl daemon-reload
ok

begin "buffers.conf.example: sockets get what they want whatever the limit is"
# The kernel counts twice what was asked for.
buffers() { inside ss -uanm "sport = :48379" | grep -o 'rb[0-9]*' | sort -u; }
if [ "$(cat /proc/sys/net/core/rmem_max)" -lt 8388608 ]; then
    [ "$(buffers)" != rb16777216 ] || fail "it has them without"
fi
inside mkdir -p /etc/systemd/system/udpxd.service.d
inside cp /usr/lib/systemd/system/udpxd.service.d/buffers.conf.example /etc/systemd/system/udpxd.service.d/buffers.conf
inside systemctl daemon-reload
inside systemctl restart udpxd
expect "the buffer with it" "$(buffers)" rb16777216
ok

begin "roots.conf.example: another directory can be had"
inside install -d -o udpx -g udpx -m 2770 /srv/udpx
inside sed -i 's|^name = "carol"|&\ninbox = "/srv/udpx"|' /etc/udpx/udpxd.toml
inside systemctl restart udpxd
! push /home/carol/one 127.0.0.1 2>/dev/null || fail "it was writable without the drop-in"
inside cp /usr/lib/systemd/system/udpxd.service.d/roots.conf.example /etc/systemd/system/udpxd.service.d/roots.conf
inside systemctl daemon-reload
inside systemctl restart udpxd
push /home/carol/one 127.0.0.1
inside cmp /home/carol/one /srv/udpx/one
ok

begin "a mistake in the configuration: start fails, with the line, and is not tried again"
echo 'listen_at = 7' >"$work/root/etc/udpx/udpxd.toml"
! inside systemctl restart udpxd 2>/dev/null || fail "it started"
sleep 1
expect "the state" "$(property ActiveState) $(property ExecMainStatus) $(property NRestarts)" "failed 78 0"
inside journalctl --no-pager -o cat -u udpxd -n 20 | grep -q "udpxd.toml:1: unknown key 'listen_at'" || fail "no line"
inside cp -a /root/good.toml /etc/udpx/udpxd.toml
inside systemctl start udpxd
ok

begin "systemctl stop: at once and clean"
start=$EPOCHREALTIME
inside systemctl stop udpxd
awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { exit !(b - a < 3) }' || fail "it took more than 3 s"
expect "the result" "$(property Result) $(property ExecMainStatus)" "success 0"
inside journalctl --no-pager -o cat -u udpxd -n 5 | grep -q stopping || fail "it did not say so"
[ ! -e "$work/root/run/udpx" ] || fail "/run/udpx is still there"
ok

begin "install.sh --uninstall"
inside /mnt/systemd/install.sh --prefix /usr --from /media --uninstall >/dev/null
left=$(inside find /usr/bin /usr/lib/{systemd,sysusers.d,tmpfiles.d,sysctl.d,firewalld} /usr/share/doc /etc/ufw \
    -path '*udpx*' 2>/dev/null || true)
expect "what is left" "$left" ""
inside test -e /etc/udpx/udpxd.toml
inside test -e /var/lib/udpx/inbox/carol/one
ok
step=
echo "real-systemd: all steps ok"
