// SPDX-License-Identifier: Apache-2.0

package app

import (
	"slices"
	"sync"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
	"github.com/umbra-mesh/umbra/internal/controlplane/translate"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// control is the way of a configuration: load, settle, translate, compile. It remembers the last good version of each
// resource. Used from one goroutine, but for Problems.
type control struct {
	in     Input
	loader *source.Loader
	keep   source.Keep

	mu       sync.Mutex
	problems []mesh.Problem // guarded by mu
	refused  []mesh.Ref     // guarded by mu
	unread   error          // guarded by mu: why the inputs could not be read, if the last time they could not
}

func newControl(in Input) *control { return &control{in: in, loader: in.loader()} }

// next reads the inputs and returns what to serve now. Problems are kept for the pages; err is an input that could not
// be read at all, in which case everything stays as it is.
func (c *control) next() (*xds.Resources, []mesh.Problem, error) {
	set, loading, err := c.loader.Load()
	c.mu.Lock()
	c.unread = err
	c.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	var res xds.Resources
	var last []mesh.Problem
	settled := c.keep.Settle(set, loading, func(rs []*source.Resource) []mesh.Problem {
		res, last = c.in.resources(rs) // the last call is for what is settled on
		return last
	})
	// What is wrong with a flag depends on what is served in the end, not on what was read.
	settled.Problems = slices.DeleteFunc(settled.Problems, func(p mesh.Problem) bool {
		return p.Resource.Kind == "" && p.Resource.Line == 0 && !slices.Contains(last, p)
	})
	c.keep.Accept(settled.Resources)
	c.mu.Lock()
	c.problems, c.refused = settled.Problems, settled.Refused
	c.mu.Unlock()
	return &res, settled.Problems, nil
}

// resources translates and compiles, and tells all that is wrong.
func (in *Input) resources(rs []*source.Resource) (xds.Resources, []mesh.Problem) {
	config, endpoints, problems := translate.Translate(rs, in.translation())
	res, found := compile.Compile(config, endpoints, in.compilation())
	return res, append(problems, found...)
}

// Check reads the inputs once and returns every problem.
func Check(in Input) ([]mesh.Problem, error) {
	set, problems, err := in.loader().Load()
	if err != nil {
		return nil, err
	}
	_, found := in.resources(set.Resources)
	return append(problems, found...), nil
}

// status is what is wrong with the configuration, for /ready and the metrics.
func (c *control) status() (problems []mesh.Problem, refused []mesh.Ref, unread error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problems, c.refused, c.unread
}

func hasErrors(problems []mesh.Problem) bool {
	for _, p := range problems {
		if p.Severity == mesh.Error {
			return true
		}
	}
	return false
}
