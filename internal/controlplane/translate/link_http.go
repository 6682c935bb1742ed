// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func (l *link) linkGateways(config *mesh.Config) {
	missing := l.unreadVirtual // a virtual service may name a gateway by another name than it has
	named := make(map[string]bool, len(l.gateways))
	for _, g := range l.gateways {
		named[g.mesh.Name] = false
	}
	for _, v := range l.virtuals {
		for _, name := range v.mesh.Gateways {
			_, known := named[name]
			missing = missing || !known && name != meshGateway
			named[name] = true
		}
	}
	for _, g := range l.gateways {
		if !g.served || g.failed {
			continue
		}
		config.Gateways = append(config.Gateways, g.mesh)
		if !missing && !named[g.mesh.Name] && slices.ContainsFunc(g.mesh.Servers, answers) {
			l.on(g.report).warn("metadata.name", "add "+g.mesh.Name+" to spec.gateways of a VirtualService",
				"no VirtualService names it: requests get 404")
		}
	}
}

// answers tells whether a server does anything but redirect.
func answers(s mesh.Server) bool { return !s.HTTPSRedirect }

func (l *link) linkVirtualServices(config *mesh.Config, known map[string]*found) {
	n := l.names(known)
	delegates, used := map[string]*virtualService{}, map[*virtualService]bool{}
	for _, v := range l.virtuals {
		if v.delegate {
			delegates[v.mesh.Namespace+"/"+v.mesh.Name] = v
		}
	}
	var own, named, public []*mesh.VirtualService
	for _, v := range l.virtuals {
		if !l.kept.resolved[v] {
			l.findGateways(v, n)
			l.resolveAll(v, known, n)
			l.kept.resolved[v] = l.remarks[v.report] == nil
		}
		linked := v.mesh
		if v.root() {
			linked = l.withDelegates(v, delegates, used, n)
		}
		switch {
		case v.delegate || v.failed || len(linked.Rules) == 0:
		case v.export.all:
			public = append(public, linked)
		case !v.export.to(l.opts.Namespace):
			l.on(v.report).note("spec.exportTo", "", "is not for namespace %s of this proxy: it is not served here",
				l.opts.Namespace)
		case v.mesh.Namespace == l.opts.Namespace:
			own = append(own, linked)
		default:
			named = append(named, linked)
		}
	}
	for _, v := range l.virtuals {
		if v.delegate && !v.failed && !used[v] {
			l.on(v.report).note("metadata.name", "", "has no hosts, and no virtual service delegates to it")
		}
	}
	config.VirtualServices = slices.Concat(own, named, public)
}

// names are what references are found and misspellings are told by. The lists are made when they are first needed.
type names struct {
	suggester
	known    map[string]*found
	gateways map[string]bool
	hosts    []string
}

func (l *link) names(known map[string]*found) *names {
	n := &names{suggester: suggester{left: maxSuggestions}, known: known, gateways: map[string]bool{}}
	for _, g := range l.gateways {
		n.gateways[g.mesh.Name] = true
	}
	return n
}

// host suggests hosts, without what ends in own: who asks for them need not write that.
func (n *names) host(name, own string) string {
	if n.hosts == nil {
		n.hosts = sortedKeys(n.known)
	}
	near := n.nearest(name, n.hosts, ofHost)
	for i := range near {
		near[i] = strings.TrimSuffix(near[i], own)
	}
	return didYouMean(near)
}

// namespaced suggests for "namespace/name": first of all the same name in another namespace.
func namespaced[V any](n *names, name string, candidates map[string]V) string {
	if n.left == 0 {
		return ""
	}
	return didYouMean(n.nearest(name, sortedKeys(candidates), ofNamespace))
}

func sortedKeys[V any](m map[string]V) []string {
	if len(m) == 0 {
		return nil
	}
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// findGateways says which gateways that a virtual service names are not there.
func (l *link) findGateways(v *virtualService, n *names) {
	find := func(path, name string) {
		if name == meshGateway || n.gateways[name] || l.unread[name] {
			return
		}
		fix := namespaced(n, name, n.gateways)
		if fix == "" {
			fix = "add it, or name its namespace: <namespace>/<name>"
		}
		l.on(v.report).unresolved(path, fix, "gateway %s is not there", name)
	}
	for i, name := range v.mesh.Gateways {
		find(index("spec.gateways", i), name)
	}
	if !v.delegate {
		return // a gateway of a match is one of these, or was warned of
	}
	for _, rule := range v.rules {
		for i, m := range rule.given.GetMatch() {
			for j, name := range m.GetGateways() {
				find(index(index(rule.path+".match", i)+".gateways", j), name)
			}
		}
	}
}

// merged is a virtual service with the rules of its delegates, for as long as these are what they were.
type merged struct {
	delegates []*virtualService // by rule that delegates; nil: none is used
	mesh      *mesh.VirtualService
	left      []leftOut
}

// leftOut is a delegate's rule that cannot hold within the rule that delegates.
type leftOut struct {
	root, leaf *httpRule
	of         *virtualService
}

// withDelegates is a virtual service with the rules of those that it delegates to in place of its own that do.
func (l *link) withDelegates(v *virtualService, delegates map[string]*virtualService, used map[*virtualService]bool,
	n *names,
) *mesh.VirtualService {
	var found []*virtualService
	for _, root := range v.rules {
		if root.delegate == "" {
			continue
		}
		d := l.findDelegate(v, root, delegates, n)
		if d != nil {
			used[d] = true
		}
		if d != nil && (d.failed || !d.export.to(v.mesh.Namespace)) {
			d = nil
		}
		found = append(found, d)
	}
	m := l.before.merged[v]
	if m == nil || !slices.Equal(m.delegates, found) {
		whole, over := v.merge(found)
		if over != nil {
			l.on(v.report).error(over.path+".delegate", "delegate to fewer matches, or from fewer rules",
				"with the rules of its delegates it has more than %d routes, or %d pairs of matches: what it was stays",
				maxMerged, maxCompared)
			if m == nil {
				return &mesh.VirtualService{}
			}
			whole = &merged{mesh: m.mesh} // and is tried again the next time
		}
		m = whole
	}
	l.kept.merged[v] = m
	for _, x := range m.left {
		l.on(v.report).warn(x.root.path+".delegate", "match within what the root matches",
			"%s of %s is left out: a match of it lies within none of this rule's", x.leaf.Place.Field, x.of.resource.Ref())
	}
	return m.mesh
}

// findDelegate is the virtual service that a rule delegates to. It says if it is not there, or not for the namespace.
func (l *link) findDelegate(v *virtualService, root *httpRule, delegates map[string]*virtualService, n *names,
) *virtualService {
	d, at := delegates[root.delegate], root.path+".delegate"
	if d == nil {
		fix := namespaced(n, root.delegate, delegates)
		if fix == "" {
			fix = "add a VirtualService of that name without hosts"
		}
		l.on(v.report).unresolved(at, fix, "delegate virtual service %s not found: the rule is left out", root.delegate)
		return nil
	}
	if !d.failed && !d.export.to(v.mesh.Namespace) {
		l.on(v.report).unresolved(at, "add the namespace to exportTo of "+d.resource.Ref().String(),
			"delegate virtual service %s is not exported to %s: the rule is left out", root.delegate, v.mesh.Namespace)
	}
	return d
}

// resolveAll says what of the destinations of a virtual service is not there.
func (l *link) resolveAll(v *virtualService, known map[string]*found, n *names) {
	var f *found
	for i := range v.refs {
		host := v.refs[i].destination.Host
		if i == 0 || host != v.refs[i-1].destination.Host { // most rules of one resource go to the same few
			f = known[host]
		}
		l.resolve(v, &v.refs[i], f, n)
	}
}

// resolve says what of a destination is not there. f is what its host means; nil if that is nothing.
func (l *link) resolve(v *virtualService, ref *reference, f *found, n *names) {
	d := ref.destination
	outcome := "requests get 503"
	if ref.mirror {
		outcome = "copies are dropped"
	}
	if f == nil && l.unread[d.Host] {
		return
	}
	if f == nil {
		own := ""
		if ref.short {
			own = l.opts.serviceHost("", v.mesh.Namespace)
		}
		fix := n.host(d.Host, own)
		if fix == "" {
			fix = "add a Service or a ServiceEntry for it"
		}
		l.on(v.report).unresolved(ref.path+".host", fix, "no service has the host %s; %s", d.Host, outcome)
		return
	}
	if f.unsure {
		return
	}
	l.resolvePort(v, ref, f.ports, outcome)
	if d.Subset != "" && !slices.Contains(f.subsets, d.Subset) {
		fix := suggest(d.Subset, f.subsets)
		if fix == "" {
			fix = fmt.Sprintf("add %s to a DestinationRule for %s", d.Subset, d.Host)
			if n := len(f.subsets); n > 0 && n <= maxPlaces {
				fix = "write " + strings.Join(f.subsets, " or ") + ", or " + fix
			}
		}
		l.on(v.report).unresolved(ref.path+".subset", fix, "host %s has no subset %s; %s", d.Host, d.Subset, outcome)
	}
}

func (l *link) resolvePort(v *virtualService, ref *reference, ports []servicePort, outcome string) {
	d := ref.destination
	for _, p := range ports {
		if p.Number != d.Port {
			continue
		}
		if !isHTTP(p.Protocol) {
			l.on(v.report).unresolved(ref.path+".port.number", "route to a port of HTTP",
				"port %d of host %s carries %s, not HTTP; %s", d.Port, d.Host, p.Protocol, outcome)
		}
		return
	}
	if d.Port == 0 && len(ports) <= 1 {
		return
	}
	var list []string
	for _, p := range ports {
		list = append(list, fmt.Sprint(p.Number))
	}
	numbers := strings.Join(list, ", ")
	if d.Port == 0 {
		l.on(v.report).warn(ref.path, "add port.number", "host %s has the ports %s: the port of the listener is used", d.Host,
			numbers)
		return
	}
	l.on(v.report).unresolved(ref.path+".port.number", "its ports are "+numbers, "host %s has no port %d; %s", d.Host,
		d.Port, outcome)
}
