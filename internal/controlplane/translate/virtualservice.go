// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"slices"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

type virtualService struct {
	*report
	mesh *mesh.VirtualService
	refs []reference
}

// reference is a destination that must be found among the services.
type reference struct {
	path        string
	destination mesh.Destination
	mirror      bool
}

func (t *translation) virtualService(p *report, spec *networking.VirtualService) {
	r := p.resource
	v := &virtualService{report: p, mesh: &mesh.VirtualService{
		Origin: r.Ref(), Name: r.Name, Namespace: r.Namespace, HostsAt: p.at("spec.hosts"),
		Gateways: []string{meshGateway},
	}}
	t.virtuals = append(t.virtuals, v)
	if len(spec.GetGateways()) > 0 {
		v.mesh.Gateways = nil
	}
	for i, name := range spec.GetGateways() {
		at := index("spec.gateways", i)
		full := gatewayName(name, r.Namespace)
		namespace, rest, _ := strings.Cut(full, "/")
		if full != meshGateway && (!validLabel(namespace) || !validSubdomain(rest)) {
			p.error(at, "write name, namespace/name or mesh", "gateway name %q is not valid", name)
		} else if strings.Contains(name, ".") && !strings.Contains(name, "/") {
			p.warn(at, "", "using legacy gatewayName format %q; prefer the <namespace>/<name> format: %q", name, full)
		}
		v.mesh.Gateways = append(v.mesh.Gateways, full)
	}
	t.hosts(v, spec.GetHosts())
	if len(spec.GetHttp()) == 0 && len(spec.GetTcp()) == 0 && len(spec.GetTls()) == 0 {
		p.error("spec.http", "add a rule", "http, tcp or tls must be provided in virtual service")
	}
	for i, h := range spec.GetHttp() {
		if rule, ok := v.rule(index("spec.http", i), h, t.opts); ok {
			v.mesh.Rules = append(v.mesh.Rules, rule)
		}
	}
}

func (t *translation) hosts(v *virtualService, hosts []string) {
	if len(hosts) == 0 {
		v.unsupported(v.at("spec.hosts"),
			"there is no host: this is for delegation, which is not implemented, and it decides "+goes)
	}
	valid := true
	for i, host := range hosts {
		path := index("spec.hosts", i)
		if problem := validHost(host); problem != "" && !isIP(host) {
			v.error(path, `write a host name, "*" or "*.example.com"`, "%s", problem)
			valid = false
		} else if host == "*" && slices.Contains(v.mesh.Gateways, meshGateway) {
			v.error(path, "name the hosts, or bind it to a gateway only",
				"wildcard host * is not allowed for virtual services bound to the mesh gateway")
			valid = false
		}
		v.mesh.Hosts = append(v.mesh.Hosts, t.opts.expand(host, v.mesh.Namespace))
	}
	for i, a := range v.mesh.Hosts {
		for j, b := range v.mesh.Hosts[:i] {
			if valid && (covers(a, b) || covers(b, a)) {
				v.error(index("spec.hosts", i), "remove one of them", "duplicate hosts in virtual service: %s & %s",
					hosts[j], hosts[i])
			}
		}
	}
}

// rule reads one entry of spec.http. It is false if the entry is left out: what it does or when it holds is not
// implemented.
func (v *virtualService) rule(path string, h *networking.HTTPRoute, opts Options) (mesh.Rule, bool) {
	rule := mesh.Rule{Place: v.at(path), Name: h.GetName(), Timeout: h.GetTimeout().AsDuration()}
	elsewhere := h.GetRedirect() != nil || h.GetDirectResponse() != nil || h.GetDelegate() != nil
	switch {
	case h.GetRedirect() != nil && len(h.GetRoute()) > 0:
		v.error(path+".redirect", "keep one of them", "HTTP route cannot contain both route and redirect")
	case !elsewhere && len(h.GetRoute()) == 0:
		v.error(path+".route", "add a destination", "HTTP route, redirect or direct_response is required")
	}
	serve := !elsewhere
	for i, m := range h.GetMatch() {
		at := index(path+".match", i)
		match := v.match(at, m)
		if !v.droppedBelow(at) {
			rule.Matches = append(rule.Matches, match)
		}
	}
	if len(h.GetMatch()) > 0 && len(rule.Matches) == 0 {
		serve = false
	}
	v.route(path, h.GetRoute(), &rule, opts)
	v.mirrors(path, h, &rule, opts)
	switch {
	case h.GetTimeout() != nil && rule.Timeout < time.Millisecond:
		v.error(path+".timeout", "leave it out if there is to be none", "duration must be greater than 1ms")
	case rule.Timeout%time.Millisecond != 0:
		v.error(path+".timeout", "round it", "only durations to ms precision are supported")
	}
	if len(rule.Mirrors) > 0 && takesWrites(rule.Matches) {
		field := path + ".mirror"
		if h.GetMirror() == nil {
			field += "s"
		}
		v.note(field, "match on method GET if the target must not take writes",
			"all methods are mirrored, writes (POST, PUT, PATCH, DELETE) too")
	}
	return rule, serve
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

// takesWrites tells whether a request that changes something can meet the matches.
func takesWrites(matches []mesh.Match) bool {
	reads := func(m mesh.Match) bool {
		return m.Method != nil && m.Method.Kind == mesh.Exact &&
			slices.Contains([]string{"GET", "HEAD", "OPTIONS", "TRACE"}, m.Method.Value)
	}
	return len(matches) == 0 || slices.ContainsFunc(matches, func(m mesh.Match) bool { return !reads(m) })
}

// destination reads a host, subset and port, and remembers that they must be found.
func (v *virtualService) destination(path string, d *networking.Destination, mirror bool,
	opts Options,
) mesh.Destination {
	out := mesh.Destination{Place: v.at(path), Subset: d.GetSubset(), Port: d.GetPort().GetNumber()}
	out.Host = opts.expand(d.GetHost(), v.mesh.Namespace)
	before := v.failed
	v.failed = false
	switch problem := validHost(d.GetHost()); {
	case d.GetHost() == "":
		v.error(path+".host", "name a service", "destination host is required")
	case d.GetHost() == "*":
		v.error(path+".host", "name a service", "invalid destination host *")
	case problem != "":
		v.error(path+".host", "name a service", "%s", problem)
	}
	if out.Subset != "" && !validLabel(out.Subset) {
		v.error(path+".subset", "use lower case letters, digits and '-'", "subset name is invalid: %s", out.Subset)
	}
	if d.GetPort() != nil && !validPort(int64(out.Port)) {
		v.error(path+".port.number", "write a number from 1 to 65535", "port number %d must be in the range 1..65535",
			out.Port)
	}
	if !v.failed {
		v.refs = append(v.refs, reference{path, out, mirror})
	}
	v.failed = v.failed || before
	return out
}

func (v *virtualService) route(path string, route []*networking.HTTPRouteDestination, rule *mesh.Rule, opts Options) {
	var total int64
	for i, d := range route {
		at := index(path+".route", i)
		if d.GetDestination() == nil {
			v.error(at+".destination", "name a service", "destination is required")
			continue
		}
		out := v.destination(at+".destination", d.GetDestination(), false, opts)
		out.Weight = d.GetWeight()
		if out.Weight < 0 {
			v.error(at+".weight", "write 0 or more", "weight %d < 0", out.Weight)
		}
		total += int64(out.Weight)
		rule.Route = append(rule.Route, out)
	}
	if len(route) > 1 && total == 0 {
		v.error(path+".route", "give the destinations weights", "total destination weight = 0")
	}
}
