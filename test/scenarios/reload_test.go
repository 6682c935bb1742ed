// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/test/meshtest"
)

// promise is how long a change may take to be in force, where the machine is not at its limits.
const promise = time.Second

// folder starts umbra on a folder with these files: pairs of name and text.
func folder(t *testing.T, args []string, pairs ...string) (p *process, dir string) {
	t.Helper()
	dir = t.TempDir()
	for i := 0; i < len(pairs); i += 2 {
		write(t, dir, pairs[i], pairs[i+1])
	}
	return start(t, append([]string{"-f", dir, "--bind", "127.0.0.1"}, args...)...), dir
}

func at(p uint16) []string { return []string{"--port", fmt.Sprintf("80=%d", p)} }

func onFreePort(t *testing.T) []string {
	t.Helper()
	return at(meshtest.FreePort(t))
}

// servedBy is the workload that answers now, or the status.
func (p proxy) servedBy(t *testing.T, path string) string {
	t.Helper()
	resp, _ := p.get(t, "x", path)
	if resp.StatusCode != http.StatusOK {
		return resp.Status
	}
	return resp.Header.Get("X-Served-By")
}

func TestReloadLosesNoRequestAndIsInForceWithinASecond(t *testing.T) {
	v1, v2 := newWorkload(t, "v1"), newWorkload(t, "v2")
	p, dir := folder(t, onFreePort(t), "gateway.yaml", meshtest.Gateway,
		"service.yaml", service("shop", "v1", v1.port, "v2", v2.port), "route.yaml", routes("shop", "/", "shop", "v1"))

	stop := make(chan struct{})
	var traffic sync.WaitGroup
	var answered atomic.Int64
	for i := range 4 {
		traffic.Go(func() {
			// Half of the clients connect anew each time.
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}, Timeout: meshtest.Patience}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := once(client, "http://"+p.Addr+"/headers", by("v1", "v2")); err != nil {
					t.Errorf("after %d answers: %v", answered.Load(), err)
					return
				}
				answered.Add(1)
			}
		})
	}
	next := map[*workload]*workload{v1: v2, v2: v1}
	asked := int64(0)
	servedBy := func() string {
		asked++
		return p.servedBy(t, "/headers")
	}
	for w, i := v2, 0; i < 5; w, i = next[w], i+1 {
		written, slowest := time.Now(), time.Duration(0)
		write(t, dir, "route.yaml", routes("shop", "/", "shop", w.name))
		for began := written; servedBy() != w.name; began = time.Now() {
			slowest = max(slowest, time.Since(began))
			if took := time.Since(written); took > meshtest.Patience || took > promise && slowest < promise/10 {
				t.Errorf("edit %d was not in force after %v, the slowest answer meanwhile took %v", i+1, took, slowest)
				break
			}
		}
		// No request that begins now goes the old way.
		if got := servedBy(); got != w.name {
			t.Errorf("edit %d: served by %s, want %s", i+1, got, w.name)
		}
	}
	close(stop)
	traffic.Wait()
	if v1.count() == 0 || int64(v1.count()+v2.count()) != answered.Load()+asked {
		t.Errorf("%d answers, but the workloads saw %d and %d", answered.Load()+asked, v1.count(), v2.count())
	}
}

// rejected is the line of the metric for a resource.
func rejected(resource string) string {
	return fmt.Sprintf("umbra_config_rejected{resource=%q} 1", resource)
}

func TestBadResourceKeepsItsLastGoodVersionWhileAnotherChanges(t *testing.T) {
	v1, v2 := newWorkload(t, "v1"), newWorkload(t, "v2")
	both := func(broken string) string {
		return strings.Replace(routes("one", "/headers", "shop", "v1"), "  http:\n", broken+"  http:\n", 1)
	}
	p, dir := folder(t, onFreePort(t), "base.yaml", meshtest.Gateway+service("shop", "v1", v1.port, "v2", v2.port),
		"one.yaml", both(""), "two.yaml", routes("two", "/anything", "shop", "v1"))
	reload := func(name, text string, problems int) { // as many as before no reload ends with
		t.Helper()
		n := p.log.count()
		write(t, dir, name, text)
		p.log.wait(t, n, fmt.Sprintf(`configuration reloaded.* problems=%d\b`, problems))
	}
	serving := func(headers, anything string) {
		t.Helper()
		if one, two := p.servedBy(t, "/headers"), p.servedBy(t, "/anything"); one != headers || two != anything {
			t.Errorf("served by %s and %s, want %s and %s", one, two, headers, anything)
		}
	}
	ready := func(want ...string) {
		t.Helper()
		body := p.page(t, "/ready") // fails unless it is 200
		if !strings.HasPrefix(body, "LIVE\n") || len(want) == 0 && body != "LIVE\n" {
			t.Errorf("/ready: %s", body)
		}
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("/ready does not say %q: %s", w, body)
			}
		}
	}
	serving("v1", "v1")
	ready()

	// A field that does not exist, in one resource; the other one changes in the same moment.
	n := p.log.count()
	write(t, dir, "one.yaml", both("  hostz: [x]\n"))
	write(t, dir, "two.yaml", routes("two", "/anything", "shop", "v2"))
	meshtest.Until(t, "the good change is in force", func() bool { return p.servedBy(t, "/anything") == "v2" })
	serving("v1", "v2")
	ready("1 configuration problem:", filepath.Join(dir, "one.yaml"), "VirtualService default/one", "spec.hostz")
	p.log.wait(t, n, `level=ERROR .*one.yaml.*spec.hostz`)
	if m := p.page(t, "/stats/prometheus"); !strings.Contains(m, rejected("VirtualService default/one")) {
		t.Error("umbra_config_rejected does not name VirtualService default/one")
	}

	// A file that is no YAML keeps all that it had.
	reload("two.yaml", "kind: [", 2)
	serving("v1", "v2")
	ready("two.yaml:1: error:", "spec.hostz")

	// Mended: both are served as written, and nobody complains.
	reload("two.yaml", routes("two", "/anything", "shop", "v1"), 1)
	reload("one.yaml", both(""), 0)
	serving("v1", "v1")
	ready()
	if m := p.page(t, "/stats/prometheus"); strings.Contains(m, "umbra_config_rejected{") {
		t.Error("umbra_config_rejected still names a resource")
	}
}

func TestPortThatCannotBeBoundOnReloadLeavesTheOldListener(t *testing.T) {
	w := newWorkload(t, "v1")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	occupied := taken.Addr().(*net.TCPAddr).Port
	args := append(onFreePort(t), "--port", fmt.Sprintf("81=%d", occupied))
	second := "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gateway}\nspec: {servers: [" +
		"{port: {number: %d, name: http, protocol: HTTP}, hosts: ['*']}%s]}\n"
	p, dir := folder(t, args, "gateway.yaml", meshtest.Gateway,
		"route.yaml", service("shop", "v1", w.port)+routes("r", "/", "shop", "v1"))

	for name, text := range map[string]string{
		"beside the old one":     fmt.Sprintf(second, 80, ", {port: {number: 81, name: b, protocol: HTTP}, hosts: ['*']}"),
		"instead of the old one": fmt.Sprintf(second, 81, ""),
	} {
		t.Run(name, func(t *testing.T) {
			n := p.log.count()
			write(t, dir, "gateway.yaml", text)
			p.log.wait(t, n, fmt.Sprintf(`127\.0\.0\.1:%d .*Gateway port 81.*81=%[1]d.*address already in use`, occupied))
			p.log.wait(t, n, `configuration reloaded`)
			if got := p.servedBy(t, "/headers"); got != "v1" {
				t.Errorf("the old listener: %s", got)
			}
			if body := p.page(t, "/ready"); !strings.Contains(body, fmt.Sprint(occupied)) || !strings.Contains(body, "port 81") {
				t.Errorf("/ready does not name both ports: %s", body)
			}
			n = p.log.count()
			write(t, dir, "gateway.yaml", meshtest.Gateway)
			p.log.wait(t, n, `configuration reloaded`)
			if body := p.page(t, "/ready"); body != "LIVE\n" {
				t.Errorf("/ready after all is as before: %s", body)
			}
		})
	}
}

func TestHangupReadsAgainAndReopensTheAccessLog(t *testing.T) {
	w := newWorkload(t, "v1")
	log := filepath.Join(t.TempDir(), "access.log")
	args := append(onFreePort(t), "--access-log", log)
	p, _ := folder(t, args, "all.yaml", shop(w))
	logged := func(path string) {
		t.Helper()
		meshtest.Until(t, "a line about "+path, func() bool {
			text, err := os.ReadFile(log)
			return err == nil && strings.Contains(string(text), `"GET `+path+` HTTP/1.1" 200 - via_upstream`)
		})
	}
	p.servedBy(t, "/headers?first")
	logged("/headers?first")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	n := p.log.count()
	p.signal(t, syscall.SIGHUP)
	p.log.wait(t, n, `configuration reloaded`)
	meshtest.Until(t, "the log is there again", func() bool { _, err := os.Stat(log); return err == nil })
	p.servedBy(t, "/headers?second")
	logged("/headers?second")
}

func TestPortThatCannotBeBoundAtStartEndsRun(t *testing.T) {
	w := newWorkload(t, "v1") // its port is taken
	file := write(t, t.TempDir(), "all.yaml", shop(w))
	args := append([]string{"run", "-f", file, "--admin", "", "--bind", "127.0.0.1"}, at(w.port)...)
	p := launch(t, args...)
	p.log.wait(t, 0, fmt.Sprintf(`^umbra: .*127\.0\.0\.1:%d .*Gateway port 80.*80=%[1]d.*address already in use`, w.port))
	if code := p.ended(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
}
