// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain is also the demo's second process, when it is started with that argument.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "peer" {
		if err := RunPeer(os.Stdin, os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")) // no second's wait at the end of the other process
	goleak.VerifyTestMain(m)
}

func program(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{self, "peer"}
}

func TestOneRunIsAsTold(t *testing.T) {
	var out, trouble bytes.Buffer
	err := Run(t.Context(), Options{
		Once: true, Out: &out, Err: &trouble, Program: program(t), Duration: 1200 * time.Millisecond,
	})
	if err != nil || trouble.Len() > 0 {
		t.Fatalf("%v\n%s\n%s", err, trouble.String(), out.String())
	}
	for _, want := range []string{
		`mesh A \(production\)  gateway http://127.0.0.1:\d+  admin http://127.0.0.1:\d+  pid ` + strconv.Itoa(os.Getpid()),
		`mesh B \(test\)        gateway http://127.0.0.1:\d+  admin http://127.0.0.1:\d+  pid \d+, a process of its own`,
		`mirror default/httpbin: .* to outbound\|80\|\|httpbin.mirror.cluster-b, share 50 %, Host <host>-shadow`,
		`To freeze mesh B: kill -STOP \d+ `,
		`(?m)^   1.0 s  +\d+ answered +\d+ copies seen in B$`,
		`A httpbin v1 .* GET  /headers\?n=\d+ .* Host: shop.example\n`,
		`B httpbin .* GET  /headers\?n=\d+ .* Host: shop.example-shadow\n`,
		`sent +\d+ +\d+\n`,
		`selected for a copy \(50 % wanted\) +\d+ = \d+.\d % +-\n`,
		`seen by B's httpbin +\d+ +0\n`,
		`dropped +0 +-\n`,
		`latency, median \(if copied\) +\d+\.\d+ ms +\d+\.\d+ ms\n    added by the copy +[+-]\d+ µs`,
		`\nAll as told.\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("nothing like %q in\n%s", want, out.String())
		}
	}
}

func TestMeshesStayUpForTheUserEvenIfOneIsFrozen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	var trouble bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		err := Run(ctx, Options{Terminal: true, Out: w, Err: &trouble, Program: program(t), Duration: 300 * time.Millisecond})
		w.Close()
		ended <- err
	}()
	lines := bufio.NewScanner(r)
	find := func(re string) string {
		t.Helper()
		for lines.Scan() {
			if m := regexp.MustCompile(re).FindStringSubmatch(lines.Text()); m != nil {
				return m[1]
			}
		}
		t.Fatalf("the demo ended before %q: %v %s", re, lines.Err(), trouble.String())
		return ""
	}
	url := find(`curl -s -H 'Host: shop.example' '(.*)'`)
	pid, err := strconv.Atoi(find(`kill -STOP (\d+)`))
	if err != nil {
		t.Fatal(err)
	}
	find(`(Ctrl-C ends both meshes)`)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if by := resp.Header.Get("X-Served-By"); resp.StatusCode != 200 || by != nameA {
		t.Errorf("status %d by %q", resp.StatusCode, by)
	}
	find(`(A httpbin v1 .*/headers\?n=mine)`)
	cancel()
	for lines.Scan() {
	}
	if err := <-ended; err != nil {
		t.Errorf("ended by the user: %v", err)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("mesh B's process is left behind")
	}
}

func TestInterruptedRunIsNoSuccess(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := writer(func(p []byte) {
		if bytes.Contains(p, []byte("Sending requests")) {
			cancel()
		}
	})
	err := Run(ctx, Options{Once: true, Out: out, Err: io.Discard, Program: program(t)})
	if !errors.Is(err, errInterrupted) {
		t.Errorf("got %v", err)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestPeerThatDoesNotComeUpIsAnError(t *testing.T) {
	for want, program := range map[string][]string{
		"start mesh B: no program for it": nil,
		"start mesh B: its process ended": {"/bin/true"},
		"no such file":                    {"/no/such/program"},
	} {
		err := Run(t.Context(), Options{Once: true, Out: io.Discard, Err: io.Discard, Program: program})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", program, err, want)
		}
	}
}

func TestPeerEndsWithItsStandardInput(t *testing.T) {
	if err := RunPeer(strings.NewReader("no configuration"), io.Discard, io.Discard); err == nil {
		t.Error("a broken configuration is no error")
	}
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	cfg := meshConfig{Name: "x", Workload: ports[0], Gateway: ports[1]}
	if _, cfg.Files, err = writeConfig(t.TempDir(), meshConfig{}, cfg); err != nil {
		t.Fatal(err)
	}
	stdin := fmt.Sprintf(`{"Name":"x","Files":[%q],"Workload":%d,"Gateway":%d}`, cfg.Files[0], cfg.Workload, cfg.Gateway)
	var out bytes.Buffer
	if err := RunPeer(strings.NewReader(stdin), &out, io.Discard); err != nil {
		t.Error(err)
	}
	if want := fmt.Sprintf(`{"Ready":{"Gateway":"127.0.0.1:%d",`, ports[1]); !strings.HasPrefix(out.String(), want) {
		t.Errorf("got %q, want %q...", out.String(), want)
	}
}
