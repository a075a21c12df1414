# Sourced by the benchmarks: builds bryo, becomes an ordinary user (the one
# named in `user`, who has subordinate ids if he is bryo-range), makes a place
# to work in that goes when the benchmark ends. As root, that place is a new
# ext4 as mkfs makes it: on one that is in use, and on one without a journal
# above all, files are made ten times slower after a big removal. Sets
#   bryo    the release program        here      the working directory
#   images  the recipes' directory     archives  where their tars are
#   before  another build of bryo, if the caller named one in BRYO_BEFORE
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
    stage=$(mktemp -d /var/tmp/bench.XXXXXX)
    install -d -o "$user" "$stage/ask"
    # Who is not root cannot look into supervisors.
    while sleep 0.2; do
      [[ -e $stage/ask/pids ]] || continue
      read -r fields pids <"$stage/ask/pids"
      for pid in $pids; do
        awk -v fields="^($fields):" '$0 ~ fields { sum += $2 } END { print sum }' \
          "/proc/$pid/smaps_rollup" 2>&- || true
      done >"$stage/ask/half"
      rm "$stage/ask/pids"
      mv "$stage/ask/half" "$stage/ask/pss"
    done &
    watcher=$!
    clean_up() {
      cd /
      kill "$watcher"
      umount --lazy "$stage/disk" 2>&- || true
      rm -rf --one-file-system "$stage"
    }
    trap clean_up EXIT
    chmod 0755 "$stage"
    mkdir -p "$stage/tests"
    cp -r "$repository/tests/bench" "$stage/tests/"
    cp "$bryo" "$stage/"
    [[ -z ${BRYO_BEFORE:-} ]] || cp "$BRYO_BEFORE" "$stage/before"
    for image in $needs; do cp "$archives/$image.tar" "$stage/"; done
    chmod -R a+rX "$stage"
    home=$(getent passwd "$user" | cut -d: -f6)
    mkdir "$stage/disk"
    truncate --size 16G "$stage/image"
    mkfs.ext4 -q "$stage/image"
    if mount -o loop "$stage/image" "$stage/disk"; then
      # Short, for podman takes no long one.
      home=$stage/disk
      chown "$user:" "$home"
    else
      say "on the file system of $home: no other can be mounted"
    fi
    cd "$home"
    runuser -u "$user" -- env -i HOME="$home" USER="$user" PATH="$PATH" \
      BRYO_BENCH="$stage" ${BRYO_BEFORE:+BRYO_BEFORE="$stage/before"} "$stage/tests/bench/$(basename "$bench")" "$@"
    exit
  fi
else
  bryo=$BRYO_BENCH/bryo
  archives=$BRYO_BENCH
fi

before=${BRYO_BEFORE:-}

# The proportional set sizes of processes, in kB, a line each.
pss() { # PID...
  memory Pss "$@"
}

# What they have for themselves alone.
private() { # PID...
  memory 'Private_Clean|Private_Dirty' "$@"
}

# Sums of fields of smaps_rollup (proc(5)).
memory() { # FIELD|FIELD PID...
  [[ -d $archives/ask ]] || { say "only root can look into supervisors"; return; }
  echo "$@" >"$archives/ask/new"
  mv "$archives/ask/new" "$archives/ask/pids"
  until [[ -e $archives/ask/pss ]]; do sleep 0.1; done
  cat "$archives/ask/pss"
  rm "$archives/ask/pss"
}

here=$(mktemp -d "$HOME/b.XXXXXX")
finish() {
  chmod -R u+rwX "$here" 2>&- || true
  # What belongs to subordinate ids, where these are somebody's.
  rm -rf "$here" 2>&- || unshare --user --map-root-user --map-auto rm -rf "$here"
}
trap finish EXIT
cd "$here"
mkdir -m 0700 run store
export BRYO_ROOT=$here/store XDG_RUNTIME_DIR=$here/run
