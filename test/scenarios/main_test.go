// SPDX-License-Identifier: Apache-2.0

// Package scenarios runs the whole of Umbra as its users do: configuration in, requests through real sockets, and what
// each end has seen. The program runs in this process where its inside matters, in one of its own where signals, exit
// codes and texts do. It tests no part on its own.
package scenarios

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/internal/cli"
)

// hasty keeps the race detector from holding each process for a second at its end.
const hasty = "atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	os.Setenv("GORACE", hasty+" "+os.Getenv("GORACE"))
	testscript.Main(leakChecked{m}, map[string]func(){
		"umbra": func() {
			//nolint:forbidigo // this is the program's main, in a test's binary
			os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
		},
	})
}

// leakChecked is goleak.VerifyTestMain without the exit, which testscript does after it has cleaned up.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error { e.Setenv("GORACE", hasty); return nil },
	})
}
