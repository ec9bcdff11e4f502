#!/bin/sh
# Installs what is missing, and only that: Debian's packages, then a virtual environment in .venv.
#
#   scripts/setup.sh stack          what `make up` needs
#   scripts/setup.sh stack test     … and what `make test` needs
#   scripts/setup.sh stack bench    … and what `make bench` needs
#
# The second time it finds its stamps and takes no time. No service of the installed packages is started: the stack
# runs servers of its own. Those that run already are left alone.
set -eu
cd "$(dirname "$0")/.."

STACK_PACKAGES="python3-venv rabbitmq-server nginx libnginx-mod-http-lua lua-cjson ca-certificates curl"
TEST_PACKAGES="lua-check openssl wget wrk procps git postgresql"
BENCH_PACKAGES="wrk"
POLICY=/usr/sbin/policy-rc.d
VENV=.venv

say() { printf '%s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

packages=$STACK_PACKAGES
extras=stack
for want in "$@"; do
    case $want in
        stack) ;;
        test) packages="$packages $TEST_PACKAGES"; extras="$extras,test,lint,bench" ;;
        bench) packages="$packages $BENCH_PACKAGES"; extras="$extras,bench" ;;
        *) fail "unknown part: $want (stack, test or bench)" ;;
    esac
done

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        fail "$1 needs root: run as root or install sudo. To do it yourself: apt-get install $missing"
    fi
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Debian starts what it installs, unless policy-rc.d says no (exit 101). It is there only while we install.
forbid_services() {
    policy_made=no
    if [ ! -e "$POLICY" ]; then
        printf '#!/bin/sh\n# temporary, of the setup of Funcatron\nexit 101\n' | as_root tee "$POLICY" >/dev/null
        as_root chmod 755 "$POLICY"
        policy_made=yes
        trap allow_services EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM HUP
    fi
}

allow_services() {
    if [ "$policy_made" = yes ]; then
        as_root rm -f "$POLICY"
        policy_made=no
    fi
}

# What was not there before must not start at the next boot either: Debian enables it when it is installed.
disable_services() {
    command -v systemctl >/dev/null 2>&1 || return 0
    for unit in "$@"; do
        as_root systemctl disable --quiet "$unit" >/dev/null 2>&1 || say "note: could not disable the service $unit"
    done
}

install_packages() {
    missing=
    for package in $packages; do
        installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing Debian's packages:$missing"
    services=
    installed nginx || services="$services nginx.service"
    installed rabbitmq-server || services="$services rabbitmq-server.service"
    installed postgresql || services="$services postgresql.service"
    installed erlang-base || services="$services epmd.service epmd.socket"
    forbid_services
    log=$(mktemp)
    for command in "update -q" "install -q -y --no-install-recommends --no-remove $missing"; do
        # shellcheck disable=SC2086 # the words are apt-get's arguments
        if ! as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -o DPkg::Lock::Timeout=120 $command >"$log" 2>&1 </dev/null; then
            tail -n 30 "$log" >&2
            rm -f "$log"
            fail "apt-get $command failed (above: the end of what it said)"
        fi
    done
    rm -f "$log"
    # shellcheck disable=SC2086 # a list of units
    disable_services $services
    allow_services
}

# Elsewhere than on Debian the same programs have other packages: say which are not there.
check_programs() {
    absent=
    for program in rabbitmq-server nginx; do
        PATH="$PATH:/usr/sbin:/usr/local/sbin:/usr/lib/rabbitmq/bin" command -v "$program" >/dev/null 2>&1 || absent="$absent $program"
    done
    [ -z "$absent" ] || fail "this machine has no apt-get; install these by its own means, nginx with the Lua module and cjson:$absent"
}

find_python() {
    for python in /usr/bin/python3 python3.14 python3.13 python3.12 python3.11 python3; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$python"
            return
        fi
    done
    fail "no Python 3.11 or newer found (Debian 12 and Ubuntu 24.04 have it)"
}

make_environment() {
    # an environment that was made elsewhere has programs that start with the wrong path
    if ! "$VENV/bin/python" -c '' >/dev/null 2>&1 || [ "$(cat "$VENV/.funcatron-home" 2>/dev/null)" != "$home" ]; then
        python=$(find_python)
        say "making the virtual environment $VENV with $python"
        "$python" -m venv --clear "$VENV" || fail "$python cannot make a virtual environment"
    fi
    say "installing the package with its libraries ($extras)"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extras]" ||
        fail "pip could not install the package (above: what it said)"
}

# A stamp for each set of extras holds what it depends on: the package's metadata, this script, and where the checkout is.
stamp="$VENV/.funcatron-$(printf %s "$extras" | tr , -)"
home=$(pwd)
state=$(printf '%s ' "$home"; cat setup.cfg pyproject.toml scripts/setup.sh | cksum)

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] && "$VENV/bin/python" -c '' >/dev/null 2>&1; then
    if ! command -v dpkg-query >/dev/null 2>&1; then exit 0; fi
    # one query for all of them: fast
    # shellcheck disable=SC2086 # a list of packages
    if [ "$(dpkg-query -W -f '${db:Status-Status}\n' $packages 2>/dev/null | grep -c '^installed$')" = "$(echo $packages | wc -w)" ]; then
        exit 0
    fi
fi

if command -v apt-get >/dev/null 2>&1 && command -v dpkg-query >/dev/null 2>&1; then
    install_packages
else
    check_programs
fi
make_environment
printf '%s' "$home" >"$VENV/.funcatron-home"
printf '%s' "$state" >"$stamp"
printf '%s' "$state" >"$VENV/.funcatron-stack"
say "setup is complete"
