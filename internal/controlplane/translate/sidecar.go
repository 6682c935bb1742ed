// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// sidecar says what a proxy's outbound listener knows.
type sidecar struct {
	*report
	selected bool
	selector map[string]string
	egress   bool // it says which hosts; else all
	hosts    []egressHost
	outbound mesh.OutboundPolicy
}

// egressHost is one entry of egress.hosts. Namespace is "*" for any, "." for the proxy's.
type egressHost struct {
	namespace, host string
	excluded        bool
}

func readSidecar(p *report, spec *networking.Sidecar, _ Options) *sidecar {
	s := &sidecar{
		report: p, selected: spec.GetWorkloadSelector() != nil, egress: len(spec.GetEgress()) > 0,
		selector: maps.Clone(spec.GetWorkloadSelector().GetLabels()),
	}
	if s.selected {
		p.selector("spec.workloadSelector.labels", s.selector, "sidecar: workload selector specified without labels, "+
			"will be applied to all services in namespace")
	}
	if !s.egress && len(spec.GetIngress()) == 0 && spec.GetOutboundTrafficPolicy() == nil &&
		spec.GetInboundConnectionPool() == nil {
		p.error("spec", "add egress", "sidecar: empty configuration provided")
	}
	for i, e := range spec.GetEgress() {
		at := index("spec.egress", i)
		if e.GetPort() == nil && i < len(spec.GetEgress())-1 {
			p.error(at, "move it to the end",
				"sidecar: the egress listener with empty port should be the last listener in the list")
		}
		if len(e.GetHosts()) == 0 {
			p.error(at+".hosts", `write "*/*" for all`, "sidecar: egress listener must contain at least one host")
		}
		for j, host := range e.GetHosts() {
			if h, ok := p.egressHost(index(at+".hosts", j), host); ok && !p.droppedBelow(at) {
				s.hosts = append(s.hosts, h)
			}
		}
	}
	if t := spec.GetOutboundTrafficPolicy(); t != nil {
		switch t.GetMode() {
		case networking.OutboundTrafficPolicy_REGISTRY_ONLY:
			s.outbound = mesh.RegistryOnly
		case networking.OutboundTrafficPolicy_ALLOW_ANY:
			s.outbound = mesh.AllowAny
		}
	}
	return s
}

// egressHost reads namespace/host; with "~" before it the host is kept out.
func (p *report) egressHost(at, s string) (egressHost, bool) {
	namespace, host, found := strings.Cut(s, "/")
	if !found {
		p.error(at, `write namespace/host; the namespace may be "*" or "."`, "host must be of form namespace/dnsName")
		return egressHost{}, false
	}
	if namespace == "" || host == "" {
		p.error(at, "write both", "config namespace and dnsName in host entry cannot be empty")
		return egressHost{}, false
	}
	name, excluded := strings.CutPrefix(namespace, "~")
	h := egressHost{namespace: name, host: strings.ToLower(host), excluded: excluded}
	if name == "" {
		h.namespace = "*"
	}
	if name != "" && name != "*" && name != "." && !validAnyLabel(name) {
		p.error(at, `write a namespace, "*" or "."`, "invalid namespace value %q in sidecar", namespace)
	}
	switch problem := validHost(host); {
	case problem != "":
		p.error(at, "write a host name", "%s", problem)
	case host != "*" && !strings.Contains(host, "."):
		p.error(at, `write the full name, or "*"`, "short names (non FQDN) are not allowed")
	case strings.HasPrefix(host, "*") && host != "*" && host[1] != '.':
		p.error(at, `write "*.domain"`, "partial wildcard %q not allowed", host)
	}
	return h, true
}

// imports tells whether the egress hosts name a host of a namespace, as fits says whether one host stands for another.
func (s *sidecar) imports(namespace, host string, fits func(imported, host string) bool) bool {
	if !s.egress {
		return true
	}
	ok := false
	for _, h := range s.hosts {
		if h.namespace != "*" && h.namespace != namespace {
			continue
		}
		if h.excluded && covers(h.host, host) {
			return false
		}
		ok = ok || !h.excluded && fits(h.host, host)
	}
	return ok
}

// sidecar is the one that is for this proxy: of its namespace the oldest with a selector that fits, else the oldest
// without one, else the root namespace's without one. Nil if there is none.
func (l *link) sidecar() *sidecar {
	var chosen *sidecar
	best := 0
	for _, s := range l.sidecars {
		own, rank := s.resource.Namespace == l.opts.Namespace, 0
		switch {
		case s.failed:
			continue
		case own && s.selected && includes(l.opts.Labels, s.selector):
			rank = 3
		case own && !s.selected:
			rank = 2
		case !own && !s.selected && s.resource.Namespace == l.opts.RootNamespace:
			rank = 1
		}
		if rank > best {
			chosen, best = s, rank
		}
	}
	for _, s := range l.sidecars {
		if s != chosen && !s.failed {
			by := "its namespace or its selector is not this proxy's"
			if chosen != nil {
				by = chosen.resource.Ref().String() + " is"
			}
			l.on(s.report).note("metadata.name", "", "is not the Sidecar of this proxy: %s", by)
		}
	}
	return chosen.of(l.opts.Namespace)
}

// of is the sidecar for a proxy of a namespace.
func (s *sidecar) of(namespace string) *sidecar {
	if s == nil {
		return nil
	}
	out := *s
	out.hosts = nil
	for _, h := range s.hosts {
		if h.namespace == "." {
			h.namespace = namespace
		}
		out.hosts = append(out.hosts, h)
	}
	return &out
}

// scope writes what the outbound listener knows: the services and virtual services that egress hosts name. What these
// virtual services send to is reached through them and has no name of its own for that.
func (l *link) scope(config *mesh.Config, s *sidecar) {
	if s == nil {
		return
	}
	config.Outbound = s.outbound
	if !s.egress {
		return
	}
	out := &mesh.SidecarScope{Origin: s.resource.Ref()}
	either := func(imported, host string) bool { return covers(imported, host) || covers(host, imported) }
	for _, v := range config.VirtualServices {
		for _, host := range v.Hosts {
			if s.imports(v.Namespace, host, either) {
				out.VirtualServices = append(out.VirtualServices, v)
				break
			}
		}
	}
	for _, x := range config.Services {
		if s.imports(x.Namespace, x.Host, covers) || s.importsAlias(x) {
			out.Services = append(out.Services, x)
		}
	}
	config.Sidecar = out
}

func (s *sidecar) importsAlias(x *mesh.Service) bool {
	return slices.ContainsFunc(x.Aliases, func(a mesh.Alias) bool { return s.imports(a.Namespace, a.Host, covers) })
}
