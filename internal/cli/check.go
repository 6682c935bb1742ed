// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func newCheck() *cobra.Command {
	var f inputFlags
	var strict bool
	cmd := &cobra.Command{
		Use:   "check -f DIR|FILE|-",
		Short: "Say everything that is wrong with resources in files.",
		Long: "Say everything that is wrong with resources in files, one line each: where, what, and what to do.\n\n" +
			"The exit code is 0 without errors, 1 with errors (with --strict: warnings too), 2 if the input could not be\n" +
			"read or the command is wrong. Notes are remarks on input that is right and never count.",
		Example: "  umbra check -f config/ -R --strict\n" +
			"  kubectl get vs,gw,dr,se,svc -A -o yaml | umbra check -f -",
		Args: noPaths,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := f.input(cmd.InOrStdin())
			if err != nil {
				return err
			}
			problems, err := app.Check(in)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			return verdict(cmd, problems, strict)
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&strict, "strict", false, "Let warnings count as errors.")
	return cmd
}

// verdict prints the problems and a summary.
func verdict(cmd *cobra.Command, problems []mesh.Problem, strict bool) error {
	errors, warnings, notes := 0, 0, 0
	out := cmd.OutOrStdout()
	for _, p := range problems {
		fmt.Fprintln(out, p)
		switch p.Severity {
		case mesh.Note:
			notes++
		case mesh.Warning:
			warnings++
		default:
			errors++
		}
	}
	fmt.Fprintln(out, summary(errors, warnings, notes))
	if errors > 0 || strict && warnings > 0 {
		return failed(nil)
	}
	return nil
}

func summary(errors, warnings, notes int) string {
	var parts []string
	count := func(n int, noun string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+noun)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, noun))
		}
	}
	count(errors, "error")
	count(warnings, "warning")
	if len(parts) == 0 {
		parts = append(parts, "no problems")
	}
	count(notes, "note")
	return strings.Join(parts, ", ")
}
