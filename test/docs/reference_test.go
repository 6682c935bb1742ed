// SPDX-License-Identifier: Apache-2.0

// Package docs_test holds that docs/reference.md tells what the binary says of itself.
package docs_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/cli"
	"github.com/umbra-mesh/umbra/internal/logging"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

var update = flag.Bool("update", false, "rewrite the tables of docs/reference.md")

const reference = "../../docs/reference.md"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// table compares a generated part of the reference with want, or rewrites it.
func table(t *testing.T, name, want string) {
	t.Helper()
	page := read(t, reference)
	begin := "<!-- " + name + ": written by make golden -->\n"
	before, rest, ok := strings.Cut(page, begin)
	got, after, end := strings.Cut(rest, "<!-- end -->")
	if !ok || !end {
		t.Fatalf("docs/reference.md has no table %s", name)
	}
	if *update {
		page = before + begin + want + "<!-- end -->" + after
		if err := os.WriteFile(reference, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("table %s is not what the binary says (make golden rewrites it):\n%s", name, d)
	}
}

// flagLine is a line of --help: short name, name with the kind of its value, meaning.
var flagLine = regexp.MustCompile(`^ +(-\w, )?--(\S+)( \S+)? {2,}(.*)$`)

func TestReferenceListsEveryFlagWithItsDefault(t *testing.T) {
	for _, command := range []string{"run", "check", "mirrors", "demo"} {
		var out bytes.Buffer
		none := func(string) (string, bool) { return "", false }
		if code := cli.Main([]string{command, "--help"}, strings.NewReader(""), &out, io.Discard, none); code != 0 {
			t.Fatalf("%s --help: exit code %d", command, code)
		}
		_, flags, _ := strings.Cut(out.String(), "\nFlags:\n")
		flags, _, _ = strings.Cut(flags, "\n\n")
		rows := "| flag | default | meaning |\n|---|---|---|\n"
		for line := range strings.Lines(flags) {
			m := flagLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
			if m == nil {
				t.Fatalf("%s --help: cannot read %q", command, line)
			}
			meaning, value, _ := strings.Cut(m[4], " (default ")
			switch {
			case m[2] == "help":
				continue
			case m[2] == "mirror-memory":
				value = "`48Mi`" // whatever this machine has
			case value != "":
				value = "`" + strings.Trim(strings.TrimSuffix(value, ")"), `"`) + "`"
			}
			rows += fmt.Sprintf("| `%s--%s%s` | %s | %s |\n", m[1], m[2], strings.ReplaceAll(m[3], "|", `\|`), value, meaning)
		}
		table(t, command, rows)
	}
}

// mesh has one of everything that is counted.
const mesh = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: both}
spec:
  hosts: [both.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: %s}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: both}
spec:
  hosts: [both.example]
  http:
  - match: [{uri: {prefix: /}, statPrefix: all}]
    route: [{destination: {host: both.example}}]
    mirror: {host: both.example}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wrong}
spec:
  hosts: [wrong.example]
  http:
  - route: [{destination: {host: both.example}}]
`

// answers are the metrics that have no series before the first answer.
var answers = []string{
	"envoy_http_downstream_rq", "envoy_cluster_upstream_rq", "envoy_vhost_route_upstream_rq", "umbra_mirror_rq",
}

// scrape runs a proxy whose every metric has a series, and returns what Prometheus would get.
func scrape(t *testing.T) string {
	t.Helper()
	origin := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(origin.Close)
	_, port, err := net.SplitHostPort(origin.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/mesh.yaml"
	text := fmt.Sprintf(mesh, port)
	write(t, path, text)
	outbound := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), meshtest.FreePort(t))
	log := logging.New(io.Discard, slog.LevelInfo)
	t.Cleanup(log.Close)
	a, err := app.New(app.Options{
		Log:     log,
		Input:   app.Input{Paths: []string{path}, Namespace: "default", Outbound: outbound},
		Admin:   "127.0.0.1:0",
		Workers: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	write(t, path, strings.Replace(text, "hosts: [wrong", "hots: [wrong", 1))
	a.Reload() // one resource is refused now
	get(t, "http://"+outbound.String(), "both.example")
	deadline := time.Now().Add(meshtest.Patience)
	for time.Now().Before(deadline) {
		page := get(t, "http://"+a.Admin()+"/stats/prometheus", "")
		if !slices.ContainsFunc(answers, func(name string) bool { return !strings.Contains(page, name+"{") }) {
			return page
		}
	}
	t.Fatal("the request or its copy was not counted")
	return ""
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url, host string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

var (
	helpLine = regexp.MustCompile(`^# HELP ((?:envoy|umbra)_\S+) (.*)\n$`)
	typeLine = regexp.MustCompile(`^# TYPE (\S+) (.*)\n$`)
	series   = regexp.MustCompile(`^(\S+?)(?:\{(.*)\})? \S+\n$`)
	label    = regexp.MustCompile(`(\w+)="`)
)

func TestReferenceListsEveryMetricAndCause(t *testing.T) {
	type metric struct {
		name, help, kind string
		labels           []string
	}
	page := scrape(t)
	var metrics []*metric
	for line := range strings.Lines(page) {
		if m := helpLine.FindStringSubmatch(line); m != nil {
			metrics = append(metrics, &metric{name: m[1], help: m[2]})
			continue
		}
		if len(metrics) == 0 {
			continue
		}
		last := metrics[len(metrics)-1]
		if m := typeLine.FindStringSubmatch(line); m != nil && m[1] == last.name {
			last.kind = m[2]
		} else if m := series.FindStringSubmatch(line); m != nil && strings.HasPrefix(m[1], last.name) {
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if l[1] != "le" && !slices.Contains(last.labels, l[1]) {
					last.labels = append(last.labels, l[1])
				}
			}
		}
	}
	rows := "| metric | type | labels | meaning |\n|---|---|---|---|\n"
	for _, m := range metrics {
		rows += fmt.Sprintf("| `%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), m.help)
	}
	table(t, "metrics", rows)

	causes := regexp.MustCompile(`umbra_mirror_dropped_total\{cause="(\w+)"`).FindAllStringSubmatch(page, -1)
	if len(causes) < 18 {
		t.Errorf("%d causes are counted, want all", len(causes))
	}
	for _, file := range []string{reference, "../../CONTEXT.md"} {
		text := read(t, file)
		for _, c := range causes {
			if !strings.Contains(text, "\n| `"+c[1]+"` |") {
				t.Errorf("%s does not explain the cause %s", file, c[1])
			}
		}
	}
}

func TestReferenceListsEveryAdminPage(t *testing.T) {
	path := t.TempDir() + "/empty.yaml"
	write(t, path, "")
	a, err := app.New(app.Options{Input: app.Input{Paths: []string{path}}, Admin: "127.0.0.1:0", Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	text := read(t, reference)
	links := regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(get(t, "http://"+a.Admin()+"/", ""), -1)
	if len(links) == 0 {
		t.Error("the index has no links")
	}
	for _, m := range links {
		if !strings.Contains(text, "\n| `GET "+m[1]+"` |") {
			t.Errorf("docs/reference.md does not list %s", m[1])
		}
		get(t, "http://"+a.Admin()+m[1], "")
	}
}
