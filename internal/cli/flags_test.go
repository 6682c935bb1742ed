// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

// parse is what run makes of arguments and environment.
func parse(t *testing.T, env map[string]string, args ...string) app.Options {
	t.Helper()
	f := &runFlags{}
	cmd := f.command()
	cmd.SetIn(strings.NewReader(""))
	cmd.SetErr(io.Discard)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	if err := fromEnv(cmd.Flags(), lookup); err != nil {
		t.Fatal(err)
	}
	opts, err := f.options(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return opts
}

func diff(want, got app.Options) string {
	return cmp.Diff(want, got, cmpopts.IgnoreFields(app.Options{}, "Logger"), cmpopts.IgnoreFields(app.Input{}, "Stdin"),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }))
}

// all are all settings of run, other than by default.
var all = app.Options{
	Input: app.Input{
		Paths: []string{"a", "b"}, Recursive: true, Namespace: "n", Labels: map[string]string{"istio": "x", "v": ""},
		AllowUnsupported: []string{"EnvoyFilter", "Sidecar"}, Profile: compile.Istio, Bind: "::1",
		Ports: map[uint32]uint32{80: 8080, 443: 8443}, Outbound: netip.MustParseAddrPort("127.0.0.1:15001"),
		OutboundPolicy: mesh.RegistryOnly, Locality: "r/z", RootNamespace: "root",
		PathNormalization: compile.NormalizeMergeSlashes,
		Clients: compile.ClientLimits{
			HeadKiB: 8, HeadFields: 20, Head: time.Second, StreamIdle: time.Minute, Idle: 30 * time.Second, Buffer: 64 << 10,
		},
	},
	Admin: "127.0.0.1:1", Workers: 3, AccessLog: "-", AccessLogCopies: true,
	LogLevel: slog.LevelDebug, DrainTimeout: time.Minute, Takeover: "/run/door", Limits: app.Limits{Connections: 100, ListenerConnections: 50},
	Mirror: mirror.Limits{Timeout: 3 * time.Second, MaxInFlight: 7, Window: 1 << 20, Memory: 2 << 20, MaxHops: 9},
	Trace:  app.TraceOptions{Endpoint: "http://c:4318", Sampling: 50, Service: "edge", Formats: trace.W3C | trace.B3},
}

func TestFlagsSetEverything(t *testing.T) {
	got := parse(t, nil, "-f", "a", "--file", "b", "-R", "--namespace", "n", "--labels", "istio=x,v=",
		"--allow-unsupported", "EnvoyFilter", "--allow-unsupported", "Sidecar", "--profile", "istio", "--bind", "::1",
		"--port", "80=8080", "--port", "443=8443", "--outbound", "127.0.0.1:15001", "--admin", "127.0.0.1:1",
		"--outbound-policy", "registry-only", "--locality", "r/z", "--root-namespace", "root",
		"--path-normalization", "MERGE_SLASHES",
		"--workers", "3", "--access-log", "-", "--access-log-copies", "--mirror-timeout", "3s",
		"--mirror-max-in-flight", "7", "--mirror-window", "1Mi", "--mirror-memory", "2097152", "--mirror-max-hops", "9",
		"--trace-otlp", "http://c:4318", "--trace-sampling", "50", "--trace-service-name", "edge",
		"--trace-formats", "w3c,b3", "--drain-timeout", "1m", "--max-head", "8k",
		"--max-head-fields", "20", "--head-timeout", "1s", "--stream-idle-timeout", "1m", "--idle-timeout", "30s", "--takeover", "/run/door", "--max-connections", "100",
		"--max-listener-connections", "50", "--log-level", "debug", "--connection-buffer", "64Ki")
	if d := diff(all, got); d != "" {
		t.Error(d)
	}
}

func TestEnvironmentSetsEverything(t *testing.T) {
	env := map[string]string{
		"UMBRA_FILE": "a,b", "UMBRA_RECURSIVE": "true", "UMBRA_NAMESPACE": "n", "UMBRA_LABELS": "istio=x,v=",
		"UMBRA_ALLOW_UNSUPPORTED": "EnvoyFilter,Sidecar", "UMBRA_PROFILE": "istio", "UMBRA_BIND": "::1",
		"UMBRA_PORT": "80=8080,443=8443", "UMBRA_OUTBOUND": "127.0.0.1:15001", "UMBRA_ADMIN": "127.0.0.1:1",
		"UMBRA_WORKERS": "3", "UMBRA_ACCESS_LOG": "-", "UMBRA_ACCESS_LOG_COPIES": "1", "UMBRA_MIRROR_TIMEOUT": "3s",
		"UMBRA_MIRROR_MAX_IN_FLIGHT": "7", "UMBRA_MIRROR_WINDOW": "1Mi", "UMBRA_MIRROR_MEMORY": "2Mi",
		"UMBRA_MIRROR_MAX_HOPS": "9", "UMBRA_OUTBOUND_POLICY": "registry-only", "UMBRA_LOCALITY": "r/z",
		"UMBRA_ROOT_NAMESPACE": "root", "UMBRA_PATH_NORMALIZATION": "MERGE_SLASHES", "UMBRA_TRACE_OTLP": "http://c:4318", "UMBRA_TRACE_SAMPLING": "50",
		"UMBRA_TRACE_SERVICE_NAME": "edge", "UMBRA_TRACE_FORMATS": "b3,w3c", "UMBRA_DRAIN_TIMEOUT": "60s",
		"UMBRA_MAX_HEAD": "8Ki", "UMBRA_MAX_HEAD_FIELDS": "20", "UMBRA_HEAD_TIMEOUT": "1s",
		"UMBRA_STREAM_IDLE_TIMEOUT": "1m", "UMBRA_IDLE_TIMEOUT": "30s",
		"UMBRA_TAKEOVER": "/run/door", "UMBRA_MAX_CONNECTIONS": "100", "UMBRA_MAX_LISTENER_CONNECTIONS": "50",
		"UMBRA_LOG_LEVEL": "debug", "UMBRA_CONNECTION_BUFFER": "64Ki",
	}
	if d := diff(all, parse(t, env)); d != "" {
		t.Error(d)
	}
	new(runFlags).command().Flags().VisitAll(func(f *pflag.Flag) {
		if _, ok := env[envName(f.Name)]; !ok && f.Name != "help" {
			t.Errorf("flag --%s is not tried", f.Name)
		}
	})
}

func TestFlagBeatsEnvironment(t *testing.T) {
	env := map[string]string{"UMBRA_FILE": "a,b", "UMBRA_PORT": "80=1", "UMBRA_PROFILE": "istio", "UMBRA_NAMESPACE": ""}
	got := parse(t, env, "-f", "c", "--port", "80=2", "--profile", "asm")
	if d := cmp.Diff([]string{"c"}, got.Paths); d != "" {
		t.Error(d)
	}
	if got.Ports[80] != 2 || got.Profile != compile.ASM {
		t.Errorf("port %d, profile %v", got.Ports[80], got.Profile)
	}
	if got.Namespace != "default" {
		t.Errorf("an empty variable set the namespace to %q", got.Namespace)
	}
}

func TestBadVariableIsNamed(t *testing.T) {
	code, _, err := command{t: t, env: map[string]string{"UMBRA_WORKERS": "many"}}.run("run", "-f", "x")
	if code != 2 || !strings.Contains(err, `UMBRA_WORKERS="many"`) {
		t.Errorf("exit %d, stderr %q", code, err)
	}
}

func TestDefaultsServeEveryGatewayOnAllAddresses(t *testing.T) {
	got := parse(t, nil, "-f", "a")
	want := app.Options{
		Input: app.Input{
			Clients: compile.ClientLimits{HeadKiB: 60, HeadFields: 100, Head: 10 * time.Second, StreamIdle: 5 * time.Minute},
			Paths:   []string{"a"}, Namespace: "default", Bind: "0.0.0.0", AllowUnsupported: nil, RootNamespace: "istio-system",
		},
		Admin: "127.0.0.1:15000", DrainTimeout: 25 * time.Second,
		Trace: app.TraceOptions{Sampling: 1, Service: "umbra"},
		Mirror: mirror.Limits{
			Timeout: 15 * time.Second, MaxInFlight: 256, Window: 8 << 20, Memory: int64(mirrorMemory("/")), MaxHops: 3,
		},
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(app.Options{}, "Logger"),
		cmpopts.IgnoreFields(app.Input{}, "Stdin"), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if got.Labels != nil {
		t.Errorf("labels %v: nil serves every Gateway, the empty set does not", got.Labels)
	}
	if got := parse(t, nil, "-f", "a", "--labels", ""); got.Labels == nil {
		t.Error("--labels with nothing is not the empty set")
	}
}

func TestQuantitiesAreReadAsKubernetesWritesThem(t *testing.T) {
	f := func(s string, want quantity) {
		t.Helper()
		var q quantity
		if err := q.Set(s); err != nil || q != want {
			t.Errorf("%s: %d, %v; want %d", s, q, err, want)
		}
	}
	f("48Mi", 48<<20)
	f("1.5Gi", 3<<29)
	f("64M", 64e6)
	f("100k", 100e3)
	f("50331648", 48<<20)
	for _, s := range []string{"", "Mi", "-1", "0", "1MB", "1e3", "0x10", "nan", "inf", "1 Mi", "99999999Ti"} {
		var q quantity
		if err := q.Set(s); err == nil {
			t.Errorf("%q is taken for %d", s, q)
		}
	}
	if q := quantity(48 << 20); q.String() != "48Mi" {
		t.Errorf("48 MiB is written %s", q.String())
	}
	if q := quantity(1000); q.String() != "1000" {
		t.Errorf("1000 is written %s", q.String())
	}
}

func TestMirrorMemoryIsAnEighthOfASmallProcess(t *testing.T) {
	f := func(want quantity, files ...string) {
		t.Helper()
		root := t.TempDir()
		for i := 0; i < len(files); i += 2 {
			path := filepath.Join(root, files[i])
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(files[i+1]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := mirrorMemory(root); got != want {
			t.Errorf("%v: got %d, want %d", files, got, want)
		}
	}
	const big, small = "MemTotal:  8388608 kB\n", "MemTotal:  131072 kB\n"
	f(48 << 20)
	f(48<<20, "proc/meminfo", big)
	f(16<<20, "proc/meminfo", small)
	f(8<<20, "proc/meminfo", big, "proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/memory.max", "67108864\n",
		"sys/fs/cgroup/a/b/memory.max", "max\n")
	f(4<<20, "proc/meminfo", big, "proc/self/cgroup", "0::/host/path\n", "sys/fs/cgroup/memory.max", "33554432\n")
	f(2<<20, "proc/meminfo", big, "proc/self/cgroup", "5:cpu,memory:/a\n3:pids:/a\n",
		"sys/fs/cgroup/memory/memory.limit_in_bytes", "16777216\n")
	f(48<<20, "proc/meminfo", big, "proc/self/cgroup", "broken\n0::/\n", "sys/fs/cgroup/memory.max", "max\n")
}
