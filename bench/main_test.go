// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/isolation"
	"github.com/umbra-mesh/umbra/bench/internal/rig"
)

// The test binary is also the programs that the bench starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestRelayIsMeasuredWithEveryPlainCase(t *testing.T) {
	var out bytes.Buffer
	err := run([]string{"-proxies", "relay", "-cases", "get,post1m", "-rounds", "2", "-span", "200ms", "-warm", "50ms"},
		nil, &out, io.Discard)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"| GET | relay |", "| POST 1 MiB | relay |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no row %q in\n%s", want, &out)
		}
	}
	checkNoChildren(t)
}

// cancelling cancels the bench at its first word of progress.
type cancelling struct{ cancel context.CancelFunc }

func (c cancelling) Write(p []byte) (int, error) {
	c.cancel()
	return len(p), nil
}

func TestInterruptedBenchLeavesNoProcess(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := rig.Run(ctx, rig.Config{
		Proxies: []string{rig.Relay}, Cases: rig.Cases[:1], Rounds: 1000, Span: 100 * time.Millisecond,
		Log: cancelling{cancel},
	})
	if err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("got %v", err)
	}
	checkNoChildren(t)
}

func TestMissingProgramsAreNamedWithTheRemedy(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	for proxy, remedy := range map[string]string{rig.Nginx: "apt-get install nginx", rig.Umbra: "make build"} {
		err := run([]string{"-proxies", proxy, "-" + proxy, missing}, nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), remedy) {
			t.Errorf("without %s: got %v", proxy, err)
		}
	}
	checkNoChildren(t)
}

func TestOlderUmbraMustBeNamed(t *testing.T) {
	err := run([]string{"-proxies", rig.Before}, nil, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "-umbra-before") {
		t.Errorf("got %v", err)
	}
	checkNoChildren(t)
}

// The relay copies nothing, so that no fault of a mirror can harm what passes it: what is found is the rig's own.
func TestIsolationRigFindsNoFaultWithARelay(t *testing.T) {
	var out bytes.Buffer
	err := run([]string{
		"isolation", "-proxies", "relay,nginx", "-nginx", filepath.Join(t.TempDir(), "none"),
		"-faults", "healthy,refused,blackhole,never-reads", "-span", "200ms", "-rate", "100",
	}, nil, &out, io.Discard)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{
		"| healthy | relay |", "| refuses connections | relay |", "| answers no SYN | relay |",
		"| accepts and never reads | relay |", "Left out: ", "apt-get install nginx",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if n := strings.Count(out.String(), "| 0 | 0 | 0 | - | - | - |"); n != 4 {
		t.Errorf("%d of 4 rows are without an error\n%s", n, &out)
	}
	checkNoChildren(t)
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-rounds", "0"}, {"-span", "-1s"}, {"-cases", "none"}, {"-proxies", "none"}, {"more"}, {"-unknown"},
		{"upstream"}, {"upstream", "x"}, {"relay", "127.0.0.1:1", "127.0.0.1:2", "0"}, {"load"}, {"upstream", "[::1]:0"},
		{"isolation", "-rate", "0"}, {"isolation", "-faults", "none"}, {"isolation", "-proxies", "none"}, {"isolation", "more"},
		{"isolation", "-umbra", "/none", "-proxies", "umbra"}, {isolation.RoleMirror}, {isolation.RoleOrigin, "x"},
	} {
		if err := run(args, nil, io.Discard, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

// checkNoChildren asks the kernel: a child that was not reaped would be listed too.
func checkNoChildren(t *testing.T) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Fatalf("list the children: %v, %v", tasks, err)
	}
	for _, file := range tasks {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that ended
		}
		if ids := strings.Fields(string(b)); len(ids) > 0 {
			t.Error(fmt.Sprint("children are left: ", ids))
		}
	}
}
