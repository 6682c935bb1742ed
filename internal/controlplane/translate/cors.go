// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

var corsMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"}

// cors reads what a rule lets browsers of other origins do; nil if it says nothing.
func (p *report) cors(path string, c *networking.CorsPolicy) *mesh.CORS {
	if c == nil {
		return nil
	}
	path += ".corsPolicy"
	out := &mesh.CORS{
		Methods: slices.Clone(c.GetAllowMethods()), AllowHeaders: slices.Clone(c.GetAllowHeaders()),
		ExposeHeaders: slices.Clone(c.GetExposeHeaders()),
	}
	out.Origins = p.origins(path, c)
	for i, method := range c.GetAllowMethods() {
		if !slices.Contains(corsMethods, method) {
			p.error(index(path+".allowMethods", i), "write it in capitals", "%q is not a supported HTTP method", method)
		}
	}
	p.corsHeaders(path+".allowHeaders", c.GetAllowHeaders())
	p.corsHeaders(path+".exposeHeaders", c.GetExposeHeaders())
	if c.GetMaxAge() != nil {
		age := p.duration(path+".maxAge", c.GetMaxAge())
		if age%time.Second != 0 {
			p.error(path+".maxAge", "round it", "max_age duration is accurate only to seconds precision")
		}
		out.MaxAge = &age
	}
	if c.GetAllowCredentials() != nil {
		credentials := c.GetAllowCredentials().GetValue()
		out.Credentials = &credentials
	}
	switch c.GetUnmatchedPreflights() {
	case networking.CorsPolicy_FORWARD:
		out.UnmatchedPreflights = mesh.UnmatchedForward
	case networking.CorsPolicy_IGNORE:
		out.UnmatchedPreflights = mesh.UnmatchedIgnore
	}
	return out
}

// origins are allowOrigins, or those of the field that it replaced.
func (p *report) origins(path string, c *networking.CorsPolicy) []mesh.StringMatch {
	var out []mesh.StringMatch
	for i, origin := range c.GetAllowOrigins() {
		at := index(path+".allowOrigins", i)
		m := stringMatch(origin)
		if m == nil || m.Value == "" {
			p.error(at, "write exact, prefix or regex", "'' is not a valid match type for CORS allow origins")
			continue
		}
		if m.Kind == mesh.Regex {
			p.expression(at+".regex", m.Value)
		}
		out = append(out, *m)
	}
	old := c.GetAllowOrigin()
	switch {
	case len(old) == 0:
	case c.GetAllowOrigins() != nil:
		p.warn(path+".allowOrigin", "remove it", "has no effect beside allowOrigins")
	default:
		p.note(path+".allowOrigin", "use allowOrigins", "is deprecated")
		for _, origin := range old {
			out = append(out, mesh.StringMatch{Kind: mesh.Exact, Value: origin})
		}
	}
	return out
}

func (p *report) corsHeaders(path string, names []string) {
	for i, name := range names {
		switch {
		case name == "":
			p.error(index(path, i), "write the name of a header", "header name cannot be empty")
		case name != "*" && !validHeaderName(name):
			p.error(index(path, i), "write the name of a header", "header name %s is not a valid header name", name)
		}
	}
}
