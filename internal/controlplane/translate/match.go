// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func (v *virtualService) match(path string, m *networking.HTTPMatchRequest) mesh.Match {
	out := mesh.Match{
		Place:  v.at(path),
		Name:   m.GetName(),
		URI:    v.stringMatch(path+".uri", m.GetUri()),
		Method: v.present(path+".method", m.GetMethod()),
	}
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(m.GetHeaders())) {
		at := path + ".headers[" + name + "]"
		lower := strings.ToLower(name)
		h := mesh.HeaderMatch{Name: lower, Value: v.present(at, m.GetHeaders()[name])}
		switch {
		case strings.HasPrefix(name, "@"), slices.Contains(pseudoHeaders, name):
			v.dropped[at] = true
			v.unsupported(v.at(at), "matching on "+name+" is not implemented, and it decides "+goes)
		case !validHeaderName(name):
			v.error(at, "write the name of a header", "header name %q is not valid", name)
		case seen[lower] != "":
			v.error(at, "keep one", "is the same header as %s", seen[lower])
		}
		seen[lower] = name
		out.Headers = append(out.Headers, h)
	}
	slices.SortFunc(out.Headers, func(a, b mesh.HeaderMatch) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// pseudoHeaders are names of parts of the request line that Istio takes for headers.
var pseudoHeaders = []string{":method", ":scheme", ":authority", ":path", ":status"}

// present is a match on a header, nil if any value will do: Istio compiles these to a test for presence.
func (v *virtualService) present(path string, m *networking.StringMatch) *mesh.StringMatch {
	if m.GetRegex() == "*" {
		return nil
	}
	out := v.stringMatch(path, m)
	if out != nil && out.Kind == mesh.Prefix && out.Value == "" {
		v.error(path+".prefix", "write {} to match any value", "prefix string match should not be empty")
	}
	return out
}

// maxRegex is Istio's limit, in bytes.
const maxRegex = 1024

// stringMatch is nil if m sets none of its forms: then it holds for everything.
func (v *virtualService) stringMatch(path string, m *networking.StringMatch) *mesh.StringMatch {
	switch m := m.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return &mesh.StringMatch{Kind: mesh.Exact, Value: m.Exact}
	case *networking.StringMatch_Prefix:
		return &mesh.StringMatch{Kind: mesh.Prefix, Value: m.Prefix}
	case *networking.StringMatch_Regex:
		_, err := regexp.Compile(m.Regex)
		switch {
		case m.Regex == "":
			v.error(path+".regex", "write an RE2 expression", "regex string match should not be empty")
		case len(m.Regex) > maxRegex:
			v.error(path+".regex", "shorten it, or use several matches",
				"regex is too large, max length allowed is %d", maxRegex)
		case err != nil:
			v.error(path+".regex", "write an RE2 expression", "%v", err)
		}
		return &mesh.StringMatch{Kind: mesh.Regex, Value: m.Regex}
	default:
		return nil
	}
}

// validHeaderName tells whether s is a token (RFC 9110 §5.6.2).
func validHeaderName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
