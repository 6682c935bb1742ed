// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// Host is a VirtualHost ready for use, in one table or several. It never changes.
type Host[A any] struct {
	name       string
	domains    []domain
	requireTLS bool
	routes     []route[A]
	index      *index // nil: the routes are scanned
}

type route[A any] struct {
	path  pathMatcher
	rest  *conditions // nil: none
	value A
}

// conditions are what a route wants besides its path.
type conditions struct {
	headers                []*HeaderMatcher
	query                  []queryMatcher
	numerator, denominator uint64
}

// NewHost compiles a virtual host. It refuses domains that are malformed and matchers that cannot work, by the host's
// name and the route's index.
func NewHost[A any](c *VirtualHost[A]) (*Host[A], error) {
	v := &Host[A]{name: c.Name, requireTLS: c.RequireTLS, routes: make([]route[A], len(c.Routes))}
	for _, text := range c.Domains {
		d, err := newDomain(text)
		if err != nil {
			return nil, fmt.Errorf("virtual host %s: %w", c.Name, err)
		}
		v.domains = append(v.domains, d)
	}
	for i := range c.Routes {
		r := &v.routes[i]
		r.value = c.Routes[i].Action
		var err error
		if r.path, err = newPathMatcher(c.Routes[i].Path); err == nil {
			r.rest, err = newConditions(&c.Routes[i])
		}
		if err != nil {
			return nil, fmt.Errorf("virtual host %s: route %d: %w", c.Name, i, err)
		}
	}
	v.index = newIndex(v.routes)
	return v, nil
}

func newConditions[A any](c *Route[A]) (*conditions, error) {
	limited := c.Fraction.Denominator > 0 && c.Fraction.Numerator < c.Fraction.Denominator
	if len(c.Headers)+len(c.Query) == 0 && !limited {
		return nil, nil
	}
	r := &conditions{}
	if limited {
		r.numerator, r.denominator = uint64(c.Fraction.Numerator), uint64(c.Fraction.Denominator)
	}
	for _, hc := range c.Headers {
		m, err := NewHeaderMatcher(hc)
		if err != nil {
			return nil, err
		}
		r.headers = append(r.headers, m)
	}
	for _, qc := range c.Query {
		m, err := newQueryMatcher(qc)
		if err != nil {
			return nil, err
		}
		r.query = append(r.query, m)
	}
	return r, nil
}

// find is the first route that matches.
func (v *Host[A]) find(h *codec.Head, draw uint64) *route[A] {
	path := pathOf(h.Target)
	if v.index != nil {
		var c candidates
		if v.index.find(&c, path) {
			for i := c.next(); i >= 0; i = c.next() {
				if r := &v.routes[i]; r.match(h, path, draw) {
					return r
				}
			}
			return nil
		}
	}
	for i := range v.routes {
		if r := &v.routes[i]; r.match(h, path, draw) {
			return r
		}
	}
	return nil
}

func (r *route[A]) match(h *codec.Head, path []byte, draw uint64) bool {
	return r.path.match(path) && (r.rest == nil || r.rest.match(h, draw))
}

func (r *conditions) match(h *codec.Head, draw uint64) bool {
	if r.denominator > 0 && draw%r.denominator >= r.numerator {
		return false
	}
	for _, m := range r.headers {
		if !m.Match(h) {
			return false
		}
	}
	if len(r.query) > 0 {
		query := queryOf(h.Target)
		for i := range r.query {
			if !r.query[i].match(query) {
				return false
			}
		}
	}
	return true
}
