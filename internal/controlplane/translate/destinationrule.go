// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

type destinationRule struct {
	*report
	host    string
	subsets []subset
	applies bool // to some service
}

// subset knows where it was defined.
type subset struct {
	mesh.Subset
	rule *destinationRule
	path string
}

func (t *translation) destinationRule(p *report, spec *networking.DestinationRule) {
	r := p.resource
	d := &destinationRule{report: p, host: t.opts.expand(spec.GetHost(), r.Namespace)}
	t.rules = append(t.rules, d)
	if spec.GetHost() == "" {
		p.error("spec.host", "name a service", "host is required")
	} else if problem := validHost(spec.GetHost()); problem != "" {
		p.error("spec.host", "name a service", "%s", problem)
	}
	d.balancing("spec.trafficPolicy", spec.GetTrafficPolicy())
	names := map[string]bool{}
	for i, s := range spec.GetSubsets() {
		at := index("spec.subsets", i)
		if names[s.GetName()] {
			p.error(at+".name", "keep one of them", "duplicate subset names: %s", s.GetName())
		}
		names[s.GetName()] = true
		if !validLabel(s.GetName()) {
			p.error(at+".name", "use lower case letters, digits and '-'", "subset name is invalid: %s", s.GetName())
		}
		d.balancing(at+".trafficPolicy", s.GetTrafficPolicy())
		d.subsets = append(d.subsets, subset{
			mesh.Subset{Origin: r.Ref(), Name: s.GetName(), Labels: maps.Clone(s.GetLabels())}, d, at,
		})
	}
}

// balancing refuses the one load balancer that does not choose among the endpoints.
func (d *destinationRule) balancing(path string, policy *networking.TrafficPolicy) {
	check := func(path string, lb *networking.LoadBalancerSettings) {
		if lb.GetSimple() == networking.LoadBalancerSettings_PASSTHROUGH {
			d.unsupported(d.at(path+".loadBalancer.simple"), "PASSTHROUGH is not implemented, and it decides "+goes)
		}
	}
	check(path, policy.GetLoadBalancer())
	for i, p := range policy.GetPortLevelSettings() {
		check(index(path+".portLevelSettings", i), p.GetLoadBalancer())
	}
}

// rootNamespace is where rules for all namespaces are.
const rootNamespace = "istio-system"

// rulesByHost finds the rules for a host; each list is oldest first.
type rulesByHost struct {
	exact map[string][]*destinationRule
	wild  []*destinationRule
}

func (t *translation) indexRules() rulesByHost {
	index := rulesByHost{exact: map[string][]*destinationRule{}}
	list := slices.Clone(t.rules)
	oldestFirst(list, func(d *destinationRule) *report { return d.report })
	for _, d := range list {
		if strings.HasPrefix(d.host, "*") {
			index.wild = append(index.wild, d)
		} else {
			index.exact[d.host] = append(index.exact[d.host], d)
		}
	}
	return index
}

// applying are the rules for a host of a service, oldest first: those of one namespace, the proxy's, else the
// service's, else the root namespace's, and there the ones with the most specific host.
func (x rulesByHost) applying(host, proxy, service string) []*destinationRule {
	for _, namespace := range []string{proxy, service, rootNamespace} {
		var found []*destinationRule
		for _, d := range x.exact[host] {
			if d.resource.Namespace == namespace {
				found = append(found, d)
			}
		}
		if len(found) > 0 {
			return found
		}
		for _, d := range x.wild {
			if d.resource.Namespace != namespace || !covers(d.host, host) {
				continue
			}
			if len(found) > 0 && len(d.host) > len(found[0].host) {
				found = nil
			}
			if len(found) == 0 || d.host == found[0].host {
				found = append(found, d)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// merge is the subsets of rules for one host: the first definition of a name wins.
func merge(rules []*destinationRule) []subset {
	var out []subset
	first := map[string]subset{}
	for _, d := range rules {
		d.applies = true
		if d.failed {
			continue
		}
		for _, s := range d.subsets {
			if other, ok := first[s.Name]; ok {
				d.warnOnce(s.path+".name", "remove one of them", "subset %s is defined by %s too: that one is used",
					s.Name, other.Origin)
				continue
			}
			first[s.Name] = s
			out = append(out, s)
		}
	}
	return out
}
