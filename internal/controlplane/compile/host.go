// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// intersection returns the domains that a gateway server serves for a virtual service: of each pair of hosts where one
// is within the other, the narrower. Server hosts for other namespaces take no part.
func intersection(hosts []mesh.ServerHost, vs *mesh.VirtualService) []string {
	var out []string
	for _, sh := range hosts {
		if sh.Namespace != "*" && sh.Namespace != vs.Namespace {
			continue
		}
		for _, host := range vs.Hosts {
			var narrower string
			switch {
			case covers(sh.Host, host):
				narrower = host
			case covers(host, sh.Host):
				narrower = sh.Host
			default:
				continue
			}
			if !slices.Contains(out, narrower) {
				out = append(out, narrower)
			}
		}
	}
	return out
}

// covers reports whether every name that host stands for is one that pattern stands for. "*.x" does not stand for x.
func covers(pattern, host string) bool {
	if pattern == host {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	return wild && strings.HasSuffix(host, suffix) && len(strings.TrimPrefix(host, "*")) > len(suffix)
}

// domain is a host as it stands in requests: an IPv6 address in brackets.
func domain(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// bySpecificity orders full names before wildcards, longer wildcards before shorter ones, then by alphabet.
func bySpecificity(a, b string) int {
	wildA, wildB := strings.HasPrefix(a, "*"), strings.HasPrefix(b, "*")
	switch {
	case wildA && !wildB:
		return 1
	case !wildA && wildB:
		return -1
	case wildA && len(a) != len(b):
		return cmp.Compare(len(b), len(a))
	}
	return cmp.Compare(a, b)
}
