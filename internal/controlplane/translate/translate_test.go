// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

func translateYAML(t *testing.T, in string, opts Options) (mesh.Config, mesh.Endpoints, []mesh.Problem) {
	t.Helper()
	set, problems, err := source.Load([]string{"-"}, source.Options{Stdin: strings.NewReader(in)})
	if err != nil || len(problems) > 0 {
		t.Fatalf("load: %v %v\n%s", problems, err, in)
	}
	return Translate(set.Resources, opts)
}

// line is a problem without its resource, as tests want it.
func line(p mesh.Problem) string {
	s := fmt.Sprintf("%d %s %s: %s", p.Line, p.Severity, p.Field, p.Message)
	if p.Severity == mesh.Unresolved {
		s = strings.Replace(s, "error", "unresolved", 1)
	}
	return s
}

func wantProblems(t *testing.T, problems []mesh.Problem, want ...string) {
	t.Helper()
	var got []string
	for _, p := range problems {
		got = append(got, line(p))
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// says fails unless a problem has all the words.
func says(t *testing.T, problems []mesh.Problem, severity mesh.Severity, words ...string) {
	t.Helper()
	for _, p := range problems {
		s := p.String()
		if p.Severity == severity && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(s, w) }) {
			return
		}
	}
	t.Errorf("no problem of severity %v says %q; there are:\n%v", severity, words, problems)
}

const crossCluster = `apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: httpbin-cluster-b
spec:
  hosts:
  - httpbin.mirror.cluster-b
  location: MESH_EXTERNAL
  ports:
  - number: 80
    name: http
    protocol: HTTP
  resolution: STATIC
  endpoints:
  - address: 127.0.0.2
---
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata:
  name: httpbin-gateway
spec:
  selector:
    istio: ingressgateway
  servers:
  - port:
      number: 80
      name: http
      protocol: HTTP
    hosts:
    - "*"
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: httpbin
spec:
  gateways:
  - httpbin-gateway
  hosts:
  - '*'
  http:
  - match:
    - uri:
        prefix: /headers
    mirror:
      host: httpbin.mirror.cluster-b
      port:
        number: 80
    mirrorPercentage:
      value: 50
    route:
    - destination:
        host: httpbin
        port:
          number: 8000
        subset: v1
---
apiVersion: v1
kind: Service
metadata:
  name: httpbin
spec:
  selector:
    app: httpbin
  ports:
  - name: http
    port: 8000
    targetPort: 80
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: httpbin
spec:
  host: httpbin
  subsets:
  - name: v1
    labels:
      version: v1
---
apiVersion: networking.istio.io/v1beta1
kind: WorkloadEntry
metadata:
  name: httpbin-v1
  labels:
    version: v1
spec:
  address: 127.0.0.1
  ports:
    http: 18080
  labels:
    app: httpbin
    version: overridden
`

func TestTheCrossClusterScenarioBecomesAMesh(t *testing.T) {
	config, endpoints, problems := translateYAML(t, crossCluster, Options{})
	wantProblems(t, problems,
		"45 note spec.http[0].mirror: writes (POST, PUT, PATCH, DELETE) are mirrored too")
	want := mesh.Config{
		Services: []*mesh.Service{
			{
				Host: "httpbin.default.svc.cluster.local", Namespace: "default", Kubernetes: true,
				Ports:   []mesh.Port{{Number: 8000, Name: "http", Protocol: "HTTP"}},
				Subsets: []mesh.Subset{{Name: "v1", Labels: map[string]string{"version": "v1"}}},
			},
			{
				Host: "httpbin.mirror.cluster-b", Namespace: "default", External: true,
				Ports: []mesh.Port{{Number: 80, Name: "http", Protocol: "HTTP"}},
			},
		},
		Gateways: []*mesh.Gateway{{
			Name: "default/httpbin-gateway",
			Servers: []mesh.Server{{
				Port:  mesh.Port{Number: 80, Name: "http", Protocol: "HTTP"},
				Hosts: []mesh.ServerHost{{Namespace: "*", Host: "*"}},
			}},
		}},
		VirtualServices: []*mesh.VirtualService{{
			Name: "httpbin", Namespace: "default", Hosts: []string{"*"}, Gateways: []string{"default/httpbin-gateway"},
			Rules: []mesh.Rule{{
				Matches: []mesh.Match{{URI: &mesh.StringMatch{Kind: mesh.Prefix, Value: "/headers"}}},
				Route: []mesh.Destination{
					{Host: "httpbin.default.svc.cluster.local", Subset: "v1", Port: 8000},
				},
				Mirrors: []mesh.Mirror{{
					Destination: mesh.Destination{Host: "httpbin.mirror.cluster-b", Port: 80},
					Numerator:   500_000, Denominator: mesh.Million,
				}},
			}},
		}},
	}
	noRefs := cmp.Options{cmpopts.IgnoreTypes(mesh.Ref{}, mesh.Place{}), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(want, config, noRefs); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	wantEndpoints := mesh.Endpoints{
		"httpbin.default.svc.cluster.local": {{
			Address: "127.0.0.1", Ports: map[uint32]uint32{8000: 18080},
			Labels: map[string]string{"app": "httpbin", "version": "v1"},
		}},
		"httpbin.mirror.cluster-b": {{Address: "127.0.0.2", Ports: map[uint32]uint32{80: 80}}},
	}
	if diff := cmp.Diff(wantEndpoints, endpoints, noRefs); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	ref := config.VirtualServices[0].Origin
	wantRef := mesh.Ref{Kind: "VirtualService", Namespace: "default", Name: "httpbin", File: "-", Line: 32}
	if ref != wantRef {
		t.Errorf("origin of the virtual service is %+v, want %+v", ref, wantRef)
	}
}

func TestGatewayIsServedOnlyIfTheSelectorMatches(t *testing.T) {
	f := func(labels map[string]string, want int) {
		t.Helper()
		config, _, problems := translateYAML(t, crossCluster, Options{Labels: labels})
		if len(config.Gateways) != want {
			t.Errorf("labels %v: %d gateways, want %d", labels, len(config.Gateways), want)
		}
		for _, p := range problems {
			if p.Severity != mesh.Note {
				t.Errorf("labels %v: %v", labels, p)
			}
		}
	}
	f(nil, 1)
	f(map[string]string{"istio": "ingressgateway", "app": "x"}, 1)
	f(map[string]string{"app": "x"}, 0)
	f(map[string]string{}, 0)
}

func TestOldestComesFirstThenNameThenNamespace(t *testing.T) {
	vs := func(name, namespace, created string) string {
		return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s, namespace: %s, creationTimestamp: %s}
spec: {hosts: [%s.example.com], http: [{route: [{destination: {host: x.example.com}}]}]}
---
`, name, namespace, created, name)
	}
	config, _, _ := translateYAML(t, vs("b", "z", "null")+vs("b", "a", "null")+vs("a", "z", "null")+
		vs("young", "a", "2024-02-01T00:00:00Z")+vs("zold", "a", `"2023-02-01T00:00:00Z"`), Options{})
	var got []string
	for _, v := range config.VirtualServices {
		got = append(got, v.Namespace+"/"+v.Name)
	}
	if want := []string{"z/a", "a/b", "z/b", "a/zold", "a/young"}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestTimeoutMayUseGoUnits(t *testing.T) {
	config, _, _ := translateYAML(t, `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.example.com]
  http:
  - {timeout: 1m30s, route: [{destination: {host: b.example.com}}]}
  - {timeout: 250ms, route: [{destination: {host: b.example.com}}]}
  - {route: [{destination: {host: b.example.com}}]}
`, Options{})
	var got []time.Duration
	for _, r := range config.VirtualServices[0].Rules {
		got = append(got, r.Timeout)
	}
	if want := []time.Duration{90 * time.Second, 250 * time.Millisecond, 0}; !slices.Equal(got, want) {
		t.Errorf("timeouts %v, want %v", got, want)
	}
}
