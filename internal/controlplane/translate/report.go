// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// report collects what is wrong with one resource.
type report struct {
	resource *source.Resource
	allowed  bool // what is refused is a warning
	places   map[string]mesh.Place
	problems []mesh.Problem
	failed   bool  // it has an Error: nothing of it is served
	eased    bool  // what is refused was made warnings: nothing of it is served either
	refusals []int // of problems: what is valid and not implemented
	// dropped are paths of things that were refused and allowed: they are left out of what is served.
	dropped map[string]bool
}

func newReport(r *source.Resource, opts Options) *report {
	return &report{
		resource: r, allowed: opts.allows(r.Kind), places: map[string]mesh.Place{}, dropped: map[string]bool{},
	}
}

// at is where the field with a canonical path stands. One that is not there is at its nearest ancestor's line.
func (p *report) at(path string) mesh.Place {
	known, rest := path, ""
	for {
		if found, ok := p.places[known]; ok {
			return mesh.Place{Field: found.Field + rest, Line: found.Line}
		}
		cut := max(strings.LastIndexByte(known, '.'), strings.LastIndexByte(known, '['))
		if cut < 0 {
			return mesh.Place{Field: path, Line: p.resource.Line}
		}
		known, rest = known[:cut], known[cut:]+rest
	}
}

func (p *report) add(s mesh.Severity, at mesh.Place, message, fix string) {
	p.failed = p.failed || s == mesh.Error
	p.problems = append(p.problems, mesh.Problem{
		Severity: s, Resource: p.resource.Ref(), Line: at.Line, Field: at.Field, Message: message, Fix: fix,
	})
}

// error refuses the resource.
func (p *report) error(path, fix, format string, args ...any) {
	p.add(mesh.Error, p.at(path), fmt.Sprintf(format, args...), fix)
}

// unsupported refuses what is valid and not implemented, or warns of it if the kind is allowed.
func (p *report) unsupported(at mesh.Place, message string) {
	if p.allowed {
		p.add(mesh.Warning, at, message, "")
		return
	}
	p.refusals = append(p.refusals, len(p.problems))
	p.add(mesh.Error, at, message,
		"remove it, or go on without it by --allow-unsupported "+p.resource.Kind)
}

// ease makes warnings of what is valid and not implemented: nothing refers to the resource, so it is left out.
func (p *report) ease() {
	for _, i := range p.refusals {
		p.problems[i].Severity = mesh.Warning
		p.problems[i].Message += "; no route refers to it, so it is left out"
		p.problems[i].Fix = ""
	}
	p.eased = len(p.refusals) > 0
	p.refusals = nil
	p.failed = slices.ContainsFunc(p.problems, func(x mesh.Problem) bool { return x.Severity == mesh.Error })
}

func (p *report) warn(path, fix, format string, args ...any) {
	p.add(mesh.Warning, p.at(path), fmt.Sprintf(format, args...), fix)
}

func (p *report) note(path, fix, format string, args ...any) {
	p.add(mesh.Note, p.at(path), fmt.Sprintf(format, args...), fix)
}

func (p *report) unresolved(path, fix, format string, args ...any) {
	p.add(mesh.Unresolved, p.at(path), fmt.Sprintf(format, args...), fix)
}

// warnOnce is warn for what is found once for each host of a service.
func (p *report) warnOnce(path, fix, format string, args ...any) {
	at, message := p.at(path), fmt.Sprintf(format, args...)
	for _, other := range p.problems {
		if other.Field == at.Field && other.Message == message {
			return
		}
	}
	p.add(mesh.Warning, at, message, fix)
}
