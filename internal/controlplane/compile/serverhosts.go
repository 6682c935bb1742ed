// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"iter"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// serverHosts finds the hosts that a gateway's server has in common with virtual services, of which there may be as many.
type serverHosts struct {
	names map[string][]string // host to the namespaces it is for
	// odd are wildcards such as "*-a.example", whose star stands for part of a label; they are few and tried one by one.
	odd   []string
	under map[string][]string // wildcard to the hosts below it; made by below
	used  uint64              // the last configuration that has them
}

// serverHosts is made once for a server: a gateway that changes has other servers.
func (k *compiler) serverHosts(s *mesh.Server) *serverHosts {
	h, ok := k.hosts[s]
	if !ok {
		h = newServerHosts(s)
		k.hosts[s] = h
	}
	h.used = k.generation
	return h
}

func newServerHosts(s *mesh.Server) *serverHosts {
	h := &serverHosts{names: make(map[string][]string, len(s.Hosts))}
	for _, sh := range s.Hosts {
		if strings.HasPrefix(sh.Host, "*") && !wholeLabels(sh.Host) && h.names[sh.Host] == nil {
			h.odd = append(h.odd, sh.Host)
		}
		h.names[sh.Host] = append(h.names[sh.Host], sh.Namespace)
	}
	return h
}

// common yields the domains that the server serves for a virtual service: of each pair of hosts where one is within the
// other, the narrower, each once. Hosts for other namespaces take no part.
func (h *serverHosts) common(vs *mesh.VirtualService) iter.Seq[string] {
	return func(yield func(string) bool) {
		var seen []string // of the hosts so far; a map once there are many
		var many map[string]bool
		once := func(name string) bool {
			if many == nil && len(seen) == 16 {
				many = map[string]bool{}
				for _, s := range seen {
					many[s] = true
				}
			}
			if many != nil {
				dup := many[name]
				many[name] = true
				return dup || yield(name)
			}
			for _, s := range seen {
				if s == name {
					return true
				}
			}
			seen = append(seen, name)
			return yield(name)
		}
		for _, host := range vs.Hosts {
			if h.covering(host, vs.Namespace) && !once(host) {
				return
			}
			for _, below := range h.below(host) {
				if h.isFor(below, vs.Namespace) && !once(below) {
					return
				}
			}
		}
	}
}

// meet reports whether there is a domain that the server serves for a virtual service.
func (h *serverHosts) meet(vs *mesh.VirtualService) bool {
	for range h.common(vs) {
		return true
	}
	return false
}

// covering reports whether a host of the server, for the namespace, is host or covers it.
func (h *serverHosts) covering(host, namespace string) bool {
	if h.isFor(host, namespace) {
		return true
	}
	for wildcard := range wildcardsOver(host) {
		if h.isFor(wildcard, namespace) {
			return true
		}
	}
	for _, odd := range h.odd {
		if covers(odd, host) && h.isFor(odd, namespace) {
			return true
		}
	}
	return false
}

func (h *serverHosts) isFor(host, namespace string) bool {
	for _, n := range h.names[host] {
		if n == "*" || n == namespace {
			return true
		}
	}
	return false
}

// below lists the server's hosts that a wildcard covers.
func (h *serverHosts) below(wildcard string) []string {
	if !strings.HasPrefix(wildcard, "*") {
		return nil
	}
	if !wholeLabels(wildcard) {
		var list []string
		for host := range h.names {
			if host != wildcard && covers(wildcard, host) {
				list = append(list, host)
			}
		}
		return list
	}
	if h.under == nil {
		h.under = map[string][]string{}
		for host := range h.names {
			for w := range wildcardsOver(host) {
				h.under[w] = append(h.under[w], host)
			}
		}
	}
	return h.under[wildcard]
}
