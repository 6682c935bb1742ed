// SPDX-License-Identifier: Apache-2.0

// Package cli is umbra's command line: commands, flags, exit codes, and what is printed. It decides nothing about
// configuration or traffic; each command hands its flags to the package that does the work.
package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes besides 0. Of check: 1 is configuration with errors; unreadable input is 2, as wrong usage is.
const (
	exitFailure = 1
	exitUsage   = 2
)

// LookupEnv is how commands see the environment; os.LookupEnv in a process.
type LookupEnv func(name string) (value string, set bool)

// Main runs one command and returns the process's exit code. args come without the program's name.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer, env LookupEnv) int {
	root := newRoot(env)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintf(stderr, "umbra: %v\n", exit.err)
		}
		return exit.code
	default: // what a command does not return itself is cobra's: the arguments are wrong
		fmt.Fprintf(stderr, "umbra: %v\nRun '%s --help' for usage.\n", err, cmd.CommandPath())
		return exitUsage
	}
}

// exitError ends a command with a code; err, if any, is printed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d: %v", e.code, e.err) }

func (e *exitError) Unwrap() error { return e.err }

func failed(err error) error { return &exitError{exitFailure, err} }

func newRoot(env LookupEnv) *cobra.Command {
	root := &cobra.Command{
		Use:   "umbra",
		Short: "Mirror live HTTP traffic as Istio resources say.",
		Long: "Umbra reads Istio and Kubernetes resources, proxies production HTTP traffic by them and sends\n" +
			"copies of it, out of band, to a second version or a second cluster.\n\n" +
			"Every flag may also be given as an environment variable: UMBRA_ and its name, with _ for -; a flag wins.\n" +
			"Lists are separated by commas there, and an empty variable counts as not set.",
		Example: "  umbra demo\n" +
			"  umbra check -f examples/cross-cluster/a.yaml\n" +
			"  umbra run -f examples/cross-cluster/a.yaml --port 80=8080\n" +
			"  umbra mirror --listen :8080 --to http://127.0.0.1:80 --copy http://staging:80",
		Version:           buildVersion(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnv(cmd.Flags(), env) },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.Flags().Bool("version", false, "Print the version.")
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newRun(), newMirror(), newCheck(), newDemo(), newMirrors(), newVersion(), newDemoMesh())
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Short = "Show help for any command."
			c.Long = "Show help for any command: umbra help COMMAND."
		}
	}
	describeHelp(root)
	return root
}

// describeHelp writes the text of --help as all others are written.
func describeHelp(cmd *cobra.Command) {
	cmd.Flags().BoolP("help", "h", false, "Show this help.")
	for _, c := range cmd.Commands() {
		describeHelp(c)
	}
}

// fromEnv sets the flags that were not given from the environment.
func fromEnv(flags *pflag.FlagSet, env LookupEnv) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" || f.Name == "version" {
			return
		}
		name := envName(f.Name)
		value, set := env(name)
		if !set || value == "" {
			return
		}
		if err := setFromEnv(f, value); err != nil {
			errs = append(errs, fmt.Errorf("%s=%q: %w", name, value, err))
		}
	})
	return errors.Join(errs...)
}
