// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func newCheck() *cobra.Command {
	var f inputFlags
	var strict, notes bool
	cmd := &cobra.Command{
		Use:   "check -f DIR|FILE|-",
		Short: "Say everything that is wrong with resources in files.",
		Long: "Say everything that is wrong with resources in files, one line each: where, what, and what to do.\n\n" +
			"The exit code is 0 without errors, 1 with errors (with --strict: warnings too), 2 if the input could not be\n" +
			"read or the command is wrong. Notes are remarks on input that is right: they never count, and are only shown\n" +
			"with --notes, after all else.",
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
			return verdict(cmd, problems, strict, notes)
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&strict, "strict", false, "Let warnings count as errors.")
	cmd.Flags().BoolVar(&notes, "notes", false, "Show notes too: remarks on input that is right.")
	return cmd
}

// verdict prints the problems as they follow each other in their files, notes (if at all) last, and a summary.
func verdict(c *cobra.Command, problems []mesh.Problem, strict, showNotes bool) error {
	slices.SortStableFunc(problems, func(a, b mesh.Problem) int {
		return cmp.Or(strings.Compare(a.Resource.File, b.Resource.File), line(a)-line(b))
	})
	errors, warnings := 0, 0
	out := c.OutOrStdout()
	var notes []mesh.Problem
	for _, p := range problems {
		switch p.Severity {
		case mesh.Note:
			notes = append(notes, p)
			continue
		case mesh.Warning:
			warnings++
		default:
			errors++
		}
		fmt.Fprintln(out, p)
	}
	if showNotes {
		for _, p := range notes {
			fmt.Fprintln(out, p)
		}
	}
	fmt.Fprintln(out, summary(errors, warnings, len(notes), showNotes))
	if errors > 0 || strict && warnings > 0 {
		return failed(nil)
	}
	return nil
}

func line(p mesh.Problem) int { return cmp.Or(p.Line, p.Resource.Line) }

func summary(errors, warnings, notes int, shown bool) string {
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
	line := strings.Join(parts, ", ")
	switch {
	case notes == 0 || shown:
	case notes == 1:
		line += " (--notes shows it)"
	default:
		line += " (--notes shows them)"
	}
	return line
}
