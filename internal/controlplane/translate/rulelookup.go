// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"cmp"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// ruleIndex finds the DestinationRules for a host: in each namespace the most specific host wins, exact before wildcard.
type ruleIndex struct {
	opts  Options
	exact map[namespaceHost][]*destinationRule
	wild  map[string][]*destinationRule // by namespace; the longest host first
}

// namespaceHost is a host as a resource of a namespace names it.
type namespaceHost struct{ namespace, host string }

// indexRules puts the rules in the order in which they count: those for some proxies first, then by age.
func (l *link) indexRules() ruleIndex {
	x := ruleIndex{
		opts: l.opts, exact: make(map[namespaceHost][]*destinationRule, len(l.rules)),
		wild: map[string][]*destinationRule{},
	}
	for _, selected := range []bool{true, false} {
		for _, d := range l.rules {
			namespace := d.resource.Namespace
			switch {
			case d.selected != selected:
			case strings.HasPrefix(d.host, "*"):
				x.wild[namespace] = append(x.wild[namespace], d)
			default:
				at := namespaceHost{namespace, d.host}
				x.exact[at] = append(x.exact[at], d)
			}
		}
	}
	for _, wild := range x.wild {
		slices.SortStableFunc(wild, func(a, b *destinationRule) int { return cmp.Compare(len(b.host), len(a.host)) })
	}
	return x
}

// find is the rules of one namespace with the most specific host for a host, of those that pass.
func (x ruleIndex) find(namespace, host string, pass func(*destinationRule) bool) []*destinationRule {
	var found []*destinationRule
	for _, d := range x.exact[namespaceHost{namespace, host}] {
		if pass(d) {
			found = append(found, d)
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, d := range x.wild[namespace] {
		if covers(d.host, host) && (len(found) == 0 || found[0].host == d.host) && pass(d) {
			found = append(found, d)
		}
	}
	return found
}

// private tells whether only its own namespace sees a rule.
func (d *destinationRule) private() bool {
	return !d.exports.all && len(d.exports.namespaces) == 1 && d.exports.namespaces[0] == d.resource.Namespace
}

// applying are the rules for a host of a service, in the order in which they count: those of one namespace, the
// proxy's, else the service's, else the root namespace's. A proxy of the root namespace does not look there first: what
// is there is for everyone, but for what is there for itself alone.
func (x ruleIndex) applying(host, service string) []*destinationRule {
	own := func(d *destinationRule) bool { return d.exports.to(d.resource.Namespace) }
	if x.opts.Namespace == x.opts.RootNamespace {
		own = (*destinationRule).private
	}
	if found := x.find(x.opts.Namespace, host, own); len(found) > 0 {
		return found
	}
	for _, namespace := range []string{service, x.opts.RootNamespace} {
		found := x.find(namespace, host, func(d *destinationRule) bool { return !d.private() })
		found = slices.DeleteFunc(found, func(d *destinationRule) bool { return !d.exports.to(x.opts.Namespace) })
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// mergedRules is what rules of one namespace for one host come to.
type mergedRules struct {
	rules   []*destinationRule
	policy  *mesh.TrafficPolicy // of the first rule that has one
	subsets []subset            // the first definition of a name wins
}

// merge joins the rules that go together: with the same selector, exported to the same namespaces or, the later, to more.
// Of what comes out the first with a selector that fits the proxy holds, else the last without.
func merge(rules []*destinationRule, opts Options) mergedRules {
	var all []*mergedRules
	for _, d := range rules {
		into := slices.IndexFunc(all, func(m *mergedRules) bool { return m.rules[0].takes(d) })
		if into < 0 {
			all = append(all, &mergedRules{})
			into = len(all) - 1
		}
		all[into].rules = append(all[into].rules, d)
	}
	var chosen *mergedRules
	for _, m := range all {
		if d := m.rules[0]; d.selected && d.fits(opts) {
			chosen = m
			break
		} else if !d.selected {
			chosen = m
		}
	}
	if chosen == nil {
		return mergedRules{}
	}
	for _, d := range chosen.rules {
		if d.failed {
			continue
		}
		if chosen.policy == nil {
			chosen.policy = d.policy
		}
		for _, s := range d.subsets {
			if chosen.subset(s.Name) == nil {
				chosen.subsets = append(chosen.subsets, s)
			}
		}
	}
	return *chosen
}

// takes tells whether a later rule adds to this one. One that says it is for all namespaces and one that says nothing
// do not go together, though they are for the same.
func (d *destinationRule) takes(later *destinationRule) bool {
	if d.selected != later.selected || d.selected && !sameLabels(d.selector, later.selector) {
		return false
	}
	if d.exports.given != later.exports.given {
		return false
	}
	if later.exports.all || d.exports.all {
		return later.exports.all == d.exports.all
	}
	return !slices.ContainsFunc(d.exports.namespaces, func(n string) bool { return !later.exports.to(n) })
}

func sameLabels(a, b map[string]string) bool { return len(a) == len(b) && includes(a, b) }

func (m *mergedRules) subset(name string) *subset {
	for i := range m.subsets {
		if m.subsets[i].Name == name {
			return &m.subsets[i]
		}
	}
	return nil
}
