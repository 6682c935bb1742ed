// SPDX-License-Identifier: Apache-2.0

package life_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/test/meshtest"
)

// process is umbra in a process of its own.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	admin string
	ended chan struct{}

	mu   sync.Mutex
	text []string      // guarded by mu: standard output and error
	news chan struct{} // capacity 1: there is more text, or no more comes
}

// launch runs umbra, with more in its environment; it is killed at the end of the test at the latest.
func launch(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{
		t: t, cmd: exec.Command(os.Args[0], args...), ended: make(chan struct{}), news: make(chan struct{}, 1),
	}
	p.cmd.Env = append(append(os.Environ(), asUmbra+"=1", "GORACE=atexit_sleep_ms=0"), env...)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.read(out)
		_ = p.cmd.Wait() // ProcessState tells
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("umbra %s:\n%s", strings.Join(args, " "), strings.Join(p.lines(), "\n"))
		}
	})
	return p
}

func (p *process) read(r io.Reader) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		p.mu.Lock()
		p.text = append(p.text, s.Text())
		p.mu.Unlock()
		p.tell()
	}
	p.tell()
}

func (p *process) tell() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

func (p *process) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text[:len(p.text):len(p.text)]
}

// said waits for a line and returns its submatches.
func (p *process) said(expr string) []string {
	p.t.Helper()
	re := regexp.MustCompile(expr)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for over := false; ; {
		for _, line := range p.lines() {
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
		}
		if over {
			p.t.Fatalf("umbra ended without %q:\n%s", expr, strings.Join(p.lines(), "\n"))
		}
		select {
		case <-p.news:
		case <-p.ended:
			over = true
		case <-deadline.C:
			p.t.Fatalf("no %q:\n%s", expr, strings.Join(p.lines(), "\n"))
		}
	}
}

// serves waits until the process says that it does.
func (p *process) serves() *process {
	p.t.Helper()
	p.admin = p.said(`^admin pages on http://(.*)$`)[1]
	return p
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code.
func (p *process) exit() int {
	p.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case <-p.ended:
	case <-deadline.C:
		p.t.Fatalf("umbra is still there:\n%s", strings.Join(p.lines(), "\n"))
	}
	return p.cmd.ProcessState.ExitCode()
}

// metric is the sum of a metric's series that contain all of the texts.
func (p *process) metric(name string, texts ...string) (sum float64) {
	p.t.Helper()
	code, page := p.page("/stats/prometheus")
	if code != http.StatusOK {
		p.t.Fatalf("metrics: status %d", code)
	}
lines:
	for line := range strings.Lines(page) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if series != name && !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, s := range texts {
			if !strings.Contains(series, s) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		sum += v
	}
	return sum
}

func (p *process) page(path string) (code int, body string) {
	p.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get("http://" + p.admin + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// until polls what another process brings about.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// config writes a mesh of one gateway, whose every request goes to an origin, and to a mirror if there is one.
func config(t *testing.T, gateway int, origin, mirror string) (file string) {
	t.Helper()
	entry := func(name, addr string) string {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s}
spec:
  hosts: [%[1]s.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: %s, ports: {http: %s}}]
`, name, host, port)
	}
	text := fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway}
spec:
  selector: {}
  servers: [{port: {number: %d, name: http, protocol: HTTP}, hosts: ["*"]}]
`, gateway) + entry("origin", origin)
	route := `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ["*"]
  gateways: [gateway]
  http:
  - route: [{destination: {host: origin.example}}]
`
	if mirror != "" {
		text += entry("mirror", mirror)
		route += "    mirror: {host: mirror.example}\n"
	}
	file = filepath.Join(t.TempDir(), "mesh.yaml")
	if err := os.WriteFile(file, []byte(text+route), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func freePort(t *testing.T) int { return int(meshtest.FreePort(t)) }

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
