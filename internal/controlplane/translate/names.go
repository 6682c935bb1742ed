// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// meshGateway is the name by which a VirtualService means sidecars.
const meshGateway = "mesh"

// expand is the full name of a host that a resource in a namespace names: without a dot it is a service of that
// namespace; all else stands for itself.
func (o Options) expand(host, namespace string) string {
	host = strings.ToLower(host)
	if host == "" || host == "*" || strings.ContainsAny(host, ".:") {
		return host
	}
	return o.serviceHost(host, namespace)
}

func (o Options) serviceHost(name, namespace string) string {
	return name + "." + namespace + ".svc." + o.ClusterDomain
}

// gatewayName is "namespace/name" of a gateway as a VirtualService in a namespace names it, or "mesh".
func gatewayName(name, namespace string) string {
	switch before, after, found := strings.Cut(name, "/"); {
	case name == meshGateway:
		return name
	case found && before == ".":
		return namespace + "/" + after
	case found:
		return name
	case strings.Contains(name, "."): // name.namespace.svc.cluster.local, as before Istio 1.0
		parts := strings.SplitN(name, ".", 3)
		return parts[1] + "/" + parts[0]
	}
	return namespace + "/" + name
}

// validHost says why h is no host name or wildcard; "" if it is one. The first label may be "*" or begin with it.
func validHost(h string) string {
	if len(h) > 255 {
		return fmt.Sprintf("domain name %q too long (max 255)", h)
	}
	labels := strings.Split(strings.TrimSuffix(h, "."), ".")
	for i, label := range labels {
		name := strings.ToLower(label)
		if rest, wild := strings.CutPrefix(name, "*"); wild && i == 0 {
			name = strings.TrimPrefix(rest, "-")
			if rest == "" {
				continue
			}
		}
		if !validLabel(name) {
			return fmt.Sprintf("domain name %q invalid (label %q invalid)", h, label)
		}
	}
	top := labels[len(labels)-1]
	if _, err := strconv.Atoi(top); err == nil && len(labels) > 1 {
		return fmt.Sprintf("domain name %q invalid (top level domain %q cannot be all-numeric)", h, top)
	}
	return ""
}

// hostFix is what to do about a host that is not valid: fix, unless it is plain what is too much.
func hostFix(h, fix string) string {
	if strings.ContainsAny(h, ":/") {
		return "write the name alone, without scheme, port and path"
	}
	return fix
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// validLabel tells whether s is an RFC 1123 label in lower case.
func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

func validSubdomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return false
		}
	}
	return true
}

func validPort(n int64) bool { return 1 <= n && n <= 65535 }

// covers tells whether host pattern a (exact or wildcard) holds for every host of pattern b.
func covers(a, b string) bool {
	if a == "*" || a == b {
		return true
	}
	suffix, wild := strings.CutPrefix(a, "*")
	return wild && strings.HasSuffix(strings.TrimPrefix(b, "*"), suffix)
}

// includes tells whether labels has all of selector.
func includes(labels, selector map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
