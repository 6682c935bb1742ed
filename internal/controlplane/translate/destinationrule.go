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
	host     string
	policy   *mesh.TrafficPolicy
	subsets  []subset
	exports  exports
	selected bool              // it has a workloadSelector
	selector map[string]string // of proxies of its namespace
}

// subset knows where it was defined.
type subset struct {
	mesh.Subset
	rule *destinationRule
	path string
}

func readDestinationRule(p *report, spec *networking.DestinationRule, opts Options) *destinationRule {
	r := p.resource
	d := &destinationRule{
		report: p, host: opts.expand(spec.GetHost(), r.Namespace),
		exports:  p.exportTo("spec.exportTo", spec.GetExportTo(), false),
		selected: spec.GetWorkloadSelector() != nil, selector: maps.Clone(spec.GetWorkloadSelector().GetMatchLabels()),
	}
	if spec.GetHost() == "" {
		p.error("spec.host", "name a service", "host is required")
	} else if problem := validHost(spec.GetHost()); problem != "" {
		p.error("spec.host", hostFix(spec.GetHost(), "name a service"), "%s", problem)
	}
	d.policy = d.trafficPolicy("spec.trafficPolicy", spec.GetTrafficPolicy())
	names := map[string]bool{}
	for i, s := range spec.GetSubsets() {
		at := index("spec.subsets", i)
		if names[s.GetName()] {
			p.error(at+".name", "keep one of them", "duplicate subset names: %s", s.GetName())
		}
		names[s.GetName()] = true
		switch {
		case s.GetName() == "":
			p.error(at+".name", "give it a name", "subset name cannot be empty")
		case !validAnyLabel(s.GetName()):
			p.error(at+".name", "use letters, digits and '-'", "subset name is invalid: %s", s.GetName())
		}
		p.labels(at+".labels", s.GetLabels())
		d.subsets = append(d.subsets, subset{
			mesh.Subset{
				Origin: r.Ref(), Name: s.GetName(), Labels: maps.Clone(s.GetLabels()),
				Policy: d.trafficPolicy(at+".trafficPolicy", s.GetTrafficPolicy()),
			}, d, at,
		})
	}
	if d.selected {
		p.selector("spec.workloadSelector.matchLabels", d.selector, "workload selector specified without labels")
		d.staysHome("spec.exportTo", spec.GetExportTo())
	}
	return d
}

// staysHome checks that a rule for some proxies only stays in its namespace, where it is left.
func (d *destinationRule) staysHome(path string, exportTo []string) {
	own := d.resource.Namespace
	switch {
	case len(exportTo) == 0:
	case d.exports.all || !slices.Contains(d.exports.namespaces, own):
		d.error(path, "remove it", "destination rule with workload selector cannot have exportTo beyond current namespace")
	case len(d.exports.namespaces) > 1:
		d.error(path, "remove it", "destination rule with workload selector cannot have multiple entries in exportTo")
	}
	d.exports = exports{given: true, namespaces: []string{own}}
}

// fits tells whether a rule with a selector is for the proxy.
func (d *destinationRule) fits(opts Options) bool {
	return d.resource.Namespace == opts.Namespace && includes(opts.Labels, d.selector)
}

// selector checks a selector of workloads.
func (p *report) selector(path string, labels map[string]string, empty string) {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		pair := k + "=" + labels[k]
		if k == "" {
			p.error(path, "remove it", "empty key is not supported in selector: %q", pair)
		}
		if strings.Contains(pair, "*") {
			p.error(path+"["+k+"]", "write the label", "wildcard is not supported in selector: %q", pair)
		}
	}
	if len(labels) == 0 {
		p.warn(path, "", "%s", empty)
	}
}

// labels checks the labels of endpoints or of a subset.
func (p *report) labels(path string, labels map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if !validLabelKey(k) {
			p.error(path+"["+k+"]", "write the name of a label", "invalid tag key: %q", k)
		}
		if v := labels[k]; v != "" && !validLabelPart(v) {
			p.error(path+"["+k+"]", "write the value of a label", "invalid tag value: %q", v)
		}
	}
}

// validLabelKey tells whether s may be the key of a Kubernetes label: a name, perhaps behind a domain and "/".
func validLabelKey(s string) bool {
	if prefix, name, found := strings.Cut(s, "/"); found {
		return validSubdomain(prefix) && validLabelPart(name)
	}
	return validLabelPart(s)
}

// validLabelPart tells whether s is up to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends.
func validLabelPart(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		plain := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if !plain && (i == 0 || i == len(s)-1 || strings.IndexByte("-_.", c) < 0) {
			return false
		}
	}
	return true
}
