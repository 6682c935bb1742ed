// SPDX-License-Identifier: Apache-2.0

//go:build netns

// Package netns tests what needs a network of its own: connections that the kernel redirects to a sidecar. It wants
// root, iproute2 and iptables, and makes the network namespace it uses:
//
//	go test -tags netns ./test/netns
package netns

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/cli"
)

// The test's own program plays all parts in the namespace.
const (
	role = "UMBRA_NETNS_ROLE"
	far  = "10.98.76.54:80" // an address on the namespace's loopback
	user = 1337             // the proxy's, whose connections are not redirected
)

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "umbra":
		os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
	case "far":
		fmt.Fprintln(os.Stderr, serveFar())
		os.Exit(1)
	case "client":
		if err := ask(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serveFar() error {
	l, err := net.Listen("tcp", far)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "far saw %s", r.Host)
	}))
}

func ask(addr, host string) error {
	r, err := http.NewRequest("GET", "http://"+addr+"/", nil)
	if err != nil {
		return err
	}
	r.Host = host
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Printf("%d %s", resp.StatusCode, body)
	return err
}

// resources route one host that is known to the far address's neighbour.
const resources = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: known, namespace: default}
spec:
  hosts: [known.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.98.76.54}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: known, namespace: default}
spec:
  hosts: [known.example]
  http:
  - match: [{headers: {x-none: {}}}]
    directResponse: {status: 500}
  - directResponse: {status: 418}
`

func TestRedirectedConnectionsGoOnToWhereTheyWereGoing(t *testing.T) {
	ns := network(t)
	start(t, ns, "far", 0, "", "ready")
	for _, c := range []struct{ policy, host, want string }{
		{"allow-any", "unknown.example", "200 far saw unknown.example"},
		{"allow-any", "known.example", "418 "},
		{"registry-only", "unknown.example", "502 "},
		{"registry-only", "known.example", "418 "},
	} {
		t.Run(c.policy+" "+c.host, func(t *testing.T) {
			start(t, ns, "umbra", user, resources, "listening on", "run", "-f", "-", "--outbound", "0.0.0.0:15001",
				"--outbound-policy", c.policy, "--admin", "", "--workers", "1")
			if got := command(t, ns, "client", far, c.host); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestConnectionsThatWereNotRedirectedHaveNowhereToGo(t *testing.T) {
	ns := network(t)
	start(t, ns, "umbra", user, resources, "listening on", "run", "-f", "-", "--outbound", "127.0.0.1:15001", "--admin", "",
		"--workers", "1")
	if got := command(t, ns, "client", "127.0.0.1:15001", "unknown.example"); !strings.HasPrefix(got, "503 ") {
		t.Errorf("got %q, want 503: sending it on would be a loop", got)
	}
}

// network makes a namespace in which connections of everybody but the proxy end at port 15001, as a sidecar's do.
func network(t *testing.T) string {
	t.Helper()
	ns := fmt.Sprintf("umbra-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)
	run(t, "ip", "netns", "add", ns)
	t.Cleanup(func() { run(t, "ip", "netns", "del", ns) })
	in := func(args ...string) { run(t, append([]string{"ip", "netns", "exec", ns}, args...)...) }
	in("ip", "link", "set", "lo", "up")
	in("ip", "addr", "add", "10.98.76.54/32", "dev", "lo")
	in("iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", "10.98.76.54", "-m", "owner", "!", "--uid-owner",
		fmt.Sprint(user), "-j", "REDIRECT", "--to-ports", "15001")
	return ns
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

func inside(ns, part string, uid int, args ...string) *exec.Cmd {
	// setpriv changes the user behind ip, which needs root.
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	list := []string{"netns", "exec", ns}
	if uid != 0 {
		list = append(list, "setpriv", "--reuid", fmt.Sprint(uid), "--clear-groups")
	}
	cmd := exec.Command("ip", append(append(list, self), args...)...)
	cmd.Env = append(os.Environ(), role+"="+part)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// start runs a part until the test ends; it is ready when a line of its output has the text.
func start(t *testing.T, ns, part string, uid int, stdin, ready string, args ...string) {
	t.Helper()
	cmd := inside(ns, part, uid, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan bool, 1)
	go func() {
		s := bufio.NewScanner(out)
		for s.Scan() {
			if strings.Contains(s.Text(), ready) {
				said <- true
			}
		}
		said <- false
	}()
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	select {
	case ok := <-said:
		if !ok {
			t.Fatalf("%s ended: %s", part, log.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not get ready", part)
	}
}

func command(t *testing.T, ns, part string, args ...string) string {
	t.Helper()
	cmd := inside(ns, part, 0, args...)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", part, err, log.String())
	}
	return string(out)
}
