// SPDX-License-Identifier: Apache-2.0

package source

import (
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// Keep remembers the last good version of every resource, so that a bad one does not take the good ones with it. The
// zero value remembers nothing. It is not safe for use from two goroutines.
type Keep struct {
	last []*Resource       // as they were accepted
	good map[Key]*Resource // of last; made when it is first needed
}

func (k *Keep) lastGood() map[Key]*Resource {
	if k.good == nil {
		k.good = make(map[Key]*Resource, len(k.last))
		for _, r := range k.last {
			k.good[r.Key()] = r
		}
	}
	return k.good
}

// Settled is the outcome of Keep.Settle.
type Settled struct {
	Resources []*Resource    // what to serve
	Problems  []mesh.Problem // of the input, and of what replaced its bad parts if that is wrong too
	Refused   []mesh.Ref     // resources of the input that are not served as written
}

// Settle finds what to serve of a new reading. check gives the problems of a list of resources; a new version with an
// Error is replaced by the last good one or, failing that, left out, until none is refused. A last good version is never
// taken away: if it has an Error too, another resource's change brought it, and only what it is about is not served.
// loading is what Load said. Nothing is remembered until Accept. The last call of check was with what is returned.
func (k *Keep) Settle(s Set, loading []mesh.Problem, check func([]*Resource) []mesh.Problem) Settled {
	refused := map[*Resource]bool{}
	mark := func(list []*Resource, problems []mesh.Problem) bool {
		bad := map[mesh.Ref]bool{}
		for _, p := range problems {
			if p.Severity == mesh.Error {
				bad[p.Resource] = true
			}
		}
		if len(bad) == 0 {
			return false
		}
		marked := false
		for _, r := range list {
			if bad[r.Ref()] && !refused[r] && r != k.lastGood()[r.Key()] {
				refused[r], marked = true, true
			}
		}
		return marked
	}
	out := Settled{Problems: append(append([]mesh.Problem{}, loading...), check(s.Resources)...)}
	if !mark(s.Resources, out.Problems) && len(s.Broken) == 0 {
		out.Resources = s.Resources
		return out
	}
	known := map[mesh.Problem]bool{}
	for _, p := range out.Problems {
		known[p] = true
	}
	// Each round refuses at least one more resource, or is the last.
	for {
		out.Resources = k.effective(s, refused)
		problems := check(out.Resources)
		for _, p := range problems {
			if p.Severity >= mesh.Unresolved && !known[p] {
				known[p] = true
				out.Problems = append(out.Problems, p)
			}
		}
		if !mark(out.Resources, problems) {
			break
		}
	}
	for _, r := range s.Resources {
		if refused[r] {
			out.Refused = append(out.Refused, r.Ref())
		}
	}
	return out
}

// effective is the set to serve: new resources, last good ones for those that are refused, and all that a broken file had
// or that has moved to one.
func (k *Keep) effective(s Set, refused map[*Resource]bool) []*Resource {
	var out []*Resource
	have, moved := map[Key]bool{}, map[Key]bool{}
	for _, r := range s.Resources {
		key := r.Key()
		if s.Broken[r.File] {
			moved[key] = true
			continue
		}
		have[key] = true
		if refused[r] {
			r = k.lastGood()[key]
		}
		if r != nil {
			out = append(out, r)
		}
	}
	for _, r := range k.last {
		if key := r.Key(); (s.Broken[r.File] || moved[key]) && !have[key] {
			out = append(out, r)
		}
	}
	return out
}

// Accept remembers what is served from now on; the list is its own then.
func (k *Keep) Accept(resources []*Resource) { k.last, k.good = resources, nil }
