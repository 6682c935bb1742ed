// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/internal/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each configuration is served, and each request sent to it, for real.
const (
	configurations = 60
	requests       = 150
)

func TestEveryRequestIsAnsweredAsTheRulesRead(t *testing.T) {
	dir := t.TempDir()
	g := &generator{Rand: rand.New(rand.NewPCG(11, 22)), ports: freePorts(t)}
	write(t, filepath.Join(dir, "upstreams.yaml"), serveUpstreams(t))
	p := proxy{labels: map[string]string{"app": "edge"}, namespace: "default"}

	rules := filepath.Join(dir, "rules.yaml")
	text := g.resources(t)
	write(t, rules, text)
	a, err := app.New(app.Options{
		Input:   app.Input{Paths: []string{dir}, Namespace: p.namespace, Labels: p.labels, Bind: "127.0.0.1"},
		Workers: 1,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	defer a.Close()

	answered := map[int]int{}
	for range configurations {
		for range requests {
			r := g.request()
			want := p.answer(t, text, r)
			answered[want.Status]++
			if diff := cmp.Diff(want, send(t, r)); diff != "" {
				t.Fatalf("%+v: rules against proxy (-want +got):\n%s\n%s", r, diff, text)
			}
		}
		text = g.resources(t)
		write(t, rules, text)
		a.Reload()
	}
	for _, status := range []int{200, 301, 404, 418} {
		if answered[status] == 0 {
			t.Errorf("no request was answered %d: the generator has lost its reach", status)
		}
	}
}

func write(t *testing.T, path, text string) {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serveUpstreams starts a server for each upstream, which tells in its answer what it saw, and returns the ServiceEntries.
func serveUpstreams(t *testing.T) string {
	var docs []string
	for _, host := range upstreams {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("x-saw", url.Values{
				"upstream": {host}, "rule": {r.Header.Get("x-rule")}, "host": {r.Host}, "target": {r.RequestURI},
			}.Encode())
		}))
		t.Cleanup(s.Close)
		docs = append(docs, fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s, namespace: default}
spec:
  hosts: [%s]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: %d}}]
`, strings.TrimSuffix(host, ".mesh"), host, s.Listener.Addr().(*net.TCPAddr).Port))
	}
	return strings.Join(docs, "---\n")
}

// send writes the request as it is, without a client library that would mend it.
func send(t *testing.T, r request) answer {
	t.Helper()
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", r.port), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: 0\r\n", r.method, r.target, r.host)
	for _, h := range r.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	if _, err := c.Write([]byte(b.String() + "\r\n")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	defer resp.Body.Close()
	a := answer{Status: resp.StatusCode, Location: resp.Header.Get("location")}
	if saw, err := url.ParseQuery(resp.Header.Get("x-saw")); err != nil {
		t.Fatal(err)
	} else if len(saw) > 0 {
		a.Upstream, a.Rule, a.Host, a.Target = saw.Get("upstream"), saw.Get("rule"), saw.Get("host"), saw.Get("target")
	}
	return a
}
