// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// The words that rules and requests are made of: few, so that they meet.
var (
	paths     = []string{"/", "/a", "/A", "/a/", "/a/b", "/ab", "/a/b/c", "/b", "/b/1", "/b/12", "/%61", "//a"}
	names     = []string{"x-a", "x-b", "user-agent"}
	values    = []string{"1", "12", "2", "a", "A", ""}
	params    = []string{"q", "r"}
	methods   = []string{"GET", "POST", "PUT"}
	hostNames = []string{"a.example.com", "b.example.com", "c.b.example.com", "example.com", "other.org"}
	vsHosts   = []string{"a.example.com", "*.example.com", "*.b.example.com", "example.com", "*", "other.org"}
	servers   = []string{"*", "*.example.com", "a.example.com", "shop/*", "./*", "default/*.example.com"}
	regexes   = []string{"/a.*", ".*", "/b/[0-9]+", "/(a|b)", "[12]+", "(?i)a", ".+", "a|1"}
	upstreams = []string{"one.mesh", "two.mesh", "three.mesh"}
)

// generator makes resources and requests; the same seed gives the same.
type generator struct {
	*rand.Rand
	ports [2]int // of the gateways
}

func pick[T any](g *generator, list []T) T { return list[g.IntN(len(list))] }

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// resources is a document for each Gateway and VirtualService.
func (g *generator) resources(t *testing.T) string {
	var docs []string
	add := func(o object) {
		b, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, "apiVersion: networking.istio.io/v1\n"+strings.TrimSpace(string(b)))
	}
	for i, port := range g.ports {
		var o object
		o.Kind, o.Metadata.Name, o.Metadata.Namespace = "Gateway", fmt.Sprintf("gw%d", i), "default"
		var s server
		s.Port.Number, s.Port.Name, s.Port.Protocol = port, "http", "HTTP"
		s.Hosts = []string{pick(g, servers)}
		if g.chance(60) {
			s.Hosts = []string{"*"}
		}
		o.Spec.Servers = []server{s}
		add(o)
	}
	for i := range 1 + g.IntN(4) {
		var o object
		o.Kind, o.Metadata.Name = "VirtualService", fmt.Sprintf("vs%d", i)
		o.Metadata.Namespace = pick(g, []string{"default", "default", "shop"})
		o.Metadata.CreationTimestamp = fmt.Sprintf("2026-01-0%dT00:00:00Z", 1+g.IntN(3))
		o.Spec.Hosts = []string{pick(g, vsHosts)}
		o.Spec.Gateways = []string{"default/gw0"}
		if g.chance(50) {
			o.Spec.Gateways = append(o.Spec.Gateways, "default/gw1")
		}
		for k := range 1 + g.IntN(5) {
			o.Spec.HTTP = append(o.Spec.HTTP, g.rule(fmt.Sprintf("%d-%d", i, k)))
		}
		add(o)
	}
	return strings.Join(docs, "\n---\n") + "\n"
}

func (g *generator) rule(id string) rule {
	r := rule{Name: "rule-" + id}
	if !g.chance(15) {
		for range 1 + g.IntN(3) {
			r.Match = append(r.Match, g.match())
		}
	}
	switch {
	case g.chance(8):
		r.Redirect = &redirect{RedirectCode: pick(g, []int{0, 301, 302, 303, 307, 308})}
		if g.chance(70) {
			r.Redirect.URI = pick(g, paths)
		}
		if r.Redirect.URI == "" || g.chance(50) {
			r.Redirect.Authority = "moved.example.com"
		}
		return r
	case g.chance(8):
		r.DirectResponse = &directResponse{Status: pick(g, []int{200, 404, 418, 503})}
		return r
	}
	r.Route = []weighted{{Destination: destination{Host: pick(g, upstreams)}}}
	r.Headers = &headers{Request: operations{Set: map[string]string{"x-rule": id}}}
	if g.chance(30) {
		r.Rewrite = &rewrite{}
		if g.chance(70) {
			r.Rewrite.URI = pick(g, paths)
		}
		if r.Rewrite.URI == "" || g.chance(30) {
			r.Rewrite.Authority = "inner.example.com"
		}
	}
	return r
}

func (g *generator) match() match {
	var m match
	if g.chance(80) {
		m.URI = g.condition(paths)
		m.IgnoreURICase = g.chance(25)
	}
	if g.chance(20) {
		m.Method = g.condition(methods)
	}
	if g.chance(10) {
		m.Authority = g.condition(hostNames)
	}
	if g.chance(5) {
		m.Scheme = &condition{Exact: pick(g, []string{"http", "https"})}
	}
	conditions := func(percent int, names []string) map[string]*condition {
		if !g.chance(percent) {
			return nil
		}
		c := g.condition(values)
		if g.chance(20) {
			c = &condition{}
		}
		return map[string]*condition{pick(g, names): c}
	}
	m.Headers = conditions(25, names)
	m.WithoutHeaders = conditions(15, names)
	m.QueryParams = conditions(20, params)
	if g.chance(8) {
		m.Port = pick(g, g.ports[:])
	}
	if g.chance(8) {
		m.Gateways = []string{pick(g, []string{"default/gw0", "default/gw1", "default/gw2"})}
	}
	if g.chance(8) {
		m.SourceLabels = map[string]string{"app": pick(g, []string{"edge", "other"})}
	}
	if g.chance(8) {
		m.SourceNamespace = pick(g, []string{"default", "shop"})
	}
	return m
}

// condition is never empty: Istio refuses that for most fields.
func (g *generator) condition(words []string) *condition {
	word := pick(g, words)
	for word == "" {
		word = pick(g, words)
	}
	switch g.IntN(4) {
	case 0:
		return &condition{Regex: pick(g, regexes)}
	case 1:
		return &condition{Prefix: word}
	}
	return &condition{Exact: word}
}

func (g *generator) request() request {
	r := request{port: pick(g, g.ports[:]), method: pick(g, methods), host: pick(g, hostNames), target: pick(g, paths)}
	if g.chance(15) {
		r.host = strings.ToUpper(r.host)
	}
	if g.chance(20) {
		r.host = fmt.Sprintf("%s:%d", r.host, r.port)
	}
	if g.chance(30) {
		r.target += "?" + pick(g, params) + "=" + pick(g, values)
		if g.chance(40) {
			r.target += "&" + pick(g, params) + "=" + pick(g, values)
		}
	}
	for range g.IntN(3) {
		r.headers = append(r.headers, [2]string{pick(g, names), pick(g, values)})
	}
	return r
}
