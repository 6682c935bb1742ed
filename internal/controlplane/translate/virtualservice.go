// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"cmp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// virtualService is one that was read. Without hosts it is a delegate: others take its rules into theirs.
type virtualService struct {
	*report
	// mesh is what it is by itself, without the rules that delegate.
	mesh     *mesh.VirtualService
	delegate bool
	rules    []*httpRule // all that are not left out; of one that delegates or is a delegate only
	export   exports
	refs     []reference
}

// reference is a destination that must be found among the services.
type reference struct {
	path        string
	destination mesh.Destination
	mirror      bool
	short       bool // without its namespace and domain
}

func readVirtualService(p *report, spec *networking.VirtualService, opts Options) *virtualService {
	r := p.resource
	v := &virtualService{report: p, mesh: &mesh.VirtualService{
		Origin: r.Ref(), Name: r.Name, Namespace: r.Namespace, HostsAt: p.at("spec.hosts"),
		Gateways: []string{meshGateway},
	}, delegate: len(spec.GetHosts()) == 0}
	if len(spec.GetGateways()) > 0 {
		v.mesh.Gateways = v.gatewayNames("spec.gateways", spec.GetGateways())
	}
	if v.delegate {
		v.checkDelegate(spec)
	}
	v.hosts(spec.GetHosts(), opts)
	v.export = p.exportTo("spec.exportTo", spec.GetExportTo(), false)
	if len(spec.GetHttp()) == 0 && len(spec.GetTcp()) == 0 && len(spec.GetTls()) == 0 {
		p.error("spec.http", "add a rule", "http, tcp or tls must be provided in virtual service")
	}
	v.mesh.Rules = make([]mesh.Rule, 0, len(spec.GetHttp()))
	for i, h := range spec.GetHttp() {
		if rule := v.rule(index("spec.http", i), h, opts); rule != nil {
			v.rules = append(v.rules, rule)
			if rule.delegate == "" {
				v.mesh.Rules = append(v.mesh.Rules, rule.Rule)
			}
		}
	}
	v.noteWrites()
	v.overlaps(spec.GetHttp())
	if !v.delegate && !v.root() {
		v.rules = nil // nothing is put together with them
	}
	return v
}

// root tells whether a rule of it delegates.
func (v *virtualService) root() bool { return len(v.mesh.Rules) < len(v.rules) }

// checkDelegate refuses what a virtual service without hosts cannot have.
func (v *virtualService) checkDelegate(spec *networking.VirtualService) {
	const fix = "remove it, or add hosts"
	if len(spec.GetGateways()) > 0 {
		v.error("spec.gateways", fix, "delegate virtual service must have no gateways specified")
	}
	if len(spec.GetTls()) > 0 {
		v.error("spec.tls", fix, "delegate virtual service must have no tls route specified")
	}
	if len(spec.GetTcp()) > 0 {
		v.error("spec.tcp", fix, "delegate virtual service must have no tcp route specified")
	}
}

// gatewayNames checks and completes the names of gateways.
func (v *virtualService) gatewayNames(path string, names []string) []string {
	var all []string
	for i, name := range names {
		at := index(path, i)
		full := gatewayName(name, v.resource.Namespace)
		namespace, rest, _ := strings.Cut(full, "/")
		switch {
		case full == meshGateway:
		case !validAnyLabel(namespace) || !validAnyLabel(rest):
			v.error(at, "write name, namespace/name or mesh", "gateway name %q is not valid", name)
		case strings.Contains(name, ".") && !strings.Contains(name, "/"):
			v.warn(at, "", "using legacy gatewayName format %q; prefer the <namespace>/<name> format: %q", name, full)
		}
		all = append(all, full)
	}
	return all
}

func (v *virtualService) hosts(hosts []string, opts Options) {
	valid := true
	for i, host := range hosts {
		path := index("spec.hosts", i)
		if problem := validHost(host); problem != "" && !isIP(host) {
			v.error(path, hostFix(host, `write a host name, "*" or "*.example.com"`), "%s", problem)
			valid = false
		} else if host == "*" && slices.Contains(v.mesh.Gateways, meshGateway) {
			v.error(path, "name the hosts, or bind it to a gateway only",
				"wildcard host * is not allowed for virtual services bound to the mesh gateway")
			valid = false
		}
	}
	seen := newHostIndex(hosts)
	fulls := make(map[string]bool, len(hosts))
	for i, host := range hosts {
		full := opts.expand(host, v.mesh.Namespace)
		if other := seen.overlap(i); valid && other >= 0 {
			v.error(index("spec.hosts", i), "remove one of them", "duplicate hosts in virtual service: %s & %s",
				hosts[other], host)
		}
		if fulls[full] {
			if !v.failed {
				v.warn(index("spec.hosts", i), "remove it", "is host %s once more", full)
			}
			continue
		}
		fulls[full] = true
		v.mesh.Hosts = append(v.mesh.Hosts, full)
	}
}

// destination reads a host, subset and port, and remembers that they must be found.
func (v *virtualService) destination(path string, d *networking.Destination, mirror bool,
	opts Options,
) mesh.Destination {
	out := mesh.Destination{Place: v.at(path), Subset: d.GetSubset(), Port: d.GetPort().GetNumber()}
	out.Host = opts.expand(d.GetHost(), v.mesh.Namespace)
	before := len(v.problems)
	switch problem := validHost(d.GetHost()); {
	case d.GetHost() == "":
		v.error(path+".host", "name a service", "destination host is required")
	case d.GetHost() == "*":
		v.error(path+".host", "name a service", "invalid destination host *")
	case isIP(d.GetHost()):
		v.error(path+".host", "name a service: a ServiceEntry with this address in its endpoints gives it a host",
			"%s", cmp.Or(problem, "an address is no host"))
	case problem != "":
		v.error(path+".host", hostFix(d.GetHost(), "name a service"), "%s", problem)
	}
	if out.Subset != "" && !validAnyLabel(out.Subset) {
		v.error(path+".subset", "use letters, digits and '-'", "subset name is invalid: %s", out.Subset)
	}
	if d.GetPort() != nil {
		v.port(path+".port.number", out.Port)
	}
	if len(v.problems) == before {
		v.refs = append(v.refs, reference{path, out, mirror, !strings.ContainsAny(d.GetHost(), ".:")})
	}
	return out
}

// port checks the number of a port that is given.
func (v *virtualService) port(path string, number uint32) {
	if !validPort(int64(number)) {
		v.error(path, "write a number from 1 to 65535", "port number %d must be in the range 1..65535", number)
	}
}
