// SPDX-License-Identifier: Apache-2.0

// Package scale measures what much configuration costs: until all of it is served, and until one change of it is.
//
//	go test ./test/scale -run '^$' -bench . -benchtime 10x
package scale

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/app"
)

const (
	perFile  = 100 // virtual services
	services = 100
)

// config is a folder of resources: hosts virtual services with routes rules each, over some services.
type config struct {
	dir           string
	hosts, routes int
	to            string // port that all services end at
}

func write(tb testing.TB, c config) {
	tb.Helper()
	var b strings.Builder
	b.WriteString("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: default}\n" +
		"spec:\n  servers:\n  - {port: {number: 80, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: ['*']}\n")
	for i := range services {
		fmt.Fprintf(&b, "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: s%[1]d, namespace: default}\n"+
			"spec:\n  hosts: [s%[1]d.example]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: STATIC\n"+
			"  endpoints: [{address: 127.0.0.1, ports: {http: %[2]s}}]\n", i, c.to)
	}
	c.file(tb, "mesh.yaml", b.String())
	for from := 0; from < c.hosts; from += perFile {
		c.hostsFile(tb, from, 0)
	}
}

// hostsFile writes the virtual services of some hosts; the last rule of the first one tells the edition.
func (c config) hostsFile(tb testing.TB, from, edition int) {
	tb.Helper()
	var b strings.Builder
	for i := from; i < min(from+perFile, c.hosts); i++ {
		fmt.Fprintf(&b, "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: h%[1]d, namespace: default}\n"+
			"spec:\n  hosts: [h%[1]d.example]\n  gateways: [gw]\n  http:\n", i)
		for k := range c.routes {
			fmt.Fprintf(&b, "  - match: [{uri: {prefix: /r%d/}}]\n    route: [{destination: {host: s%d.example}}]\n", k, (i+k)%services)
		}
		if i == from && edition > 0 {
			fmt.Fprintf(&b, "  - directResponse: {status: %d}\n", 200+edition%300)
		}
	}
	c.file(tb, fmt.Sprintf("hosts-%05d.yaml", from), b.String())
}

func (c config) file(tb testing.TB, name, text string) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func (c config) options() app.Options {
	return app.Options{
		Input: app.Input{Paths: []string{c.dir}, Namespace: "default", Ports: map[uint32]uint32{80: 18999}}, Workers: 1,
	}
}

func serve(tb testing.TB, hosts, routes int) (config, *app.App) {
	tb.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	tb.Cleanup(up.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(up.URL, "http://"), ":")
	c := config{dir: tb.TempDir(), hosts: hosts, routes: routes, to: port}
	write(tb, c)
	a, err := app.New(c.options())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(a.Close)
	return c, a
}

// status asks for a path that only the change of an edition answers.
func status(tb testing.TB, a *app.App, host string) int {
	tb.Helper()
	r, err := http.NewRequest("GET", "http://"+a.Addrs()[0].String()+"/none", nil)
	if err != nil {
		tb.Fatal(err)
	}
	r.Host = host
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestOneChangeAmongManyIsServed(t *testing.T) {
	c, a := serve(t, 300, 3)
	if got := status(t, a, "h100.example"); got != 404 {
		t.Errorf("before the change: %d", got)
	}
	c.hostsFile(t, 100, 7)
	a.Reload()
	if got := status(t, a, "h100.example"); got != 207 {
		t.Errorf("after the change: %d", got)
	}
	if got := status(t, a, "h101.example"); got != 404 {
		t.Errorf("another host after the change: %d", got)
	}
}

var sizes = []struct {
	name          string
	hosts, routes int
}{{"hosts=10000,routes=10", 10_000, 10}, {"hosts=1,routes=1000", 1, 1000}}

// BenchmarkStart is from files to serving.
func BenchmarkStart(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.name, func(b *testing.B) {
			c := config{dir: b.TempDir(), hosts: s.hosts, routes: s.routes, to: "1"}
			write(b, c)
			var used time.Duration
			for b.Loop() {
				b.StopTimer()
				before, began := heap(), cpu(b)
				b.StartTimer()
				a, err := app.New(c.options())
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				used += cpu(b) - began
				b.ReportMetric(float64(heap()-before)/(1<<20), "MiB-held")
				a.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(used.Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}

// BenchmarkOneChange is from a changed file to the change being served.
func BenchmarkOneChange(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.name, func(b *testing.B) {
			c, a := serve(b, s.hosts, s.routes)
			heap() // what the start left behind is none of the change's
			edition := 0
			var used time.Duration
			for b.Loop() {
				b.StopTimer()
				edition++
				c.hostsFile(b, (edition*perFile)%s.hosts/perFile*perFile, edition)
				began := cpu(b)
				b.StartTimer()
				a.Reload()
				b.StopTimer()
				used += cpu(b) - began
				b.StartTimer()
			}
			b.ReportMetric(float64(used.Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}

// cpu is what this process used of all processors: what time tells on a machine that has nothing else to do.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
