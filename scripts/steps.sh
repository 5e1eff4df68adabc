# Sourced by the scripts of this folder: where things are, one line per step, clear ends.
#
# MOE_BUILD names the build folder (default: build/ of this repository).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${MOE_BUILD:-$root/build}
me=scripts/$(basename "$0")
logs=$build/logs
export LC_ALL=C.UTF-8 TZ=UTC

# die MESSAGE: one line on standard error, status 1.
die() {
  echo "$me: error: $*" >&2
  exit 1
}

# show_log FILE: the end of a log, for a step that failed.
show_log() { tail -n 60 "$1" | cut -c -400; }

# step NAME WHAT COMMAND...: runs the command with its output in logs/NAME.log and prints one line: what, and how long.
# When it fails, prints the end of the log and leaves. (A function given as the command runs without `set -e`.)
step() {
  local name=$1 what=$2 start=$SECONDS
  shift 2
  mkdir -p "$logs"
  printf '%s: %s ... ' "$me" "$what"
  if "$@" > "$logs/$name.log" 2>&1 < /dev/null; then
    echo "$((SECONDS - start)) s"
  else
    echo "failed after $((SECONDS - start)) s"
    show_log "$logs/$name.log"
    die "$what: failed; its whole output is in $logs/$name.log"
  fi
}

# newer FILE INPUT...: FILE is there, and no input (file, or anything in a folder) is newer.
newer() {
  [ -e "$1" ] && [ -z "$(find "${@:2}" -newer "$1" -print -quit)" ]
}
