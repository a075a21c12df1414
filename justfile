# Recipes for development; `just` lists them.

_default:
    @just --list

# format, lints, documentation
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# the test suite: as root as two ordinary users, else as oneself
test *FILTER:
    tests/run {{FILTER}}

# start and unpack beside the peers
bench:
    tests/bench/start
    tests/bench/unpack
    tests/bench/networks

# a fuzz target for a minute: just fuzz archive
fuzz TARGET SECONDS="60":
    tests/fuzz/run {{SECONDS}} {{TARGET}}

# all that CI does
ci:
    .ci/run
