// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// httpRule is one entry of spec.http. Beside the rule it keeps what was given and what was not: a delegate inherits
// each field by itself.
type httpRule struct {
	mesh.Rule
	path     string
	given    *networking.HTTPRoute // names of gateways completed
	matches  []*networking.HTTPMatchRequest
	copies   copies
	delegate string // "namespace/name" of the virtual service it delegates to; "": it does not
}

// rule reads one entry of spec.http. It is nil if the entry is left out, because what it is for is not implemented.
func (v *virtualService) rule(path string, h *networking.HTTPRoute, opts Options) *httpRule {
	rule := &httpRule{
		path: path, given: h, Rule: mesh.Rule{Origin: v.mesh.Origin, Place: v.at(path), Name: h.GetName()},
	}
	if d := h.GetDelegate(); d != nil {
		rule.delegate = v.delegateName(path+".delegate", d)
	}
	v.conflicts(path, h)
	for i, m := range h.GetMatch() {
		at := index(path+".match", i)
		v.checkMatch(at, m)
		if !v.droppedBelow(at) {
			rule.matches = append(rule.matches, m)
			rule.Matches = append(rule.Matches, match(m, v.at(at)))
		}
	}
	v.route(path, h.GetRoute(), rule, opts)
	rule.Redirect = v.redirect(path, h)
	rule.Direct = v.directResponse(path, h.GetDirectResponse())
	rule.Rewrite = v.rewrite(path, h.GetRewrite())
	rule.Headers = v.headers(path, h.GetHeaders())
	v.oneAuthority(path, h)
	rule.Timeout = v.duration(path+".timeout", h.GetTimeout())
	rule.Retries = v.retries(path, h.GetRetries())
	rule.Fault = v.fault(path, h.GetFault())
	rule.CORS = v.cors(path, h.GetCorsPolicy())
	rule.copies = v.copies(path, h, opts)
	rule.Mirrors = rule.copies.mirrors()
	if len(h.GetMatch()) > 0 && len(rule.Matches) == 0 {
		return nil
	}
	return rule
}

// conflicts checks what of a rule excludes each other.
func (v *virtualService) conflicts(path string, h *networking.HTTPRoute) {
	if h.GetDelegate() != nil && !v.delegate {
		if h.GetRedirect() != nil {
			v.error(path+".redirect", "let the delegate redirect", "root HTTP route %s must not specify redirect", h.GetName())
		}
		if h.GetRoute() != nil {
			v.error(path+".route", "let the delegate route", "root HTTP route %s must not specify route", h.GetName())
		}
		return
	}
	if h.GetDelegate() != nil {
		v.error(path+".delegate", "write the rules here", "delegate HTTP route cannot contain delegate")
	}
	const fix = "keep one of them"
	exclude := func(field, what, name string, given bool) {
		if given {
			other := strings.Replace(field, "directResponse", "direct_response", 1)
			v.error(path+"."+field, fix, "HTTP route %scannot contain both %s and %s", what, name, other)
		}
	}
	switch {
	case h.GetRedirect() != nil:
		exclude("redirect", "", "route", len(h.GetRoute()) > 0)
		exclude("redirect", "", "fault", h.GetFault() != nil)
		exclude("redirect", "rule ", "rewrite", h.GetRewrite() != nil)
		exclude("redirect", "rule ", "direct_response", h.GetDirectResponse() != nil)
	case h.GetDirectResponse() != nil:
		exclude("directResponse", "", "route", len(h.GetRoute()) > 0)
		exclude("directResponse", "", "fault", h.GetFault() != nil)
		exclude("directResponse", "rule ", "rewrite", h.GetRewrite() != nil)
	case len(h.GetRoute()) == 0:
		v.error(path+".route", "add a destination", "HTTP route, redirect or direct_response is required")
	}
	if h.GetMirror() != nil && len(h.GetMirrors()) > 0 {
		v.error(path+".mirrors", "move the mirror into mirrors", "HTTP route cannot contain both mirror and mirrors")
	}
}

// droppedBelow tells whether something below path was refused and allowed.
func (p *report) droppedBelow(path string) bool {
	for d := range p.dropped {
		if strings.HasPrefix(d, path+".") {
			return true
		}
	}
	return false
}

// noteWrites tells, once for all rules, of mirrors that get requests which change something.
func (v *virtualService) noteWrites() {
	field, more := "", 0
	for _, r := range v.rules {
		switch {
		case len(r.Mirrors) == 0 || !takesWrites(r.Matches):
		case field != "":
			more++
		case r.given.GetMirror() != nil:
			field = r.path + ".mirror"
		default:
			field = r.path + ".mirrors"
		}
	}
	also := ""
	if more > 0 {
		also = fmt.Sprintf(", here and by %d more of its rules", more)
	}
	if field != "" {
		v.note(field, "match on method GET if the target must not take them",
			"writes (POST, PUT, PATCH, DELETE) are mirrored too%s", also)
	}
}

// takesWrites tells whether a request that changes something can meet the matches.
func takesWrites(matches []mesh.Match) bool {
	reads := func(m mesh.Match) bool {
		return m.Method != nil && m.Method.Kind == mesh.Exact &&
			slices.Contains([]string{"GET", "HEAD", "OPTIONS", "TRACE"}, m.Method.Value)
	}
	return len(matches) == 0 || slices.ContainsFunc(matches, func(m mesh.Match) bool { return !reads(m) })
}

func (v *virtualService) route(path string, route []*networking.HTTPRouteDestination, rule *httpRule, opts Options) {
	var total int64
	for i, d := range route {
		at := index(path+".route", i)
		headers := v.headers(at, d.GetHeaders())
		if d.GetWeight() < 0 {
			v.error(at+".weight", "write 0 or more", "weight %d < 0", d.GetWeight())
		}
		total += int64(d.GetWeight())
		if d.GetDestination() == nil {
			v.error(at+".destination", "name a service", "destination is required")
			continue
		}
		out := v.destination(at+".destination", d.GetDestination(), false, opts)
		out.Weight, out.Headers = d.GetWeight(), headers
		rule.Route = append(rule.Route, out)
	}
	if len(route) > 1 && total == 0 {
		v.error(path+".route", "give the destinations weights", "total destination weight = 0")
	} else if len(route) > 1 && total != 100 {
		v.note(path+".route", "", "the weights add up to %d, not to 100: each is a share of that", total)
	}
}

// duration reads a duration that Istio wants to be at least 1 ms, in whole ms. It is 0 if none is given.
func (p *report) duration(path string, given *durationpb.Duration) time.Duration {
	d := given.AsDuration()
	switch {
	case given == nil:
	case d < time.Millisecond:
		p.error(path, "leave it out if there is to be none", "duration must be greater than 1ms")
	case d%time.Millisecond != 0:
		p.error(path, "round it", "only durations to ms precision are supported")
	}
	return d
}
