// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// hostNames are the names that requests on the outbound listener have for a host: those that are nobody else's, and
// those that another host may have in full.
type hostNames struct {
	host        string
	full, short []string
}

// namesOf are the names of a service, but for its aliases.
func (k *compiler) namesOf(s *mesh.Service) hostNames {
	n := k.namesOfHost(s.Host, s.Namespace, s.Kubernetes)
	if s.Headless {
		// The names of its pods.
		n.full, n.short = withWildcards(n.full), withWildcards(n.short)
	}
	for _, a := range s.Addresses {
		if ip, err := hostAddress(a); err == nil && !ip.IsUnspecified() {
			n.full = append(n.full, domain(ip.String()))
		}
	}
	return n
}

func (k *compiler) namesOfHost(host, namespace string, kubernetes bool) hostNames {
	n := hostNames{host: domain(host), full: []string{domain(host)}}
	if _, err := netip.ParseAddr(host); err != nil {
		n.full = append(n.full, host+".")
	}
	if kubernetes {
		n.short = k.shortNames(host, namespace)
	}
	return n
}

func withWildcards(names []string) []string {
	for _, name := range names {
		names = append(names, "*."+name)
	}
	return names
}

// hostAddress reads an address that stands for itself alone, which a range does not.
func hostAddress(s string) (netip.Addr, error) {
	if p, err := netip.ParsePrefix(s); err == nil && p.IsSingleIP() {
		return p.Addr(), nil
	}
	return netip.ParseAddr(s)
}

// shortNames are the other names of a Kubernetes service; the bare one only in the proxy's own namespace.
func (k *compiler) shortNames(host, namespace string) []string {
	qualified, ok := strings.CutSuffix(host, ".svc."+k.opts.Domain)
	if !ok {
		return nil
	}
	var names []string
	if name, ok := strings.CutSuffix(qualified, "."+namespace); ok && namespace == k.opts.Namespace {
		names = append(names, name)
	}
	return append(names, qualified+".svc", qualified)
}

// want lists the domains that a virtual host would like: its names with a port ("*": any), and without if it is alone.
func (h *outboundHost) want(names hostNames, port string, alone bool) {
	h.full = domainsOf(names.full, port, alone)
	h.short = domainsOf(names.short, port, alone)
}

func domainsOf(names []string, port string, alone bool) []string {
	n := len(names)
	if alone {
		n *= 2
	}
	list := make([]string, 0, n)
	for _, name := range names {
		if port != "*" || !strings.HasPrefix(name, "*") { // a domain has one wildcard at most
			list = append(list, name+":"+port)
		}
	}
	if alone {
		list = append(list, names...)
	}
	return list
}

// claim gives every domain to one host: full names first, in order. What is lost is remembered, but for "*": that is the
// last virtual host's, and a resource that asks for it on sidecars has been refused before.
func (t *outboundTable) claim() {
	owner := make(map[string]*outboundHost, 8*len(t.hosts))
	owner["*"] = nil
	take := func(h *outboundHost, wanted []string) {
		for _, d := range wanted {
			first, taken := owner[d]
			switch {
			case !taken:
				owner[d] = h
				h.domains = append(h.domains, d)
			case first != nil && first != h:
				t.lost = append(t.lost, lostDomain{d, first, h})
			}
		}
	}
	for _, h := range t.hosts {
		if h.routes != nil || h.service != nil {
			h.domains = make([]string, 0, len(h.full)+len(h.short))
			take(h, h.full)
		}
	}
	for _, h := range t.hosts {
		if h.routes != nil || h.service != nil {
			take(h, h.short)
		}
	}
}
