// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// indexFrom is how many exact paths make an index worth its lookup; up to there a scan is as fast (BenchmarkMatch).
const indexFrom = 24

type virtualHost[A any] struct {
	name   string
	routes []route[A]

	// With many exact paths: the routes by their path, and all others, both as indexes in order. Nil otherwise.
	byPath map[string][]int
	others []int
}

type route[A any] struct {
	path    pathMatcher
	headers []headerMatcher
	action  A
}

func newVirtualHost[A any](c *VirtualHost[A]) (*virtualHost[A], error) {
	v := &virtualHost[A]{name: c.Name, routes: make([]route[A], 0, len(c.Routes))}
	for i := range c.Routes {
		path, err := newPathMatcher(c.Routes[i].Path)
		if err != nil {
			return nil, fmt.Errorf("virtual host %s: route %d: %w", c.Name, i, err)
		}
		r := route[A]{path: path, action: c.Routes[i].Action}
		for _, hc := range c.Routes[i].Headers {
			m, err := newHeaderMatcher(hc)
			if err != nil {
				return nil, fmt.Errorf("virtual host %s: route %d: %w", c.Name, i, err)
			}
			r.headers = append(r.headers, m)
		}
		v.routes = append(v.routes, r)
	}
	v.index()
	return v, nil
}

func (v *virtualHost[A]) index() {
	byPath := map[string][]int{}
	var others []int
	for i := range v.routes {
		if p := &v.routes[i].path; p.kind == PathExact && !p.fold {
			byPath[p.value] = append(byPath[p.value], i)
		} else {
			others = append(others, i)
		}
	}
	if len(v.routes)-len(others) >= indexFrom {
		v.byPath, v.others = byPath, others
	}
}

func (v *virtualHost[A]) find(h *codec.Head) *route[A] {
	path := pathOf(h.Target)
	if v.byPath != nil {
		return v.findIndexed(h, path)
	}
	for i := range v.routes {
		if r := &v.routes[i]; r.match(h, path) {
			return r
		}
	}
	return nil
}

// findIndexed tries the routes of that exact path and the others in their common order.
func (v *virtualHost[A]) findIndexed(h *codec.Head, path []byte) *route[A] {
	exact, others := v.byPath[string(path)], v.others
	for len(exact)+len(others) > 0 {
		var i int
		if len(others) == 0 || len(exact) > 0 && exact[0] < others[0] {
			i, exact = exact[0], exact[1:]
		} else {
			i, others = others[0], others[1:]
		}
		if r := &v.routes[i]; r.match(h, path) {
			return r
		}
	}
	return nil
}

func (r *route[A]) match(h *codec.Head, path []byte) bool {
	if !r.path.match(path) {
		return false
	}
	for i := range r.headers {
		if !r.headers[i].match(h) {
			return false
		}
	}
	return true
}
