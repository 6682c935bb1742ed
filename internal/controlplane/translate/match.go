// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// match is an entry of http.match that was checked. It keeps nothing of what m can be changed by.
func match(m *networking.HTTPMatchRequest, place mesh.Place) mesh.Match {
	out := mesh.Match{
		Place:           place,
		Name:            m.GetName(),
		URI:             stringMatch(m.GetUri()),
		IgnoreURICase:   m.GetIgnoreUriCase(),
		Scheme:          present(m.GetScheme()),
		Method:          present(m.GetMethod()),
		Authority:       present(m.GetAuthority()),
		Headers:         headerMatches(m.GetHeaders()),
		WithoutHeaders:  headerMatches(m.GetWithoutHeaders()),
		Port:            m.GetPort(),
		Gateways:        slices.Clone(m.GetGateways()),
		SourceLabels:    maps.Clone(m.GetSourceLabels()),
		SourceNamespace: m.GetSourceNamespace(),
		StatPrefix:      m.GetStatPrefix(),
	}
	for _, name := range sortedKeys(m.GetQueryParams()) {
		out.Query = append(out.Query, mesh.QueryMatch{Name: name, Value: present(m.GetQueryParams()[name])})
	}
	return out
}

// headerMatches are conditions on headers by their names in lower case. Two spellings of a name are two conditions.
func headerMatches(headers map[string]*networking.StringMatch) []mesh.HeaderMatch {
	var out []mesh.HeaderMatch
	for _, name := range sortedKeys(headers) {
		out = append(out, mesh.HeaderMatch{Name: strings.ToLower(name), Value: present(headers[name])})
	}
	slices.SortStableFunc(out, func(a, b mesh.HeaderMatch) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// present is a match on a value, nil if any value will do: Istio compiles these to a test for presence.
func present(m *networking.StringMatch) *mesh.StringMatch {
	if m.GetRegex() == "*" {
		return nil
	}
	return stringMatch(m)
}

// stringMatch is nil if m sets none of its forms: then it holds for everything.
func stringMatch(m *networking.StringMatch) *mesh.StringMatch {
	switch m := m.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return &mesh.StringMatch{Kind: mesh.Exact, Value: m.Exact}
	case *networking.StringMatch_Prefix:
		return &mesh.StringMatch{Kind: mesh.Prefix, Value: m.Prefix}
	case *networking.StringMatch_Regex:
		return &mesh.StringMatch{Kind: mesh.Regex, Value: m.Regex}
	default:
		return nil
	}
}

// checkMatch says what is wrong with an entry of http.match, and completes the names of its gateways.
func (v *virtualService) checkMatch(path string, m *networking.HTTPMatchRequest) {
	v.checkRegex(path, "uri", m.GetUri())
	v.checkPath(path+".uri", m.GetUri())
	v.checkString(path, "scheme", m.GetScheme())
	v.checkString(path, "method", m.GetMethod())
	v.checkString(path, "authority", m.GetAuthority())
	v.checkHeaders(path, "headers", m.GetHeaders())
	v.checkHeaders(path, "withoutHeaders", m.GetWithoutHeaders())
	for _, name := range sortedKeys(m.GetQueryParams()) {
		v.checkString(path, "queryParams["+name+"]", m.GetQueryParams()[name])
	}
	if m.GetUri().GetRegex() != "" && m.GetIgnoreUriCase() {
		v.warn(path+".ignoreUriCase", "begin the expression with (?i)", "has no effect on a regex")
	}
	if m.GetPort() != 0 {
		v.port(path+".port", m.GetPort())
	}
	if len(m.GetSourceLabels()) > 0 {
		v.labels(path+".sourceLabels", m.GetSourceLabels())
	}
	if len(m.GetGateways()) > 0 {
		m.Gateways = v.gatewayNames(path+".gateways", m.GetGateways())
	}
	for i, name := range m.Gateways {
		if !v.delegate && !slices.Contains(v.mesh.Gateways, name) {
			v.warn(index(path+".gateways", i), "add it to spec.gateways",
				"gateway %s is none of spec.gateways: it never holds there", name)
		}
	}
	if len(m.Gateways) > 0 && (len(m.GetSourceLabels()) > 0 || m.GetSourceNamespace() != "") {
		v.warn(path+".gateways", "use one of them", "with gateways, sourceLabels and sourceNamespace have no effect")
	}
	if s := m.GetSourceNamespace(); s != "" && !validAnyLabel(s) {
		v.error(path+".sourceNamespace", "write the name of a namespace", "sourceNamespace match %s is invalid", s)
	}
}

// checkPath warns of a path that no request has. That of OPTIONS may be "*".
func (v *virtualService) checkPath(path string, uri *networking.StringMatch) {
	for _, form := range []struct{ field, value string }{{".exact", uri.GetExact()}, {".prefix", uri.GetPrefix()}} {
		if form.value != "" && form.value[0] != '/' && form.value[0] != '*' {
			v.warn(path+form.field, fmt.Sprintf("write %q", "/"+form.value), "never matches: a path begins with /")
		}
	}
}

// pseudoHeaders are names of parts of the request line that Istio takes for headers.
var pseudoHeaders = []string{":method", ":scheme", ":authority", ":path", ":status"}

func (v *virtualService) checkHeaders(path, field string, headers map[string]*networking.StringMatch) {
	if len(headers) == 0 {
		return
	}
	seen := map[string]string{}
	for _, name := range sortedKeys(headers) {
		lower, field := strings.ToLower(name), field+"["+name+"]"
		at := path + "." + field
		v.checkString(path, field, headers[name])
		switch {
		case isClaim(name) && slices.Contains(v.mesh.Gateways, meshGateway):
			v.error(at, "bind it to a gateway only", "JWT claim based routing (key: %s) is only supported for gateway, "+
				"found no gateways: %v", name, v.mesh.Gateways)
		case isClaim(name):
			v.drop(at)
			v.unsupported(v.at(at), "matching on "+name+
				" is not implemented, as no JWT is verified here, and it decides "+goes)
		case slices.Contains(pseudoHeaders, name):
		case name == "":
			v.error(at, "write the name of a header", "header name cannot be empty")
		case !validHeaderName(name):
			v.error(at, "write the name of a header", "header name %s is not a valid header name", name)
		case seen[lower] != "":
			v.warn(at, "keep one", "is the same header as %s: both must hold", seen[lower])
		}
		seen[lower] = name
	}
}

// isClaim tells whether a header match is one on a claim of a JWT.
func isClaim(name string) bool {
	const claims = "@request.auth.claims"
	if len(name) < len(claims) || !strings.EqualFold(name[:len(claims)], claims) {
		return false
	}
	rest := name[len(claims):]
	return len(rest) > 1 && rest[0] == '.' || len(rest) > 2 && rest[0] == '[' && rest[len(rest)-1] == ']'
}

// checkString checks a match on a value, where the regex "*" stands for any.
func (p *report) checkString(path, field string, m *networking.StringMatch) {
	if prefix, ok := m.GetMatchType().(*networking.StringMatch_Prefix); ok && prefix.Prefix == "" {
		p.error(path+"."+field+".prefix", "write {} to match any value", "prefix string match should not be empty")
	}
	if m.GetRegex() != "*" {
		p.checkRegex(path, field, m)
	}
}

func (p *report) checkRegex(path, field string, m *networking.StringMatch) {
	regex, ok := m.GetMatchType().(*networking.StringMatch_Regex)
	switch {
	case !ok:
	case regex.Regex == "":
		p.error(path+"."+field+".regex", "write an RE2 expression", "regex string match should not be empty")
	default:
		p.expression(path+"."+field+".regex", regex.Regex)
	}
}

// maxRegex is Istio's limit, in bytes.
const maxRegex = 1024

// expression checks a regular expression that is not empty; it is nil if there is something wrong with it.
func (p *report) expression(path, s string) *regexp.Regexp {
	if len(s) > maxRegex {
		p.error(path, "shorten it, or use several matches", "regex is too large, max length allowed is %d", maxRegex)
		return nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		fix := "write an RE2 expression"
		if strings.Contains(err.Error(), syntax.ErrInvalidPerlOp.String()) {
			fix += ": it has no lookahead and no lookbehind"
		}
		p.error(path, fix, "%v", err)
		return nil
	}
	return re
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

// validAnyLabel tells whether s is an RFC 1123 label in any case.
func validAnyLabel(s string) bool { return validLabel(strings.ToLower(s)) }
