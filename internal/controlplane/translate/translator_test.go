// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

func resources(t testing.TB, in string) []*source.Resource {
	t.Helper()
	set, problems, err := source.Load([]string{"-"}, source.Options{Stdin: strings.NewReader(in)})
	if err != nil || len(problems) > 0 {
		t.Fatalf("load: %v %v\n%s", problems, err, in)
	}
	return set.Resources
}

// pool is resources that have to do with each other, each in several versions: some are wrong.
func pool(t *testing.T) [][]*source.Resource {
	versions := [][]string{
		{
			named("ServiceEntry", "e", "{hosts: [a.example, b.example], resolution: STATIC, ports: [{number: 80, name: http, "+
				"protocol: HTTP}], workloadSelector: {labels: {app: e}}}"),
			named("ServiceEntry", "e", "{hosts: [a.example], resolution: DNS, ports: [{number: 80, name: http}]}"),
			named("ServiceEntry", "e", "{hosts: [a.example], resolution: NONE}"),
		},
		{
			named("ServiceEntry", "e2", "{hosts: [a.example], resolution: STATIC, ports: [{number: 81, name: http-b, "+
				"protocol: HTTP}, {number: 80, name: http, protocol: HTTP}], endpoints: [{address: 10.0.0.7}]}"),
			named("ServiceEntry", "e2", "{hosts: [a.example], resolution: STATIC, ports: [{number: 81, name: http, "+
				"protocol: HTTP}], workloadSelector: {labels: {app: web}}}"),
		},
		{
			named("ServiceEntry", "apps/e", "{hosts: [a.example, c.example], resolution: DNS}"),
			named("ServiceEntry", "apps/e", "{hosts: [a.example, c.example], resolution: DNS, exportTo: [.]}"),
		},
		{
			named("WorkloadEntry", "w", "{address: 10.0.0.1, labels: {app: e, version: v1}}"),
			named("WorkloadEntry", "w", "{address: 10.0.0.1, labels: {app: web}}"),
			named("WorkloadEntry", "w", "{address: a_b, labels: {app: e}}"),
		},
		{
			named("DestinationRule", "d", "{host: a.example, subsets: [{name: v1, labels: {version: v1}}]}"),
			named("DestinationRule", "d", "{host: '*.example', subsets: [{name: v2, labels: {version: v2}}]}"),
			named("DestinationRule", "d", "{host: a.example, trafficPolicy: {}}"),
		},
		{
			named("DestinationRule", "f", "{host: a.example, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"),
			named("DestinationRule", "f", "{host: web, workloadSelector: {matchLabels: {x: y}}, subsets: [{name: v1}]}"),
		},
		{
			k8sService("web", "{ports: [{port: 80, name: http}], selector: {app: web}}"),
			k8sService("web", "{type: ExternalName, externalName: a.example, ports: [{port: 80}]}"),
			k8sService("web", "{ports: [{port: 0}]}"),
		},
		{
			slice("s", "web", "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: "+
				"[{addresses: [10.0.0.5], targetRef: {kind: Pod, name: p}}]"),
			slice("s", "other", "addressType: IPv4"),
		},
		{
			"{apiVersion: v1, kind: Pod, metadata: {name: p, labels: {app: web, version: v1}}, spec: {}, " +
				"status: {phase: Running, podIP: 10.0.0.5}}",
			"{apiVersion: v1, kind: Pod, metadata: {name: p, labels: {app: e}}, spec: {}, " +
				"status: {phase: Running, podIP: 10.0.0.6}}",
		},
		{
			named("VirtualService", "v", "{hosts: [a.example], http: [{route: [{destination: {host: web}}]}]}"),
			named("VirtualService", "v", "{hosts: [b.example], http: [{delegate: {name: leaf}}, {route: "+
				"[{destination: {host: b.example, subset: v1}}], mirror: {host: nowhere.example}}]}"),
		},
		{
			named("VirtualService", "leaf", "{http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: c.example}}]}]}"),
			named("VirtualService", "leaf", "{exportTo: [apps], http: [{route: [{destination: {host: c.example}}]}]}"),
		},
		{
			named("Sidecar", "s", "{egress: [{hosts: ['*/a.example']}]}"),
			named("Sidecar", "s", "{egress: [{hosts: ['apps/*']}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"),
		},
		{named("Gateway", "g", "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}")},
	}
	var out [][]*source.Resource
	for _, list := range versions {
		var read []*source.Resource
		for _, in := range list {
			read = append(read, resources(t, in)...)
		}
		out = append(out, read)
	}
	return out
}

func TestTranslatingAgainGivesWhatTranslatingAnewGives(t *testing.T) {
	all := pool(t)
	r := rand.New(rand.NewPCG(1, 2))
	again := New(Options{})
	current := make([]*source.Resource, len(all))
	for step := range 500 {
		i := r.IntN(len(all))
		current[i] = nil
		if n := r.IntN(len(all[i]) + 1); n < len(all[i]) {
			current[i] = all[i][n]
		}
		in := slices.DeleteFunc(slices.Clone(current), func(r *source.Resource) bool { return r == nil })
		if step%3 == 0 {
			r.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
		}
		config, endpoints, problems := again.Translate(in)
		wantConfig, wantEndpoints, wantProblems := Translate(in, Options{})
		if diff := cmp.Diff(wantConfig, config) + cmp.Diff(wantEndpoints, endpoints) +
			cmp.Diff(wantProblems, problems); diff != "" {
			t.Fatalf("step %d (-anew +again):\n%s", step, diff)
		}
	}
}

func TestWhatDidNotChangeIsTheSamePointer(t *testing.T) {
	in := resources(t, named("ServiceEntry", "e", "{hosts: [e.example], resolution: STATIC, ports: [{number: 80, name: http}], "+
		"workloadSelector: {labels: {app: e}}}")+
		named("ServiceEntry", "f", "{hosts: [f.example], resolution: DNS, ports: [{number: 80, name: http}]}")+
		named("WorkloadEntry", "w", "{address: 10.0.0.1, labels: {app: e}}")+
		named("DestinationRule", "f", "{host: f.example, subsets: [{name: a}]}")+
		named("VirtualService", "v", "{hosts: [v.example], http: [{route: [{destination: {host: f.example}}]}]}"))
	translator := New(Options{})
	before, endpoints, _ := translator.Translate(in)
	f := func(change int, to string, e, f, v bool) {
		t.Helper()
		changed := slices.Clone(in)
		changed[change] = resources(t, to)[0]
		after, _, _ := translator.Translate(changed)
		if (after.Services[0] == before.Services[0]) != e || (after.Services[1] == before.Services[1]) != f ||
			(after.VirtualServices[0] == before.VirtualServices[0]) != v {
			t.Errorf("after %s: same %v %v %v, want %v %v %v", to, after.Services[0] == before.Services[0],
				after.Services[1] == before.Services[1], after.VirtualServices[0] == before.VirtualServices[0], e, f, v)
		}
		before, endpoints, _ = translator.Translate(in)
	}
	f(2, named("WorkloadEntry", "w", "{address: 10.0.0.2, labels: {app: e}}"), false, true, true)
	f(3, named("DestinationRule", "f", "{host: f.example, subsets: [{name: b}]}"), true, false, true)
	f(4, named("VirtualService", "v", "{hosts: [v.example], http: [{route: [{destination: {host: e.example}}]}]}"),
		true, true, false)
	if again, _, _ := translator.Translate(in); again.Services[0] != before.Services[0] || len(endpoints) != 2 {
		t.Errorf("nothing changed, and services did")
	}
}

func TestWhatIsGoneIsForgotten(t *testing.T) {
	in := resources(t, named("ServiceEntry", "e", "{hosts: [e.example], resolution: DNS}")+
		named("ServiceEntry", "f", "{hosts: [f.example], resolution: DNS}"))
	translator := New(Options{})
	translator.Translate(in)
	translator.Translate(in[:1])
	if len(translator.read) != 1 || len(translator.last.services.hosts) != 1 {
		t.Errorf("%d readings and %d hosts are kept, want 1 of each", len(translator.read), len(translator.last.services.hosts))
	}
}

// many is n services with n virtual services of routes rules each.
func many(n, routes int) string {
	const rule = "{match: [{uri: {prefix: /r%d}}], route: [{destination: {host: %s}}]}"
	var b strings.Builder
	for i := range n {
		host := fmt.Sprintf("h%d.example", i)
		b.WriteString(named("ServiceEntry", fmt.Sprintf("e%d", i), "{hosts: ["+host+"], resolution: STATIC, "+
			"ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 10.0.0.1}]}"))
		var rules []string
		for j := range routes {
			rules = append(rules, fmt.Sprintf(rule, j, host))
		}
		b.WriteString(named("VirtualService", fmt.Sprintf("v%d", i),
			"{hosts: ["+host+"], http: ["+strings.Join(rules, ", ")+"]}"))
	}
	return b.String()
}

// benchmarkChange translates 20,000 resources of which one is another version each time.
func benchmarkChange(b *testing.B, at int, to string) {
	in := resources(b, many(10_000, 10))
	versions := [2]*source.Resource{in[at], resources(b, to)[0]}
	translator := New(Options{})
	translator.Translate(in)
	b.ReportAllocs()
	for i := 1; b.Loop(); i++ {
		in[at] = versions[i%2]
		if _, _, problems := translator.Translate(in); len(problems) > 0 {
			b.Fatal(problems[0])
		}
	}
}

func BenchmarkTranslateOneVirtualService(b *testing.B) {
	benchmarkChange(b, 11, named("VirtualService", "v5",
		"{hosts: [h5.example], http: [{route: [{destination: {host: h6.example}}]}]}"))
}

func BenchmarkTranslateOneServiceEntry(b *testing.B) {
	benchmarkChange(b, 10, named("ServiceEntry", "e5", "{hosts: [h5.example], resolution: STATIC, "+
		"ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 10.0.0.2}]}"))
}

func BenchmarkTranslateAll(b *testing.B) {
	in := resources(b, many(10_000, 10))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, problems := Translate(in, Options{}); len(problems) > 0 {
			b.Fatal(problems[0])
		}
	}
}
