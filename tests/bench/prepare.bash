# Sourced by the benchmarks: builds bryo, becomes an ordinary user (the one
# named in `user`, who has subordinate ids if he is bryo-range), makes a place
# to work in that goes when the benchmark ends. Sets
#   bryo    the release program        here      the working directory
#   images  the recipes' directory     archives  where their tars are
# shellcheck shell=bash
set -euo pipefail

bench=$(readlink -f "$0")
repository=$(cd "$(dirname "$bench")/../.." && pwd)

say() { printf '%s\n' "$*" >&2; }

# Makes an image's tar unless it is there.
archive() { # NAME
  [[ -e $archives/$1.tar ]] || {
    "$repository/images/$1" "$archives/$1.half.tar"
    mv "$archives/$1.half.tar" "$archives/$1.tar"
  }
}

if [[ -z ${BRYO_BENCH:-} ]]; then
  (cd "$repository" && cargo build --release)
  bryo=$(echo "$repository"/target/*/release/bryo)
  archives=$repository/target/tmp
  mkdir -p "$archives"
  for image in $needs; do archive "$image"; done
  if ((EUID == 0)); then
    # The benchmark means ordinary users, who may not see this directory.
    user=${user:-bryo-plain}
    id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
    [[ $user != bryo-range ]] || grep -q '^bryo-range:' /etc/subuid /etc/subgid || {
      say "bryo-range has no subordinate ids: tests/run gives him some"
      exit 1
    }
    stage=$(mktemp -d /var/tmp/bryo-bench.XXXXXX)
    trap 'rm -rf "$stage"' EXIT
    chmod 0755 "$stage"
    mkdir -p "$stage/tests"
    cp -r "$repository/tests/bench" "$stage/tests/"
    cp "$bryo" "$stage/"
    for image in $needs; do cp "$archives/$image.tar" "$stage/"; done
    chmod -R a+rX "$stage"
    home=$(getent passwd "$user" | cut -d: -f6)
    cd "$home"
    runuser -u "$user" -- env -i HOME="$home" USER="$user" PATH="$PATH" \
      BRYO_BENCH="$stage" "$stage/tests/bench/$(basename "$bench")" "$@"
    exit
  fi
else
  bryo=$BRYO_BENCH/bryo
  archives=$BRYO_BENCH
fi

here=$(mktemp -d "$HOME/bench.XXXXXX")
finish() {
  chmod -R u+rwX "$here" 2>&- || true
  # What belongs to subordinate ids, where these are somebody's.
  rm -rf "$here" 2>&- || unshare --user --map-root-user --map-auto rm -rf "$here"
}
trap finish EXIT
cd "$here"
mkdir -m 0700 run store
export BRYO_ROOT=$here/store XDG_RUNTIME_DIR=$here/run
