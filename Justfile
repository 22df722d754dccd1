# poolctl's recipes. On a machine that may lack something, call them through scripts/just, which installs that first.

set shell := ["bash", "-euo", "pipefail", "-c"]

export CGO_ENABLED := "0"
export PATH := env("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin"
export POOLCTL_TEST_DEBIAN := env("POOLCTL_TEST_DEBIAN", "/var/tmp/poolctl-test-debian")
export POOLCTL_TEST_SYSVINIT := env("POOLCTL_TEST_SYSVINIT", POOLCTL_TEST_DEBIAN + "-sysvinit")
export POOLCTL_TEST_KERNEL := env("POOLCTL_TEST_KERNEL", "/var/tmp/poolctl-test-kernel")

version := `git describe --tags --always --dirty 2>/dev/null || echo unknown`
tool := "go tool -modfile=tools/go.mod"
shared := env("POOLCTL_SHARED", "../shared")
arm64 := "./cmd/poolctl './runtime=^Test(StartExecStop|Reboot|Poweroff|StopTimeout|SupervisorKilled|Pause|Limits|Console|Terminal|Exec(Codes|Options|ForwardsSignals)|Disks|Nodes|Privileged|ShiftedRoot|SealedProgram|Conventions|Escapes)$' ./runtime/seccomp ./runtime/cgroup ./runtime/binfmt=^TestExecutes$ './runtime/guestfs=^Test(StaysInside|Owners|SpecialFiles|CopyContent)$'"

# List the recipes.
default:
    @just --list

# Build ./poolctl: one static binary.
build:
    go build -trimpath -tags urfave_cli_no_docs -ldflags '-s -w -X main.version={{ version }}' -o poolctl ./cmd/poolctl

# All tests, as root: units, the real kernel, and the program end to end (alone: it checks the whole machine for leaks).
# A test that fails is run again, alone, up to twice: many watch real time on what may be a busy machine. Those that needed it
# are listed as failed in their first run; one that fails each time fails the recipe.
test: build
    #!/usr/bin/env bash
    set -uo pipefail
    scripts/debian-root || exit 1
    status=0
    again="--rerun-fails=2 --rerun-fails-max-failures=10 --rerun-fails-run-root-test"
    {{ tool }} gotestsum --format standard-quiet $again --packages "$(go list ./... | grep -v '/e2e$' | tr '\n' ' ')" -- -count=1 -timeout 20m || status=1
    {{ tool }} gotestsum --format standard-quiet $again --packages ./cmd/poolctl/e2e -- -count=1 -timeout 25m || status=1
    exit $status

# The tests of one package or some, as go test takes them: just test-one -run TestX ./btrfs
test-one *args:
    go test -count=1 {{ args }}

# Tests in a machine with Debian's kernel (6.1) and cgroup v2 alone: just test-vm, or just test-vm ./runtime=^TestPause$
test-vm *targets:
    scripts/test-vm {{ if targets == "" { "./runtime ./runtime/cgroup ./pool/tree=TestCrash/create ./pool/checkconfig" } else { targets } }}

# Of those, the ones that take a minute where there is no KVM.
test-vm-quick:
    scripts/test-vm './runtime=^Test(StartExecStop|Reboot|StopTimeout|Limits|Pause|Nodes)$' './runtime/cgroup=^TestApply$' ./pool/checkconfig

# Tests on arm64, in an emulated machine with Debian's kernel: just test-vm-arm64, or just test-vm-arm64 ./runtime=^TestPause$
test-vm-arm64 *targets:
    scripts/test-vm-arm64 {{ if targets == "" { arm64 } else { targets } }}

# Debian's systemd and Alpine's openrc under load: do their supervisors grow? just soak 1h
soak time="10m": build
    scripts/soak ./poolctl {{ shared }} {{ time }}

# The tests that need neither root nor the kernel's help.
test-unit:
    go test -short $(go list ./pool/state ./pool/crash ./remotes ./images/...)

# Every test of the packages below the command with the race detector (needs cgo: gcc and libc6-dev).
test-race:
    CGO_ENABLED=1 go test -race -count=1 $(go list ./... | grep -v '/e2e$')

# Each fuzz test for a while: just fuzz 30s
fuzz time="10s":
    #!/usr/bin/env bash
    set -euo pipefail
    go list -f '{{ "{{.Dir}} {{.ImportPath}}" }}' ./... | while read -r dir package; do
        for name in $(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null | cut -c6-); do
            echo "== $package $name"
            go test -run '^$' -fuzz "^$name\$" -fuzztime {{ time }} "$package"
        done
    done

# Everything that reads the source: linters, import directions, formatting, the scripts.
lint:
    {{ tool }} golangci-lint run
    {{ tool }} golangci-lint run --build-tags crashpoints ./pool/... ./cmd/...
    for s in scripts/* .ci/run; do bash -n "$s"; done

# Format the source.
fmt:
    {{ tool }} golangci-lint fmt

# The main job on a small image built here, each step shown; leaves nothing.
demo: build
    scripts/demo ./poolctl

# poolctl beside LXD on this machine, turn by turn, then where poolctl's own time goes, then the figures of a pull, which have limits.
bench *args: build
    scripts/bench ./poolctl {{ shared }} {{ args }}
