# The one door: `just` lists what there is.

_default:
    @just --list

# Everything that must pass before a change is merged, as the server runs it
ci:
    .ci/run

# Format, lint and document: the quick part of `just ci`
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items

# All tests; a real Kafka is brought up where java and mvn are there. `just test NAME` for some
test *ARGS:
    cargo test {{ARGS}}

# The tests that need no Kafka and no process: seconds
unit *ARGS:
    cargo test --lib {{ARGS}}

# Who may know whom
layers:
    cargo test --test it layers::

# Completions and manual anew, as packages ship them
shipped:
    cargo build
    mkdir -p packaging/completions packaging/man
    target/debug/logferry completions bash > packaging/completions/logferry.bash
    target/debug/logferry completions zsh > packaging/completions/_logferry
    target/debug/logferry completions fish > packaging/completions/logferry.fish
    target/debug/logferry man > packaging/man/logferry.1

# The long tests, which CI leaves out: kills, outages and rotations for as long as they like
soak:
    LOGFERRY_REQUIRE_KAFKA=1 cargo test --release --test it -- --ignored --nocapture --test-threads 1

# The daemon beside kcat, rsyslog and others on a real Kafka; `just bench --lines 200000` for a quick look
bench *ARGS:
    cargo bench --bench end_to_end -- {{ARGS}}

# The FFI under valgrind (needs valgrind): minutes
valgrind:
    cargo test --lib --no-run
    valgrind --error-exitcode=9 --leak-check=no -q "$(ls -t target/debug/deps/logferry-* | grep -v '\.d$' | head -1)" kafka::producer kafka::native

# A fuzzer for as many seconds (needs cargo-fuzz and a nightly Rust); what it finds new stays in fuzz/target
fuzz NAME SECONDS="300":
    mkdir -p fuzz/target/corpus/{{NAME}}
    cargo +nightly fuzz run -s none {{NAME}} fuzz/target/corpus/{{NAME}} fuzz/corpus/{{NAME}} -- -max_total_time={{SECONDS}} -max_len=1024

# Licences, advisories and banned crates of the dependencies (needs cargo-deny)
deny:
    cargo deny check

# Format everything
fmt:
    cargo fmt

# The first try: sample files into an in-process Kafka and back into files
quickstart:
    cargo run -- run -c examples/quickstart/logferry.yaml --once
