// SPDX-License-Identifier: Apache-2.0

// Command umbra mirrors live HTTP traffic as Istio resources say. Everything is in internal/cli.
package main

import (
	"os"

	"github.com/umbra-mesh/umbra/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
}
