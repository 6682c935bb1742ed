// SPDX-License-Identifier: Apache-2.0

// Package routing holds
// second reading of the same YAML: a slow, plain matcher that follows docs/semantics.md word by word and shares no code
// with it.
package routing

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// What the matcher reads of a resource.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name              string `json:"name"`
		Namespace         string `json:"namespace"`
		CreationTimestamp string `json:"creationTimestamp,omitempty"`
	} `json:"metadata"`
	Spec spec `json:"spec"`
}

type spec struct {
	Hosts    []string `json:"hosts,omitempty"`    // VirtualService
	Gateways []string `json:"gateways,omitempty"` // VirtualService
	HTTP     []rule   `json:"http,omitempty"`     // VirtualService
	Servers  []server `json:"servers,omitempty"`  // Gateway
}

type server struct {
	Port struct {
		Number   int    `json:"number"`
		Name     string `json:"name"`
		Protocol string `json:"protocol"`
	} `json:"port"`
	Hosts []string `json:"hosts"`
}

type rule struct {
	Name           string          `json:"name,omitempty"`
	Match          []match         `json:"match,omitempty"`
	Route          []weighted      `json:"route,omitempty"`
	Redirect       *redirect       `json:"redirect,omitempty"`
	DirectResponse *directResponse `json:"directResponse,omitempty"`
	Rewrite        *rewrite        `json:"rewrite,omitempty"`
	Headers        *headers        `json:"headers,omitempty"`
}

type weighted struct {
	Destination destination `json:"destination"`
	Weight      int         `json:"weight,omitempty"`
}

type destination struct {
	Host string `json:"host"`
}

type redirect struct {
	URI          string `json:"uri,omitempty"`
	Authority    string `json:"authority,omitempty"`
	RedirectCode int    `json:"redirectCode,omitempty"`
}

type directResponse struct {
	Status int `json:"status"`
}

type rewrite struct {
	URI       string `json:"uri,omitempty"`
	Authority string `json:"authority,omitempty"`
}

type headers struct {
	Request operations `json:"request"`
}

type operations struct {
	Set map[string]string `json:"set,omitempty"`
}

type match struct {
	Name            string                `json:"name,omitempty"`
	URI             *condition            `json:"uri,omitempty"`
	IgnoreURICase   bool                  `json:"ignoreUriCase,omitempty"`
	Scheme          *condition            `json:"scheme,omitempty"`
	Method          *condition            `json:"method,omitempty"`
	Authority       *condition            `json:"authority,omitempty"`
	Headers         map[string]*condition `json:"headers,omitempty"`
	WithoutHeaders  map[string]*condition `json:"withoutHeaders,omitempty"`
	QueryParams     map[string]*condition `json:"queryParams,omitempty"`
	Port            int                   `json:"port,omitempty"`
	Gateways        []string              `json:"gateways,omitempty"`
	SourceLabels    map[string]string     `json:"sourceLabels,omitempty"`
	SourceNamespace string                `json:"sourceNamespace,omitempty"`
}

// condition is a StringMatch; without any kind it asks for presence.
type condition struct {
	Exact  string `json:"exact,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Regex  string `json:"regex,omitempty"`
}

// request is what a client sends to a gateway's port.
type request struct {
	port    int
	method  string
	host    string // may have a port
	target  string
	headers [][2]string
}

// answer is what becomes of a request.
type answer struct {
	Status   int    // of an answer by the proxy itself; 200 if an upstream answers
	Location string // of a redirect
	Upstream string // host of the destination
	Rule     string // the x-rule that the rule sets
	Host     string // as the upstream sees it
	Target   string // as the upstream sees it
}

// proxy is what the matcher has to know of the proxy.
type proxy struct {
	labels    map[string]string
	namespace string
}

// route is one match of one rule.
type route struct {
	rule  *rule
	match *match
}

// answer decides as docs/semantics.md says, from the text of the resources.
func (p proxy) answer(t *testing.T, text string, r request) answer {
	var gateways, services []object
	for doc := range bytes.SplitSeq([]byte(text), []byte("\n---\n")) {
		var o object
		if err := yaml.Unmarshal(doc, &o); err != nil {
			t.Fatal(err)
		}
		switch o.Kind {
		case "Gateway":
			gateways = append(gateways, o)
		case "VirtualService":
			services = append(services, o)
		}
	}
	// Oldest first, then by name, then by namespace (M13).
	slices.SortFunc(services, func(a, b object) int {
		return cmp.Or(cmp.Compare(a.Metadata.CreationTimestamp, b.Metadata.CreationTimestamp),
			cmp.Compare(a.Metadata.Name, b.Metadata.Name), cmp.Compare(a.Metadata.Namespace, b.Metadata.Namespace))
	})
	// A gateway normalises the path before anything looks at it: needless escapes are taken out. There is one in the words.
	path, query, asked := strings.Cut(r.target, "?")
	r.target = strings.ReplaceAll(path, "%61", "a")
	if asked {
		r.target += "?" + query
	}
	domains := map[string][]route{}
	for _, g := range gateways {
		name := g.Metadata.Namespace + "/" + g.Metadata.Name
		for _, s := range g.Spec.Servers {
			if s.Port.Number == r.port {
				p.serve(domains, name, s, services)
			}
		}
	}
	domain := find(domains, strings.ToLower(withoutPort(r.host)))
	if domain == "" {
		return answer{Status: 404}
	}
	for _, rt := range catchAllsLast(domains[domain]) {
		if rt.holds(r) {
			return rt.act(r)
		}
	}
	return answer{Status: 404}
}

// serve adds the routes of the virtual services of a server to the domains that both have (M15).
func (p proxy) serve(domains map[string][]route, gateway string, s server, services []object) {
	for _, vs := range services {
		bound := slices.ContainsFunc(vs.Spec.Gateways, func(g string) bool {
			return g == gateway || vs.Metadata.Namespace+"/"+g == gateway
		})
		if !bound {
			continue
		}
		var taken []string
		for _, sh := range s.Hosts {
			namespace, host, ok := strings.Cut(sh, "/")
			if !ok {
				namespace, host = "*", sh
			}
			if namespace == "." {
				namespace, _, _ = strings.Cut(gateway, "/")
			}
			if namespace != "*" && namespace != vs.Metadata.Namespace {
				continue
			}
			for _, vh := range vs.Spec.Hosts {
				d := narrower(host, vh)
				if d != "" && !slices.Contains(taken, d) {
					taken = append(taken, d)
					domains[d] = append(domains[d], p.routes(&vs.Spec, vs.Metadata.Namespace, gateway, s.Port.Number)...)
				}
			}
		}
	}
}

// routes are the matches of the rules in order, up to one that takes everything (M9).
func (p proxy) routes(vs *spec, namespace, gateway string, port int) []route {
	var list []route
	for i := range vs.HTTP {
		r := &vs.HTTP[i]
		matches := []*match{nil}
		if len(r.Match) > 0 {
			matches = nil
			for k := range r.Match {
				matches = append(matches, &r.Match[k])
			}
		}
		for _, m := range matches {
			if m != nil && !p.applies(m, namespace, gateway, port) {
				continue
			}
			rt := route{r, m}
			list = append(list, rt)
			if rt.takesAll() {
				return list
			}
		}
	}
	return list
}

// applies decides what does not depend on the request: the port, the gateway, and, where the match names no gateways, the
// proxy itself.
func (p proxy) applies(m *match, namespace, gateway string, port int) bool {
	if m.Port != 0 && m.Port != port {
		return false
	}
	if len(m.Gateways) > 0 {
		return slices.ContainsFunc(m.Gateways, func(g string) bool { return g == gateway || namespace+"/"+g == gateway })
	}
	if m.SourceNamespace != "" && m.SourceNamespace != p.namespace {
		return false
	}
	for k, v := range m.SourceLabels {
		if p.labels[k] != v {
			return false
		}
	}
	return true
}

// takesAll: prefix / or regular expression .*, and nothing else asked of the request.
func (rt route) takesAll() bool {
	m := rt.match
	if m == nil {
		return true
	}
	if m.Method != nil || m.Authority != nil || m.Scheme != nil || len(m.Headers)+len(m.WithoutHeaders)+len(m.QueryParams) > 0 {
		return false
	}
	return m.URI == nil || m.URI.Prefix == "/" || m.URI.Regex == ".*"
}

func catchAllsLast(list []route) []route {
	var first, last []route
	for _, rt := range list {
		if rt.takesAll() {
			last = append(last, rt)
		} else {
			first = append(first, rt)
		}
	}
	return append(first, last...)
}

// holds decides all conditions on the request.
func (rt route) holds(r request) bool {
	m := rt.match
	if m == nil {
		return true
	}
	path, query, _ := strings.Cut(r.target, "?")
	if m.URI != nil {
		c, v := *m.URI, path
		if m.IgnoreURICase && c.Regex == "" {
			c.Exact, c.Prefix, v = strings.ToLower(c.Exact), strings.ToLower(c.Prefix), strings.ToLower(v)
		}
		if !c.holds(v) {
			return false
		}
	}
	for _, f := range []struct {
		c *condition
		v string
	}{{m.Method, r.method}, {m.Authority, r.host}, {m.Scheme, "http"}} {
		if f.c != nil && !f.c.holds(f.v) {
			return false
		}
	}
	for name, c := range m.Headers {
		v, there := r.header(name)
		if !there || !c.presence() && !c.holds(v) {
			return false
		}
	}
	for name, c := range m.WithoutHeaders {
		v, there := r.header(name)
		if c.presence() && there || !c.presence() && c.holds(v) {
			return false
		}
	}
	for name, c := range m.QueryParams {
		v, there := parameter(query, name)
		if !there || !c.presence() && !c.holds(v) {
			return false
		}
	}
	return true
}

func (c *condition) presence() bool { return c == nil || *c == condition{} || c.Regex == "*" }

func (c *condition) holds(v string) bool {
	switch {
	case c.Exact != "":
		return v == c.Exact
	case c.Prefix != "":
		return strings.HasPrefix(v, c.Prefix)
	}
	return regexp.MustCompile("^(?:" + c.Regex + ")$").MatchString(v)
}

// header joins the values of a field that is there several times.
func (r request) header(name string) (string, bool) {
	var values []string
	for _, h := range r.headers {
		if strings.EqualFold(h[0], name) {
			values = append(values, h[1])
		}
	}
	return strings.Join(values, ","), len(values) > 0
}

// parameter is the first of that name.
func parameter(query, name string) (string, bool) {
	for pair := range strings.SplitSeq(query, "&") {
		if k, v, _ := strings.Cut(pair, "="); k == name && pair != "" {
			return v, true
		}
	}
	return "", false
}

// act is what a rule does with a request that it takes.
func (rt route) act(r request) answer {
	path, query, asked := strings.Cut(r.target, "?")
	if asked {
		query = "?" + query
	}
	switch d := rt.rule.Redirect; {
	case d != nil:
		host, to := r.host, path
		if d.Authority != "" {
			host = d.Authority
		}
		if d.URI != "" {
			to = d.URI
		}
		return answer{Status: cmp.Or(d.RedirectCode, 301), Location: "http://" + host + to + query}
	case rt.rule.DirectResponse != nil:
		return answer{Status: rt.rule.DirectResponse.Status}
	}
	a := answer{Status: 200, Upstream: rt.rule.Route[0].Destination.Host, Host: r.host, Rule: rt.rule.Headers.Request.Set["x-rule"]}
	if w := rt.rule.Rewrite; w != nil {
		if w.Authority != "" {
			a.Host = w.Authority
		}
		if w.URI != "" {
			prefix := "/"
			switch m := rt.match; {
			case m == nil || m.URI == nil:
			case m.URI.Prefix != "":
				prefix = m.URI.Prefix
			default: // exact and regular expression: all of the path
				prefix = path
			}
			path = w.URI + path[len(prefix):]
		}
	}
	a.Target = path + query
	return a
}

// find looks a host up: itself, then the longest wildcard, then all (M16).
func find(domains map[string][]route, host string) string {
	if domains[host] != nil {
		return host
	}
	best := ""
	for d := range domains {
		if suffix, ok := strings.CutPrefix(d, "*."); ok && strings.HasSuffix(host, "."+suffix) && len(d) > len(best) &&
			len(host) > len(suffix)+1 {
			best = d
		}
	}
	if best == "" && domains["*"] != nil {
		return "*"
	}
	return best
}

// narrower is the more specific of two hosts if one has the other within, else "".
func narrower(a, b string) string {
	within := func(name, pattern string) bool {
		switch suffix, wild := strings.CutPrefix(pattern, "*"); {
		case name == pattern || pattern == "*":
			return true
		case wild:
			return strings.HasSuffix(strings.TrimPrefix(name, "*"), suffix) && strings.TrimPrefix(name, "*") != suffix
		}
		return false
	}
	switch {
	case within(b, a):
		return b
	case within(a, b):
		return a
	}
	return ""
}

func withoutPort(host string) string {
	name, _, _ := strings.Cut(host, ":")
	return name
}
