// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// serverTLS checks the TLS settings of a server, also of one that is left out: they are wrong today and would be when
// it is not.
func (p *report) serverTLS(path string, s *networking.Server) {
	protocol, t := strings.ToUpper(s.GetPort().GetProtocol()), s.GetTls()
	encrypted := protocol == "HTTPS" || protocol == "TLS"
	at := path + ".tls"
	if t == nil {
		if encrypted {
			p.error(at, "add tls", "server must have TLS settings for HTTPS/TLS protocols")
		}
		return
	}
	if t.GetHttpsRedirect() && !isHTTP(protocol) {
		p.warn(at+".httpsRedirect", "move it to the server of HTTP",
			"tls.httpsRedirect should only be used with http servers")
	}
	switch {
	case encrypted:
	case !isHTTP(protocol):
		p.error(at, "remove it, or use protocol TLS", "server cannot have TLS settings for non HTTPS/TLS ports")
	case !passesThrough(t) || t.GetServerCertificate() != "" || t.GetPrivateKey() != "" || t.GetCaCertificates() != "":
		p.error(at, "leave httpsRedirect alone, or use protocol HTTPS",
			"server cannot have TLS settings for plain text HTTP ports")
		return
	case !t.GetHttpsRedirect():
		p.warn(at, "remove it, or use protocol HTTPS", "has no effect on a port of plain text HTTP")
	}
	p.certificates(at, t)
}

// passesThrough tells whether TLS is not ended here. That is what no mode means, too.
func passesThrough(t *networking.ServerTLSSettings) bool {
	return t.GetMode() == networking.ServerTLSSettings_PASSTHROUGH ||
		t.GetMode() == networking.ServerTLSSettings_AUTO_PASSTHROUGH
}

// certificates checks where the certificates of a server come from.
func (p *report) certificates(path string, t *networking.ServerTLSSettings) {
	files := t.GetServerCertificate() != "" && t.GetPrivateKey() != ""
	named := t.GetCredentialName() != "" || len(t.GetCredentialNames()) > 0
	sources := 0
	for _, given := range []bool{
		files, t.GetCredentialName() != "", len(t.GetCredentialNames()) > 0, len(t.GetTlsCertificates()) > 0,
	} {
		if given {
			sources++
		}
	}
	if t.GetMode() == networking.ServerTLSSettings_ISTIO_MUTUAL {
		p.meshCertificates(path, t)
		return
	}
	if sources > 1 {
		p.error(path, "keep one of them", "only one of credential_name, credential_names, "+
			"server_certificate/private_key, tls_certificates should be specified")
	}
	mutual := false
	switch t.GetMode() {
	case networking.ServerTLSSettings_MUTUAL, networking.ServerTLSSettings_OPTIONAL_MUTUAL:
		mutual = true
	case networking.ServerTLSSettings_SIMPLE:
	default:
		if sources > 0 || t.GetCaCertificates() != "" || t.GetCaCrl() != "" || t.GetPrivateKey() != "" ||
			t.GetServerCertificate() != "" {
			p.warn(path, "remove them", "%v mode does not use certificates, they will be ignored", t.GetMode())
		}
		return
	}
	if named {
		return
	}
	kind := "SIMPLE TLS"
	if mutual {
		kind = "MUTUAL TLS"
		if t.GetCaCertificates() == "" {
			p.error(path+".caCertificates", "write the path of a file", "%s requires a client CA bundle", kind)
		}
	}
	need := func(path, certificate, key string) {
		if certificate == "" {
			p.error(path+".serverCertificate", "write the path of a file", "%s requires a server certificate", kind)
		}
		if key == "" {
			p.error(path+".privateKey", "write the path of a file", "%s requires a private key", kind)
		}
	}
	for i, c := range t.GetTlsCertificates() {
		need(index(path+".tlsCertificates", i), c.GetServerCertificate(), c.GetPrivateKey())
	}
	if len(t.GetTlsCertificates()) == 0 {
		need(path, t.GetServerCertificate(), t.GetPrivateKey())
	}
	if t.GetCaCrl() != "" && !mutual {
		p.error(path+".caCrl", "remove it", "CRL is not supported with SIMPLE TLS")
	}
}

// meshCertificates checks that a server with the mesh's own certificates names no others.
func (p *report) meshCertificates(path string, t *networking.ServerTLSSettings) {
	for _, field := range []struct {
		name, what string
		given      bool
	}{
		{".serverCertificate", "server certificate", t.GetServerCertificate() != ""},
		{".privateKey", "private key", t.GetPrivateKey() != ""},
		{".caCertificates", "CA bundle", t.GetCaCertificates() != ""},
		{".tlsCertificates", "tlsCertificates", len(t.GetTlsCertificates()) > 0},
		{".credentialName", "credentialName", t.GetCredentialName() != ""},
		{".credentialNames", "credentialNames", len(t.GetCredentialNames()) > 0},
	} {
		if field.given {
			p.error(path+field.name, "remove it", "ISTIO_MUTUAL TLS cannot have associated %s", field.what)
		}
	}
}
