// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func TestSidecarsAreCheckedAsIstioDoes(t *testing.T) {
	f := func(spec string, want ...string) {
		t.Helper()
		wantErrors(t, istio("Sidecar", "{"+spec+"}"), want...)
	}
	f("", "spec: sidecar: empty configuration provided")
	f("egress: [{}]", "spec.egress[0].hosts: sidecar: egress listener must contain at least one host")
	f("egress: [{hosts: ['*/*']}, {hosts: ['*/*']}]",
		"spec.egress[0]: sidecar: the egress listener with empty port should be the last listener in the list")
	f("workloadSelector: {labels: {a: '*'}}, egress: [{hosts: ['*/*']}]",
		`spec.workloadSelector.labels[a]: wildcard is not supported in selector: "a=*"`)
	f("outboundTrafficPolicy: {mode: ALLOW_ANY}")
	f("outboundTrafficPolicy: {egressProxy: {host: a.b}}", "spec.outboundTrafficPolicy.egressProxy.host: "+
		"outboundTrafficPolicy.egressProxy is not implemented, and it decides where a request goes")
	f("egress: [{port: {number: 80, protocol: HTTP, name: a}, hosts: ['*/*']}]",
		"spec.egress[0].port: port is not implemented, and it decides where a request goes")
	f("egress: [{bind: 127.0.0.1, captureMode: NONE, hosts: ['*/*']}]",
		"spec.egress[0].bind: bind is not implemented, and it decides where a request goes",
		"spec.egress[0].captureMode: captureMode NONE is not implemented, and it decides where a request goes")

	host := func(host, want string) {
		t.Helper()
		f("egress: [{hosts: ['"+host+"']}]", "spec.egress[0].hosts[0]: "+want)
	}
	host("a.b", "host must be of form namespace/dnsName")
	host("/a.b", "config namespace and dnsName in host entry cannot be empty")
	host("a/", "config namespace and dnsName in host entry cannot be empty")
	host("a_b/c.d", `invalid namespace value "a_b" in sidecar`)
	host("a/c", "short names (non FQDN) are not allowed")
	host("a/*c.d", `partial wildcard "*c.d" not allowed`)
	host("a/c.*", `domain name "c.*" invalid (label "*" invalid)`)
	f("egress: [{hosts: ['*/*', ./*, '~/a.b', ns/*.c.d, '~ns/e.f']}]")

	_, _, problems := translateYAML(t, istio("Sidecar",
		"{ingress: [{port: {number: 80, protocol: HTTP, name: a}}], inboundConnectionPool: {tcp: {maxConnections: 1}}}"),
		Options{})
	says(t, problems, mesh.Warning, "spec.ingress[0].port: ", "there is no inbound listener")
	says(t, problems, mesh.Warning, "spec.inboundConnectionPool", "there is no inbound listener")
}

// scoped is what the outbound listener knows, seen from namespace web: names of services, then of virtual services.
func scoped(t *testing.T, in string, labels map[string]string) string {
	t.Helper()
	entry := func(namespace, host string) string {
		return named("ServiceEntry", namespace+"/"+strings.ReplaceAll(host, ".", "-"), "{hosts: ["+host+"], resolution: DNS}")
	}
	config, _, _ := translateYAML(t, entry("web", "own.example")+entry("apps", "a.example")+entry("apps", "b.test")+
		entry("lib", "c.example")+
		named("VirtualService", "apps/va", "{hosts: [a.example], http: [{route: [{destination: {host: a.example}}]}]}")+
		named("VirtualService", "lib/vc", "{hosts: [c.example, '*.wild.example'], http: [{route: "+
			"[{destination: {host: c.example}}], mirror: {host: b.test}}]}")+in,
		Options{Namespace: "web", Labels: labels})
	var names []string
	for _, s := range config.OutboundServices() {
		names = append(names, strings.Split(s.Host, ".")[0])
	}
	for _, v := range config.OutboundVirtualServices() {
		names = append(names, v.Name)
	}
	return strings.Join(names, " ")
}

func TestEgressHostsSayWhatTheOutboundListenerKnows(t *testing.T) {
	f := func(hosts, want string) {
		t.Helper()
		got := scoped(t, named("Sidecar", "web/s", "{egress: [{hosts: ["+hosts+"]}]}"), nil)
		if got != want {
			t.Errorf("%s: %q, want %q", hosts, got, want)
		}
	}
	f("'*/*'", "a b c own va vc")
	f("./*", "own")
	f("apps/*", "a b va")
	f("apps/a.example", "a va")
	f("'*/*.example'", "a c own va vc") // not b, which a rule mirrors to
	f("lib/c.example", "c vc")
	f("'*/x.wild.example'", "vc") // a wildcard of rules meets what is imported
	f("apps/*, '~apps/a.example'", "b")
	f("'*/*', '~/*.example'", "b")
	f("'~/*'", "")
}

func TestTheMostSpecificSidecarApplies(t *testing.T) {
	f := func(want string, sidecars ...string) {
		t.Helper()
		if got := scoped(t, strings.Join(sidecars, ""), map[string]string{"app": "web"}); got != want {
			t.Errorf("%q, want %q, of:\n%s", got, want, strings.Join(sidecars, ""))
		}
	}
	sidecar := func(name, selector, host string) string {
		return named("Sidecar", name, fmt.Sprintf("{%segress: [{hosts: ['%s']}]}", selector, host))
	}
	fits, not := "workloadSelector: {labels: {app: web}}, ", "workloadSelector: {labels: {app: db}}, "
	root, own := sidecar("istio-system/root", "", "*/b.test"), sidecar("web/own", "", "*/own.example")
	f("a b c own va vc")
	f("b", root)
	f("own", root, own)
	f("a va", root, own, sidecar("web/some", fits, "*/a.example"))
	f("own", root, own, sidecar("web/some", not, "*/a.example"))
	f("b", root, sidecar("istio-system/some", fits, "*/a.example"), sidecar("apps/other", "", "*/a.example"))
	f("own", own, sidecar("web/second", "", "*/a.example"))
	f("a b c own va vc", named("Sidecar", "web/s", "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"))
	f("own", sidecar("istio-system/root", "", "./*"))

	_, _, problems := translateYAML(t, own+sidecar("web/second", "", "*/a.example")+sidecar("apps/third", "", "*/*"),
		Options{Namespace: "web"})
	says(t, problems, mesh.Note, "Sidecar web/second", "is not the Sidecar of this proxy: Sidecar web/own is")
	says(t, problems, mesh.Note, "Sidecar apps/third", "is not the Sidecar of this proxy: Sidecar web/own is")
}

func TestAnAllowedSidecarIsNotWidened(t *testing.T) {
	in := named("Sidecar", "s", "{egress: [{port: {number: 80}, hosts: ['*/*']}]}") +
		named("ServiceEntry", "e", "{hosts: [e.example], resolution: DNS}")
	config, _, _ := translateYAML(t, in, Options{AllowUnsupported: []string{"Sidecar"}})
	if config.Sidecar == nil || len(config.OutboundServices()) != 0 || len(config.Services) != 1 {
		t.Errorf("%+v: a listener that is left out must not let all through", config)
	}
}
