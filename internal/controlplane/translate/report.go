// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// remarks are problems of one resource, and where its fields stand.
type remarks struct {
	resource *source.Resource
	shape    *shape // of the whole resource; nil: its kind is not translated
	problems []mesh.Problem
	said     [mesh.Error - mesh.Note + 1]int // how many of each severity there were, with those that were not kept
	failed   bool                            // there is an Error among them
}

// maxProblems is how many problems of one severity are kept of one resource: a file of 64 MiB may have a million.
const maxProblems = 100

// report is what reading one resource found. It is written while the resource is read and never after: what linking
// finds is in remarks of its own (link.on).
type report struct {
	remarks
	allowed bool // what is refused is a warning
	value   func(string) error
	// dropped are paths of things that were refused and allowed: they are left out of what is served.
	dropped map[string]bool
}

func newReport(r *source.Resource, s *shape, opts Options) *report {
	return &report{
		remarks: remarks{resource: r, shape: s}, allowed: opts.allows(r.Kind), value: opts.HeaderValue,
	}
}

func (p *remarks) add(s mesh.Severity, at mesh.Place, message, fix string) {
	p.failed = p.failed || s == mesh.Error
	n := &p.said[s-mesh.Note]
	if *n++; *n > maxProblems+1 {
		return
	} else if *n > maxProblems {
		at.Field, message, fix = "", fmt.Sprintf("has more of the like than these %d: they are not told", maxProblems), ""
	}
	p.problems = append(p.problems, mesh.Problem{
		Severity: s, Resource: p.resource.Ref(), Line: at.Line, Field: at.Field, Message: message, Fix: fix,
	})
}

// error refuses the resource.
func (p *remarks) error(path, fix, format string, args ...any) {
	p.add(mesh.Error, p.at(path), fmt.Sprintf(format, args...), fix)
}

func (p *remarks) warn(path, fix, format string, args ...any) {
	p.add(mesh.Warning, p.at(path), fmt.Sprintf(format, args...), fix)
}

func (p *remarks) note(path, fix, format string, args ...any) {
	p.add(mesh.Note, p.at(path), fmt.Sprintf(format, args...), fix)
}

func (p *remarks) unresolved(path, fix, format string, args ...any) {
	p.add(mesh.Unresolved, p.at(path), fmt.Sprintf(format, args...), fix)
}

// unsupported refuses what is valid and not implemented, or warns of it if the kind is allowed.
func (p *report) unsupported(at mesh.Place, message string) {
	if p.allowed {
		p.add(mesh.Warning, at, message, "")
		return
	}
	p.add(mesh.Error, at, message,
		"remove it, or go on without it by --allow-unsupported "+p.resource.Kind)
}

// drop leaves the value at a path out.
func (p *report) drop(path string) {
	if p.dropped == nil {
		p.dropped = map[string]bool{}
	}
	p.dropped[path] = true
}

// byLine sorts problems by line, keeping the order of those on one line.
func byLine(problems []mesh.Problem) {
	if len(problems) < 2 {
		return
	}
	slices.SortStableFunc(problems, func(a, b mesh.Problem) int { return a.Line - b.Line })
}
