#!/usr/bin/env bash
# Two machines on which udpx has just been installed, and which know nothing of each other: from there to a pushed file by
# the two commands that a person would type. As root: fresh_machines.sh UDPXD UDPXCTL
#
# A machine is a set of namespaces (network, mounts, host name) with a state, a /run and a list of users of its own; the two
# are joined by a wire. The daemon is the user udpx, carol is in the group udpx, and dave is not.
set -euo pipefail
udpxd=$1 udpxctl=$2

top=$(mktemp -d)
chmod 755 "$top"
mkdir "$top/bin"
cp "$udpxd" "$top/bin/udpxd"
cp "$udpxctl" "$top/bin/udpxctl"
declare -A holder daemon
trap 'kill "${daemon[@]}" "${holder[@]}" 2>/dev/null || true; wait; rm -rf "$top"' EXIT

# Runs a command on a machine as root, as its own user would see it; with become=exec in place of this shell.
on() {
    local name=$1
    shift
    ${become:-} nsenter -t "${holder[$name]}" -n -m -u -- env -i PATH="$top/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root NO_COLOR=1 "$@"
}

# The same as one of its users.
as() {
    local name=$1 user=$2
    shift 2
    on "$name" setpriv --reuid="$user" --regid="$user" --init-groups env HOME="/home/$user" sh -c 'cd 2>/dev/null; exec "$@"' sh "$@"
}

machine() {
    local name=$1 address=$2
    mkdir "$top/$name"
    cat >"$top/$name/passwd" <<USERS
root:x:0:0:root:/root:/bin/sh
udpx:x:961:961::/var/lib/udpx:/usr/sbin/nologin
carol:x:1961:1961::/home/carol:/bin/sh
dave:x:1962:1962::/home/dave:/bin/sh
USERS
    printf 'root:x:0:\nudpx:x:961:carol\nudpx-admin:x:962:\ncarol:x:1961:\ndave:x:1962:\n' >"$top/$name/group"
    unshare -n -m -u --propagation private sleep infinity &
    holder[$name]=$!
    # It has its namespaces once it is no shell any more.
    until [ "$(cat "/proc/${holder[$name]}/comm" 2>/dev/null)" = sleep ]; do sleep 0.02; done
    on "$name" sh -ec "
        hostname $name
        mount --bind $top/$name/passwd /etc/passwd
        mount --bind $top/$name/group /etc/group
        mount -t tmpfs -o mode=755 tmpfs /run
        mount -t tmpfs -o mode=755 tmpfs /var/lib
        mount -t tmpfs -o mode=755 tmpfs /home
        install -d -o udpx -g udpx -m 750 /run/udpx /var/lib/udpx
        chmod 755 /run/udpx
        install -d -o udpx -g udpx -m 2770 /var/lib/udpx/inbox
        install -d -o carol -g carol -m 700 /home/carol
        install -d -o dave -g dave -m 700 /home/dave
        ip link set lo up"
}

start() {
    local name=$1
    : >"$top/$name/udpxd.toml"
    become=exec as "$name" udpx udpxd run --config "$top/$name/udpxd.toml" 2>"$top/$name/log" &
    daemon[$name]=$!
    for _ in $(seq 500); do
        grep -q 'control socket' "$top/$name/log" && return
        sleep 0.05
    done
    cat "$top/$name/log"
    return 1
}

# What must fail: its exit code, and a word of what it says.
refused() {
    local code=$1 word=$2 status=0
    shift 2
    "$@" >"$top/said" 2>&1 || status=$?
    if [ "$status" != "$code" ] || ! grep -qF -- "$word" "$top/said"; then
        echo "expected exit code $code and $word, got $status: $*"
        cat "$top/said"
        return 1
    fi
    sed 's/^/    /' "$top/said"
}

machine alice 10.96.1.1
machine bob 10.96.1.2
ip link add udpx-a type veth peer name udpx-b
ip link set udpx-a netns "${holder[alice]}"
ip link set udpx-b netns "${holder[bob]}"
for end in "alice udpx-a 10.96.1.1" "bob udpx-b 10.96.1.2"; do
    set -- $end
    on "$1" sh -ec "ip link set $2 name eth0; ip addr add $3/24 dev eth0; ip link set eth0 up"
done
start alice
start bob

echo 'bob# udpxctl invite'
line=$(on bob udpxctl invite)
echo "${line:0:60}..."
[[ $line == "sudo udpxctl join udpx1"* ]]
command=${line#sudo }
echo "alice# ${command:0:55}..."
on alice $command
echo 'alice, carol$ udpxctl push hello.txt bob'
as alice carol sh -c 'echo hello >hello.txt; chmod 600 hello.txt'
as alice carol udpxctl push hello.txt bob
on bob cat /var/lib/udpx/inbox/alice/hello.txt
[ "$(on bob stat -c '%U:%G %a' /var/lib/udpx/inbox/alice/hello.txt)" = "udpx:udpx 660" ]
echo 'alice, carol$ udpxctl ls bob'
as alice carol udpxctl ls bob
echo 'alice, carol$ udpxctl pull bob:hello.txt back'
refused 77 'On bob: sudo udpxctl peer grant alice --root inbox --read' as alice carol udpxctl pull bob:hello.txt back
echo 'bob# udpxctl inbox'
on bob udpxctl inbox

echo 'alice, dave$ udpxctl push hello.txt bob     (he is not in the group udpx)'
as alice dave sh -c 'echo mine >hello.txt'
refused 77 'udpx' as alice dave udpxctl push hello.txt bob
echo 'bob, carol$ udpxctl invite                  (she is no administrator)'
refused 77 'udpx-admin' as bob carol udpxctl invite
echo 'alice# the same line again'
on alice $command
echo 'bob# the line that bob printed himself'
refused 2 'this very machine' on bob $command
# Without a daemon and without root: a ticket for one file.
echo 'bob, dave$ udpxctl receive -o got.txt       alice, dave$ udpxctl push hello.txt TICKET'
as bob dave udpxctl receive -o got.txt 2>"$top/ticket" &
receiving=$!
until grep -q '^udpx1' "$top/ticket"; do sleep 0.05; done
as alice dave udpxctl --quiet push --no-daemon hello.txt "$(grep '^udpx1' "$top/ticket")"
wait "$receiving"
as bob dave cat got.txt
echo passed
