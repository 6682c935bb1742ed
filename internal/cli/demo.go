// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/umbra-mesh/umbra/internal/demo"
)

// demoMesh is the command of the demo's second process.
const demoMesh = "demo-mesh"

func newDemo() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show mirroring from one mesh to another, live, on this machine.",
		Long: "Show mirroring from one mesh to another, live, on this machine: two meshes with a gateway each, the\n" +
			"second in a process of its own, requests through them, and what each end has seen. Nothing is installed\n" +
			"or left behind.\n\n" +
			"Both meshes stay up to try things until Ctrl-C. With --once, or if standard output is no terminal, the\n" +
			"demo ends by itself, with exit code 1 if anything was not as told.",
		Example: "  umbra demo\n  umbra demo --once",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return failed(err)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			terminal := isTerminal(cmd.OutOrStdout())
			err = demo.Run(ctx, demo.Options{
				Once: once || !terminal, Terminal: terminal, Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr(),
				Program: []string{self, demoMesh},
			})
			var failure *demo.Failure
			if errors.As(err, &failure) {
				return failed(nil) // the demo has told
			}
			if err != nil {
				return failed(err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "End after the traffic, with exit code 1 if anything was not as told.")
	return cmd
}

func newDemoMesh() *cobra.Command {
	return &cobra.Command{
		Use:     demoMesh,
		Short:   "Run the second mesh of the demo.",
		Long:    "Run the second mesh of the demo, which starts it.",
		Example: "  umbra " + demoMesh,
		Hidden:  true,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := demo.RunPeer(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()); err != nil {
				return failed(err)
			}
			return nil
		},
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminalFile(f)
}
