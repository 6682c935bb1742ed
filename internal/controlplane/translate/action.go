// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// redirectCodes are those that Envoy can answer with (envoy.config.route.v3.RedirectAction.RedirectResponseCode).
var redirectCodes = []uint32{301, 302, 303, 307, 308}

// redirect reads what a rule answers with instead of routing; nil if it does not redirect.
func (v *virtualService) redirect(path string, h *networking.HTTPRoute) *mesh.Redirect {
	r := h.GetRedirect()
	if r == nil {
		return nil
	}
	path += ".redirect"
	out := &mesh.Redirect{
		Code: r.GetRedirectCode(), URI: r.GetUri(), PrefixRewrite: r.GetPrefixRewrite(), Authority: r.GetAuthority(),
		Scheme: r.GetScheme(), Port: r.GetPort(),
	}
	if out.URI != "" && out.PrefixRewrite != "" {
		v.error(path+".prefixRewrite", "keep one of them", "redirect may only specify one of uri or prefix_rewrite")
	}
	if out.PrefixRewrite != "" {
		for i, m := range h.GetMatch() {
			if _, prefix := m.GetUri().GetMatchType().(*networking.StringMatch_Prefix); m.GetUri() != nil && !prefix {
				v.error(index(path[:len(path)-len(".redirect")]+".match", i)+".uri", "match on a prefix",
					"redirect prefix_rewrite requires all URI matches to use prefix match type")
			}
		}
	}
	if out.URI == "" && out.PrefixRewrite == "" && out.Authority == "" && out.Scheme == "" && r.GetRedirectPort() == nil {
		v.error(path, "say where to", "redirect must specify URI, authority, scheme, or port")
	}
	for _, text := range []struct{ field, value string }{
		{".uri", out.URI}, {".prefixRewrite", out.PrefixRewrite}, {".authority", out.Authority},
	} {
		v.line(path+text.field, text.value)
	}
	switch {
	case out.Code == 0:
		out.Code = 301
	case out.Code < 300 || out.Code > 399:
		v.error(path+".redirectCode", "write 301, 302, 303, 307 or 308",
			"%d is not a valid redirect code, must be 3xx", out.Code)
	case !slices.Contains(redirectCodes, out.Code):
		v.error(path+".redirectCode", "write 301, 302, 303, 307 or 308",
			"%d is not a code that Envoy redirects with", out.Code)
	}
	if s := out.Scheme; s != "" && s != "http" && s != "https" {
		v.error(path+".scheme", "write http or https", `invalid redirect scheme, must be "http" or "https"`)
	}
	switch port := r.GetRedirectPort().(type) {
	case *networking.HTTPRedirect_Port:
		if port.Port > 0 {
			v.port(path+".port", port.Port)
		}
	case *networking.HTTPRedirect_DerivePort:
		out.DerivePort = mesh.FromProtocolDefault
		if port.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT {
			out.DerivePort = mesh.FromRequestPort
		}
	}
	return out
}

// line refuses text that would break a head (RFC 9112 §3).
func (p *report) line(path, s string) {
	if !printable(s) {
		p.error(path, "write it without control characters", "%q has control characters", s)
	}
}

// Limits of the bodies of direct responses, in bytes, as Istio has them.
const (
	maxBody   = 1 << 20
	largeBody = 100 << 10
)

// directResponse reads what a rule answers with by itself; nil if it does not.
func (v *virtualService) directResponse(path string, d *networking.HTTPDirectResponse) *mesh.DirectResponse {
	if d == nil {
		return nil
	}
	path += ".directResponse"
	out := &mesh.DirectResponse{Status: d.GetStatus()}
	switch body := d.GetBody().GetSpecifier().(type) {
	case *networking.HTTPBody_String_:
		out.Body = []byte(body.String_)
	case *networking.HTTPBody_Bytes:
		out.Body, out.Bytes = slices.Clone(body.Bytes), true
	}
	switch size := len(out.Body); {
	case size > maxBody:
		v.error(path+".body", "shorten it",
			"large direct_responses may impact control plane performance, must be less than 1MB")
	case size > largeBody:
		v.warn(path+".body", "", "large direct_responses may impact control plane performance")
	}
	v.httpStatus(path+".status", int64(d.GetStatus()))
	return out
}

// httpStatus checks the status of an answer that is made here. Istio lets 600 pass, which Envoy refuses with all routes
// beside it.
func (p *report) httpStatus(path string, status int64) {
	if status < 200 || status > 599 {
		p.error(path, "write 200 to 599", "HTTP status %d is not in range 200-599", status)
	}
}

// rewrite reads what becomes of a request's path and authority; nil if they stay.
func (p *report) rewrite(path string, r *networking.HTTPRewrite) *mesh.Rewrite {
	if r == nil {
		return nil
	}
	path += ".rewrite"
	regex := r.GetUriRegexRewrite()
	out := &mesh.Rewrite{
		URI: r.GetUri(), HasURI: r.GetUri() != "", Regex: regex.GetMatch(), Sub: regex.GetRewrite(),
		Authority: r.GetAuthority(),
	}
	p.line(path+".uri", out.URI)
	p.line(path+".authority", out.Authority)
	p.line(path+".uriRegexRewrite.rewrite", out.Sub)
	switch {
	case out.HasURI && regex != nil:
		p.error(path+".uriRegexRewrite", "keep one of them", "rewrite may only contain one of URI or UriRegexRewrite")
	case !out.HasURI && regex == nil && out.Authority == "":
		p.error(path, "say what to rewrite", "rewrite must specify at least one of URI, UriRegexRewrite, or authority. "+
			"Only one of URI or UriRegexRewrite may be specified")
	case regex == nil:
	case out.Regex == "" || out.Sub == "":
		p.error(path+".uriRegexRewrite", "write match and rewrite",
			"UriRegexRewrite requires both Rewrite and Match fields to be specified")
	default:
		if re := p.expression(path+".uriRegexRewrite.match", out.Regex); re != nil {
			p.substitution(path+".uriRegexRewrite.rewrite", out.Sub, re.NumSubexp())
		}
	}
	return out
}

// substitution warns of what RE2 cannot put in: the path then stays as it is.
func (p *report) substitution(path, sub string, groups int) {
	for i := 0; i < len(sub); i++ {
		if sub[i] != '\\' {
			continue
		}
		i++
		switch {
		case i == len(sub) || sub[i] != '\\' && (sub[i] < '0' || sub[i] > '9'):
			p.warn(path, `write \0 to \9 for groups and \\ for a backslash`,
				`a backslash stands before what is no digit: no path is rewritten`)
			return
		case sub[i] != '\\' && int(sub[i]-'0') > groups:
			p.warn(path, "correct the number", `\%c is put in and match has %d groups: no path is rewritten`, sub[i], groups)
			return
		}
	}
}
