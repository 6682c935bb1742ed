// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// delegateName is "namespace/name" of the virtual service that a rule delegates to.
func (v *virtualService) delegateName(path string, d *networking.Delegate) string {
	namespace := d.GetNamespace()
	if namespace == "" {
		namespace = v.resource.Namespace
	}
	if d.GetName() == "" {
		v.warn(path+".name", "name a virtual service without hosts", "there is no name: the rule is left out")
	}
	return namespace + "/" + d.GetName()
}

// What a virtual service may come to with the rules of its delegates: routes (matches, and rules without one), and pairs
// of matches that are held against each other for it. Each factor of a product may be small.
const (
	maxMerged   = 100_000
	maxCompared = 10_000_000
)

// merge puts the rules of delegates in place of those that delegate to them. Where a delegate is nil the rule is left
// out. With more than the limits allow it gives nil, and the rule that they do not allow.
func (v *virtualService) merge(delegates []*virtualService) (*merged, *httpRule) {
	whole := *v.mesh
	whole.Rules = nil
	m := &merged{delegates: delegates, mesh: &whole}
	routes, compared, next := 0, 0, 0
	for _, root := range v.rules {
		if root.delegate == "" {
			whole.Rules = append(whole.Rules, root.Rule)
			routes += max(1, len(root.Matches))
			continue
		}
		d := delegates[next]
		next++
		if d == nil {
			continue
		}
		for _, leaf := range d.rules {
			if compared += len(root.matches) * len(leaf.matches); compared > maxCompared {
				return nil, root
			}
			rule, ok := mergeRule(root, leaf)
			if !ok {
				m.left = append(m.left, leftOut{root, leaf, d})
				continue
			}
			if routes += max(1, len(rule.Matches)); routes > maxMerged {
				return nil, root
			}
			whole.Rules = append(whole.Rules, rule)
		}
	}
	return m, nil
}

// mergeRule is a delegate's rule as the root's rule lets it be: within the root's matches, and with what of the root it
// does not say itself. It is false if the two cannot hold of one request, as Istio sees it.
func mergeRule(root, leaf *httpRule) (mesh.Rule, bool) {
	rule := leaf.Rule
	matches, ok := mergeMatches(root, leaf)
	if !ok {
		return rule, false
	}
	rule.Matches = matches
	rule.Name = joinNames(root.Name, leaf.Name)
	if leaf.given.GetRewrite() == nil {
		rule.Rewrite = root.Rewrite
	}
	if leaf.given.GetDirectResponse() == nil {
		rule.Direct = root.Direct
	}
	if leaf.given.GetTimeout() == nil {
		rule.Timeout = root.Timeout
	}
	if leaf.given.GetRetries() == nil {
		rule.Retries = root.Retries
	}
	if leaf.given.GetFault() == nil {
		rule.Fault = root.Fault
	}
	if leaf.given.GetCorsPolicy() == nil {
		rule.CORS = root.CORS
	}
	if leaf.given.GetHeaders() == nil {
		rule.Headers = root.Headers
	}
	rule.Mirrors = leaf.copies.over(root.copies, rule.Place).mirrors()
	switch {
	case rule.Redirect != nil:
		rule.Direct, rule.Route = nil, nil
	case rule.Direct != nil:
		rule.Route = nil
	}
	return rule, true
}

func joinNames(root, leaf string) string {
	if root == "" || leaf == "" {
		return root + leaf
	}
	return root + "-" + leaf
}

// mergeMatches pairs each match of the delegate's rule with each of the root's that it lies within. A match that lies
// within none is a conflict.
func mergeMatches(root, leaf *httpRule) ([]mesh.Match, bool) {
	if len(root.matches) == 0 {
		return leaf.Matches, true
	}
	if len(leaf.matches) == 0 {
		out := slices.Clone(root.Matches)
		for i := range out {
			out[i].Place = leaf.Place
		}
		return out, true
	}
	var out []mesh.Match
	for i, l := range leaf.matches {
		before := len(out)
		for _, r := range root.matches {
			if within(l, r) {
				out = append(out, match(mergeMatch(r, l), leaf.Matches[i].Place))
			}
		}
		if len(out) == before {
			return nil, false
		}
	}
	return out, true
}

// mergeMatch is both conditions in one. It shares with them what is only read.
func mergeMatch(root, leaf *networking.HTTPMatchRequest) *networking.HTTPMatchRequest {
	out := &networking.HTTPMatchRequest{
		Name:            joinNames(root.GetName(), leaf.GetName()),
		Uri:             either(leaf.GetUri(), root.GetUri()),
		Scheme:          either(leaf.GetScheme(), root.GetScheme()),
		Method:          either(leaf.GetMethod(), root.GetMethod()),
		Authority:       either(leaf.GetAuthority(), root.GetAuthority()),
		Headers:         both(root.GetHeaders(), leaf.GetHeaders()),
		WithoutHeaders:  both(root.GetWithoutHeaders(), leaf.GetWithoutHeaders()),
		QueryParams:     both(root.GetQueryParams(), leaf.GetQueryParams()),
		SourceLabels:    both(root.GetSourceLabels(), leaf.GetSourceLabels()),
		IgnoreUriCase:   leaf.GetIgnoreUriCase(),
		Port:            leaf.GetPort(),
		SourceNamespace: leaf.GetSourceNamespace(),
		Gateways:        leaf.GetGateways(),
		StatPrefix:      leaf.GetStatPrefix(),
	}
	if out.Port == 0 {
		out.Port = root.GetPort()
	}
	if out.SourceNamespace == "" {
		out.SourceNamespace = root.GetSourceNamespace()
	}
	if len(out.Gateways) == 0 {
		out.Gateways = root.GetGateways()
	}
	if out.StatPrefix == "" {
		out.StatPrefix = root.GetStatPrefix()
	}
	return out
}

func either(leaf, root *networking.StringMatch) *networking.StringMatch {
	if leaf != nil {
		return leaf
	}
	return root
}

// both is the two of them, with the leaf's value for a key of both.
func both[V any](root, leaf map[string]V) map[string]V {
	if len(root) == 0 {
		return leaf
	}
	out := maps.Clone(root)
	maps.Copy(out, leaf)
	return out
}

// within tells whether a match of a delegate lies within one of the root, by Istio's rules: a value within a prefix or
// equal, no regular expression beside another condition on the same, the same port and namespace.
func within(leaf, root *networking.HTTPMatchRequest) bool {
	for _, pair := range [][2]*networking.StringMatch{
		{leaf.GetUri(), root.GetUri()}, {leaf.GetScheme(), root.GetScheme()}, {leaf.GetMethod(), root.GetMethod()},
		{leaf.GetAuthority(), root.GetAuthority()},
	} {
		if !valueWithin(pair[0], pair[1]) {
			return false
		}
	}
	for _, pair := range [][2]map[string]*networking.StringMatch{
		{leaf.GetHeaders(), root.GetHeaders()}, {leaf.GetWithoutHeaders(), root.GetWithoutHeaders()},
		{leaf.GetQueryParams(), root.GetQueryParams()},
	} {
		for name, value := range pair[0] {
			if !valueWithin(value, pair[1][name]) {
				return false
			}
		}
	}
	for name, value := range leaf.GetSourceLabels() {
		if of, ok := root.GetSourceLabels()[name]; ok && of != value {
			return false
		}
	}
	switch {
	case leaf.GetIgnoreUriCase() != root.GetIgnoreUriCase():
		return false
	case leaf.GetPort() != 0 && root.GetPort() != 0 && leaf.GetPort() != root.GetPort():
		return false
	case root.GetSourceNamespace() != "" && leaf.GetSourceNamespace() != root.GetSourceNamespace():
		return false
	case len(root.GetGateways()) == 0 || len(leaf.GetGateways()) == 0:
		return true
	}
	return len(leaf.GetGateways()) <= len(root.GetGateways()) && !slices.ContainsFunc(leaf.GetGateways(),
		func(name string) bool { return !slices.Contains(root.GetGateways(), name) })
}

// valueWithin tells whether all values that leaf matches are matched by root. An empty condition of the root is one
// that nothing lies within.
func valueWithin(leaf, root *networking.StringMatch) bool {
	if leaf == nil || root == nil {
		return true
	}
	exact, prefix := root.GetExact(), root.GetPrefix()
	switch {
	case root.GetRegex() != "" || leaf.GetRegex() != "":
		return false
	case exact != "":
		return leaf.GetExact() == exact
	case prefix != "" && leaf.GetPrefix() != "":
		return strings.HasPrefix(leaf.GetPrefix(), prefix)
	case prefix != "" && leaf.GetExact() != "":
		return strings.HasPrefix(leaf.GetExact(), prefix)
	}
	return false
}
