// SPDX-License-Identifier: Apache-2.0

// Package life_test runs umbra as a process from its start to its end: takeovers, drains, and what it does when
// connections, memory or descriptors run out. Traffic goes through real sockets.
package life_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/internal/cli"
)

// asUmbra in the environment makes this binary the program.
const asUmbra = "UMBRA_TEST_LIFE_CHILD"

const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asUmbra) != "" {
		confine()
		if os.Getenv(asHog) != "" {
			hog()
			return
		}
		//nolint:forbidigo // this is the program's main, in a test's binary
		os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
