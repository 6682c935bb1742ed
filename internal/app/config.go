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
// resource, and what each step made of what did not change. Used from one goroutine, but for status.
type control struct {
	loader     *source.Loader
	keep       source.Keep
	translator *translate.Translator // what it read of resources that did not change
	compiler   *compile.Compiler     // and what it made of them

	mu       sync.Mutex
	problems []mesh.Problem // guarded by mu
	refused  []mesh.Ref     // guarded by mu
	unread   error          // guarded by mu: why the inputs could not be read, if the last time they could not
}

func newControl(in Input) *control {
	return &control{
		loader: in.loader(), translator: translate.New(in.translation()), compiler: compile.New(in.compilation()),
	}
}

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
		res, last = c.resources(rs) // the last call is for what is settled on
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
func (c *control) resources(rs []*source.Resource) (xds.Resources, []mesh.Problem) {
	config, endpoints, problems := c.translator.Translate(rs)
	res, found := c.compiler.Compile(config, endpoints)
	return res, slices.Concat(problems, found)
}

// Check reads the inputs once and returns every problem.
func Check(in Input) ([]mesh.Problem, error) {
	c := newControl(in)
	set, problems, err := c.loader.Load()
	if err != nil {
		return nil, err
	}
	_, found := c.resources(set.Resources)
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
