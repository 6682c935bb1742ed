// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"strings"
	"testing"
)

func TestGatewaysAreCheckedAsIstioDoes(t *testing.T) {
	f := func(spec string, want ...string) {
		t.Helper()
		wantErrors(t, istio("Gateway", spec), want...)
	}
	server := func(server string, want ...string) {
		t.Helper()
		f("{servers: [{"+server+"}]}", want...)
	}
	const port, hosts = "port: {number: 80, name: http, protocol: HTTP}", "hosts: ['*']"
	f("{}", "spec.servers: gateway must have at least one server")
	f("{servers: [{"+port+", "+hosts+"}, {"+port+", "+hosts+"}]}",
		"spec.servers[1].port.name: port names in servers must be unique: duplicate name http")
	server(port, "spec.servers[0].hosts: server config must contain at least one host")
	server(hosts, "spec.servers[0].port: port is required")
	server(hosts+", port: {number: 0, name: a, protocol: HTTP}",
		"spec.servers[0].port.number: port number 0 must be in the range 1..65535")
	server(hosts+", port: {number: 80, protocol: HTTP}", "spec.servers[0].port.name: port name must be set")
	server(hosts+", port: {number: 80, name: a, protocol: HTPT}", `spec.servers[0].port.protocol: invalid protocol `+
		`"HTPT", supported are HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, REDIS, MYSQL`)
	server(hosts+", port: {number: 80, name: a, protocol: HTTP, targetPort: 8080}",
		"spec.servers[0].port.targetPort: targetPort has no impact on Gateways")
	server(hosts+", port: {number: 80, name: a, protocol: HTTPS}",
		"spec.servers[0].tls: server must have TLS settings for HTTPS/TLS protocols")
	const plain = "spec.servers[0].tls: server cannot have TLS settings for plain text HTTP ports"
	server(hosts+", "+port+", tls: {mode: SIMPLE}", plain)
	server(hosts+", "+port+", tls: {httpsRedirect: true, mode: SIMPLE, credentialName: c}", plain)
	server(hosts+", "+port+", tls: {httpsRedirect: true, caCertificates: /c}", plain)
	server(hosts + ", " + port + ", tls: {httpsRedirect: true}")
	server(hosts+", port: {number: 80, name: a, protocol: TCP}, tls: {}",
		"spec.servers[0].tls: server cannot have TLS settings for non HTTPS/TLS ports")
	server(port+", hosts: ['::1']", "spec.servers[0].hosts[0]: short names (non FQDN) are not allowed")
	server(port+", hosts: [localhost]", "spec.servers[0].hosts[0]: short names (non FQDN) are not allowed")
	server(port+", hosts: ['A_/a.b']", `spec.servers[0].hosts[0]: namespace "A_" of host "A_/a.b" is not valid`)
	server(port+", hosts: ['*.*.b']", `spec.servers[0].hosts[0]: domain name "*.*.b" invalid (label "*" invalid)`)
	server(port+", hosts: ['*-a.b']", `spec.servers[0].hosts[0]: partial wildcard "*-a.b" not allowed`)
	server(port+", "+hosts+", bind: here", "spec.servers[0].bind: here is not a valid IP")
	server(port+", "+hosts+", bind: unix:///s",
		"spec.servers[0].port.number: port number must be 0 for unix domain socket")
	server(hosts+", port: {number: 0, name: a, protocol: HTTP}, bind: unix:///s",
		"spec.servers[0].bind: listening on a unix domain socket is not implemented")
	wantErrors(t, strings.Replace(istio("Gateway", "{servers: [{"+port+", "+hosts+"}]}"), "name: x", "name: x.y", 1),
		`metadata.name: invalid gateway name: "x.y"`)
}

func TestTLSSettingsAreCheckedThoughTheirServerIsNotServed(t *testing.T) {
	f := func(tls string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = "spec.servers[0].tls" + want[i]
		}
		wantErrors(t, istio("Gateway",
			"{servers: [{hosts: ['*'], port: {number: 443, name: a, protocol: HTTPS}, tls: {"+tls+"}}]}"), want...)
	}
	f("")
	f("mode: SIMPLE, credentialName: c")
	f("mode: SIMPLE, credentialNames: [c, d]")
	f("mode: SIMPLE, serverCertificate: /c, privateKey: /k")
	f("mode: SIMPLE, tlsCertificates: [{serverCertificate: /c, privateKey: /k}]")
	f("mode: SIMPLE", ".serverCertificate: SIMPLE TLS requires a server certificate",
		".privateKey: SIMPLE TLS requires a private key")
	f("mode: MUTUAL, serverCertificate: /c", ".caCertificates: MUTUAL TLS requires a client CA bundle",
		".privateKey: MUTUAL TLS requires a private key")
	f("mode: SIMPLE, tlsCertificates: [{privateKey: /k}]",
		".tlsCertificates[0].serverCertificate: SIMPLE TLS requires a server certificate")
	f("mode: SIMPLE, credentialName: c, credentialNames: [d]", ": only one of credential_name, credential_names, "+
		"server_certificate/private_key, tls_certificates should be specified")
	f("mode: SIMPLE, serverCertificate: /c, privateKey: /k, caCrl: /r", ".caCrl: CRL is not supported with SIMPLE TLS")
	f("mode: ISTIO_MUTUAL")
	f("mode: ISTIO_MUTUAL, credentialName: c, caCertificates: /c",
		".caCertificates: ISTIO_MUTUAL TLS cannot have associated CA bundle",
		".credentialName: ISTIO_MUTUAL TLS cannot have associated credentialName")
	f("mode: PASSTHROUGH, credentialName: c")
}

// A gateway with HTTP and HTTPS is the common case: run must start with it, check must say what is missing.
func TestAServerThatIsNotSupportedIsLeftOutAndItsNeighboursAreServed(t *testing.T) {
	in := named("Gateway", "front", `{servers: [
  {port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}},
  {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}},
  {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}]}`)
	config, _, problems := translateYAML(t, in, Options{})
	if len(config.Gateways) != 1 || len(config.Gateways[0].Servers) != 1 {
		t.Fatalf("gateways %+v", config.Gateways)
	}
	if s := config.Gateways[0].Servers[0]; s.Port.Number != 80 || !s.HTTPSRedirect {
		t.Errorf("server %+v, want that of port 80 with a redirect", s)
	}
	wantProblems(t, problems,
		"5 unresolved spec.servers[0].port.protocol: protocol HTTPS is not supported yet: the server is left out, "+
			"and nothing listens on port 443 for it",
		"7 unresolved spec.servers[2].port.protocol: protocol TCP is not supported yet: the server is left out, "+
			"and nothing listens on port 9000 for it")
	_, _, problems = translateYAML(t, in, Options{AllowUnsupported: []string{"gateway"}})
	wantProblems(t, problems,
		"5 warning spec.servers[0].port.protocol: protocol HTTPS is not supported yet: the server is left out",
		"7 warning spec.servers[2].port.protocol: protocol TCP is not supported yet: the server is left out")
}

func TestTLSSettingsWithoutEffectAreWarnedOf(t *testing.T) {
	_, _, problems := translateYAML(t, named("Gateway", "front", `{servers: [
  {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {minProtocolVersion: TLSV1_2}},
  {port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {httpsRedirect: true, credentialName: c}}]}`),
		Options{AllowUnsupported: []string{"Gateway"}})
	wantProblems(t, problems,
		"3 warning metadata.name: no VirtualService names it: requests get 404",
		"5 warning spec.servers[0].tls: has no effect on a port of plain text HTTP",
		"6 warning spec.servers[1].tls.httpsRedirect: tls.httpsRedirect should only be used with http servers",
		"6 warning spec.servers[1].tls: PASSTHROUGH mode does not use certificates, they will be ignored",
		"6 warning spec.servers[1].port.protocol: protocol HTTPS is not supported yet: the server is left out")
}

func TestAGatewayThatNoVirtualServiceNamesIsWarnedOf(t *testing.T) {
	gateway := named("Gateway", "front", "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}")
	f := func(in string, want int) {
		t.Helper()
		_, _, problems := translateYAML(t, gateway+in, Options{})
		got := 0
		for _, p := range problems {
			if strings.Contains(p.Message, "no VirtualService names it") {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: %d warnings, want %d: %v", in, got, want, problems)
		}
	}
	const rest = "hosts: [a.b], http: [{redirect: {uri: /}}]}"
	f("", 1)
	f(named("VirtualService", "v", "{"+rest), 1)
	f(named("VirtualService", "v", "{gateways: [front], "+rest), 0)
	f(named("VirtualService", "v", "{gateways: [fornt], "+rest), 0)            // which is said
	f(named("VirtualService", "v", "{gateways: [front], colour: 1, "+rest), 0) // so is that it is refused
	f(named("Gateway", "other", "{servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: ['*'],"+
		" tls: {httpsRedirect: true}}]}")+named("VirtualService", "v", "{gateways: [front], "+rest), 0)
}
